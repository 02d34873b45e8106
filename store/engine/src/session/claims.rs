//! What one session has taken on to store.
//!
//! Owns sets of ids, split so that threads rarely wait for each other. Invariant: of all callers that claim an id, one
//! is told to store it.
//!
//! Does not know what the index has.

use std::collections::HashSet;

use dominator_store_core::{BlobId, ObjectId};
use parking_lot::Mutex;

const SHARD_COUNT: usize = 64;

#[derive(Debug)]
pub(super) struct Claims {
    objects: [Mutex<HashSet<ObjectId>>; SHARD_COUNT],
    blobs: Mutex<HashSet<BlobId>>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { objects: std::array::from_fn(|_| Mutex::default()), blobs: Mutex::default() }
    }
}

impl Claims {
    fn shard(&self, id: ObjectId) -> &Mutex<HashSet<ObjectId>> {
        let [first, ..] = id.digest.as_bytes();
        // The remainder is below the number of shards.
        &self.objects[usize::from(*first) % SHARD_COUNT]
    }

    pub(super) fn claim(&self, id: ObjectId) -> bool {
        self.shard(id).lock().insert(id)
    }

    pub(super) fn unclaim(&self, id: ObjectId) {
        self.shard(id).lock().remove(&id);
    }

    pub(super) fn has(&self, id: ObjectId) -> bool {
        self.shard(id).lock().contains(&id)
    }

    pub(super) fn claim_blob(&self, blob: BlobId) {
        self.blobs.lock().insert(blob);
    }

    pub(super) fn unclaim_blob(&self, blob: BlobId) {
        self.blobs.lock().remove(&blob);
    }

    pub(super) fn has_blob(&self, blob: BlobId) -> bool {
        self.blobs.lock().contains(&blob)
    }
}
