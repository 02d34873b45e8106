//! What is known about files that were read before.
//!
//! Owns the map from an inode to the content that was found under its key. Invariant: a content found while the times of
//! its file were too young to tell a later write is read once more when they are old enough.
//!
//! Does not read files (`hash`).

use std::{
    collections::{HashMap, HashSet},
    time::{SystemTime, UNIX_EPOCH},
};

use dominator_store_core::{BlobId, Hole, Mtime};
use dominator_store_fs::{Stat, StatKey};

/// One file that was read.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// What the file looked like when it was read.
    pub(super) key: StatKey,
    /// Its content.
    pub(super) blob: BlobId,
    /// Its holes, whether they are managed or not.
    pub(super) holes: Vec<Hole>,
    /// The times were old enough when reading began.
    pub(super) settled: bool,
}

impl Known {
    /// Says whether the file must be read once more.
    pub(super) fn is_due(&self, now: Mtime) -> bool {
        !self.settled && self.key.is_settled(now)
    }
}

/// Everything that was read, by device and inode, so that hard links are read once.
#[derive(Debug, Default)]
pub(super) struct KnownFiles(HashMap<Inode, Known>);

/// Device and inode.
type Inode = (u32, u32, u64);

fn inode(stat: &Stat) -> Inode {
    (stat.dev.major, stat.dev.minor, stat.ino)
}

impl KnownFiles {
    /// Returns what is known, unless the file changed since.
    pub(super) fn get(&self, stat: &Stat) -> Option<&Known> {
        self.0.get(&inode(stat)).filter(|known| known.key == stat.key())
    }

    pub(super) fn put(&mut self, stat: &Stat, known: Known) {
        self.0.insert(inode(stat), known);
    }

    /// Forgets a file that could not be read any more.
    pub(super) fn forget(&mut self, stat: &Stat) {
        self.0.remove(&inode(stat));
    }

    /// Forgets files that are gone.
    pub(super) fn keep_only<'s>(&mut self, stats: impl Iterator<Item = &'s Stat>) {
        let seen: HashSet<Inode> = stats.map(inode).collect();
        self.0.retain(|inode, _| seen.contains(inode));
    }
}

/// Returns the time of the clock that file systems stamp with.
pub(super) fn now() -> Mtime {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Mtime { seconds: i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX), nanoseconds: elapsed.subsec_nanos() }
}
