//! Where objects come from.
//!
//! Owns the trait that readers of blobs and trees are written against. Invariant: what a source returns has the digest
//! that was asked for; a source that cannot tell returns an error, never unverified bytes.
//!
//! Implemented by `Cache`, by the store of `store/engine`, and by tests.

use std::{cell::RefCell, error::Error};

use dominator_store_core::{BlobId, ObjectId, Recipe, Record, RecordDecoder, RecordError};

/// Gives verified objects.
pub trait ObjectSource {
    /// Returns the uncompressed bytes of an object, verified, or `None` if the source does not have it.
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError>;

    /// Returns a recipe of `blob`, or `None` if the source has none; a blob of one chunk has none.
    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError>;
}

/// A source's own error.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SourceError(Box<dyn Error + Send + Sync>);

impl SourceError {
    /// Wraps the error of a source.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(error))
    }
}

thread_local! {
    static DECODER: RefCell<RecordDecoder> = RefCell::default();
}

/// Decompresses a record with the calling thread's decoder and returns the object, which has the record's digest.
///
/// # Errors
/// As [`RecordDecoder::open`].
pub fn open_record(record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
    DECODER.with_borrow_mut(|decoder| decoder.open(record))
}
