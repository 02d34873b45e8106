//! Why an apply or a recovery failed.
//!
//! Owns the error type. Invariant: each variant says what the caller can do; unless it is `Stuck`, the root is exactly what
//! it was before.
//!
//! What went wrong with single services is in the result, not here.

use std::io;

use dominator_agent_core::journal::JournalError;
use dominator_store_core::{BlobId, TreePath};
use dominator_store_fs::FsError;

use super::fault::Interrupted;
use crate::service::ServiceError;

/// Why an apply or a recovery failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// These paths are not what the scan saw: scan them again, plan again. The list may be cut.
    #[error("{} paths changed since they were scanned", .0.len())]
    Drifted(Vec<TreePath>),
    /// Staging would fill the file system.
    #[error(
        "{needed_len} bytes and {needed_inode_count} inodes are needed, {free_len} and {free_inode_count} are free"
    )]
    NoSpace {
        /// Bytes needed.
        needed_len: u64,
        /// Bytes free.
        free_len: u64,
        /// Inodes needed.
        needed_inode_count: u64,
        /// Inodes free.
        free_inode_count: u64,
    },
    /// The content of a file cannot be had, or is other content: fetch it.
    #[error("cannot stage blob {blob} for {path}")]
    Blob {
        /// Which.
        blob: BlobId,
        /// For which path.
        path: TreePath,
        /// What the source said.
        #[source]
        source: io::Error,
    },
    /// Another process holds the lock of this root.
    #[error("another agent is at work on this root")]
    Locked,
    /// The private directory is somebody else's, or no directory.
    #[error("the private directory is not usable: {what}")]
    Private {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The journal has an apply that is not finished: recover first.
    #[error("an earlier apply is not finished")]
    Unfinished,
    /// The journal was written by another version.
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    /// A service could not be stopped; nothing was changed, and what was stopped is started.
    #[error("service {service} could not be stopped")]
    Stop {
        /// Which.
        service: String,
        /// Why.
        #[source]
        source: ServiceError,
    },
    /// A step failed; every step before it was undone.
    #[error("the plan failed and was undone")]
    RolledBack(#[source] Box<ApplyError>),
    /// A step failed, and so did undoing: recover, after what stands in the way was removed.
    #[error("the plan failed and could not be undone")]
    Stuck(#[source] Box<ApplyError>),
    /// A file operation failed.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// An operation on the agent's own files failed.
    #[error("cannot {operation}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A test stopped it.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl ApplyError {
    pub(super) fn io(operation: &'static str, source: impl Into<io::Error>) -> Self {
        Self::Io { operation, source: source.into() }
    }
}
