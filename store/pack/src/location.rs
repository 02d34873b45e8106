//! Where a record lies.
//!
//! Owns the id of a pack, which is also its file name, and the place of one record. Invariant: ids are never reused
//! within one directory, so a location never means another record later.
//!
//! Mapping ids of objects to locations is the index of `store/engine`, or of the cache.

use std::{fmt, path::Path};

/// Names one pack within its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackId(u64);

/// Extension of sealed packs.
pub(crate) const SEALED: &str = "pack";
/// Extension of packs that are still written to.
pub(crate) const UNSEALED: &str = "part";

impl PackId {
    /// Wraps a number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// Returns the number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the id after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Returns the file name of the sealed pack.
    pub fn sealed_name(self) -> String {
        format!("{self}.{SEALED}")
    }

    /// Returns the file name while the pack is written.
    pub fn unsealed_name(self) -> String {
        format!("{self}.{UNSEALED}")
    }

    /// Reads the id from the name of a sealed pack.
    pub fn of_sealed(path: &Path) -> Option<Self> {
        Self::of_name(path, SEALED)
    }

    /// Reads the id from the name of an unsealed pack.
    pub fn of_unsealed(path: &Path) -> Option<Self> {
        Self::of_name(path, UNSEALED)
    }

    fn of_name(path: &Path, extension: &str) -> Option<Self> {
        let stem = path.file_name()?.to_str()?.strip_suffix(extension)?.strip_suffix('.')?;
        let id = Self(u64::from_str_radix(stem, 16).ok()?);
        // One spelling only, so that two files never claim one id.
        (id.to_string() == stem).then_some(id)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The place of one record and its lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// First byte of the record's header in the pack.
    pub offset: u64,
    /// Length of the stored bytes after the header.
    pub stored_len: u32,
    /// Length of the object.
    pub raw_len: u32,
}

impl Location {
    /// Length of an encoded location in bytes.
    pub const LEN: usize = 24;

    /// Returns the length of the record, its header included.
    pub const fn record_len(&self) -> u64 {
        dominator_store_core::RECORD_HEADER_LEN as u64 + self.stored_len as u64
    }

    /// Encodes the location as an index row has it (`spec/store.md#objects`).
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.pack.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[20..].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes
    }

    /// Decodes a location; anything but exactly its bytes is `None`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (pack, rest) = bytes.split_first_chunk()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (stored_len, rest) = rest.split_first_chunk()?;
        let raw_len = rest.try_into().ok()?;
        Some(Self {
            pack: PackId(u64::from_le_bytes(*pack)),
            offset: u64::from_le_bytes(*offset),
            stored_len: u32::from_le_bytes(*stored_len),
            raw_len: u32::from_le_bytes(raw_len),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_have_one_spelling() {
        let id = PackId::new(0xab);
        assert_eq!(PackId::of_sealed(Path::new(&id.sealed_name())), Some(id));
        assert_eq!(PackId::of_unsealed(Path::new(&id.unsealed_name())), Some(id));
        for other in
            ["00000000000000AB.pack", "ab.pack", "00000000000000ab", "00000000000000ab.part", "+0000000000000ab.pack"]
        {
            assert_eq!(PackId::of_sealed(Path::new(other)), None, "{other}");
        }
    }

    #[test]
    fn locations_round_trip() {
        let location = Location { pack: PackId::new(7), offset: 1 << 33, stored_len: 5, raw_len: 9 };
        assert_eq!(Location::decode(&location.encode()), Some(location));
        assert_eq!(Location::decode(&location.encode()[1..]), None);
    }
}
