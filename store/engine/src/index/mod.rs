//! The index: where objects lie and which images there are (`spec/store.md#index`).
//!
//! Owns RocksDB. Invariant: every row can be made again from packs and the catalog log, so losing the index loses
//! nothing; rows of one batch appear together.
//!
//! Does not read packs, and does not decide what is visible: the catalog log does, the index is its view.

mod batch;
mod row;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use dominator_store_core::{BlobId, Digest, ImageName, ObjectId, RecipeId};
use dominator_store_pack::{Location, PackId, fault};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DataBlockIndexType,
    Direction, IteratorMode, LogLevel, Options, ReadOptions, WriteOptions,
};

pub(crate) use batch::Batch;
pub(crate) use row::{LogState, object_key};

use crate::{
    Error,
    catalog::Event,
    error::Result,
    limits::{BLOCK_CACHE_LEN, INDEX_OPEN_FILES_MAX, READ_ONLY_RETRY_COUNT, TABLE_LEN, WRITE_BUFFER_LEN},
};

const OBJECTS: &str = "objects";
const RECIPES: &str = "recipes";
const PACKS: &str = "packs";
const CATALOG: &str = "catalog";
const META: &str = "meta";
const FAMILIES: [&str; 5] = [OBJECTS, RECIPES, PACKS, CATALOG, META];

const LOG_STATE: &[u8] = b"log";

/// Whether a batch must survive a crash of the machine when its write returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// It can be made again.
    Volatile,
    /// It and everything written before it is durable.
    Synced,
}

/// The open index.
pub(crate) struct Index {
    db: DB,
    path: PathBuf,
}

impl Index {
    /// Opens the index in `path` for reading and writing; one that is absent is created empty.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_max_open_files(INDEX_OPEN_FILES_MAX);
        let db = DB::open_cf_descriptors(&options, path, families()).map_err(Error::index("open"))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens the index for reading while another process may own it.
    pub(crate) fn open_read_only(path: &Path) -> Result<Self> {
        let mut options = options();
        // Every table is opened at once, so that the owner's compactions cannot remove one that is still needed.
        options.set_max_open_files(-1);
        let mut tries = 0;
        loop {
            match DB::open_cf_descriptors_read_only(&options, path, families(), false) {
                Ok(db) => return Ok(Self { db, path: path.to_owned() }),
                // A table listed a moment ago can be gone by the time it is opened.
                Err(_) if tries < READ_ONLY_RETRY_COUNT => tries += 1,
                Err(error) => return Err(Error::index("open")(error)),
            }
        }
    }

    fn family(&self, name: &'static str) -> &ColumnFamily {
        self.db.cf_handle(name).expect("every family is opened or created with the index")
    }

    fn get<T>(&self, family: &'static str, key: &[u8], decode: impl FnOnce(&[u8]) -> Option<T>) -> Result<Option<T>> {
        let found = self.db.get_pinned_cf(self.family(family), key).map_err(Error::index("read"))?;
        found.map(|bytes| decode(&bytes).ok_or(Error::IndexRow { what: family })).transpose()
    }

    /// Returns where an object lies.
    pub(crate) fn location(&self, id: ObjectId) -> Result<Option<Location>> {
        self.get(OBJECTS, &object_key(id), Location::decode)
    }

    /// Returns where objects lie, in the order asked for.
    pub(crate) fn locations(&self, ids: &[ObjectId]) -> Result<Vec<Option<Location>>> {
        let keys: Vec<_> = ids.iter().copied().map(object_key).collect();
        let rows = self.db.batched_multi_get_cf(self.family(OBJECTS), &keys, false);
        rows.into_iter()
            .map(|row| {
                let row = row.map_err(Error::index("read"))?;
                row.map(|bytes| Location::decode(&bytes).ok_or(Error::IndexRow { what: OBJECTS })).transpose()
            })
            .collect()
    }

    /// Returns the recipe of a blob.
    pub(crate) fn recipe(&self, blob: BlobId) -> Result<Option<RecipeId>> {
        self.get(RECIPES, blob.as_bytes(), |bytes| Digest::from_slice(bytes).map(RecipeId::new))
    }

    /// Returns the last event about an image name.
    pub(crate) fn event(&self, name: &ImageName) -> Result<Option<Event>> {
        self.get(CATALOG, name.as_str().as_bytes(), Event::decode_row)
    }

