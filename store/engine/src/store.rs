//! A store: one directory that one process owns.
//!
//! Owns the layout of the directory, its lock, and the parts that work together. Invariants: one process at a time
//! writes to a store; a store is open for writing only after what a crash left is settled.
//!
//! What each part does is in its module: `ingest` and `upload` write, `read` reads, `commit` publishes.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Instant,
};

use dominator_store_core::Profile;
use dominator_store_pack::{PackId, durable};
use parking_lot::Mutex;

use crate::{
    Error, StoreOptions,
    catalog::CatalogLog,
    error::Result,
    format,
    index::Index,
    limits::{LOCK_PATIENCE, LOCK_RETRY_INTERVAL},
    objects::Objects,
    packs::Packs,
    recover::recover,
};

const LOCK: &str = "lock";
const LOG: &str = "catalog.log";
const PACKS: &str = "packs";
const INDEX: &str = "index";

/// An open store; clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the clones of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    dir: PathBuf,
    pub(crate) options: StoreOptions,
    pub(crate) objects: Objects,
    /// Present if this process may write. Held while an event is decided on, logged and shown.
    owner: Option<Owner>,
}

#[derive(Debug)]
struct Owner {
    log: Mutex<CatalogLog>,
    /// Its lock on the store ends when it is closed.
    _lock: File,
}

impl Store {
    /// Makes an empty store of `dir`, which must be absent or an empty directory.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something in it.
    pub fn init(dir: &Path, options: StoreOptions) -> Result<Self> {
        durable::create_dir(dir)?;
        if fs::read_dir(dir).map_err(Error::io("read directory", dir))?.next().is_some() {
            return Err(Error::AlreadyExists { path: dir.to_owned() });
        }
        durable::create_dir(&dir.join(PACKS))?;
        CatalogLog::create(&dir.join(LOG))?;
        // Last, because this file is what makes the directory a store.
        format::write(dir, &options)?;
        Self::open(dir)
    }

    /// Opens a store as its owner and finishes what a crash left; an index that is absent is made again.
    ///
    /// # Errors
    /// `NotAStore`, `InUse` if another process owns it, `Newer`, or why it is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let options = format::read(dir)?;
        Self::open_locked(dir, options, lock(dir)?)
    }

    /// Opens a store for reading, while another process may own it; shows what was published by then.
    ///
    /// # Errors
    /// `NotAStore`, `Newer`, `Index` if it was never opened by an owner.
    pub fn open_read_only(dir: &Path) -> Result<Self> {
        let options = format::read(dir)?;
        let index = Index::open_read_only(&dir.join(INDEX))?;
        // A reader begins no packs, so the id of the next one is of no importance.
        let objects = Objects { index, packs: Packs::new(dir.join(PACKS), PackId::new(u64::MAX)) };
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), options, objects, owner: None }) })
    }

    /// Throws the index away and makes it again from the packs and the catalog log.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn rebuild_index(dir: &Path) -> Result<Self> {
        let options = format::read(dir)?;
        let lock = lock(dir)?;
        let path = dir.join(INDEX);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path)(error));
            }
            _ => {}
        }
        Self::open_locked(dir, options, lock)
    }

    fn open_locked(dir: &Path, options: StoreOptions, lock: File) -> Result<Self> {
        let index = Index::open(&dir.join(INDEX))?;
        let next = Packs::next_free(&dir.join(PACKS), &index.packs()?)?;
        let objects = Objects { index, packs: Packs::new(dir.join(PACKS), next) };
        let log = recover(&objects, &dir.join(LOG))?;
        let owner = Some(Owner { log: Mutex::new(log), _lock: lock });
        Ok(Self { inner: Arc::new(Inner { dir: dir.to_owned(), options, objects, owner }) })
    }

    /// Returns the store's directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Returns the profile that blobs are cut by.
    pub fn profile(&self) -> Profile {
        self.inner.options.profile
    }

    /// Returns the level that records are compressed at.
    pub fn zstd_level(&self) -> i32 {
        self.inner.options.zstd_level
    }
}

impl Inner {
    /// Returns the catalog log, or an error if this process may not write.
    pub(crate) fn log(&self) -> Result<&Mutex<CatalogLog>> {
        self.owner.as_ref().map(|owner| &owner.log).ok_or(Error::ReadOnly)
    }

    /// Returns the path of the catalog log.
    pub(crate) fn log_path(&self) -> PathBuf {
        self.dir.join(LOG)
    }
}

fn lock(dir: &Path) -> Result<File> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // A child of the last owner shares its lock from fork to exec, an owner that was killed until it is reaped.
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => thread::sleep(LOCK_RETRY_INTERVAL),
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
    }
}
