//! The scan: what the managed root is, as a Merkle tree.
//!
//! Owns `Scanner`, which lists the root, hashes what changed since the last pass and gives a `Snapshot`. Invariants: a file
//! is taken for unchanged only if its identity, size and times are the ones under which it was hashed and those times were
//! settled by then; a file that could not be read as a whole has a content that equals nothing; equal passes give the same
//! snapshot without encoding anything.
//!
//! Does not decide when to scan (`keeper`) and does not judge what it finds (`agent/core`).

mod deep;
mod hash;
mod known;
mod snapshot;

pub use deep::{Deep, Step};
pub use snapshot::{Objects, Seed, Snapshot, Unread};

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use dominator_store_core::{Filter, Managed, Mtime, TreePath};
use dominator_store_fs::{Dir, Found, FsError, Listed, Listing, Stat, StatKey, flatten, list};

use hash::{Hashed, hash_all};
use known::{Known, KnownFiles};

/// Lists and hashes one managed root, again and again.
#[derive(Debug)]
pub struct Scanner {
    root: Dir,
    filter: Arc<Filter>,
    managed: Managed,
    known: KnownFiles,
    last: Option<Last>,
    pass_count: u64,
}

/// The last pass.
#[derive(Debug)]
struct Last {
    snapshot: Arc<Snapshot>,
    /// Every time in it was old enough to be trusted, so that an equal listing is an equal tree.
    settled: bool,
}

/// What a pass found.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The tree.
    pub snapshot: Arc<Snapshot>,
    /// Files that were read.
    pub hashed_count: u64,
    /// Bytes that were read.
    pub hashed_len: u64,
}

impl Scanner {
    /// Makes a scanner of `root` under the filter that excludes nothing.
    pub fn new(root: Dir) -> Self {
        Self {
            root,
            filter: Arc::default(),
            managed: Managed::default(),
            known: KnownFiles::default(),
            last: None,
            pass_count: 0,
        }
    }

    /// Changes what is managed from the next pass on.
    pub fn configure(&mut self, filter: &Filter, managed: Managed) {
        if (&*self.filter, self.managed) != (filter, managed) {
            self.filter = Arc::new(filter.clone());
            self.managed = managed;
            self.last = None;
        }
    }

    /// Returns the root.
    pub const fn root(&self) -> &Dir {
        &self.root
    }

    /// Returns the last snapshot.
    pub fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.last.as_ref().map(|last| &last.snapshot)
    }

    /// Looks at the whole root once, with `threads` threads for hashing.
    ///
    /// # Errors
    /// When the root cannot be listed. What goes wrong with a single file is in the snapshot.
    pub fn pass(&mut self, threads: NonZeroUsize) -> Result<Pass, FsError> {
        let now = known::now();
        let listing = list(&self.root, &self.filter, self.managed, &mut |_| {})?;
        let keys: Vec<(TreePath, StatKey)> =
            listing.entries.iter().map(|listed| (listed.path.clone(), listed.stat.key())).collect();
        let stale: Vec<&Listed> = self.stale(&listing, now);
        if let Some(last) = self.last.as_ref().filter(|last| last.settled)
            && stale.is_empty()
            && last.snapshot.unread().is_empty()
            && last.snapshot.keys() == keys
        {
            return Ok(Pass { snapshot: Arc::clone(&last.snapshot), hashed_count: 0, hashed_len: 0 });
        }
        self.pass_count += 1;
        let (mut hashed_len, mut errors) = (0, HashMap::new());
        let hashed_count = stale.len() as u64;
        for (listed, hashed) in hash_all(&self.root, &stale, threads) {
            let key = listed.stat.key();
            match hashed {
                Ok(Hashed { blob, size, holes }) => {
                    hashed_len += size;
                    self.known.put(&listed.stat, Known { key, blob, holes, settled: key.is_settled(now) });
                }
                Err(error) => {
                    self.known.forget(&listed.stat);
                    errors.insert(key, Arc::new(error));
                }
            }
        }
        self.known.keep_only(listing.entries.iter().filter(|listed| is_file(listed)).map(|listed| &listed.stat));
        let settled = keys.iter().all(|(_, key)| key.is_settled(now));
        let snapshot = Arc::new(self.snapshot_of(&listing, keys, &errors));
        self.last = Some(Last { snapshot: Arc::clone(&snapshot), settled });
        Ok(Pass { snapshot, hashed_count, hashed_len })
    }

    /// Reads the file at `path` again at the next pass, whatever its times say.
    pub fn distrust(&mut self, path: &TreePath) {
        if let Ok(stat) = self.root.stat_path(path) {
            self.known.forget(&stat);
        }
        if let Some(last) = &mut self.last {
            last.settled = false;
        }
    }

    /// Takes over what the deep scan read: a content that changed although nothing else of the file did.
    ///
    /// Returns whether the content is another one than was known.
    fn correct(&mut self, stat: &Stat, hashed: Hashed) -> bool {
        let Some(known) = self.known.get(stat) else { return false };
        if known.blob == hashed.blob && known.holes == hashed.holes {
            return false;
        }
        self.known.put(stat, Known { key: stat.key(), blob: hashed.blob, holes: hashed.holes, settled: true });
        if let Some(last) = &mut self.last {
            last.settled = false;
        }
        true
    }

    /// Returns one name of each file whose content is not known.
    fn stale<'l>(&self, listing: &'l Listing, now: Mtime) -> Vec<&'l Listed> {
        let mut seen = HashSet::new();
        let files = listing.entries.iter().filter(|listed| is_file(listed));
        files
            .filter(|listed| self.known.get(&listed.stat).is_none_or(|known| known.is_due(now)))
            .filter(|listed| listed.stat.nlink <= 1 || seen.insert((listed.stat.dev, listed.stat.ino)))
            .collect()
    }

    fn snapshot_of(
        &self,
        listing: &Listing,
        keys: Vec<(TreePath, StatKey)>,
        errors: &HashMap<StatKey, Arc<FsError>>,
    ) -> Snapshot {
        let mut unread = Vec::new();
        let flat = flatten(listing, |listed| {
            let (blob, holes) = match self.known.get(&listed.stat) {
                Some(known) if self.managed.holes => (known.blob, known.holes.clone()),
                Some(known) => (known.blob, Vec::new()),
                None => {
                    let error = errors.get(&listed.stat.key()).map(Arc::clone);
                    let error = error.unwrap_or_else(|| Arc::new(FsError::Unstable { path: listed.path.clone() }));
                    unread.push(Unread { path: listed.path.clone(), error });
                    (snapshot::nothing(&listed.path, self.pass_count), Vec::new())
                }
            };
            Some((blob, listed.stat.size, holes))
        });
        let unmanaged = listing.entries.iter().filter(|listed| is_unmanaged(listed)).map(|listed| listed.path.clone());
        let last = self.last.as_ref().map(|last| &*last.snapshot);
        Snapshot::new((Arc::clone(&self.filter), self.managed), flat, keys, unmanaged.collect(), unread, last)
    }
}

fn is_file(listed: &Listed) -> bool {
    matches!(listed.found, Found::File(_))
}

fn is_unmanaged(listed: &Listed) -> bool {
    matches!(listed.found, Found::Socket | Found::ForeignMount(None) | Found::Beyond(_))
}
