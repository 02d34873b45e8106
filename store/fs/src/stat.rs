//! What the kernel says about one inode.
//!
//! Owns `Stat` and the key by which an unchanged file is recognised. Invariant: two equal keys, the first of which was
//! settled when reading began, mean that content and metadata have not changed through the file system in between; what
//! changes below it (a bad disk) shows only when content is read again.
//!
//! Extended attributes are not part of it (`meta`), but changing them changes the key.

use dominator_store_core::{Device, Mtime};
use rustix::fs::{Statx, StatxAttributes, StatxTimestamp};

use crate::limits::SETTLED_SECONDS;

/// The type of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileType {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A block device.
    Block,
    /// A character device.
    Char,
    /// A named pipe.
    Fifo,
    /// A socket, which no tree records.
    Socket,
}

impl FileType {
    /// Returns the word used in messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Dir => "directory",
            Self::File => "file",
            Self::Symlink => "symlink",
            Self::Block => "block device",
            Self::Char => "character device",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
        }
    }
}

/// What the kernel says about one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: FileType,
    /// Permission bits, set-id bits and the sticky bit.
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// When content last changed.
    pub mtime: Mtime,
    /// When anything last changed.
    pub ctime: Mtime,
    /// Length in bytes.
    pub size: u64,
    /// Storage in bytes.
    pub allocated: u64,
    /// Inode number.
    pub ino: u64,
    /// File system.
    pub dev: Device,
    /// Number of names.
    pub nlink: u64,
    /// Device number of a block or character device.
    pub rdev: Device,
    /// Whether it is the root of a mount.
    pub mount_root: bool,
}

impl Stat {
    pub(crate) fn new(statx: &Statx) -> Self {
        let kind = match rustix::fs::FileType::from_raw_mode(statx.stx_mode.into()) {
            rustix::fs::FileType::Directory => FileType::Dir,
            rustix::fs::FileType::Symlink => FileType::Symlink,
            rustix::fs::FileType::BlockDevice => FileType::Block,
            rustix::fs::FileType::CharacterDevice => FileType::Char,
            rustix::fs::FileType::Fifo => FileType::Fifo,
            rustix::fs::FileType::Socket => FileType::Socket,
            _ => FileType::File,
        };
        Self {
            kind,
            mode: statx.stx_mode & 0o7777,
            uid: statx.stx_uid,
            gid: statx.stx_gid,
            mtime: time(statx.stx_mtime),
            ctime: time(statx.stx_ctime),
            size: statx.stx_size,
            allocated: statx.stx_blocks.saturating_mul(512),
            ino: statx.stx_ino,
            dev: Device { major: statx.stx_dev_major, minor: statx.stx_dev_minor },
            nlink: statx.stx_nlink.into(),
            rdev: Device { major: statx.stx_rdev_major, minor: statx.stx_rdev_minor },
            mount_root: statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    /// Returns the key by which the file is recognised as unchanged.
    pub const fn key(&self) -> StatKey {
        StatKey { ino: self.ino, dev: self.dev, size: self.size, mtime: self.mtime, ctime: self.ctime }
    }
}

fn time(time: StatxTimestamp) -> Mtime {
    Mtime { seconds: time.tv_sec, nanoseconds: time.tv_nsec }
}

/// Recognises an unchanged file: equal keys, the first one settled, mean unchanged since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StatKey {
    /// Inode number.
    pub ino: u64,
    /// File system.
    pub dev: Device,
    /// Length in bytes.
    pub size: u64,
    /// When content last changed.
    pub mtime: Mtime,
    /// When anything last changed; nobody can set it back.
    pub ctime: Mtime,
}

impl StatKey {
    /// Says whether the last change is so long before `now`, the time at which reading began, that a later change must
    /// give another change time. A key that is not settled proves nothing: a second change within the granularity of
    /// the file system's clock leaves it as it is.
    pub const fn is_settled(&self, now: Mtime) -> bool {
        self.ctime.seconds.saturating_add(SETTLED_SECONDS) < now.seconds
    }
}
