//! Keys and values of index rows (`spec/store.md#index`).
//!
//! Owns their fixed layouts. Invariant: a row that does not decode is reported as damage, never guessed.
//!
//! The row of an object's place is `Location`, that of a name is a catalog event.

use dominator_store_core::{DIGEST_LEN, Digest, ObjectId, ObjectKind};
use dominator_store_pack::PackId;

/// Length of an object's key in bytes.
const OBJECT_KEY_LEN: usize = 1 + DIGEST_LEN;

/// Returns the key of an object: its kind's tag and its digest.
pub(crate) fn object_key(id: ObjectId) -> [u8; OBJECT_KEY_LEN] {
    let mut key = [0; OBJECT_KEY_LEN];
    key[0] = id.kind.tag();
    key[1..].copy_from_slice(id.digest.as_bytes());
    key
}

pub(super) fn decode_object_key(key: &[u8]) -> Option<ObjectId> {
    let (tag, digest) = key.split_first()?;
    Some(ObjectId { kind: ObjectKind::from_tag(*tag)?, digest: Digest::from_slice(digest)? })
}

/// Returns the key of a pack; big-endian, so that rows are in order of ids.
pub(super) const fn pack_key(pack: PackId) -> [u8; 8] {
    pack.get().to_be_bytes()
}

pub(super) fn decode_pack_key(key: &[u8]) -> Option<PackId> {
    Some(PackId::new(u64::from_be_bytes(key.try_into().ok()?)))
}

/// How much of the catalog log is acknowledged and in the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogState {
    /// Bytes of the log.
    pub(crate) len: u64,
    /// Digest of the chain up to there.
    pub(crate) head: Digest,
}

impl LogState {
    pub(super) fn encode(&self) -> [u8; 8 + DIGEST_LEN] {
        let mut bytes = [0; 8 + DIGEST_LEN];
        bytes[..8].copy_from_slice(&self.len.to_le_bytes());
        bytes[8..].copy_from_slice(self.head.as_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (len, head) = bytes.split_first_chunk()?;
        Some(Self { len: u64::from_le_bytes(*len), head: Digest::from_slice(head)? })
    }
}
