//! What a cache knows under its lock.
//!
//! Owns the index in memory, the packs and the eviction. Invariants: the index names only records of packs that are
//! held; a pack is removed only after every pinned record of it was copied and synced; lengths are those the packs have
//! once sealed, so that sealing never exceeds the limit.
//!
//! Does not verify objects: `Cache` does, before `add` and after `find`.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use dominator_store_core::{BlobId, ObjectId, ObjectKind, Recipe, RecipeId};

use super::CacheCounts;
use crate::{
    Error, Location, PackId, PackReader, PackWriter, Row, durable,
    limits::{CACHE_PACK_COUNT, CACHE_PACK_LEN_MIN, PACK_LEN_TARGET},
    row::ROW_LEN,
    source::open_record,
};

#[derive(Debug)]
pub(super) struct State {
    dir: PathBuf,
    limit_len: u64,
    index: HashMap<ObjectId, Location>,
    recipes: HashMap<BlobId, RecipeId>,
    sealed: BTreeMap<PackId, Arc<PackReader>>,
    writer: Option<PackWriter>,
    next: PackId,
    pinned: HashSet<ObjectId>,
    counts: CacheCounts,
}

/// Where an object was found.
pub(super) enum Found {
    Nothing,
    Written(Location, Vec<u8>),
    Sealed(Location, Arc<PackReader>),
    Damaged(Location),
}

impl State {
    pub(super) fn open(dir: &Path, limit_len: u64) -> Result<Self, Error> {
        durable::create_dir(dir)?;
        let mut state = Self {
            dir: dir.to_owned(),
            limit_len,
            index: HashMap::new(),
            recipes: HashMap::new(),
            sealed: BTreeMap::new(),
            writer: None,
            next: PackId::new(1),
            pinned: HashSet::new(),
            counts: CacheCounts::default(),
        };
        let (sealed, unsealed) = list(dir)?;
        for pack in sealed {
            state.next = state.next.max(pack.next());
            state.load_sealed(pack)?;
        }
        for pack in unsealed {
            state.next = state.next.max(pack.next());
            let writer = PackWriter::recover(dir, pack)?;
            // Only the last one can go on; a second one means that sealing failed before.
            if let Some(before) = state.writer.replace(writer) {
                state.seal(before)?;
            }
        }
        if let Some(writer) = state.writer.take() {
            state.load_rows(writer.pack(), writer.rows());
            state.writer = Some(writer);
        }
        state.load_recipes()?;
        state.make_room(0)?;
        Ok(state)
    }

    fn load_sealed(&mut self, pack: PackId) -> Result<(), Error> {
        let path = self.dir.join(pack.sealed_name());
        match PackReader::open(&path) {
            Ok(reader) => {
                let rows: Vec<Row> = reader.rows().collect();
                self.load_rows(pack, &rows);
                self.sealed.insert(pack, Arc::new(reader));
                Ok(())
            }
            // Everything here can be fetched again, so a pack that cannot be trusted is not worth repairing.
            Err(Error::Corrupt { .. } | Error::Unsealed { .. }) => {
                self.counts.damaged_pack_count += 1;
                durable::remove_file(&path)
            }
            Err(error) => Err(error),
        }
    }

    fn load_rows(&mut self, pack: PackId, rows: &[Row]) {
        self.index.extend(rows.iter().map(|row| (row.id, row.location(pack))));
    }

