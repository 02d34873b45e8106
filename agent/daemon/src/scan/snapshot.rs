//! A snapshot: one consistent view of the managed root.
//!
//! Owns the flat tree, its encoded objects and the ways back from a content or a path to a file. Invariants: immutable;
//! the objects are exactly those of the root; a seed names a file that had that content when it was last read.
//!
//! Does not read the root again: whoever uses a seed verifies what it reads.

use std::{collections::HashMap, sync::Arc};

use dominator_store_core::{BlobId, Digest, Filter, FlatTree, Managed, TreeId, TreePath};
use dominator_store_fs::{FsError, StatKey};

/// One view of the managed root.
#[derive(Debug)]
pub struct Snapshot {
    filter: Arc<Filter>,
    managed: Managed,
    flat: Arc<FlatTree>,
    objects: Arc<Objects>,
    keys: Vec<(TreePath, StatKey)>,
    seeds: HashMap<BlobId, usize>,
    unmanaged: Vec<TreePath>,
    unread: Vec<Unread>,
}

/// The encoded tree objects of one root.
#[derive(Debug)]
pub struct Objects {
    root: TreeId,
    encoded: HashMap<TreeId, Arc<[u8]>>,
}

/// A file whose content is wanted elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Seed<'s> {
    /// Where it lies.
    pub path: &'s TreePath,
    /// What it looked like when it was read.
    pub key: StatKey,
}

/// A file that could not be read as a whole.
#[derive(Debug, Clone)]
pub struct Unread {
    /// Where it lies.
    pub path: TreePath,
    /// What went wrong.
    pub error: Arc<FsError>,
}

impl Snapshot {
    pub(super) fn new(
        (filter, managed): (Arc<Filter>, Managed),
        flat: FlatTree,
        keys: Vec<(TreePath, StatKey)>,
        unmanaged: Vec<TreePath>,
        unread: Vec<Unread>,
        last: Option<&Self>,
    ) -> Self {
        let (flat, objects) = match last.filter(|last| *last.flat == flat) {
            Some(last) => (Arc::clone(&last.flat), Arc::clone(&last.objects)),
            None => {
                let objects = Objects::encode(&flat, last.map(|last| &*last.objects));
                (Arc::new(flat), Arc::new(objects))
            }
        };
        let mut seeds = HashMap::new();
        for (pos, (_, item)) in flat.items.iter().enumerate() {
            if let Some((blob, size)) = item.blob()
                && size > 0
            {
                seeds.entry(blob).or_insert(pos);
            }
        }
        Self { filter, managed, flat, objects, keys, seeds, unmanaged, unread }
    }

    /// Returns the id of the root.
    pub fn root(&self) -> TreeId {
        self.objects.root
    }

    /// Says whether the snapshot was taken under this filter and these managed metadata.
    pub fn is_under(&self, filter: &Filter, managed: Managed) -> bool {
        *self.filter == *filter && self.managed == managed
    }

    /// Returns the whole tree.
    pub fn flat(&self) -> &FlatTree {
        &self.flat
    }

    /// Returns the encoded objects of the tree.
    pub fn objects(&self) -> &Arc<Objects> {
        &self.objects
    }

    /// Returns what lies inside managed directories without being managed: sockets, mounts, what no format can hold.
    pub fn unmanaged(&self) -> &[TreePath] {
        &self.unmanaged
    }

    /// Returns the files that could not be read; each has a content in the tree that equals no other.
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }

    /// Finds a file with this content.
    pub fn seed(&self, blob: BlobId) -> Option<Seed<'_>> {
        let (path, _) = self.flat.items.get(*self.seeds.get(&blob)?)?;
        Some(Seed { path, key: self.key(path)? })
    }

    /// Returns what the entry at `path` looked like.
    pub fn key(&self, path: &TreePath) -> Option<StatKey> {
        key_of(&self.keys, path)
    }

    pub(super) fn keys(&self) -> &[(TreePath, StatKey)] {
        &self.keys
    }
}

impl Objects {
    fn encode(flat: &FlatTree, last: Option<&Self>) -> Self {
        let mut encoded: HashMap<TreeId, Arc<[u8]>> = HashMap::new();
        let root = flat.encode(&mut |id, bytes| {
            let known = last.and_then(|last| last.encoded.get(&id));
            encoded.insert(id, known.map_or_else(|| bytes.into(), Arc::clone));
        });
        // A listing is a tree by construction: parents are listed before what is in them, names are unique.
        Self { root: root.expect("a listing is a tree"), encoded }
    }

    /// Returns the id of the root.
    pub const fn root(&self) -> TreeId {
        self.root
    }

    /// Returns one encoded object.
    pub fn get(&self, id: TreeId) -> Option<&Arc<[u8]>> {
        self.encoded.get(&id)
    }
}

/// Finds a path in a list in path order.
pub(super) fn key_of(keys: &[(TreePath, StatKey)], path: &TreePath) -> Option<StatKey> {
    let pos = keys.binary_search_by(|(at, _)| at.cmp(path)).ok()?;
    keys.get(pos).map(|(_, key)| *key)
}

/// Returns a content that no file has, for a file that could not be read in the given pass.
pub(super) fn nothing(path: &TreePath, pass_count: u64) -> BlobId {
    let bytes = [path.as_bytes(), &[0], &pass_count.to_le_bytes()].concat();
    BlobId::new(Digest::derive("dominator 2026-11 unread file v1", &bytes))
}
