//! What a fetch brought, and the blobs that can be made of it.
//!
//! Owns `Content`, the result of a fetch, and `Provider`, which writes a blob from wherever its bytes are. Invariants: what
//! is written without an error has the blob's digest; a file that served as a source and proved to have changed is told
//! to the scan.
//!
//! Does not place files (`apply`) or fetch what is not here.

use std::{
    collections::HashSet,
    io::{self, Read, Write},
    sync::Arc,
};

use dominator_store_core::{BlobHasher, BlobId, ChunkId, ImageId, ObjectId, ObjectKind, Recipe, TreePath};
use dominator_store_fs::Dir;
use dominator_store_pack::{Cache, ObjectSource, SourceError, assemble};
use parking_lot::Mutex;

use super::{
    seed::Ranges,
    wire::{Cut, known_cut},
};
use crate::{
    apply::Blobs,
    scan::{Objects, Snapshot},
};

/// Everything that an image needs beyond the files of the machine is here.
#[derive(Debug)]
pub struct Content {
    /// The image.
    pub image: ImageId,
    /// Chunks in files that the image replaces.
    pub ranges: Ranges,
    /// Tree objects of the scan that the fetch was made against.
    pub objects: Arc<Objects>,
    /// Objects in the cache that the image needs.
    pub pins: HashSet<ObjectId>,
    /// Blobs whose recipe proved to be wrong; the fetcher has it too.
    pub(super) distrusted: Arc<Mutex<HashSet<BlobId>>>,
}

impl Content {
    /// Makes the content of an image that needs nothing but what is in `objects`.
    #[cfg(test)]
    pub(crate) fn nothing(image: ImageId, objects: Arc<Objects>) -> Self {
        Self { image, ranges: Ranges::default(), objects, pins: HashSet::new(), distrusted: Arc::default() }
    }

    /// Asks for the recipe of `blob` again at the next fetch, because the one in the cache assembled something else.
    pub fn distrust(&self, blob: BlobId) {
        self.distrusted.lock().insert(blob);
    }
}

/// Writes blobs from files of the machine, the cache and ranges of files that will be replaced.
#[derive(Debug)]
pub struct Provider {
    root: Arc<Dir>,
    snapshot: Arc<Snapshot>,
    content: Arc<Content>,
    cache: Arc<Cache>,
    /// Files that had other bytes than the scan says.
    changed_seeds: Mutex<Vec<TreePath>>,
}

impl Provider {
    /// Makes a provider for one update.
    pub fn new(root: Arc<Dir>, snapshot: Arc<Snapshot>, content: Arc<Content>, cache: Arc<Cache>) -> Self {
        Self { root, snapshot, content, cache, changed_seeds: Mutex::default() }
    }

    /// Returns the objects that are lacking for these blobs, without reading them.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn lacking(&self, blobs: &[(BlobId, u64)]) -> Result<Vec<ObjectId>, SourceError> {
        let mut lacking = Vec::new();
        for &(blob, size) in blobs {
            if size == 0 || self.snapshot.seed(blob).is_some() {
                continue;
            }
            let here = |chunk: ChunkId| self.cache.has(chunk.into()) || self.content.ranges.has(chunk);
            match known_cut(&self.cache, blob, size)? {
                Some(Cut::Chunks(recipe)) => {
                    let chunks = recipe.chunks().iter().filter(|chunk| !here(chunk.id));
                    lacking.extend(chunks.map(|chunk| ObjectId::from(chunk.id)));
                }
                Some(Cut::Single) if here(blob.single_chunk()) => {}
                Some(Cut::Single) | None => lacking.push(blob.single_chunk().into()),
            }
        }
        Ok(lacking)
    }

    /// Returns the files that had other bytes than the scan says, since the last time.
    pub fn take_changed_seeds(&self) -> Vec<TreePath> {
        std::mem::take(&mut *self.changed_seeds.lock())
    }

    /// Copies a file of the machine that has the blob; says whether one did.
    fn copy_seed(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<bool> {
        let Some(seed) = self.snapshot.seed(blob) else { return Ok(false) };
        // A file that visibly changed costs nothing to skip; one that did so invisibly is found while copying.
        let unchanged = self.root.stat_path(seed.path).is_ok_and(|stat| stat.key() == seed.key);
        let Some(file) = unchanged.then(|| self.root.open_file_path(seed.path).ok()).flatten() else {
            return Ok(false);
        };
        if copy(file, size, out)? == (blob, size) {
            return Ok(true);
        }
        self.changed_seeds.lock().push(seed.path.clone());
        tracing::warn!(path = %seed.path, blob = %blob, "file does not have the content that it had when it was scanned");
        Err(io::Error::other(SeedChanged { path: seed.path.clone(), blob }))
    }
}

/// A file proved to have another content while it was copied.
#[derive(Debug, thiserror::Error)]
#[error("{path} no longer holds blob {blob}")]
pub struct SeedChanged {
    /// The file.
    pub path: TreePath,
    /// What it should have held.
    pub blob: BlobId,
}

fn copy(file: std::fs::File, size: u64, out: &mut dyn Write) -> io::Result<(BlobId, u64)> {
    let (mut file, mut hasher, mut copied_len) = (file.take(size), BlobHasher::new(), 0);
    let mut buf = vec![0; COPY_BUF_LEN];
    loop {
        let len = file.read(&mut buf)?;
        let Some(piece) = buf.get(..len).filter(|piece| !piece.is_empty()) else {
            return Ok((hasher.finish(), copied_len));
        };
        hasher.update(piece);
        out.write_all(piece)?;
        copied_len += len as u64;
    }
}

/// Buffer for copying a file.
const COPY_BUF_LEN: usize = 256 * 1024;

impl Blobs for Provider {
    fn write_blob(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        if self.copy_seed(blob, size, out)? {
            return Ok(());
        }
        assemble(self, blob, size, out).map_err(io::Error::other)
    }
}

impl ObjectSource for Provider {
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError> {
        if let Some(bytes) = self.cache.object(id)? {
            return Ok(Some(bytes));
        }
        if id.kind != ObjectKind::Chunk {
            return Ok(None);
        }
        Ok(self.content.ranges.read(&self.root, ChunkId::new(id.digest)))
    }

    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError> {
        self.cache.recipe(blob)
    }
}
