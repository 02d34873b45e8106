//! One inode, held by a descriptor, and changing its metadata.
//!
//! Owns the order that the kernel requires: a change of owner drops capabilities and set-id bits, so it comes first; an
//! access list changes the mode and a mode changes the access list, so attributes come after the mode; the time comes
//! last. Invariant: only what differs is written, so that writing twice changes nothing, not even the change time.
//!
//! Which inode to hold is the caller's choice.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use dominator_store_core::{Managed, Meta, Mtime, TreePath};
use rustix::{
    fs::{AtFlags, CWD, Gid, Mode, StatxFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags},
    io::Errno,
};

use crate::{
    FileType, FsError, Result, Stat,
    error::At,
    xattr::{self, CAPABILITY, XattrSource},
};

/// One inode, held by a descriptor.
pub(crate) enum Inode<'a> {
    /// Open for reading or writing.
    Open(BorrowedFd<'a>),
    /// Held with `O_PATH`, of any type; its magic link leads to exactly this inode.
    Pinned(OwnedFd),
}

impl Inode<'_> {
    pub(crate) fn stat(&self, path: &TreePath) -> Result<Stat> {
        let statx = rustix::fs::statx(self.fd(), "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
        Ok(Stat::new(&statx.at("look at", path)?))
    }

    /// Gives the inode the metadata `meta`, as far as it is managed.
    pub(crate) fn write_meta(&self, meta: &Meta, managed: Managed, path: &TreePath) -> Result<()> {
        let stat = self.stat(path)?;
        let chown = (stat.uid, stat.gid) != (meta.uid, meta.gid);
        if chown {
            self.chown(meta.uid, meta.gid, path)?;
        }
        let names = if managed.xattrs { self.remove_unwanted(meta, path)? } else { Vec::new() };
        // The kernel drops set-id bits with the owner.
        if stat.kind != FileType::Symlink && (chown || stat.mode != meta.mode) {
            self.chmod(meta.mode, path)?;
        }
        if managed.xattrs {
            self.set_wanted(meta, &names, path)?;
        }
        match meta.mtime {
            Some(mtime) if mtime != stat.mtime => self.write_mtime(mtime, path),
            _ => Ok(()),
        }
    }

    /// Gives the inode the modification time `mtime`.
    pub(crate) fn write_mtime(&self, mtime: Mtime, path: &TreePath) -> Result<()> {
        let last_modification = Timespec { tv_sec: mtime.seconds, tv_nsec: i64::from(mtime.nanoseconds) };
        let times = Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification };
        self.set_times(&times).at("set time of", path)
    }

    /// Removes attributes that are not wanted, such as inherited access lists; returns the names of all that were there.
    fn remove_unwanted(&self, meta: &Meta, path: &TreePath) -> Result<Vec<Box<[u8]>>> {
        let names = xattr::names(self, path)?;
        for name in &names {
            let wanted = meta.xattrs.iter().any(|xattr| xattr.name == *name);
            if !wanted && xattr::is_removable(name) {
                match self.remove_xattr(name) {
                    Ok(()) | Err(Errno::NODATA) => {}
                    Err(errno) => return Err(FsError::io("remove attribute of", path, errno)),
                }
            }
        }
        Ok(names)
    }

    fn set_wanted(&self, meta: &Meta, names: &[Box<[u8]>], path: &TreePath) -> Result<()> {
        let (last, first): (Vec<_>, Vec<_>) = meta.xattrs.iter().partition(|xattr| *xattr.name == *CAPABILITY);
        for xattr in first.into_iter().chain(last) {
            let same = names.contains(&xattr.name)
                && xattr::value(self, &xattr.name, path)?.is_some_and(|value| value == xattr.value);
            if !same {
                self.set_xattr(&xattr.name, &xattr.value).at("set attribute of", path)?;
            }
        }
        Ok(())
    }

    fn chown(&self, uid: u32, gid: u32, path: &TreePath) -> Result<()> {
        // To the kernel, this value means "leave it".
        if uid == u32::MAX || gid == u32::MAX {
            return Err(FsError::Unsupported { path: path.clone(), what: "owner 4294967295" });
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        rustix::fs::chownat(self.fd(), "", uid, gid, AtFlags::EMPTY_PATH).at("set owner of", path)
    }

    fn chmod(&self, mode: u16, path: &TreePath) -> Result<()> {
        let mode = Mode::from_raw_mode(mode.into());
        let done = match self {
            Self::Open(fd) => rustix::fs::fchmod(fd, mode),
            Self::Pinned(fd) => rustix::fs::chmodat(CWD, proc_path(fd.as_fd()), mode, AtFlags::empty()),
        };
        done.at("set mode of", path)
    }

    fn set_times(&self, times: &Timestamps) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::futimens(fd, times),
            Self::Pinned(fd) => rustix::fs::utimensat(CWD, proc_path(fd.as_fd()), times, AtFlags::empty()),
        }
    }

    fn set_xattr(&self, name: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Pinned(fd) => rustix::fs::setxattr(proc_path(fd.as_fd()), name, value, XattrFlags::empty()),
        }
    }

    fn remove_xattr(&self, name: &[u8]) -> rustix::io::Result<()> {
        match self {
            Self::Open(fd) => rustix::fs::fremovexattr(fd, name),
            Self::Pinned(fd) => rustix::fs::removexattr(proc_path(fd.as_fd()), name),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Open(fd) => *fd,
            Self::Pinned(fd) => fd.as_fd(),
        }
    }
}

impl XattrSource for Inode<'_> {
    fn list(&self, buf: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::flistxattr(fd, buf),
            Self::Pinned(fd) => rustix::fs::listxattr(proc_path(fd.as_fd()), buf),
        }
    }

    fn get(&self, name: &[u8], buf: &mut [u8]) -> rustix::io::Result<usize> {
        match self {
            Self::Open(fd) => rustix::fs::fgetxattr(fd, name, buf),
            Self::Pinned(fd) => rustix::fs::getxattr(proc_path(fd.as_fd()), name, buf),
        }
    }
}

/// Returns the magic link of a descriptor, which leads to the inode itself, even if that is a symbolic link.
pub(crate) fn proc_path(fd: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}
