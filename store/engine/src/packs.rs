//! The packs of a store.
//!
//! Owns their directory, the ids of new ones and the mappings of sealed ones. Invariants: an id is given out once; a
//! pack is mapped once and stays mapped, and only sealed packs are.
//!
//! Does not know which objects are where: the index does.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dominator_store_pack::{Location, PackId, PackReader, PackWriter, durable};
use parking_lot::RwLock;

use crate::{Error, error::Result};

/// The packs of one store.
#[derive(Debug)]
pub(crate) struct Packs {
    dir: PathBuf,
    next: AtomicU64,
    readers: RwLock<HashMap<PackId, Arc<PackReader>>>,
}

/// The pack files of a directory, in ascending order.
#[derive(Debug, Default)]
pub(crate) struct PackFiles {
    pub(crate) sealed: Vec<PackId>,
    pub(crate) unsealed: Vec<PackId>,
    /// Put aside by recovery.
    pub(crate) damaged: Vec<PackId>,
}

/// What is appended to the name of a sealed pack that is put aside.
const DAMAGED_SUFFIX: &str = ".damaged";

impl Packs {
    /// Takes the packs in `dir`; new ones get ids from `next`.
    pub(crate) fn new(dir: PathBuf, next: PackId) -> Self {
        Self { dir, next: AtomicU64::new(next.get()), readers: RwLock::default() }
    }

    /// Returns the directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Lists the pack files of `dir`.
    pub(crate) fn list(dir: &Path) -> Result<PackFiles> {
        let mut files = PackFiles::default();
        for entry in fs::read_dir(dir).map_err(Error::io("read directory", dir))? {
            let path = entry.map_err(Error::io("read directory", dir))?.path();
            files.sealed.extend(PackId::of_sealed(&path));
            files.unsealed.extend(PackId::of_unsealed(&path));
            let name = path.to_str().and_then(|path| path.strip_suffix(DAMAGED_SUFFIX));
            files.damaged.extend(name.and_then(|path| PackId::of_sealed(Path::new(path))));
        }
        files.sealed.sort_unstable();
        files.unsealed.sort_unstable();
        Ok(files)
    }

    /// Returns the first id that no pack has or had: neither a file of `dir` nor one of `known`.
    pub(crate) fn next_free(dir: &Path, known: &BTreeSet<PackId>) -> Result<PackId> {
        let files = Self::list(dir)?;
        let last = known.iter().chain(&files.sealed).chain(&files.unsealed).chain(&files.damaged).max();
        Ok(last.map_or(PackId::new(1), |pack| pack.next()))
    }

    /// Begins a new pack.
    pub(crate) fn create(&self) -> Result<PackWriter> {
        let pack = PackId::new(self.next.fetch_add(1, Ordering::Relaxed));
        Ok(PackWriter::create(&self.dir, pack)?)
    }

    /// Returns the path of a sealed pack.
    pub(crate) fn path(&self, pack: PackId) -> PathBuf {
        self.dir.join(pack.sealed_name())
    }

    /// Returns a sealed pack, mapped and with its trailer checked.
    pub(crate) fn reader(&self, pack: PackId) -> Result<Arc<PackReader>> {
        if let Some(reader) = self.readers.read().get(&pack) {
            return Ok(reader.clone());
        }
        let path = self.path(pack);
        let reader = match PackReader::open(&path) {
            Ok(reader) => Arc::new(reader),
            Err(dominator_store_pack::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::PackLost { pack });
            }
            Err(error) => return Err(error.into()),
        };
        Ok(self.readers.write().entry(pack).or_insert(reader).clone())
    }

    /// Puts a sealed pack aside: the file is kept, but is none of the store's packs any more.
    pub(crate) fn put_aside(&self, pack: PackId) -> Result<()> {
        let aside = self.dir.join(format!("{}{DAMAGED_SUFFIX}", pack.sealed_name()));
        durable::rename(&self.path(pack), &aside)?;
        self.readers.write().remove(&pack);
        Ok(durable::sync_dir(&self.dir)?)
    }

    /// Returns the pack that holds `location`.
    pub(crate) fn reader_of(&self, location: Location) -> Result<Arc<PackReader>> {
        self.reader(location.pack)
    }
}
