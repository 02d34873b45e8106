//! Why a fetch failed.
//!
//! Owns the error of `fetch`. Invariant: an error names the object or the server that is at fault, so that the text that
//! reaches the controller says what to look at.
//!
//! Does not decide on another try: the controller does.

use dominator_protocol_quic as quic;
use dominator_store_core::{BlobId, ImageId, ObjectId, RecipeError, RecordError, TreeId};

/// Why a fetch failed.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The image server cannot be reached, or does not trust us, or we do not trust it.
    #[error("cannot connect to image server {server}")]
    Connect {
        /// Host and port.
        server: String,
        /// Why not.
        source: quic::Error,
    },
    /// A call failed or was cut short.
    #[error("image server {server} failed")]
    Call {
        /// Host and port.
        server: String,
        /// How.
        source: quic::Error,
    },
    /// The server sent bytes that are not the object asked for.
    #[error("image server {server} sent a corrupt {object}")]
    Corrupt {
        /// Host and port.
        server: String,
        /// What was asked for.
        object: ObjectId,
        /// What is wrong with it.
        source: Box<RecordError>,
    },
    /// The server sent another object than was due.
    #[error("image server {server} sent {found} where {expected} was due")]
    OtherObject {
        /// Host and port.
        server: String,
        /// What was asked for.
        expected: ObjectId,
        /// What came.
        found: ObjectId,
    },
    /// The server lacks objects of the image.
    #[error("image server {server} lacks {count} objects of the image, first {first}")]
    Absent {
        /// Host and port.
        server: String,
        /// The first of them.
        first: ObjectId,
        /// How many.
        count: usize,
    },
    /// The server answered with something else than the protocol has there.
    #[error("image server {server} sent {found} where {expected} was due")]
    Unexpected {
        /// Host and port.
        server: String,
        /// What came.
        found: &'static str,
        /// What should have come.
        expected: &'static str,
    },
    /// The recipe of a blob is not one.
    #[error("image server {server} sent an unusable recipe of blob {blob}")]
    Recipe {
        /// Host and port.
        server: String,
        /// The blob.
        blob: BlobId,
        /// What is wrong with it; absent if it is the recipe of something else.
        source: Option<RecipeError>,
    },
    /// The tree of the image is not a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The cache cannot take what was fetched.
    #[error("cannot keep what was fetched")]
    Cache(#[source] dominator_store_pack::Error),
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
}

/// Why the tree of an image cannot be read from what is here.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// An object is not here.
    #[error("tree object {0} is not here")]
    Absent(TreeId),
    /// An object is here and sound, but is no part of a tree.
    #[error("image {image} has no valid tree")]
    Invalid {
        /// The image.
        image: ImageId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tree is larger than an agent reads.
    #[error("image {image} has more than {limit} {what}")]
    TooLarge {
        /// The image.
        image: ImageId,
        /// Of what.
        what: &'static str,
        /// How many are accepted.
        limit: u64,
    },
    /// The cache cannot be read.
    #[error("the cache cannot be read")]
    Cache(#[source] dominator_store_pack::Error),
}
