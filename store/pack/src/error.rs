//! What can go wrong with packs.
//!
//! Owns the crate's error. Variants say what a caller can do: repair or drop what is corrupt, recover what is unsealed,
//! upgrade for what is newer, make room for what does not fit.
//!
//! An absent object is no error here: look-ups return `None`.

use std::{
    io,
    path::{Path, PathBuf},
};

use dominator_store_core::{Digest, ObjectId, RecordError};

use crate::PackId;

/// Why a pack or cache operation failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Bytes of a pack are not what they should be.
    #[error("pack {pack} is corrupt at byte {offset}")]
    Corrupt {
        /// Which pack.
        pack: PackId,
        /// Where in it.
        offset: u64,
        /// What was expected and found.
        source: Damage,
    },
    /// The pack has no trailer: it was not sealed.
    #[error("pack {pack} is not sealed")]
    Unsealed {
        /// Which pack.
        pack: PackId,
    },
    /// The pack was written by a later version.
    #[error("pack {pack} has format version {version}, which is newer than this program")]
    Newer {
        /// Which pack.
        pack: PackId,
        /// Its version.
        version: u16,
    },
    /// A record offered for storing is not what it claims to be.
    #[error("record refused")]
    Record(#[source] RecordError),
    /// The cache cannot take a record without evicting pinned ones.
    #[error("cache is full: {pinned_len} of {limit_len} bytes are pinned")]
    Full {
        /// Bytes of pinned records.
        pinned_len: u64,
        /// The cache's limit.
        limit_len: u64,
    },
}

/// How bytes of a pack differ from what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The file is too short or too long for what it should hold.
    #[error("expected {expected} bytes, found {found}")]
    Length {
        /// Length that the format or the index says.
        expected: u64,
        /// Length that is there.
        found: u64,
    },
    /// Not the magic or a reserved value that the format has there.
    #[error("malformed {what}")]
    Malformed {
        /// Which part of the format.
        what: &'static str,
    },
    /// The file holds another pack than its name says.
    #[error("expected pack {expected}, found pack {found}")]
    OtherPack {
        /// The pack that the name says.
        expected: PackId,
        /// The pack that the header says.
        found: PackId,
    },
    /// The header or the trailer does not have its digest.
    #[error("expected digest {expected}, found {found}")]
    Digest {
        /// What is recorded.
        expected: Digest,
        /// What the bytes give.
        found: Digest,
    },
    /// Another record than the index or trailer says.
    #[error("expected record of {expected}, found {found}")]
    OtherRecord {
        /// What should be there.
        expected: ObjectId,
        /// What is there.
        found: ObjectId,
    },
    /// The record itself is damaged.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Error {
    /// Wraps an error of the operating system; for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }
}
