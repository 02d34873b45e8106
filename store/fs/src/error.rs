//! What can go wrong with files.
//!
//! Owns the one error type. Invariant: every error about an entry names its path relative to the directory that the
//! operator opened, escaped for terminals by its `Display`.
//!
//! Does not decide whether to go on: callers do.

use std::{error::Error, io, path::PathBuf};

use dominator_store_core::{BlobId, TreePath};
use rustix::io::Errno;

use crate::FileType;

/// What the operations of this crate return.
pub type Result<T, E = FsError> = std::result::Result<T, E>;

/// What can go wrong with files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FsError {
    /// The kernel refused.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Where.
        path: TreePath,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A directory named by the operator cannot be opened.
    #[error("cannot open directory {}", .path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Another type of file than the operation is for.
    #[error("{path} is a {}, not a {expected}", .found.word())]
    WrongType {
        /// Where.
        path: TreePath,
        /// The type that the operation is for.
        expected: &'static str,
        /// The type found.
        found: FileType,
    },
    /// The entry changed while it was read, each time it was tried.
    #[error("{path} changes while it is read")]
    Unstable {
        /// Where.
        path: TreePath,
    },
    /// The entry exceeds what a tree can record.
    #[error("{path}: {what}")]
    Limit {
        /// Where.
        path: TreePath,
        /// Which limit.
        what: &'static str,
    },
    /// A tree asks for what no file system of this kind has.
    #[error("{path}: {what} cannot be made here")]
    Unsupported {
        /// Where.
        path: TreePath,
        /// What was asked for.
        what: &'static str,
    },
    /// The members of a hard-link group are not the same file.
    #[error("{path} differs from the file that it is a hard link of")]
    LinkGroup {
        /// The member that differs.
        path: TreePath,
    },
    /// More or fewer bytes than the file is to have, or other bytes than zeros in a hole.
    #[error("content of {path} does not fit its size of {size} bytes and its holes")]
    BlobLen {
        /// The file.
        path: TreePath,
        /// The size it was to have.
        size: u64,
    },
    /// The content of a file cannot be had.
    #[error("cannot read blob {blob} for {path}")]
    Blob {
        /// The file.
        path: TreePath,
        /// Its content.
        blob: BlobId,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// A tree cannot be read.
    #[error("cannot read the tree")]
    Tree(#[source] Box<dyn Error + Send + Sync>),
    /// The destination of a checkout has entries.
    #[error("directory {} is not empty", .path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// A checkout stopped half-way.
    #[error("checkout stopped, what was made so far is in {}", .path.display())]
    Incomplete {
        /// The destination.
        path: PathBuf,
        /// Why it stopped.
        #[source]
        source: Box<FsError>,
    },
    /// `/proc` is not mounted, so attributes of files that are not open are out of reach.
    #[error("/proc is not mounted")]
    NoProc,
}

impl FsError {
    pub(crate) fn io(operation: &'static str, path: &TreePath, errno: Errno) -> Self {
        Self::Io { operation, path: path.clone(), source: errno.into() }
    }

    /// Returns the number that the kernel gave.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Io { source, .. } | Self::Open { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }

    /// Says whether the entry, or a directory on the way to it, does not exist.
    pub fn is_absent(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR))
    }

    /// Says whether the entry is no longer what it was taken for: gone, or replaced by another type or a mount.
    pub(crate) fn is_replaced(&self) -> bool {
        let replaced = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV, Errno::STALE, Errno::NXIO];
        matches!(self, Self::WrongType { .. }) || self.errno().is_some_and(|errno| replaced.contains(&errno))
    }

    /// Names the entry in an error of an operation that knew only an open file.
    #[must_use]
    pub fn located(self, path: &TreePath) -> Self {
        match self {
            Self::Io { operation, source, .. } => Self::Io { operation, path: path.clone(), source },
            Self::Unstable { .. } => Self::Unstable { path: path.clone() },
            other => other,
        }
    }

    /// Returns the path of the entry concerned, where there is one.
    pub fn path(&self) -> Option<&TreePath> {
        match self {
            Self::Io { path, .. }
            | Self::WrongType { path, .. }
            | Self::Unstable { path }
            | Self::Limit { path, .. }
            | Self::Unsupported { path, .. }
            | Self::LinkGroup { path }
            | Self::BlobLen { path, .. }
            | Self::Blob { path, .. } => Some(path),
            Self::Incomplete { source, .. } => source.path(),
            Self::Open { .. } | Self::Tree(_) | Self::NotEmpty { .. } | Self::NoProc => None,
        }
    }
}

/// Names operation and path of a failed system call.
pub(crate) trait At<T> {
    fn at(self, operation: &'static str, path: &TreePath) -> Result<T>;
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, operation: &'static str, path: &TreePath) -> Result<T> {
        self.map_err(|errno| FsError::io(operation, path, errno))
    }
}