    /// Visits the last events about names that begin with `prefix`, in order of names, behind `after`, until `visit`
    /// says stop by returning `false`.
    pub(crate) fn events(
        &self,
        prefix: &str,
        after: Option<&ImageName>,
        visit: &mut dyn FnMut(Event) -> bool,
    ) -> Result<()> {
        let start = after.map_or(prefix, |after| after.as_str().max(prefix));
        let mode = IteratorMode::From(start.as_bytes(), Direction::Forward);
        for row in self.db.iterator_cf(self.family(CATALOG), mode) {
            let (key, value) = row.map_err(Error::index("read"))?;
            if !key.starts_with(prefix.as_bytes()) {
                break;
            }
            if after.is_some_and(|after| after.as_str().as_bytes() == &*key) {
                continue;
            }
            let event = Event::decode_row(&value).filter(|event| event.name.as_str().as_bytes() == &*key);
            if !visit(event.ok_or(Error::IndexRow { what: CATALOG })?) {
                break;
            }
        }
        Ok(())
    }

    /// Returns the packs whose rows the index has.
    pub(crate) fn packs(&self) -> Result<BTreeSet<PackId>> {
        let mut packs = BTreeSet::new();
        for row in self.db.iterator_cf(self.family(PACKS), IteratorMode::Start) {
            let (key, _) = row.map_err(Error::index("read"))?;
            packs.insert(row::decode_pack_key(&key).ok_or(Error::IndexRow { what: PACKS })?);
        }
        Ok(packs)
    }

    /// Visits every object row.
    pub(crate) fn objects(&self, visit: &mut dyn FnMut(ObjectId, Location) -> Result<()>) -> Result<()> {
        for row in self.db.iterator_cf_opt(self.family(OBJECTS), scan_options(), IteratorMode::Start) {
            let (key, value) = row.map_err(Error::index("read"))?;
            let id = row::decode_object_key(&key).ok_or(Error::IndexRow { what: OBJECTS })?;
            visit(id, Location::decode(&value).ok_or(Error::IndexRow { what: OBJECTS })?)?;
        }
        Ok(())
    }

    /// Visits every recipe row.
    pub(crate) fn recipes(&self, visit: &mut dyn FnMut(BlobId, RecipeId) -> Result<()>) -> Result<()> {
        for row in self.db.iterator_cf_opt(self.family(RECIPES), scan_options(), IteratorMode::Start) {
            let (key, value) = row.map_err(Error::index("read"))?;
            let (blob, recipe) = (Digest::from_slice(&key), Digest::from_slice(&value));
            let (Some(blob), Some(recipe)) = (blob, recipe) else { return Err(Error::IndexRow { what: RECIPES }) };
            visit(BlobId::new(blob), RecipeId::new(recipe))?;
        }
        Ok(())
    }

    /// Returns how much of the catalog log the index shows; nothing of it in a fresh index.
    pub(crate) fn log_state(&self) -> Result<Option<LogState>> {
        self.get(META, LOG_STATE, LogState::decode)
    }

    /// Starts a set of changes.
    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    fn write(&self, batch: rocksdb::WriteBatch, durability: Durability) -> Result<()> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        fault::point();
        self.db.write_opt(batch, &options).map_err(Error::index("write"))?;
        fault::point();
        Ok(())
    }
}

impl std::fmt::Debug for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Index").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A full scan must not push the rows that look-ups need out of the cache.
fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

fn options() -> Options {
    let mut options = Options::default();
    options.set_db_write_buffer_size(WRITE_BUFFER_LEN);
    options.set_max_background_jobs(2);
    options.set_max_file_opening_threads(2);
    options.set_keep_log_file_num(2);
    options.set_log_level(LogLevel::Warn);
    options.set_stats_dump_period_sec(0);
    options.set_max_manifest_file_size(16 * 1024 * 1024);
    options.set_max_total_wal_size(2 * WRITE_BUFFER_LEN as u64);
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_LEN);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    // Most look-ups of a publish are for what is not there: the filter answers them.
    table.set_ribbon_filter(10.0);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    // Filters and table indexes count against the cache, so that memory stays bounded whatever the number of objects.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let family = |name| {
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        // Keys and values are digests and numbers.
        options.set_compression_type(DBCompressionType::None);
        options.set_write_buffer_size(WRITE_BUFFER_LEN / 4);
        options.set_target_file_size_base(TABLE_LEN);
        options.set_level_compaction_dynamic_level_bytes(true);
        ColumnFamilyDescriptor::new(name, options)
    };
    let mut families: Vec<_> = FAMILIES.map(family).into();
    families.push(ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, Options::default()));
    families
}
