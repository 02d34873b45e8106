//! An open directory, the only place from which files are reached.
//!
//! Owns the resolution of names. Invariants: a name is one component, resolved beneath the held directory with
//! `openat2`, and neither a symbolic link nor a mount is crossed; a regular file is known to be one before it is opened
//! and again after, so that no device is opened and no pipe waited for.
//!
//! Only [`Dir::open`] takes a path as the operator wrote it, and follows links.

use std::{
    fs::File,
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use dominator_store_core::{Name, TreePath};
use rustix::{
    fs::{AtFlags, CWD, FsWord, Mode, OFlags, RawDir, RenameFlags, ResolveFlags, StatxFlags},
    io::{Errno, retry_on_intr},
};

use crate::{
    FileType, FsError, Result, Stat,
    error::At,
    limits::{DIR_BUF_LEN, RETRY_COUNT_MAX},
};

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: TreePath,
    /// Whether attributes may be cached elsewhere, so that the kernel must be told to ask for them.
    remote: bool,
}

impl Dir {
    /// Opens a directory that the operator named; links in `path` are followed.
    ///
    /// # Errors
    /// `Open` if it cannot be opened, `NoProc` if `/proc` is not mounted.
    pub fn open(path: &Path) -> Result<Self> {
        let fail = |errno: Errno| FsError::Open { path: path.to_owned(), source: errno.into() };
        let fd = retry_on_intr(|| rustix::fs::open(path, DIR_FLAGS, Mode::empty())).map_err(fail)?;
        check_proc()?;
        let remote = REMOTE_MAGICS.contains(&rustix::fs::fstatfs(&fd).map_err(fail)?.f_type);
        Ok(Self { fd, path: TreePath::root(), remote })
    }

    /// Returns the path relative to the directory that the operator named.
    pub fn path(&self) -> &TreePath {
        &self.path
    }

