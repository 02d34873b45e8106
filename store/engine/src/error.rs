//! What can go wrong with a store.
//!
//! Owns the crate's error. Variants say what a caller can do: choose another name, send what is missing, repair what is
//! corrupt, wait for the owner, upgrade.
//!
//! Absent objects and images are no errors of look-ups, which return `None`.

use std::{
    io,
    path::{Path, PathBuf},
};

use dominator_store_core::{
    BlobId, Digest, FlatTreeError, ImageId, ImageName, ObjectId, ReadTreeError, RecipeError, RecordError, TreeId,
    TreePath, cbor::CborError,
};
use dominator_store_fs::FsError;
use dominator_store_pack::{AssembleError, PackId};

/// What the operations of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a store operation failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// A pack cannot be read or written.
    #[error(transparent)]
    Pack(#[from] dominator_store_pack::Error),
    /// The index names a pack that is not there.
    #[error("pack {pack} of the store is gone")]
    PackLost {
        /// Which pack.
        pack: PackId,
    },
    /// The tree to be published cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// RocksDB refused; the index can be rebuilt from the packs.
    #[error("cannot {operation} the index")]
    Index {
        /// What was tried.
        operation: &'static str,
        /// What RocksDB says.
        source: IndexError,
    },
    /// A row of the index is malformed; the index can be rebuilt from the packs.
    #[error("malformed {what} row in the index")]
    IndexRow {
        /// Which kind of row.
        what: &'static str,
    },
    /// The directory is not a store.
    #[error("{} is not a store", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// The format file says something else than a store's format file does.
    #[error("format file {} is corrupt", path.display())]
    FormatCorrupt {
        /// The file.
        path: PathBuf,
    },
    /// The directory has something in it already.
    #[error("{} exists and is not empty", path.display())]
    AlreadyExists {
        /// The directory.
        path: PathBuf,
    },
    /// Another process owns the store.
    #[error("store {} is in use by another process", path.display())]
    InUse {
        /// The store.
        path: PathBuf,
    },
    /// The store was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The store was written by a later version.
    #[error("store format version {version} is newer than this program")]
    Newer {
        /// Its version.
        version: u32,
    },
    /// The catalog log is damaged where it was durable.
    #[error("catalog log is corrupt at byte {offset}: expected digest {expected}, found {found}")]
    CatalogCorrupt {
        /// Where the damaged entry begins.
        offset: u64,
        /// The recorded digest.
        expected: Digest,
        /// What the bytes give.
        found: Digest,
    },
    /// The catalog log is shorter than what was acknowledged, or is not a catalog log.
    #[error("catalog log is corrupt at byte {offset}: {what}")]
    CatalogMalformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An earlier write failed, so that the state of the files is unknown until the store is opened again.
    #[error("the store must be opened again after a failed write")]
    Stale,
    /// The name stands for another image.
    #[error("image name {name} stands for {existing} already, not for {offered}")]
    Conflict {
        /// The name.
        name: ImageName,
        /// What it stands for.
        existing: ImageId,
        /// What was to be published.
        offered: ImageId,
    },
    /// The name stood for another image that was deleted; names are never reused.
    #[error("image name {name} stood for {existing}, which was deleted; names are never reused")]
    NameUsed {
        /// The name.
        name: ImageName,
        /// What it stood for.
        existing: ImageId,
    },
    /// An object that another one refers to is not in the store.
    #[error("{object} is not in the store")]
    Absent {
        /// The object.
        object: ObjectId,
    },
    /// There is no image of this name.
    #[error("no image {name}")]
    NoSuchImage {
        /// The name.
        name: ImageName,
    },
    /// An object that the image needs is missing.
    #[error("image {image} needs {object}, which is missing")]
    Incomplete {
        /// The image.
        image: ImageId,
        /// What is missing.
        object: ObjectId,
    },
    /// A record offered for storing is not what it claims to be.
    #[error("record refused")]
    Refused(#[source] RecordError),
    /// A recipe is malformed.
    #[error("recipe refused")]
    BadRecipe(#[source] RecipeError),
    /// A recipe does not assemble the blob that it names, or not one of the size that the tree says.
    #[error("recipe of blob {blob} is wrong")]
    WrongRecipe {
        /// The blob.
        blob: BlobId,
        /// What is wrong with it.
        source: AssembleError,
    },
    /// The tree says another size for a blob than its objects have.
    #[error("blob {blob} has {found} bytes, but the tree says {expected}")]
    BlobSize {
        /// The blob.
        blob: BlobId,
        /// What the tree says.
        expected: u64,
        /// What the objects say.
        found: u64,
    },
    /// A tree object is malformed, not canonical, or nested too deep.
    #[error("tree {root} is not valid")]
    BadTree {
        /// The root of the tree.
        root: TreeId,
        /// What is wrong with it.
        source: Box<ReadTreeError<Box<Error>>>,
    },
    /// The members of a hard-link group differ, or the group has the wrong id.
    #[error("hard-link group of {path} is not valid")]
    BadLinkGroup {
        /// A member.
        path: TreePath,
    },
    /// The image object is malformed.
    #[error("image {image} is not valid")]
    BadImage {
        /// The image.
        image: ImageId,
        /// What is wrong with it.
        source: CborError,
    },
    /// The image object says another number of entries or bytes than its tree has.
    #[error("image {image} says {what} {expected}, its tree has {found}")]
    ImageCounts {
        /// The image.
        image: ImageId,
        /// Which count.
        what: &'static str,
        /// What the image says.
        expected: u64,
        /// What its tree has.
        found: u64,
    },
    /// A listing could not be made a tree.
    #[error("the directory cannot be recorded as a tree")]
    Flat(#[from] FlatTreeError),
    /// More than a limit allows.
    #[error("{what} above the limit of {limit}")]
    Limit {
        /// What is too much.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

/// An error of RocksDB.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct IndexError(rocksdb::Error);

impl Error {
    /// Wraps an error of the operating system; for `map_err`.
    pub(crate) fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }

    /// Wraps an error of RocksDB; for `map_err`.
    pub(crate) fn index(operation: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| Self::Index { operation, source: IndexError(source) }
    }
}
