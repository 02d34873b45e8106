//! One file as chunks.
//!
//! Owns the window over a file. Invariants: chunks are those of the profile, in order, without gaps; memory is two longest
//! chunks, whatever the size of the file.
//!
//! Does not know files or servers: it reads from a reader and gives chunks away.

use std::io::{self, Read};

use dominator_store_core::{BlobHasher, BlobId, ChunkId, Profile, RecipeChunk};

/// What a blob consists of.
pub(super) struct Cut {
    /// The blob.
    pub(super) blob: BlobId,
    /// Its length in bytes.
    pub(super) size: u64,
    /// Its chunks in order.
    pub(super) chunks: Vec<RecipeChunk>,
}

/// Cuts readers into chunks; keeps its window between them.
pub(super) struct Cutter {
    profile: Profile,
    window: Vec<u8>,
}

impl Cutter {
    pub(super) fn new(profile: Profile) -> Self {
        Self { profile, window: vec![0; 2 * profile.max_len()] }
    }

    /// Cuts all that `reader` gives and calls `emit` with every chunk, until it fails.
    pub(super) fn cut<E: From<io::Error>>(
        &mut self,
        reader: &mut impl Read,
        emit: &mut impl FnMut(ChunkId, &[u8]) -> Result<(), E>,
    ) -> Result<Cut, E> {
        let mut hasher = BlobHasher::new();
        let mut chunks: Vec<RecipeChunk> = Vec::new();
        let (mut start, mut end, mut size, mut at_end) = (0, 0, 0, false);
        loop {
            if !at_end && end - start < self.profile.max_len() {
                self.window.copy_within(start..end, 0);
                (start, end) = (0, end - start);
                at_end = fill(reader, &mut self.window, &mut end)?;
            }
            let rest = self.window.get(start..end).unwrap_or_default();
            let Some(chunk) = rest.get(..self.profile.next_cut(rest)).filter(|chunk| !chunk.is_empty()) else { break };
            let id = ChunkId::of(chunk);
            // A blob of one chunk has the digest of the chunk; hashing it twice would cost a third of all reading.
            let is_whole = at_end && size == 0 && chunk.len() == rest.len();
            if !is_whole {
                hasher.update(chunk);
            }
            emit(id, chunk)?;
            size += chunk.len() as u64;
            let len = u32::try_from(chunk.len()).expect("a window is shorter than 4 GiB");
            chunks.push(RecipeChunk { id, len });
            start += chunk.len();
            if is_whole {
                return Ok(Cut { blob: BlobId::new(id.digest()), size, chunks });
            }
        }
        Ok(Cut { blob: hasher.finish(), size, chunks })
    }
}

/// Fills the window from `end` on; says whether the reader is at its end.
fn fill(reader: &mut impl Read, window: &mut [u8], end: &mut usize) -> io::Result<bool> {
    while let Some(space) = window.get_mut(*end..).filter(|space| !space.is_empty()) {
        match reader.read(space) {
            Ok(0) => return Ok(true),
            Ok(len) => *end += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives away a few bytes at a time, as pipes and some file systems do.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let len = self.1.min(self.0.len()).min(buf.len());
            let (now, later) = self.0.split_at(len);
            buf[..len].copy_from_slice(now);
            self.0 = later;
            Ok(len)
        }
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        })
        .take(len)
        .collect()
    }

    #[test]
    fn chunks_are_those_of_the_whole_blob_whatever_the_reader_gives() {
        let profile = Profile::default_profile();
        let mut cutter = Cutter::new(profile);
        for len in [0, 1, 16_384, 16_385, 70_000, 262_144, 1_000_000, 3_000_000] {
            let bytes = noise(len);
            let expected: Vec<ChunkId> = profile.chunks(&bytes).map(ChunkId::of).collect();
            for step in [7_919, 65_536, usize::MAX] {
                let mut seen = Vec::new();
                let cut = cutter
                    .cut(&mut Dribble(&bytes, step), &mut |id, chunk| {
                        assert_eq!(id, ChunkId::of(chunk));
                        seen.push(id);
                        Ok::<_, io::Error>(())
                    })
                    .unwrap();
                assert_eq!((cut.blob, cut.size), (BlobId::of(&bytes), len as u64), "{len} bytes by {step}");
                assert_eq!(seen, expected, "{len} bytes by {step}");
                assert_eq!(cut.chunks.iter().map(|chunk| chunk.id).collect::<Vec<_>>(), expected);
            }
        }
    }

    #[test]
    fn an_error_of_the_taker_ends_the_cut() {
        let mut cutter = Cutter::new(Profile::default_profile());
        let mut refuse = |_, _: &[u8]| Err(io::Error::other("full"));
        assert!(cutter.cut(&mut noise(10).as_slice(), &mut refuse).is_err());
    }
}
