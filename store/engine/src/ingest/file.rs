//! From the bytes of one file to chunks and a recipe.
//!
//! Owns cutting and hashing. Invariants: a file of one chunk is hashed once; a longer one is hashed as a whole and piece
//! by piece, but pieces are cut only if the store does not have the blob; a file longer than the window passes through
//! it in one pass.
//!
//! Does not open files or judge whether they changed: `survey` does.

use std::{fs::File, io, os::unix::fs::FileExt};

use dominator_store_core::{BlobHasher, BlobId, ChunkId, Profile, Recipe, RecipeChunk};

use crate::{Error, error::Result, limits::WINDOW_LEN};

/// Where a chunk was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Position of the file in the listing.
    pub(crate) file: usize,
    /// First byte in the file.
    pub(crate) offset: u64,
    /// Length in bytes.
    pub(crate) len: u32,
}

/// Takes what ingest finds.
pub(crate) trait Sink: Sync {
    /// What one thread keeps.
    type Worker;

    /// Makes what one thread keeps.
    fn worker(&self) -> Self::Worker;
    /// Says whether a blob of several chunks is there as a whole.
    fn has_recipe(&self, blob: BlobId) -> Result<bool>;
    /// Takes on a chunk; `true` if it must be put.
    fn claim(&self, id: ChunkId) -> Result<bool>;
    /// Takes a chunk that was claimed.
    fn put_chunk(&self, worker: &mut Self::Worker, id: ChunkId, raw: &[u8], piece: Piece) -> Result<()>;
    /// Takes the recipe of a blob.
    fn put_recipe(&self, worker: &mut Self::Worker, recipe: &Recipe) -> Result<()>;
}

/// Cuts files for one thread.
pub(crate) struct Cutter<'a, S: Sink> {
    store_profile: Profile,
    /// That of the file being cut.
    profile: Profile,
    sink: &'a S,
    worker: S::Worker,
    window: Vec<u8>,
}

impl<'a, S: Sink> Cutter<'a, S> {
    pub(crate) fn new(profile: Profile, sink: &'a S) -> Self {
        Self { store_profile: profile, profile, sink, worker: sink.worker(), window: vec![0; WINDOW_LEN] }
    }

    /// Reads the file from start to end and hands its chunks to the sink; returns its blob and how many bytes there were,
    /// which is another number than `size` only if the file changed.
    pub(crate) fn cut(&mut self, file: &File, pos: usize, size: u64) -> Result<(BlobId, u64), CutError> {
        let mut window = std::mem::take(&mut self.window);
        self.profile = self.store_profile.for_size(size);
        let result = match usize::try_from(size) {
            Ok(len) if len <= WINDOW_LEN => self.cut_whole(file, pos, &mut window, len),
            _ => self.cut_long(file, pos, &mut window),
        };
        self.window = window;
        result
    }

    fn cut_whole(&mut self, file: &File, pos: usize, window: &mut [u8], len: usize) -> Result<(BlobId, u64), CutError> {
        // A file that grew meanwhile has another size now, which `survey` sees.
        let filled = fill(file, 0, window.get_mut(..len).unwrap_or_default()).map_err(CutError::Read)?;
        let bytes = window.get(..filled).unwrap_or_default();
        let found = |blob| Ok((blob, filled as u64));
        let first = self.profile.next_cut(bytes);
        if bytes.is_empty() {
            return found(BlobId::of(&[]));
        }
        if first == bytes.len() {
            let chunk = self.put(bytes, pos, 0)?;
            return found(BlobId::new(chunk.id.digest()));
        }
        let blob = BlobId::of(bytes);
        if self.sink.has_recipe(blob)? {
            return found(blob);
        }
        let mut chunks = Vec::new();
        let mut offset = 0;
        let (mut len, mut rest) = (first, bytes);
        while let Some((chunk, tail)) = rest.split_at_checked(len).filter(|(chunk, _)| !chunk.is_empty()) {
            chunks.push(self.put(chunk, pos, offset)?);
            offset += chunk.len() as u64;
            rest = tail;
            len = self.profile.next_cut(rest);
        }
        self.put_recipe(blob, chunks)?;
        found(blob)
    }

    fn cut_long(&mut self, file: &File, pos: usize, window: &mut [u8]) -> Result<(BlobId, u64), CutError> {
        let mut hasher = BlobHasher::new();
        let mut chunks = Vec::new();
        // `window[..filled]` holds the file from `offset` on.
        let (mut offset, mut filled, mut at_end) = (0, 0, false);
        loop {
            if !at_end {
                let room = window.get_mut(filled..).unwrap_or_default();
                let room_len = room.len();
                let len = fill(file, offset + filled as u64, room).map_err(CutError::Read)?;
                hasher.update(window.get(filled..filled + len).unwrap_or_default());
                filled += len;
                at_end = len < room_len;
            }
            let mut start = 0;
            // A cut is final only if the rest of the file, or the longest possible chunk, was in view.
            while start < filled && (at_end || filled - start >= self.profile.max_len()) {
                let rest = window.get(start..filled).unwrap_or_default();
                let chunk = rest.get(..self.profile.next_cut(rest)).unwrap_or_default();
                chunks.push(self.put(chunk, pos, offset + start as u64)?);
                start += chunk.len();
            }
            window.copy_within(start..filled, 0);
            offset += start as u64;
            filled -= start;
            if at_end {
                break;
            }
        }
        let blob = hasher.finish();
        if chunks.len() >= 2 && !self.sink.has_recipe(blob)? {
            self.put_recipe(blob, chunks)?;
        }
        Ok((blob, offset))
    }

    fn put(&mut self, raw: &[u8], file: usize, offset: u64) -> Result<RecipeChunk> {
        let id = ChunkId::of(raw);
        let len = u32::try_from(raw.len()).expect("no profile cuts chunks above CHUNK_LEN_MAX");
        if self.sink.claim(id)? {
            self.sink.put_chunk(&mut self.worker, id, raw, Piece { file, offset, len })?;
        }
        Ok(RecipeChunk { id, len })
    }

    fn put_recipe(&mut self, blob: BlobId, chunks: Vec<RecipeChunk>) -> Result<()> {
        let recipe = Recipe::new(blob, &self.profile, chunks).map_err(Error::BadRecipe)?;
        self.sink.put_recipe(&mut self.worker, &recipe)
    }
}

/// Why a file could not be cut.
pub(crate) enum CutError {
    /// The file could not be read.
    Read(io::Error),
    /// The sink refused.
    Sink(Error),
}

impl From<Error> for CutError {
    fn from(error: Error) -> Self {
        Self::Sink(error)
    }
}

/// Reads from `offset` until the buffer is full or the file ends; returns how many bytes there were.
fn fill(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(room) = buf.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read_at(room, offset + filled as u64) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
