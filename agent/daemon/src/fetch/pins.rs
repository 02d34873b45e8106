//! What must not be evicted from the cache.
//!
//! Owns the sets of objects that the required image, the planned image and the running fetch need. Invariant: an object is
//! pinned as long as one of the sets has it; replacing a set never unpins what the new one or another one has.
//!
//! Does not evict (`store/pack`).

use std::{collections::HashSet, sync::Arc};

use dominator_store_core::ObjectId;
use dominator_store_pack::Cache;
use parking_lot::Mutex;

/// Why an image is fetched, and its objects are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The machine must become it now.
    Required,
    /// The machine will have to become it.
    Planned,
}

/// The pinned objects of one cache.
#[derive(Debug)]
pub struct Pins {
    cache: Arc<Cache>,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    required: HashSet<ObjectId>,
    planned: HashSet<ObjectId>,
    fetching: HashSet<ObjectId>,
}

impl Pins {
    pub(super) fn new(cache: Arc<Cache>) -> Self {
        Self { cache, held: Mutex::default() }
    }

    /// Pins objects that the running fetch has met.
    pub(super) fn add_fetching(&self, ids: &HashSet<ObjectId>) {
        self.cache.pin(ids.iter().copied());
        self.held.lock().fetching.extend(ids);
    }

    /// Keeps exactly `ids` for `purpose`.
    pub fn set(&self, purpose: Purpose, ids: HashSet<ObjectId>) {
        let mut held = self.held.lock();
        let held = &mut *held;
        let slot = match purpose {
            Purpose::Required => &mut held.required,
            Purpose::Planned => &mut held.planned,
        };
        self.cache.pin(ids.iter().copied());
        let mut loose = std::mem::replace(slot, ids);
        loose.retain(|id| ![&held.required, &held.planned, &held.fetching].iter().any(|slot| slot.contains(id)));
        self.cache.unpin(loose);
    }

    /// Keeps nothing for a running fetch: it is over.
    pub fn drop_fetching(&self) {
        let mut held = self.held.lock();
        let mut loose = std::mem::take(&mut held.fetching);
        loose.retain(|id| !held.required.contains(id) && !held.planned.contains(id));
        self.cache.unpin(loose);
    }
}
