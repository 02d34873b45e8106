//! The agent's chunk cache: packs with an index in memory (`spec/pack.md#cache`).
//!
//! Owns one directory of packs of bounded length. Invariants: what `get` returns has the digest asked for; a damaged
//! record is dropped and counted, never fatal; the packs together never exceed the limit; after kill -9 everything
//! synced is there and everything else is there or absent.
//!
//! Does not decide what to fetch or to keep: the agent pins what a plan needs.

mod state;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use dominator_store_core::{BlobId, ObjectId, ObjectKind, Recipe, Record};
use parking_lot::Mutex;

use crate::{Error, ObjectSource, SourceError, source::open_record};
use state::{Found, State};

/// A bounded store of verified objects without RocksDB; one process owns its directory.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    state: Mutex<State>,
}

/// What became of a record that was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was added.
    Added,
    /// The cache had the object already.
    Known,
}

/// What a cache holds and what happened to it since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheCounts {
    /// Objects that can be had.
    pub object_count: u64,
    /// Bytes of all packs.
    pub file_len: u64,
    /// Damaged records dropped.
    pub damaged_record_count: u64,
    /// Damaged packs dropped when the cache was opened.
    pub damaged_pack_count: u64,
    /// Records evicted to keep the limit.
    pub evicted_record_count: u64,
}

impl Cache {
    /// Opens the cache in `dir`, which is created if it is absent, and recovers what a crash left.
    ///
    /// # Errors
    /// `Io` if the directory cannot be read or written, `Newer` if a later version wrote it.
    pub fn open(dir: &Path, limit_len: u64) -> Result<Self, Error> {
        Ok(Self { dir: dir.to_owned(), state: Mutex::new(State::open(dir, limit_len)?) })
    }

    /// Returns the cache's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Says whether the cache has the object; reading it can still find it damaged.
    pub fn has(&self, id: ObjectId) -> bool {
        self.state.lock().has(id)
    }

    /// Verifies a record (checksum, decompression, digest) and adds it; durable after [`Cache::sync`].
    ///
    /// # Errors
    /// `Record` if it is not the object it claims to be, `Full` if what is pinned leaves no room, `Io`.
    pub fn put(&self, record: &[u8]) -> Result<Put, Error> {
        let parsed = Record::parse(record).map_err(Error::Record)?;
        parsed.verify_checksum().map_err(Error::Record)?;
        let raw = open_record(&parsed).map_err(Error::Record)?;
        let id = parsed.header().id;
        let mut state = self.state.lock();
        if state.has(id) {
            return Ok(Put::Known);
        }
        state.add(record)?;
        if id.kind == ObjectKind::Recipe {
            state.add_recipe(id, &raw);
        }
        Ok(Put::Added)
    }

    /// Returns the object's bytes, verified, or `None` if the cache does not have it or had to drop it.
    ///
    /// # Errors
    /// `Io` if the pack being written cannot be read back.
    pub fn get(&self, id: ObjectId) -> Result<Option<Vec<u8>>, Error> {
        let found = self.state.lock().find(id)?;
        let (location, opened) = match found {
            Found::Nothing => return Ok(None),
            Found::Written(location, bytes) => {
                (location, Record::parse(&bytes).and_then(|record| open_record(&record)).ok())
            }
            // Decompressing goes on outside the lock; the mapping stays valid even if the pack is evicted meanwhile.
            Found::Sealed(location, pack) => {
                (location, pack.record(id, location).ok().and_then(|record| open_record(&record).ok()))
            }
            Found::Damaged(location) => (location, None),
        };
        if opened.is_none() {
            self.state.lock().drop_damaged(id, location);
        }
        Ok(opened)
    }

    /// Makes everything that was put durable.
    ///
    /// # Errors
    /// `Io`; what was put since the last success is then dropped.
    pub fn sync(&self) -> Result<(), Error> {
        self.state.lock().sync()
    }

    /// Protects objects from eviction, whether the cache has them yet or not, until they are unpinned or the cache is
    /// opened anew.
    pub fn pin(&self, ids: impl IntoIterator<Item = ObjectId>) {
        self.state.lock().pin(ids.into_iter().collect());
    }

    /// Ends the protection of objects.
    pub fn unpin(&self, ids: impl IntoIterator<Item = ObjectId>) {
        let ids: HashSet<ObjectId> = ids.into_iter().collect();
        self.state.lock().unpin(&ids);
    }

    /// Ends the protection of every object.
    pub fn unpin_all(&self) {
        self.state.lock().unpin_all();
    }

    /// Returns what the cache holds and what happened to it.
    pub fn counts(&self) -> CacheCounts {
        self.state.lock().counts()
    }
}

impl ObjectSource for Cache {
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError> {
        self.get(id).map_err(SourceError::new)
    }

    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError> {
        let Some(id) = self.state.lock().recipe_of(blob) else { return Ok(None) };
        let bytes = self.get(id.into()).map_err(SourceError::new)?;
        bytes.map(|bytes| Recipe::decode(&bytes)).transpose().map_err(SourceError::new)
    }
}