    fn load_recipes(&mut self) -> Result<(), Error> {
        let ids: Vec<ObjectId> = self.index.keys().filter(|id| id.kind == ObjectKind::Recipe).copied().collect();
        for id in ids {
            let (location, raw) = match self.find(id)? {
                Found::Nothing => continue,
                Found::Written(location, bytes) => (location, open_bytes(&bytes)),
                Found::Sealed(location, pack) => {
                    (location, pack.record(id, location).ok().and_then(|record| open_record(&record).ok()))
                }
                Found::Damaged(location) => (location, None),
            };
            match raw {
                Some(raw) => self.add_recipe(id, &raw),
                None => self.drop_damaged(id, location),
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, id: ObjectId) -> bool {
        self.index.contains_key(&id)
    }

    pub(super) fn find(&mut self, id: ObjectId) -> Result<Found, Error> {
        let Some(location) = self.index.get(&id).copied() else { return Ok(Found::Nothing) };
        if let Some(writer) = self.writer.as_mut().filter(|writer| writer.pack() == location.pack) {
            return match writer.read(id, location) {
                Ok(bytes) => Ok(Found::Written(location, bytes)),
                Err(Error::Corrupt { .. }) => Ok(Found::Damaged(location)),
                Err(error) => Err(error),
            };
        }
        Ok(match self.sealed.get(&location.pack) {
            Some(reader) => Found::Sealed(location, reader.clone()),
            None => Found::Damaged(location),
        })
    }

    pub(super) fn recipe_of(&self, blob: BlobId) -> Option<RecipeId> {
        self.recipes.get(&blob).copied()
    }

    pub(super) fn add_recipe(&mut self, id: ObjectId, raw: &[u8]) {
        // A recipe that does not decode is kept as an object like any other, but never used.
        if let Ok(recipe) = Recipe::decode(raw) {
            self.recipes.insert(recipe.blob(), RecipeId::new(id.digest));
        }
    }

    pub(super) fn add(&mut self, record: &[u8]) -> Result<(), Error> {
        self.make_room(record.len() as u64 + ROW_LEN as u64)?;
        self.append(record)
    }

    fn append(&mut self, record: &[u8]) -> Result<(), Error> {
        let full = |writer: &PackWriter| {
            writer.is_full() || (!writer.is_empty() && writer.len() + record.len() as u64 > self.pack_len())
        };
        if self.writer.as_ref().is_some_and(full) {
            self.seal_writer()?;
        }
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => {
                let pack = self.next;
                self.next = pack.next();
                PackWriter::create(&self.dir, pack)?
            }
        };
        let appended = writer.append(record);
        let row = writer.rows().last().copied();
        self.writer = Some(writer);
        let location = appended?;
        if let Some(row) = row {
            self.index.insert(row.id, location);
        }
        Ok(())
    }

    fn pack_len(&self) -> u64 {
        (self.limit_len / CACHE_PACK_COUNT).clamp(CACHE_PACK_LEN_MIN, PACK_LEN_TARGET)
    }

    fn file_len(&self) -> u64 {
        let sealed: u64 = self.sealed.values().map(|pack| pack.file_len()).sum();
        sealed + self.writer.as_ref().map_or(0, PackWriter::sealed_len)
    }

    /// Evicts the oldest packs until `len` more bytes, in a new pack if need be, keep within the limit.
    fn make_room(&mut self, len: u64) -> Result<(), Error> {
        // A new pack's header and footer; taken as always needed, which errs on the safe side.
        let len = if len == 0 { 0 } else { len + crate::trailer::sealed_len(crate::trailer::HEADER_LEN as u64, 0) };
        while self.file_len() + len > self.limit_len {
            let victim = self.sealed.values().find(|pack| self.pinned_len_of(pack) < pack.file_len() / 2).cloned();
            match victim {
                Some(victim) => self.evict(&victim)?,
                // The pack being written may be all there is to evict.
                None if self.writer.as_ref().is_some_and(|writer| !writer.is_empty() && len > 0) => {
                    self.seal_writer()?;
                    if !self.sealed.values().any(|pack| self.pinned_len_of(pack) < pack.file_len() / 2) {
                        return Err(self.full());
                    }
                }
                None if len == 0 => return Ok(()),
                None => return Err(self.full()),
            }
        }
        Ok(())
    }

    fn full(&self) -> Error {
        let pinned_len = self.pinned.iter().filter_map(|id| self.index.get(id)).map(Location::record_len).sum();
        Error::Full { pinned_len, limit_len: self.limit_len }
    }

    fn pinned_len_of(&self, pack: &PackReader) -> u64 {
        self.pinned_rows(pack).map(|row| row.location(pack.pack()).record_len()).sum()
    }

    fn pinned_rows<'a>(&'a self, pack: &'a PackReader) -> impl Iterator<Item = Row> + 'a {
        pack.rows().filter(|row| self.pinned.contains(&row.id) && self.is_at(row.id, row.location(pack.pack())))
    }

    fn is_at(&self, id: ObjectId, location: Location) -> bool {
        self.index.get(&id) == Some(&location)
    }

    fn evict(&mut self, pack: &Arc<PackReader>) -> Result<(), Error> {
        let kept: Vec<Row> = self.pinned_rows(pack).collect();
        for row in &kept {
            let location = row.location(pack.pack());
            match pack.record(row.id, location) {
                Ok(record) => self.append(record.as_bytes())?,
                Err(_) => self.drop_damaged(row.id, location),
            }
        }
        if !kept.is_empty() {
            self.sync()?;
        }
        for row in pack.rows() {
            if self.is_at(row.id, row.location(pack.pack())) {
                self.forget(row.id);
                self.counts.evicted_record_count += 1;
            }
        }
        self.sealed.remove(&pack.pack());
        durable::remove_file(&self.dir.join(pack.pack().sealed_name()))
    }

    fn forget(&mut self, id: ObjectId) {
        self.index.remove(&id);
        if id.kind == ObjectKind::Recipe {
            self.recipes.retain(|_, recipe| recipe.digest() != id.digest);
        }
    }

    pub(super) fn drop_damaged(&mut self, id: ObjectId, location: Location) {
        // Another reader may have dropped it already, and a good copy may have been put since.
        if self.is_at(id, location) {
            self.forget(id);
            self.counts.damaged_record_count += 1;
        }
    }

    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let Some(writer) = self.writer.as_mut() else { return Ok(()) };
        let synced = writer.sync();
        if synced.is_err() {
            self.drop_writer();
        }
        synced
    }

