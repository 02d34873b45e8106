//! Rows of a trailer: which record lies where in its pack (`spec/pack.md#trailer`).
//!
//! Owns the fixed little-endian layout of one row. Invariant: a decoded row names a known kind and has its reserved
//! bytes zero. The codec is not repeated: stored and raw length are equal exactly when the bytes are stored raw.
//!
//! Does not check that rows fit a file: `trailer` does.

use dominator_store_core::{Digest, ObjectId, ObjectKind, RecordHeader};

use crate::{Location, PackId};

/// One record of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which object.
    pub id: ObjectId,
    /// First byte of its record in the pack.
    pub offset: u64,
    /// Length of the stored bytes after the record's header.
    pub stored_len: u32,
    /// Length of the object.
    pub raw_len: u32,
}

/// Length of an encoded row in bytes.
pub(crate) const ROW_LEN: usize = 52;

impl Row {
    /// Makes the row of a record that begins at `offset`.
    pub(crate) const fn of(header: &RecordHeader, offset: u64) -> Self {
        Self { id: header.id, offset, stored_len: header.stored_len, raw_len: header.raw_len }
    }

    /// Returns the record's place, given its pack.
    pub const fn location(&self, pack: PackId) -> Location {
        Location { pack, offset: self.offset, stored_len: self.stored_len, raw_len: self.raw_len }
    }

    /// Returns the first byte after the record.
    pub(crate) fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.location(PackId::new(0)).record_len())
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.id.kind.tag(), 0, 0, 0]);
        out.extend_from_slice(&self.stored_len.to_le_bytes());
        out.extend_from_slice(&self.raw_len.to_le_bytes());
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(self.id.digest.as_bytes());
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let [kind, 0, 0, 0, rest @ ..] = bytes else { return None };
        let (stored_len, rest) = rest.split_first_chunk()?;
        let (raw_len, rest) = rest.split_first_chunk()?;
        let (offset, digest) = rest.split_first_chunk()?;
        Some(Self {
            id: ObjectId { kind: ObjectKind::from_tag(*kind)?, digest: Digest::from_slice(digest)? },
            offset: u64::from_le_bytes(*offset),
            stored_len: u32::from_le_bytes(*stored_len),
            raw_len: u32::from_le_bytes(*raw_len),
        })
    }
}