    /// Returns the descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Makes a second handle on the same directory.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = rustix::io::fcntl_dupfd_cloexec(&self.fd, 0).at("hold", &self.path)?;
        Ok(Self { fd, path: self.path.clone(), remote: self.remote })
    }

    /// Opens the directory `name` in this one.
    pub fn open_child(&self, name: &Name) -> Result<Self> {
        let path = self.path.join(name);
        let fd = self.resolve(name.as_bytes(), DIR_FLAGS).at("open directory", &path)?;
        Ok(Self { fd, path, remote: self.remote })
    }

    /// Opens the directory `path` beneath this one; the empty path gives a second handle on this one.
    pub fn open_path(&self, path: &TreePath) -> Result<Self> {
        let full = join(&self.path, path);
        let bytes = if path.is_root() { b"." } else { path.as_bytes() };
        let fd = self.resolve(bytes, DIR_FLAGS).at("open directory", &full)?;
        Ok(Self { fd, path: full, remote: self.remote })
    }

    /// Lists the names in the directory, unsorted.
    pub fn names(&self) -> Result<Vec<Name>> {
        // A descriptor of its own has a position of its own, so that two threads may list at once.
        let fd = self.resolve(b".", DIR_FLAGS).at("open directory", &self.path)?;
        let mut names = Vec::new();
        self.read_names(fd.as_fd(), &mut Vec::with_capacity(DIR_BUF_LEN), &mut |name, _| names.push(name))?;
        Ok(names)
    }

    /// Lists a directory that was never listed through this handle; gives inode numbers too.
    pub(crate) fn names_once(&self, buf: &mut Vec<u8>, visit: &mut impl FnMut(Name, u64)) -> Result<()> {
        self.read_names(self.fd.as_fd(), buf, visit)
    }

    fn read_names(&self, fd: BorrowedFd<'_>, buf: &mut Vec<u8>, visit: &mut impl FnMut(Name, u64)) -> Result<()> {
        buf.clear();
        buf.reserve(DIR_BUF_LEN);
        let spare: &mut [MaybeUninit<u8>] = buf.spare_capacity_mut();
        let mut entries = RawDir::new(fd, spare);
        while let Some(entry) = entries.next() {
            let entry = entry.at("list", &self.path)?;
            // Only "." and ".." are no names.
            if let Ok(name) = Name::new(entry.file_name().to_bytes()) {
                visit(name, entry.ino());
            }
        }
        Ok(())
    }

    /// Returns what the kernel says about `name`; a link is not followed.
    pub fn stat(&self, name: &Name) -> Result<Stat> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | self.sync_flags();
        let statx = rustix::fs::statx(&self.fd, name.as_bytes(), flags, StatxFlags::BASIC_STATS);
        statx.map(|statx| Stat::new(&statx)).map_err(|errno| FsError::io("look at", &self.path.join(name), errno))
    }

    /// Returns what the kernel says about `name`, or `None` if there is no such name.
    pub fn try_stat(&self, name: &Name) -> Result<Option<Stat>> {
        match self.stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns what the kernel says about the entry `path` beneath this directory.
    pub fn stat_path(&self, path: &TreePath) -> Result<Stat> {
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => self.open_path(&parent)?.stat(&name),
            _ => self.stat_self(),
        }
    }

    /// Returns what the kernel says about the directory itself.
    pub fn stat_self(&self) -> Result<Stat> {
        self.stat_fd(self.fd.as_fd(), &self.path)
    }

    fn stat_fd(&self, fd: BorrowedFd<'_>, path: &TreePath) -> Result<Stat> {
        let flags = AtFlags::EMPTY_PATH | self.sync_flags();
        let statx = rustix::fs::statx(fd, "", flags, StatxFlags::BASIC_STATS).at("look at", path)?;
        Ok(Stat::new(&statx))
    }

    /// A dead server must not stop us at a mount that we do not enter; local file systems are always exact.
    fn sync_flags(&self) -> AtFlags {
        if self.remote { AtFlags::empty() } else { AtFlags::STATX_DONT_SYNC }
    }

    /// Opens the regular file `name` for reading.
    ///
    /// # Errors
    /// `WrongType` if it is anything else.
    pub fn open_file(&self, name: &Name) -> Result<File> {
        let path = self.path.join(name);
        let check = |found: FileType| match found {
            FileType::File => Ok(()),
            found => Err(FsError::WrongType { path: path.clone(), expected: FileType::File.word(), found }),
        };
        // Looked at first, because opening a device has effects; looked at again, because it may have been swapped.
        check(self.stat(name)?.kind)?;
        let fd = self.resolve(name.as_bytes(), FILE_FLAGS).at("open", &path)?;
        check(self.stat_fd(fd.as_fd(), &path)?.kind)?;
        Ok(File::from(fd))
    }

    /// Opens the regular file `path` beneath this directory for reading.
    pub fn open_file_path(&self, path: &TreePath) -> Result<File> {
        match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => self.open_path(&parent)?.open_file(&name),
            _ => Err(FsError::WrongType {
                path: self.path.clone(),
                expected: FileType::File.word(),
                found: FileType::Dir,
            }),
        }
    }

    /// Opens a handle on `name` of whatever type, which can neither read nor write its content.
    pub(crate) fn pin(&self, name: &Name) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The last component may be a link here: NOFOLLOW gives a handle on the link itself.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let open = || rustix::fs::openat2(&self.fd, name.as_bytes(), flags, Mode::empty(), resolve);
        retry_on_intr(open).map_err(|errno| FsError::io("hold", &self.path.join(name), errno))
    }

    /// Returns the target of the symbolic link `name`.
    pub fn read_link(&self, name: &Name) -> Result<Vec<u8>> {
        rustix::fs::readlinkat(&self.fd, name.as_bytes(), Vec::new())
            .map(std::ffi::CString::into_bytes)
            .map_err(|errno| FsError::io("read link", &self.path.join(name), errno))
    }

    /// Removes `name`, which is not a directory.
    pub fn unlink(&self, name: &Name) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::empty())
            .map_err(|errno| FsError::io("remove", &self.path.join(name), errno))
    }

    /// Removes the empty directory `name`.
    pub fn remove_dir(&self, name: &Name) -> Result<()> {
        rustix::fs::unlinkat(&self.fd, name.as_bytes(), AtFlags::REMOVEDIR)
            .map_err(|errno| FsError::io("remove directory", &self.path.join(name), errno))
    }

    /// Renames `name` to `to_name` in `to`, replacing what is there.
    pub fn rename(&self, name: &Name, to: &Self, to_name: &Name) -> Result<()> {
        self.rename_with(name, to, to_name, RenameFlags::empty(), "rename")
    }

    /// Renames `name` to `to_name` in `to`, where nothing may be.
    pub fn rename_new(&self, name: &Name, to: &Self, to_name: &Name) -> Result<()> {
        self.rename_with(name, to, to_name, RenameFlags::NOREPLACE, "rename")
    }

    /// Exchanges `name` with `to_name` in `to`; both exist, of whatever types.
    pub fn exchange(&self, name: &Name, to: &Self, to_name: &Name) -> Result<()> {
        self.rename_with(name, to, to_name, RenameFlags::EXCHANGE, "exchange")
    }

    fn rename_with(
        &self,
        name: &Name,
        to: &Self,
        to_name: &Name,
        flags: RenameFlags,
        operation: &'static str,
    ) -> Result<()> {
        rustix::fs::renameat_with(&self.fd, name.as_bytes(), &to.fd, to_name.as_bytes(), flags)
            .map_err(|errno| FsError::io(operation, &to.path.join(to_name), errno))
    }

    /// Makes `to_name` in `to` a hard link of `name`, itself if it is a symbolic link.
    pub fn link(&self, name: &Name, to: &Self, to_name: &Name) -> Result<()> {
        rustix::fs::linkat(&self.fd, name.as_bytes(), &to.fd, to_name.as_bytes(), AtFlags::empty())
            .map_err(|errno| FsError::io("link", &to.path.join(to_name), errno))
    }

    /// Waits until the names in the directory are on disk.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).at("sync", &self.path)
    }

    /// Waits until everything written to the file system is on disk.
    ///
    /// # Errors
    /// Also for what failed to be written since this handle was opened: open it before writing.
    pub fn sync_file_system(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd).at("sync file system of", &self.path)
    }

    fn resolve(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let open = |flags| retry_on_intr(|| rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), RESOLVE));
        for _ in 0..RETRY_COUNT_MAX {
            match open(flags | OFlags::NOATIME) {
                // Only the owner and root may leave the access time alone.
                Err(Errno::PERM) => return open(flags),
                // A rename elsewhere may disturb a walk beneath; try again.
                Err(Errno::AGAIN) => {}
                found => return found,
            }
        }
        open(flags)
    }
}

