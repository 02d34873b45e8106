//! Where the content of staged files comes from.
//!
//! Owns the interface and the check of what comes. Invariant: a file is staged only with bytes whose digest was computed
//! from what was written.
//!
//! Fetching and caching are `fetch`.

use std::io::{self, Write};

use dominator_store_core::{BlobHasher, BlobId};

/// A source of content.
pub trait Blobs: Sync {
    /// Writes the whole blob, which has `size` bytes.
    ///
    /// # Errors
    /// If it is not there or cannot be read. What was written before the error is not used.
    fn write_blob(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()>;
}

/// Hashes what passes through.
pub(super) struct Hashing<W> {
    inner: W,
    hasher: BlobHasher,
}

impl<W: Write> Hashing<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, hasher: BlobHasher::new() }
    }

    /// Returns what was written through, if it was `blob`.
    pub(super) fn finish(self, blob: BlobId) -> io::Result<W> {
        match self.hasher.finish() == blob {
            true => Ok(self.inner),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "the content has another digest")),
        }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..len).unwrap_or_default());
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
