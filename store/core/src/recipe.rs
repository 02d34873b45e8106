//! Recipes: the ordered chunks of one blob (`spec/recipe.md`).
//!
//! Owns the fixed little-endian layout. Invariants: a recipe has at least two chunks (a blob in one chunk needs none), no
//! chunk is empty or too long, and the lengths sum to the blob's size. That the chunks really assemble the blob is known
//! only after assembling it: `store/pack` checks the blob's digest.

use crate::{
    BlobId, ChunkId, DIGEST_LEN, Digest, Profile, RecipeId,
    limits::{CHUNK_LEN_MAX, RECIPE_LEN_MAX},
};

/// One row of a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecipeChunk {
    /// The chunk.
    pub id: ChunkId,
    /// Its length in bytes.
    pub len: u32,
}

/// The ordered chunks that assemble one blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    blob: BlobId,
    profile_id: u16,
    size: u64,
    chunks: Vec<RecipeChunk>,
}

/// Why bytes or chunks are not a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Wrong length, magic or version.
    #[error("malformed recipe")]
    Malformed,
    /// A profile that the specification does not list.
    #[error("recipe of unknown profile {0}")]
    UnknownProfile(u16),
    /// A chunk without bytes or longer than allowed.
    #[error("chunk of {0} bytes in a recipe")]
    ChunkLen(u32),
    /// Fewer than two chunks.
    #[error("recipe with fewer than two chunks")]
    TooShort,
    /// More chunks than fit the limit of a recipe.
    #[error("blob has more chunks than a recipe of {RECIPE_LEN_MAX} bytes can list")]
    TooLong,
    /// The lengths do not sum to the recorded size.
    #[error("chunk lengths do not sum to the size of the blob")]
    Size,
}

const MAGIC: [u8; 4] = *b"DRcp";
const VERSION: u16 = 1;
const HEADER_LEN: usize = 4 + 2 + 2 + DIGEST_LEN + 8 + 4;
const ROW_LEN: usize = DIGEST_LEN + 4;
const CHUNK_COUNT_MAX: usize = (RECIPE_LEN_MAX - HEADER_LEN) / ROW_LEN;

impl Recipe {
    /// Makes the recipe of `blob`.
    pub fn new(blob: BlobId, profile: &Profile, chunks: Vec<RecipeChunk>) -> Result<Self, RecipeError> {
        Self::check(blob, profile.id(), chunks)
    }

    fn check(blob: BlobId, profile_id: u16, chunks: Vec<RecipeChunk>) -> Result<Self, RecipeError> {
        if Profile::from_id(profile_id).is_none() {
            return Err(RecipeError::UnknownProfile(profile_id));
        }
        if let Some(chunk) = chunks.iter().find(|chunk| chunk.len == 0 || chunk.len as usize > CHUNK_LEN_MAX) {
            return Err(RecipeError::ChunkLen(chunk.len));
        }
        match chunks.len() {
            0 | 1 => return Err(RecipeError::TooShort),
            count if count > CHUNK_COUNT_MAX => return Err(RecipeError::TooLong),
            _ => {}
        }
        let size = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
        Ok(Self { blob, profile_id, size, chunks })
    }

    /// Returns the blob.
    pub const fn blob(&self) -> BlobId {
        self.blob
    }

    /// Returns the size of the blob in bytes.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Returns the number of the profile that cut the blob.
    pub const fn profile_id(&self) -> u16 {
        self.profile_id
    }

    /// Returns the chunks in order.
    pub fn chunks(&self) -> &[RecipeChunk] {
        &self.chunks
    }

    /// Computes the id.
    pub fn id(&self) -> RecipeId {
        RecipeId::of(&self.encode())
    }

    /// Encodes the recipe.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_LEN + ROW_LEN * self.chunks.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.profile_id.to_le_bytes());
        bytes.extend_from_slice(self.blob.as_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        let count = u32::try_from(self.chunks.len()).expect("checked against the limit when made");
        bytes.extend_from_slice(&count.to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend_from_slice(chunk.id.as_bytes());
            bytes.extend_from_slice(&chunk.len.to_le_bytes());
        }
        bytes
    }

    /// Decodes a whole recipe.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecipeError> {
        if bytes.len() > RECIPE_LEN_MAX {
            return Err(RecipeError::TooLong);
        }
        let (header, rows) = bytes.split_at_checked(HEADER_LEN).ok_or(RecipeError::Malformed)?;
        let mut header = Fields(header);
        if header.take()? != MAGIC || u16::from_le_bytes(header.take()?) != VERSION {
            return Err(RecipeError::Malformed);
        }
        let profile_id = u16::from_le_bytes(header.take()?);
        let blob = BlobId::new(Digest::new(header.take()?));
        let size = u64::from_le_bytes(header.take()?);
        let count = u32::from_le_bytes(header.take()?) as usize;
        if count.checked_mul(ROW_LEN) != Some(rows.len()) {
            return Err(RecipeError::Malformed);
        }
        let mut chunks = Vec::with_capacity(count);
        for row in rows.chunks_exact(ROW_LEN) {
            let mut row = Fields(row);
            let id = ChunkId::new(Digest::new(row.take()?));
            chunks.push(RecipeChunk { id, len: u32::from_le_bytes(row.take()?) });
        }
        let recipe = Self::check(blob, profile_id, chunks)?;
        if recipe.size != size {
            return Err(RecipeError::Size);
        }
        Ok(recipe)
    }
}

/// The bytes of a fixed layout that are still to be read.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], RecipeError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(RecipeError::Malformed)?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Recipe {
        let chunk = |at: u8| RecipeChunk { id: ChunkId::of(&[at]), len: 1000 + u32::from(at) };
        Recipe::new(BlobId::of(b"blob"), &Profile::default_profile(), (0..5).map(chunk).collect()).expect("recipe")
    }

    #[test]
    fn recipes_round_trip() {
        let recipe = sample();
        assert_eq!(Recipe::decode(&recipe.encode()), Ok(recipe));
    }

    #[test]
    fn every_prefix_and_every_flipped_length_is_refused() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Recipe::decode(&bytes[..len]).is_err(), "{len}");
        }
        for pos in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[pos] ^= 1 << bit;
                // A flip inside a digest gives another recipe; it must then have another id.
                if let Ok(recipe) = Recipe::decode(&flipped) {
                    assert_ne!(recipe.id(), sample().id());
                }
            }
        }
    }

    #[test]
    fn blobs_of_one_chunk_have_no_recipe() {
        let chunks = vec![RecipeChunk { id: ChunkId::of(b"x"), len: 1 }];
        assert_eq!(Recipe::new(BlobId::of(b"x"), &Profile::default_profile(), chunks), Err(RecipeError::TooShort));
    }
}