/// Makes the directory `name` with mode 0700 and opens it.
pub fn make_dir(dir: &Dir, name: &Name) -> Result<Dir> {
    rustix::fs::mkdirat(&dir.fd, name.as_bytes(), Mode::RWXU).at("make directory", &dir.path.join(name))?;
    dir.open_child(name)
}

fn join(base: &TreePath, path: &TreePath) -> TreePath {
    if base.is_root() {
        return path.clone();
    }
    path.components().fold(base.clone(), |at, component| match Name::new(component) {
        Ok(name) => at.join(&name),
        Err(_) => at,
    })
}

/// `/proc/self/fd` is how attributes are reached without following links; another file system there could redirect us.
fn check_proc() -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, "/proc/self/fd", flags, Mode::empty()).map_err(|_| FsError::NoProc)?;
    match rustix::fs::fstatfs(&fd) {
        Ok(found) if found.f_type == rustix::fs::PROC_SUPER_MAGIC => Ok(()),
        _ => Err(FsError::NoProc),
    }
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const FILE_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
const RESOLVE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS)
    .union(ResolveFlags::NO_XDEV);

/// `f_type` of file systems whose attributes another machine or process may change: NFS, CIFS, SMB2, FUSE, 9p, Ceph, AFS.
const REMOTE_MAGICS: [FsWord; 7] =
    [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400, 0x5346_414f];
