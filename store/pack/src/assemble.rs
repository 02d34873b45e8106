//! Assembling a blob from its chunks.
//!
//! Owns the one way from objects back to content. Invariant: `assemble` returns `Ok` only if the bytes it wrote are
//! exactly the blob: right digest, right length, whatever the recipe claims.
//!
//! Does not place files: `store/fs` writes what comes out, and makes it visible only after `Ok`.

use std::io::{self, Write};

use dominator_store_core::{BlobHasher, BlobId, ObjectId, limits::SINGLE_CHUNK_LEN_MAX};

use crate::{ObjectSource, SourceError};

/// Why a blob could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The source does not have an object that the blob needs.
    #[error("blob {blob} needs {object}, which is absent")]
    Absent {
        /// The blob.
        blob: BlobId,
        /// What is lacking; for a blob without recipe its single chunk.
        object: ObjectId,
    },
    /// The source failed.
    #[error("an object of blob {blob} cannot be read")]
    Source {
        /// The blob.
        blob: BlobId,
        /// The source's error.
        source: SourceError,
    },
    /// The pieces are not the blob: its recipe is wrong, or the size asked for is.
    #[error("blob {blob} of {size} bytes assembles to {found} of {found_len} bytes")]
    Wrong {
        /// The blob.
        blob: BlobId,
        /// The size asked for.
        size: u64,
        /// What the pieces are.
        found: BlobId,
        /// How long they are.
        found_len: u64,
    },
    /// The bytes could not be written.
    #[error("cannot write blob {blob}")]
    Write {
        /// The blob.
        blob: BlobId,
        /// Why not.
        source: io::Error,
    },
}

/// Writes the blob `blob` of `size` bytes to `out`.
///
/// # Errors
/// If an object is absent or damaged, if the pieces are not the blob, or if `out` fails. Bytes may have been written.
pub fn assemble(
    source: &(impl ObjectSource + ?Sized),
    blob: BlobId,
    size: u64,
    out: &mut (impl Write + ?Sized),
) -> Result<(), AssembleError> {
    let failed = |source| AssembleError::Source { blob, source };
    let write = |source| AssembleError::Write { blob, source };
    let wrong = |found, found_len| AssembleError::Wrong { blob, size, found, found_len };
    let nothing = BlobId::of(&[]);
    if size == 0 || blob == nothing {
        return if size == 0 && blob == nothing { Ok(()) } else { Err(wrong(nothing, 0)) };
    }
    let single = ObjectId::from(blob.single_chunk());
    let recipe = if size > SINGLE_CHUNK_LEN_MAX { source.recipe(blob).map_err(failed)? } else { None };
    let Some(recipe) = recipe else {
        // The source verified the chunk, and its digest is the blob's.
        let bytes = source.object(single).map_err(failed)?.ok_or(AssembleError::Absent { blob, object: single })?;
        if bytes.len() as u64 != size {
            return Err(wrong(blob, bytes.len() as u64));
        }
        return out.write_all(&bytes).map_err(write);
    };
    if recipe.size() != size || recipe.blob() != blob {
        return Err(wrong(recipe.blob(), recipe.size()));
    }
    let mut hasher = BlobHasher::new();
    let mut found_len = 0;
    for chunk in recipe.chunks() {
        let object = ObjectId::from(chunk.id);
        let bytes = source.object(object).map_err(failed)?.ok_or(AssembleError::Absent { blob, object })?;
        hasher.update(&bytes);
        found_len += bytes.len() as u64;
        if bytes.len() as u64 != u64::from(chunk.len) || found_len > size {
            return Err(wrong(hasher.finish(), found_len));
        }
        out.write_all(&bytes).map_err(write)?;
    }
    if hasher.finish() != blob || found_len != size {
        return Err(wrong(hasher.finish(), found_len));
    }
    Ok(())
}
