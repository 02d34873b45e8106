//! Changes of the index that appear together.
//!
//! Owns the mapping from what changes to rows. Invariant: nothing of a batch is seen before its write returns, and a
//! batch whose write fails changes nothing.
//!
//! Does not order writes: the engine's barrier does.

use dominator_store_core::{BlobId, ObjectId, RecipeId};
use dominator_store_pack::{Location, PackId};
use rocksdb::WriteBatch;

use super::{
    CATALOG, Durability, Index, LOG_STATE, LogState, META, OBJECTS, PACKS, RECIPES, object_key, row::pack_key,
};
use crate::{catalog::Event, error::Result};

/// A set of changes.
pub(crate) struct Batch<'a> {
    index: &'a Index,
    rows: WriteBatch,
}

impl<'a> Batch<'a> {
    pub(super) fn new(index: &'a Index) -> Self {
        Self { index, rows: WriteBatch::default() }
    }

    pub(crate) fn put_object(&mut self, id: ObjectId, location: Location) {
        self.rows.put_cf(self.index.family(OBJECTS), object_key(id), location.encode());
    }

    pub(crate) fn remove_object(&mut self, id: ObjectId) {
        self.rows.delete_cf(self.index.family(OBJECTS), object_key(id));
    }

    pub(crate) fn put_recipe(&mut self, blob: BlobId, recipe: RecipeId) {
        self.rows.put_cf(self.index.family(RECIPES), blob.as_bytes(), recipe.as_bytes());
    }

    pub(crate) fn remove_recipe(&mut self, blob: BlobId) {
        self.rows.delete_cf(self.index.family(RECIPES), blob.as_bytes());
    }

    pub(crate) fn put_pack(&mut self, pack: PackId) {
        self.rows.put_cf(self.index.family(PACKS), pack_key(pack), []);
    }

    pub(crate) fn remove_pack(&mut self, pack: PackId) {
        self.rows.delete_cf(self.index.family(PACKS), pack_key(pack));
    }

    pub(crate) fn put_event(&mut self, event: &Event) {
        self.rows.put_cf(self.index.family(CATALOG), event.name.as_str(), event.encode());
    }

    pub(crate) fn put_log_state(&mut self, state: LogState) {
        self.rows.put_cf(self.index.family(META), LOG_STATE, state.encode());
    }

    pub(crate) fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn write(self, durability: Durability) -> Result<()> {
        self.index.write(self.rows, durability)
    }
}
