//! The trees that are here: those of our own scans and those in the cache.
//!
//! Owns the look-up of tree objects and the reading of an image's whole tree from them. Invariants: an object has its
//! digest, wherever it comes from; reading is bounded, whatever a tree says about itself.
//!
//! Does not fetch what is not here (`need`).

use std::{collections::HashMap, sync::Arc};

use dominator_store_core::{
    BlobId, Directory, FlatTree, ReadTreeError, TreeId, TreeObject, TreePath, diff, read_directory, walk,
};
use dominator_store_pack::Cache;

use super::TreeError;
use crate::{limits::TREE_ENTRY_COUNT_MAX, scan::Objects, state::NamedImage};

/// Tree objects that are here.
#[derive(Debug, Clone)]
pub struct LocalTrees {
    scans: Vec<Arc<Objects>>,
    cache: Arc<Cache>,
}

/// A blob that the machine lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// Its size.
    pub(super) size: u64,
    /// The file that it replaces, which may hold some of its chunks.
    pub(super) base: Option<TreePath>,
}

impl LocalTrees {
    /// Looks into the objects of `scans` and into the cache.
    pub fn new(scans: Vec<Arc<Objects>>, cache: Arc<Cache>) -> Self {
        Self { scans, cache }
    }

    /// Says whether the object is part of one of our scans, and then everything below it is too.
    pub(super) fn is_scanned(&self, id: TreeId) -> bool {
        self.scans.iter().any(|objects| objects.get(id).is_some())
    }

    /// Returns an encoded tree object.
    ///
    /// # Errors
    /// `Absent` if it is not here.
    pub fn object(&self, id: TreeId) -> Result<Vec<u8>, TreeError> {
        if let Some(bytes) = self.scans.iter().find_map(|objects| objects.get(id)) {
            return Ok(bytes.to_vec());
        }
        self.cache.get(id.into()).map_err(TreeError::Cache)?.ok_or(TreeError::Absent(id))
    }

    /// Returns the objects that a tree object refers to.
    pub(super) fn children(&self, image: &NamedImage, id: TreeId) -> Result<Vec<TreeId>, TreeError> {
        let object = TreeObject::decode(&self.object(id)?);
        let object = object.map_err(|source| TreeError::Invalid { image: image.id, source: Box::new(source) })?;
        Ok(object.children().collect())
    }

    /// Reads the whole tree of an image.
    ///
    /// # Errors
    /// `Absent` for the first object that is not here; `Invalid` and `TooLarge` for a tree that no machine can be.
    pub fn flat(&self, image: &NamedImage) -> Result<FlatTree, TreeError> {
        let mut items = Vec::new();
        let entry_count_max = image.image.entry_count.min(TREE_ENTRY_COUNT_MAX);
        walk(image.image.root, entry_count_max, &mut |id| self.directory(id), &mut |path, item| {
            items.push((path, item));
        })
        .map_err(|error| tree_error(image, error))?;
        // A walk visits siblings in order of their names, which is the order of paths.
        Ok(FlatTree { items })
    }

    /// Finds the blobs of the image's tree for which `has` says no, by comparing with the tree `from`; in tree order.
    pub(super) fn lacks(
        &self,
        image: &NamedImage,
        from: TreeId,
        has: impl Fn(BlobId) -> bool,
    ) -> Result<Vec<(BlobId, Lack)>, TreeError> {
        let (mut lacks, mut known): (Vec<(BlobId, Lack)>, HashMap<BlobId, usize>) = Default::default();
        let entry_count_max = 2 * TREE_ENTRY_COUNT_MAX;
        let mut entry_count = 0;
        let mut get = |id| {
            let directory = self.directory(id)?;
            entry_count += 1 + directory.entries().len() as u64;
            if entry_count > entry_count_max {
                return Err(ReadTreeError::TooLarge(entry_count_max));
            }
            Ok(directory)
        };
        diff(Some(from), Some(image.image.root), &mut get, &mut |difference| {
            let Some((blob, size)) = difference.new.as_ref().and_then(|item| item.blob()) else { return };
            if size == 0 || has(blob) {
                return;
            }
            let is_base = difference.old.as_ref().and_then(|item| item.blob()).is_some_and(|(_, size)| size > 0);
            let pos = *known.entry(blob).or_insert_with(|| {
                lacks.push((blob, Lack { size, base: None }));
                lacks.len() - 1
            });
            if let Some((_, lack)) = lacks.get_mut(pos).filter(|(_, lack)| is_base && lack.base.is_none()) {
                lack.base = Some(difference.path);
            }
        })
        .map_err(|error| tree_error(image, error))?;
        Ok(lacks)
    }

    fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<TreeError>> {
        read_directory(id, &mut |id| self.object(id))
    }
}

fn tree_error(image: &NamedImage, error: ReadTreeError<TreeError>) -> TreeError {
    match error {
        ReadTreeError::Source(_, error) => error,
        ReadTreeError::TooLarge(limit) => TreeError::TooLarge { image: image.id, what: "entries", limit },
        error => TreeError::Invalid { image: image.id, source: Box::new(error) },
    }
}