    /// Gives up the pack being written: after a failed fsync nobody knows what it holds.
    fn drop_writer(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let lost: Vec<Row> = writer.rows().to_vec();
        for row in lost {
            if self.is_at(row.id, row.location(writer.pack())) {
                self.forget(row.id);
            }
        }
        // If the file cannot be removed either, opening the cache scans it and keeps only what is whole.
        let _ = writer.discard();
    }

    fn seal_writer(&mut self) -> Result<(), Error> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        self.seal(writer)
    }

    fn seal(&mut self, writer: PackWriter) -> Result<(), Error> {
        if writer.is_empty() {
            return writer.discard();
        }
        let (pack, rows) = (writer.pack(), writer.rows().to_vec());
        let sealed = writer.seal().and_then(|sealed| sealed.open());
        match sealed {
            Ok(reader) => {
                self.load_missing_rows(pack, &rows);
                self.sealed.insert(pack, Arc::new(reader));
                Ok(())
            }
            Err(error) => {
                self.index.retain(|_, location| location.pack != pack);
                Err(error)
            }
        }
    }

    fn load_missing_rows(&mut self, pack: PackId, rows: &[Row]) {
        for row in rows {
            self.index.entry(row.id).or_insert(row.location(pack));
        }
    }

    pub(super) fn pin(&mut self, ids: HashSet<ObjectId>) {
        self.pinned.extend(ids);
    }

    pub(super) fn unpin(&mut self, ids: &HashSet<ObjectId>) {
        self.pinned.retain(|id| !ids.contains(id));
    }

    pub(super) fn unpin_all(&mut self) {
        self.pinned.clear();
    }

    pub(super) fn counts(&self) -> CacheCounts {
        CacheCounts { object_count: self.index.len() as u64, file_len: self.file_len(), ..self.counts }
    }
}

fn open_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let record = dominator_store_core::Record::parse(bytes).ok()?;
    open_record(&record).ok()
}

/// Lists the packs of a directory in ascending order: sealed ones, unsealed ones.
fn list(dir: &Path) -> Result<(Vec<PackId>, Vec<PackId>), Error> {
    let (mut sealed, mut unsealed) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).map_err(Error::io("read directory", dir))? {
        let path = entry.map_err(Error::io("read directory", dir))?.path();
        sealed.extend(PackId::of_sealed(&path));
        unsealed.extend(PackId::of_unsealed(&path));
    }
    sealed.sort_unstable();
    unsealed.sort_unstable();
    Ok((sealed, unsealed))
}
