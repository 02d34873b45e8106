//! One writer of a store: a publish or an upload, from its first object to its last durable pack.
//!
//! Owns the packs that it writes. Invariants: an object is stored once per session, and not at all if the index has it;
//! rows enter the index only for sealed packs; recipes are stored after every chunk of the session is durable, so a
//! recipe that a crash leaves behind is never without its chunks.
//!
//! Does not make an image visible: `commit` does, after `finish`.

mod claims;
mod sealer;

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dominator_store_core::{BlobId, ObjectId, RECORD_HEADER_LEN, RecipeId};
use dominator_store_pack::{PackWriter, limits::PACK_LEN_TARGET};
use parking_lot::Mutex;

use self::{claims::Claims, sealer::Sealer};
use crate::{
    Error,
    error::Result,
    limits::{RECIPES_LEN_MAX, SALVAGE_LEN_MIN},
    store::Inner,
};

/// A writer of a store; several threads may use it at once.
pub(crate) struct Session {
    inner: Arc<Inner>,
    claims: Claims,
    /// Unsealed packs that no thread is writing to at the moment.
    lanes: Mutex<Vec<PackWriter>>,
    sealer: Sealer,
    recipes: Mutex<Recipes>,
    object_count: AtomicU64,
    stored_len: AtomicU64,
}

/// Recipes that wait until their chunks are durable.
#[derive(Default)]
struct Recipes {
    records: HashMap<RecipeId, (BlobId, Vec<u8>)>,
    len: usize,
}

/// What a session added to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Added {
    pub(crate) object_count: u64,
    pub(crate) stored_len: u64,
}

impl Session {
    /// Begins to write.
    pub(crate) fn new(inner: Arc<Inner>) -> Result<Self> {
        inner.log()?;
        Ok(Self {
            sealer: Sealer::new(inner.clone()),
            inner,
            claims: Claims::default(),
            lanes: Mutex::default(),
            recipes: Mutex::default(),
            object_count: AtomicU64::new(0),
            stored_len: AtomicU64::new(0),
        })
    }

    /// Says whether the store or this session has the object.
    pub(crate) fn has(&self, id: ObjectId) -> Result<bool> {
        Ok(self.claims.has(id) || self.inner.objects.has(id)?)
    }

    /// Says whether the store or this session has a recipe of the blob.
    pub(crate) fn has_recipe(&self, blob: BlobId) -> Result<bool> {
        Ok(self.claims.has_blob(blob) || self.inner.objects.index.recipe(blob)?.is_some())
    }

    /// Takes on storing an object; `false` if the store has it or another caller took it on.
    pub(crate) fn claim(&self, id: ObjectId) -> Result<bool> {
        Ok(self.claims.claim(id) && !self.inner.objects.has(id)?)
    }

    /// Gives back a claim whose object could not be stored.
    pub(crate) fn unclaim(&self, id: ObjectId) {
        self.claims.unclaim(id);
    }

    /// Appends the record of an object that was claimed.
    pub(crate) fn append(&self, record: &[u8]) -> Result<()> {
        let lane = self.lanes.lock().pop();
        let mut writer = match lane {
            Some(writer) => writer,
            None => self.inner.objects.packs.create()?,
        };
        let appended = writer.append(record);
        if writer.len() >= PACK_LEN_TARGET || writer.is_full() {
            self.sealer.seal_later(writer)?;
        } else {
            self.lanes.lock().push(writer);
        }
        appended?;
        self.count(record);
        Ok(())
    }

    fn count(&self, record: &[u8]) {
        self.object_count.fetch_add(1, Ordering::Relaxed);
        self.stored_len.fetch_add((record.len() - RECORD_HEADER_LEN.min(record.len())) as u64, Ordering::Relaxed);
    }

    /// Keeps the record of a recipe until [`Session::finish`].
    pub(crate) fn keep_recipe(&self, id: RecipeId, blob: BlobId, record: Vec<u8>) -> Result<()> {
        let mut recipes = self.recipes.lock();
        recipes.len += record.len();
        if recipes.len > RECIPES_LEN_MAX {
            return Err(Error::Limit { what: "bytes of recipes in one session", limit: RECIPES_LEN_MAX as u64 });
        }
        recipes.records.insert(id, (blob, record));
        self.claims.claim_blob(blob);
        Ok(())
    }

    /// Returns the kept record of a recipe.
    pub(crate) fn kept_recipe(&self, id: RecipeId) -> Option<Vec<u8>> {
        self.recipes.lock().records.get(&id).map(|(_, record)| record.clone())
    }

    /// Returns the kept recipes of blobs.
    pub(crate) fn kept_recipes(&self) -> HashMap<BlobId, RecipeId> {
        self.recipes.lock().records.iter().map(|(id, (blob, _))| (*blob, *id)).collect()
    }

    /// Drops kept recipes that nothing needs; they can be claimed again.
    pub(crate) fn retain_recipes(&self, mut keep: impl FnMut(RecipeId) -> bool) {
        let mut recipes = self.recipes.lock();
        let dropped = recipes.records.extract_if(|id, _| !keep(*id));
        for (id, (blob, _)) in dropped {
            self.claims.unclaim(id.into());
            self.claims.unclaim_blob(blob);
        }
    }

    /// Makes everything appended so far durable and visible to look-ups.
    pub(crate) fn seal(&self) -> Result<()> {
        self.sealer.wait()?;
        for writer in mem::take(&mut *self.lanes.lock()) {
            self.sealer.seal_now(writer, &HashMap::new())?;
        }
        Ok(())
    }

    /// Makes all objects of the session durable: what was appended, then recipes and `records`, which need it.
    pub(crate) fn finish(&self, records: impl IntoIterator<Item = Vec<u8>>) -> Result<Added> {
        self.seal()?;
        let kept = mem::take(&mut self.recipes.lock().records);
        let blobs: HashMap<RecipeId, BlobId> = kept.iter().map(|(id, (blob, _))| (*id, *blob)).collect();
        let mut writer = None;
        for record in kept.into_values().map(|(_, record)| record).chain(records) {
            let mut open = match writer.take() {
                Some(writer) => writer,
                None => self.inner.objects.packs.create()?,
            };
            open.append(&record)?;
            self.count(&record);
            if open.len() >= PACK_LEN_TARGET || open.is_full() {
                self.sealer.seal_now(open, &blobs)?;
            } else {
                writer = Some(open);
            }
        }
        if let Some(writer) = writer {
            self.sealer.seal_now(writer, &blobs)?;
        }
        Ok(self.added())
    }

    /// Returns what was added so far.
    pub(crate) fn added(&self) -> Added {
        Added {
            object_count: self.object_count.load(Ordering::Relaxed),
            stored_len: self.stored_len.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Session {
    /// Keeps what was written by an unfinished session if it is much, so that trying again resumes.
    fn drop(&mut self) {
        let mut settled = self.sealer.wait();
        for writer in mem::take(self.lanes.get_mut()) {
            let done = if writer.len() >= SALVAGE_LEN_MIN {
                self.sealer.seal_now(writer, &HashMap::new())
            } else {
                writer.discard().map_err(Error::from)
            };
            settled = settled.and(done);
        }
        if let Err(error) = settled {
            // Opening the store settles what is left.
            tracing::warn!(error = &error as &dyn std::error::Error, "unfinished session could not be put away");
        }
    }
}
