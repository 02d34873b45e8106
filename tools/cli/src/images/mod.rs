//! Images, wherever they are: in a store on this machine or behind an image server.
//!
//! Owns the one interface that commands read images through. Invariants: a command behaves the same in both places; reading
//! a store never needs its owner to stop; what is read is verified.
//!
//! Does not publish: into a store that is `store/engine`, to a server it is `upload`.

mod remote;
mod scratch;

use std::{io, path::Path};

use anyhow::{Context as _, Result};
use dominator_protocol_core::ImageSummary;
use dominator_protocol_quic as quic;
use dominator_store_core::{
    BlobId, Directory, Image, ImageId, ImageName, ObjectId, ReadTreeError, RecipeError, RecordError, TreeId,
    cbor::CborError,
};
use dominator_store_engine::{self as engine, Store};
use dominator_store_fs::BlobSource;

pub(crate) use self::remote::Remote;
use self::scratch::Scratch;
use crate::{error::Advice, progress::Meter, settings::Place};

/// Images that are listed in one question to a store.
const LIST_COUNT: usize = 1000;

/// A place with images, open.
pub(crate) enum Images {
    /// A store on this machine.
    Store(Box<Store>),
    /// An image server.
    Server(Box<Remote>),
}

/// Why an object cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// It is not there.
    #[error("{0} is absent")]
    Absent(ObjectId),
    /// Nothing about the blob is there.
    #[error("blob {0} is absent")]
    AbsentBlob(BlobId),
    /// Something else came.
    #[error("asked for {asked}, got {found}")]
    Other {
        /// What was asked for.
        asked: ObjectId,
        /// What came.
        found: ObjectId,
    },
    /// The recipe of another blob came.
    #[error("asked for the recipe of blob {asked}, got that of {found}")]
    OtherBlob {
        /// What was asked for.
        asked: BlobId,
        /// What came.
        found: BlobId,
    },
    /// It is no recipe.
    #[error("the server sent a malformed recipe of blob {blob}")]
    Recipe {
        /// Of which blob.
        blob: BlobId,
        /// What is wrong with it.
        source: RecipeError,
    },
    /// It came damaged, or is not what it claims to be.
    #[error("the server sent a bad record")]
    Record(#[source] RecordError),
    /// It is no tree.
    #[error("the server sent a malformed tree")]
    Tree(#[source] CborError),
    /// The server failed.
    #[error("the image server failed")]
    Peer(#[source] Box<quic::Error>),
    /// The store failed.
    #[error("the store failed")]
    Store(#[source] Box<engine::Error>),
    /// Local files failed.
    #[error("the scratch directory failed")]
    Scratch(#[source] Box<dominator_store_pack::Error>),
    /// A scratch directory cannot be made.
    #[error("cannot make a scratch directory")]
    Io(#[source] io::Error),
}

/// Gives the content of files for a checkout.
pub(crate) enum Blobs<'a> {
    /// Read from the store.
    Store(&'a Store),
    /// Fetched before, kept beside the destination.
    Scratch(Box<Scratch>),
}

impl Images {
    /// Opens a place for reading.
    pub(crate) fn open(place: &Place) -> Result<Self> {
        Ok(match place {
            Place::Store(dir) => Self::Store(Box::new(
                Store::open_read_only(dir).with_context(|| format!("cannot open the store {}", dir.display()))?,
            )),
            Place::Server(peer) => Self::Server(Box::new(Remote::open(peer)?)),
        })
    }

    /// Returns the images whose names begin with `prefix`, in order.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ImageSummary>> {
        let store = match self {
            Self::Server(remote) => return remote.list(prefix),
            Self::Store(store) => store,
        };
        let mut images: Vec<ImageSummary> = Vec::new();
        let mut after = None;
        loop {
            let page = store.images(prefix, after.as_ref(), LIST_COUNT)?;
            after = page.last().map(|image| image.name.clone());
            let is_last = page.len() < LIST_COUNT;
            images.extend(page.into_iter().map(|image| ImageSummary {
                name: image.name.to_string(),
                image: image.image,
                created_ms: image.created_ms,
                entry_count: image.entry_count,
                content_len: image.content_len,
            }));
            if is_last {
                return Ok(images);
            }
        }
    }

    /// Finds an image by its name; an absent one is an error with advice.
    pub(crate) fn image(&self, name: &ImageName) -> Result<(ImageId, Image)> {
        let found = match self {
            Self::Store(store) => store.image(name)?.map(|stored| (stored.id, stored.image)),
            Self::Server(remote) => remote.image(name)?,
        };
        found.ok_or_else(|| Advice::new(format!("there is no image {name}"), "domtool image list shows all").into())
    }

    /// Reads a directory.
    pub(crate) fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<SourceError>> {
        match self {
            Self::Server(remote) => remote.directory(id),
            Self::Store(store) => store.directory(id).map_err(|error| match error {
                ReadTreeError::Source(id, error) => ReadTreeError::Source(id, SourceError::Store(error)),
                ReadTreeError::Corrupt(id, error) => ReadTreeError::Corrupt(id, error),
                ReadTreeError::NotCanonical(id) => ReadTreeError::NotCanonical(id),
                ReadTreeError::TooDeep(id) => ReadTreeError::TooDeep(id),
                ReadTreeError::TooLarge(count) => ReadTreeError::TooLarge(count),
            }),
        }
    }

    /// Gets the trees below these roots in few round trips, as far as comparing them needs them.
    pub(crate) fn prefetch_trees(&self, roots: &[TreeId]) -> Result<()> {
        match self {
            Self::Store(_) => Ok(()),
            Self::Server(remote) => Ok(remote.prefetch_trees(roots)?),
        }
    }

    /// Makes the content of these files available; from a server they are fetched now, into a directory beside `dest`.
    pub(crate) fn blobs(&self, files: &[(BlobId, u64)], dest: &Path, meter: &Meter) -> Result<Blobs<'_>> {
        Ok(match self {
            Self::Store(store) => Blobs::Store(store),
            Self::Server(remote) => Blobs::Scratch(Box::new(Scratch::fetch(remote, files, dest, meter)?)),
        })
    }
}

impl BlobSource for Blobs<'_> {
    fn read_blob(&self, id: BlobId, size: u64, out: &mut dyn io::Write) -> io::Result<()> {
        match self {
            Self::Store(store) => store.read_blob(id, size, out),
            Self::Scratch(scratch) => scratch.read_blob(id, size, out),
        }
    }
}
