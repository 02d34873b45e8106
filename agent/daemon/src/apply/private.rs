//! The agent's private directory in the managed root.
//!
//! Owns its making, its protection and its lock. Invariants: it is on the mount of the root, belongs to the agent's user,
//! and nobody else may enter it, so that what is staged can be neither seen nor touched before it is complete.
//!
//! What others keep in it (the chunk cache, the state) is theirs.

use std::{fs::File, os::fd::OwnedFd, thread, time::Instant};

use dominator_store_core::{Managed, Meta, Name, PRIVATE_DIR};
use dominator_store_fs::{Dir, FileType, make_dir, write_dir_meta};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};

use super::{
    error::ApplyError,
    limits::{LOCK_PATIENCE, LOCK_RETRY_INTERVAL},
};

/// The private directory of one root.
#[derive(Debug)]
pub struct PrivateDir {
    dir: Dir,
}

impl PrivateDir {
    /// Opens the private directory of `root`, or makes it.
    ///
    /// # Errors
    /// `Private` if something else has its name.
    pub fn open(root: &Dir) -> Result<Self, ApplyError> {
        Self::open_in(root, PRIVATE_DIR)
    }

    /// Opens the directory `name` in it, or makes it.
    pub fn sub(&self, name: &str) -> Result<Dir, ApplyError> {
        Self::open_in(&self.dir, name).map(|sub| sub.dir)
    }

    /// Returns the directory.
    pub const fn dir(&self) -> &Dir {
        &self.dir
    }

    fn open_in(parent: &Dir, name: &str) -> Result<Self, ApplyError> {
        let name = own_name(name);
        let dir = match parent.try_stat(&name)? {
            None => make_dir(parent, &name)?,
            Some(stat) if stat.mount_root => return Err(ApplyError::Private { what: "it is a mount" }),
            Some(stat) if stat.kind == FileType::Dir => parent.open_child(&name)?,
            Some(_) => return Err(ApplyError::Private { what: "it is not a directory" }),
        };
        let user = rustix::process::geteuid().as_raw();
        let stat = dir.stat_self()?;
        if stat.uid != user {
            return Err(ApplyError::Private { what: "it belongs to another user" });
        }
        // Group, mode and default access lists may come from the directory above.
        let meta = Meta::new(PRIVATE_MODE, user, rustix::process::getegid().as_raw());
        write_dir_meta(&dir, &meta, Managed::default())?;
        Ok(Self { dir })
    }
}

/// Takes the lock of a private directory; it is released when the file is closed, however that comes about.
pub(super) fn lock(private: &PrivateDir) -> Result<File, ApplyError> {
    let flags = OFlags::RDWR | OFlags::CREATE;
    let fd = open_own(private.dir(), LOCK_NAME, flags).map_err(|errno| ApplyError::io("open the lock", errno))?;
    let start = Instant::now();
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd.into()),
            // A child of the last agent shares its lock from fork to exec, an agent that was killed until it is reaped.
            Err(Errno::WOULDBLOCK) if start.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY_INTERVAL),
            Err(Errno::WOULDBLOCK) => return Err(ApplyError::Locked),
            Err(errno) => return Err(ApplyError::io("take the lock", errno)),
        }
    }
}

/// Opens a file of our own in a directory of our own.
pub(super) fn open_own(dir: &Dir, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(dir.fd(), name, flags, Mode::RUSR | Mode::WUSR)
}

/// Returns a name that we chose.
pub(super) fn own_name(name: &str) -> Name {
    Name::new(name.as_bytes()).expect("the agent's own names are names")
}

const PRIVATE_MODE: u16 = 0o700;
const LOCK_NAME: &str = "lock";
