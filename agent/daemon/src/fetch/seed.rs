//! Chunks in files that are here: what need not travel.
//!
//! Owns the cutting of the file that a wanted one replaces, and the reading back of what was found. Invariant: a chunk is
//! found by the digest of its bytes and is given out only with that digest, because the file may change at any time.
//!
//! Does not keep copies: a file that changed before it was needed costs another fetch.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    sync::Arc,
};

use dominator_store_core::{ChunkId, Profile, Recipe, TreePath};
use dominator_store_fs::Dir;

/// Where chunks lie in files of the managed root.
#[derive(Debug, Clone, Default)]
pub struct Ranges(HashMap<ChunkId, Range>);

#[derive(Debug, Clone)]
struct Range {
    path: Arc<TreePath>,
    offset: u64,
    len: u32,
}

impl Ranges {
    /// Says whether the chunk was found in a file.
    pub fn has(&self, chunk: ChunkId) -> bool {
        self.0.contains_key(&chunk)
    }

    /// Reads a chunk back; `None` if it was not found, or its file has changed.
    pub fn read(&self, root: &Dir, chunk: ChunkId) -> Option<Vec<u8>> {
        use std::os::unix::fs::FileExt;

        let Range { path, offset, len } = self.0.get(&chunk)?;
        let mut bytes = vec![0; usize::try_from(*len).ok()?];
        root.open_file_path(path).ok()?.read_exact_at(&mut bytes, *offset).ok()?;
        (ChunkId::of(&bytes) == chunk).then_some(bytes)
    }

    /// Cuts the file at `path` as the recipe's blob was cut and remembers where chunks of `wanted` lie.
    ///
    /// A file that cannot be read gives nothing, which costs bytes on the network and no more.
    pub fn cut(&mut self, root: &Dir, path: &TreePath, recipe: &Recipe, wanted: &HashSet<ChunkId>) {
        let Some(profile) = Profile::from_id(recipe.profile_id()) else { return };
        let Ok(file) = root.open_file_path(path) else { return };
        let path = Arc::new(path.clone());
        let found = cut_file(file, profile, |id, offset, len| {
            if wanted.contains(&id) {
                self.0.entry(id).or_insert_with(|| Range { path: Arc::clone(&path), offset, len });
            }
        });
        if let Err(error) = found {
            tracing::debug!(path = %path, %error, "file cannot be cut for local chunks");
        }
    }
}

/// Cuts a file from start to end with a window that holds at least one longest chunk.
fn cut_file(mut file: File, profile: Profile, mut found: impl FnMut(ChunkId, u64, u32)) -> std::io::Result<()> {
    let mut window = vec![0; WINDOW_CHUNK_COUNT * profile.max_len()];
    let (mut start, mut end, mut offset, mut at_end) = (0, 0, 0, false);
    loop {
        if !at_end && end - start < profile.max_len() {
            window.copy_within(start..end, 0);
            (start, end) = (0, end - start);
            while let Some(space) = window.get_mut(end..).filter(|space| !space.is_empty()) {
                match file.read(space)? {
                    0 => {
                        at_end = true;
                        break;
                    }
                    len => end += len,
                }
            }
        }
        let rest = window.get(start..end).unwrap_or_default();
        let len = profile.next_cut(rest);
        let Some(chunk) = rest.get(..len).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
        found(ChunkId::of(chunk), offset, u32::try_from(len).unwrap_or(u32::MAX));
        start += len;
        offset += len as u64;
    }
}

/// Longest chunks that fit the window, so that it is moved once in several chunks.
const WINDOW_CHUNK_COUNT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use dominator_store_core::{BlobId, RecipeChunk};

    fn painted(len: usize) -> Vec<u8> {
        let mut reader = blake3_reader();
        let mut bytes = vec![0; len];
        reader.read_exact(&mut bytes).expect("endless");
        bytes
    }

    /// Endless bytes that look random and are always the same.
    fn blake3_reader() -> impl Read {
        struct Counter(u64);
        impl Read for Counter {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                let digest = dominator_store_core::Digest::of(&self.0.to_le_bytes());
                self.0 += 1;
                let len = buf.len().min(32);
                buf[..len].copy_from_slice(&digest.as_bytes()[..len]);
                Ok(len)
            }
        }
        Counter(0)
    }

    #[test]
    fn a_file_is_cut_as_the_blob_in_memory_and_chunks_read_back() {
        let dir = tempfile::tempdir().expect("directory");
        let bytes = painted(3_000_000);
        std::fs::write(dir.path().join("f"), &bytes).expect("write");
        let profile = Profile::default_profile();
        let chunks: Vec<&[u8]> = profile.chunks(&bytes).collect();
        let rows = chunks.iter().map(|chunk| RecipeChunk { id: ChunkId::of(chunk), len: chunk.len() as u32 }).collect();
        let recipe = Recipe::new(BlobId::of(&bytes), &profile, rows).expect("recipe");
        let wanted = recipe.chunks().iter().map(|chunk| chunk.id).collect();
        let root = Dir::open(dir.path()).expect("root");
        let mut ranges = Ranges::default();
        ranges.cut(&root, &TreePath::parse(b"f").expect("path"), &recipe, &wanted);
        for chunk in &chunks {
            assert_eq!(ranges.read(&root, ChunkId::of(chunk)).as_deref(), Some(*chunk));
        }
        std::fs::write(dir.path().join("f"), b"other").expect("write");
        assert!(chunks.iter().all(|chunk| ranges.read(&root, ChunkId::of(chunk)).is_none()));
    }
}
