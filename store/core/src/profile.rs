//! Chunking profiles: where a blob is cut (`spec/profile.md`).
//!
//! Owns the parameters and the only call of the chunker crate. Invariant: a `Profile` value is one of the numbered ones
//! of the specification, its sizes are even powers of two as the chunker wants them, and the cut points of each number
//! never change; a better chunker is a new number. Cut points are pinned by vectors.
//!
//! Does not read files: callers show it a window of bytes.

use fastcdc::v2020::{Normalization, cut, select_masks};

/// Numbered, validated chunking parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Profile {
    id: u16,
    name: &'static str,
    min_len: usize,
    avg_len: usize,
    max_len: usize,
    mask_strict: u64,
    mask_loose: u64,
}

impl Profile {
    /// Returns the profile used unless a store says otherwise.
    pub fn default_profile() -> Self {
        Self::fastcdc(1, "fastcdc-64k", 16 * 1024, 64 * 1024, 256 * 1024)
    }

    /// Finds a profile by its number.
    pub fn from_id(id: u16) -> Option<Self> {
        match id {
            1 => Some(Self::default_profile()),
            2 => Some(Self::fastcdc(2, "fastcdc-128k", 32 * 1024, 128 * 1024, 512 * 1024)),
            3 => Some(Self::fastcdc(3, "fastcdc-32k", 16 * 1024, 32 * 1024, 128 * 1024)),
            4 => Some(Self::fastcdc(4, "fastcdc-512k", 128 * 1024, 512 * 1024, 1024 * 1024)),
            _ => None,
        }
    }

    /// Returns the profile for a blob of `size` bytes in a store of this profile: itself, or for blobs so large that
    /// their recipe would pass its limit, the coarsest one.
    pub fn for_size(self, size: u64) -> Self {
        if size <= FINE_SIZE_MAX { self } else { Self::from_id(COARSEST).unwrap_or(self) }
    }

    /// Finds a profile by its name.
    pub fn from_name(name: &str) -> Option<Self> {
        (1..=COARSEST).filter_map(Self::from_id).find(|profile| profile.name == name)
    }

    fn fastcdc(id: u16, name: &'static str, min_len: usize, avg_len: usize, max_len: usize) -> Self {
        let (mask_strict, mask_loose) = select_masks(avg_len, Normalization::Level2);
        Self { id, name, min_len, avg_len, max_len, mask_strict, mask_loose }
    }

    /// Returns the number that recipes and stores record.
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// Returns the name that people use.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the longest chunk, in bytes; [`Profile::next_cut`] wants a window at least this long, or the whole rest.
    pub const fn max_len(&self) -> usize {
        self.max_len
    }

    /// Returns the shortest chunk that is not the last of its blob, in bytes.
    pub const fn min_len(&self) -> usize {
        self.min_len
    }

    /// Returns the length of the chunk that begins at the start of `window`, above zero unless the window is empty.
    ///
    /// `window` is the rest of the blob, or at least its next `max_len` bytes.
    pub fn next_cut(&self, window: &[u8]) -> usize {
        if window.len() <= self.min_len {
            return window.len();
        }
        let (_, len) = cut(
            window,
            self.min_len,
            self.avg_len,
            self.max_len,
            self.mask_strict,
            self.mask_loose,
            self.mask_strict << 1,
            self.mask_loose << 1,
        );
        len
    }

    /// Iterates over the chunks of a blob that is in memory as a whole.
    pub fn chunks<'a>(&self, mut rest: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let profile = *self;
        std::iter::from_fn(move || {
            let (chunk, tail) = rest.split_at_checked(profile.next_cut(rest)).filter(|(chunk, _)| !chunk.is_empty())?;
            rest = tail;
            Some(chunk)
        })
    }
}

const COARSEST: u16 = 4;

/// Largest blob that is cut by the store's own profile, in bytes.
const FINE_SIZE_MAX: u64 = 1 << 29;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest,
        limits::{CHUNK_LEN_MAX, RECIPE_LEN_MAX, SINGLE_CHUNK_LEN_MAX},
        testing::painted,
    };

    #[test]
    fn cut_points_never_change() {
        let bytes = painted(1_000_000);
        let lens =
            |id| -> Vec<usize> { Profile::from_id(id).expect("profile").chunks(&bytes).map(<[u8]>::len).collect() };
        let digest = |id| Digest::of(format!("{:?}", lens(id)).as_bytes()).short();
        assert_eq!([digest(1), digest(2), digest(3), digest(4)], CUT_VECTORS.map(str::to_owned), "{:?}", lens(1));
    }

    const CUT_VECTORS: [&str; 4] = ["89f3fe19336a", "e92e6c63b9f7", "9deb20b1fa69", "d4055b70f837"];

    #[test]
    fn windows_and_whole_blobs_cut_alike() {
        let bytes = painted(3_000_000);
        for id in 1..=COARSEST {
            let profile = Profile::from_id(id).expect("profile");
            let mut start = 0;
            for chunk in profile.chunks(&bytes) {
                let end = (start + profile.max_len()).min(bytes.len());
                assert_eq!(profile.next_cut(&bytes[start..end]), chunk.len());
                assert!(chunk.len() <= profile.max_len());
                start += chunk.len();
                assert!(chunk.len() >= profile.min_len() || start == bytes.len());
            }
            assert_eq!(start, bytes.len());
        }
    }

    #[test]
    fn every_profile_keeps_the_bounds_of_the_format() {
        for profile in (1..=COARSEST).filter_map(Profile::from_id) {
            assert!(profile.max_len() <= CHUNK_LEN_MAX);
            assert!(profile.min_len() as u64 >= SINGLE_CHUNK_LEN_MAX);
            assert_eq!(Profile::from_name(profile.name()), Some(profile));
            // Even if every chunk of the largest finely cut blob were as short as allowed, its recipe fits.
            if profile.id() != COARSEST {
                assert!(FINE_SIZE_MAX.div_ceil(profile.min_len() as u64) <= (RECIPE_LEN_MAX / 40) as u64);
            }
        }
        assert_eq!(Profile::from_id(0), None);
    }
}
