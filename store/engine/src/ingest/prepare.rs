//! A directory as the objects of an image, without a store: what a client of a server publishes.
//!
//! Owns `PreparedTree`. Invariant: `record` returns an object only if the bytes read for it still have its digest, so a
//! file that changed since cannot make a wrong object.
//!
//! Does not talk to the server: the caller offers `ids`, sends the records that are wanted, and commits `image_id`.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    os::unix::fs::FileExt,
    path::Path,
};

use dominator_store_core::{BlobId, ChunkId, Image, ImageId, ObjectId, Profile, Recipe, RecordEncoder, TreePath};
use dominator_store_fs::{Dir, FsError, Skipped};
use parking_lot::Mutex;

use super::{
    Progress, PublishOptions,
    file::{Piece, Sink},
    publish::{encode_trees, record},
    survey::{Survey, survey},
};
use crate::{Error, error::Result};

/// The objects of an image, most of them still in the files of the directory.
pub struct PreparedTree {
    root: Dir,
    paths: Vec<TreePath>,
    chunks: HashMap<ObjectId, Piece>,
    others: HashMap<ObjectId, Vec<u8>>,
    ids: Vec<ObjectId>,
    image: Image,
    image_id: ImageId,
    zstd_level: i32,
    skipped: Vec<(TreePath, Skipped)>,
}

impl PreparedTree {
    /// Reads the directory `tree` once, cutting by `profile`, and keeps the ids of all its objects.
    ///
    /// # Errors
    /// `Fs(Unstable)` if a file keeps changing, or why files cannot be read.
    pub fn new(
        tree: &Path,
        profile: Profile,
        zstd_level: i32,
        options: &PublishOptions,
        progress: &Progress,
    ) -> Result<Self> {
        let sink = NoteSink::default();
        let Survey { root, tree, paths, skipped, content_len } = survey(tree, profile, options, progress, &sink)?;
        let Notes { chunks, recipes, mut ids, .. } = sink.0.into_inner();
        // What was read of a file before it changed belongs to no blob of the tree.
        let blobs: HashSet<BlobId> = tree.items.iter().filter_map(|(_, item)| Some(item.blob()?.0)).collect();
        let needed: HashSet<ObjectId> = recipes
            .iter()
            .filter(|recipe| blobs.contains(&recipe.blob()))
            .flat_map(|recipe| recipe.chunks().iter().map(|chunk| chunk.id.into()).chain([recipe.id().into()]))
            .chain(blobs.iter().map(|blob| blob.single_chunk().into()))
            .collect();
        ids.retain(|id| needed.contains(id));
        let mut others: HashMap<ObjectId, Vec<u8>> =
            recipes.into_iter().map(|recipe| (recipe.id().into(), recipe.encode())).collect();
        let root_id = encode_trees(&tree, &mut |id, raw| {
            if others.insert(id, raw).is_none() {
                ids.push(id);
            }
            Ok(())
        })?;
        let image = options.image(root_id, tree.items.len() as u64, content_len);
        let image_id = image.id();
        others.insert(image_id.into(), image.encode());
        ids.push(image_id.into());
        Ok(Self { root, paths, chunks, others, ids, image, image_id, zstd_level, skipped })
    }

    /// Returns the image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Returns the image's id.
    pub fn image_id(&self) -> ImageId {
        self.image_id
    }

    /// Returns every object of the image once: chunks, recipes, trees, the image last.
    pub fn ids(&self) -> &[ObjectId] {
        &self.ids
    }

    /// Returns what was left out of the tree although the filter manages it.
    pub fn skipped(&self) -> &[(TreePath, Skipped)] {
        &self.skipped
    }

    /// Makes the record of an object; a chunk is read again. Several threads may do so at once.
    ///
    /// # Errors
    /// `Absent` if it is none of the image's objects, `Fs(Unstable)` if the file changed since.
    pub fn record(&self, id: ObjectId) -> Result<Vec<u8>> {
        if let Some(raw) = self.others.get(&id) {
            return self.encode(id, raw);
        }
        let piece = self.chunks.get(&id).ok_or(Error::Absent { object: id })?;
        let path = self.paths.get(piece.file).ok_or(Error::Absent { object: id })?;
        let unstable = || FsError::Unstable { path: path.clone() };
        let file = self.root.open_file_path(path)?;
        let mut raw = vec![0; piece.len as usize];
        file.read_exact_at(&mut raw, piece.offset).map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => unstable(),
            _ => FsError::Io { operation: "read", path: path.clone(), source },
        })?;
        if ObjectId::of(id.kind, &raw) != id {
            return Err(unstable().into());
        }
        self.encode(id, &raw)
    }

    fn encode(&self, id: ObjectId, raw: &[u8]) -> Result<Vec<u8>> {
        thread_local! {
            static ENCODER: RefCell<Option<(i32, RecordEncoder)>> = const { RefCell::new(None) };
        }
        ENCODER.with_borrow_mut(|kept| match kept {
            Some((level, encoder)) if *level == self.zstd_level => record(encoder, id, raw),
            _ => {
                let (_, encoder) = kept.insert((self.zstd_level, RecordEncoder::new(self.zstd_level)));
                record(encoder, id, raw)
            }
        })
    }
}

impl std::fmt::Debug for PreparedTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedTree").field("image", &self.image_id).finish_non_exhaustive()
    }
}

/// Notes where chunks are, and keeps recipes.
#[derive(Default)]
struct NoteSink(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    claimed: HashSet<ObjectId>,
    chunks: HashMap<ObjectId, Piece>,
    blobs: HashSet<BlobId>,
    recipes: Vec<Recipe>,
    ids: Vec<ObjectId>,
}

impl Sink for NoteSink {
    type Worker = ();

    fn worker(&self) {}

    fn has_recipe(&self, blob: BlobId) -> Result<bool> {
        Ok(self.0.lock().blobs.contains(&blob))
    }

    fn claim(&self, id: ChunkId) -> Result<bool> {
        Ok(self.0.lock().claimed.insert(id.into()))
    }

    fn put_chunk(&self, (): &mut (), id: ChunkId, _: &[u8], piece: Piece) -> Result<()> {
        let mut notes = self.0.lock();
        notes.ids.push(id.into());
        notes.chunks.insert(id.into(), piece);
        Ok(())
    }

    fn put_recipe(&self, (): &mut (), recipe: &Recipe) -> Result<()> {
        let mut notes = self.0.lock();
        if notes.blobs.insert(recipe.blob()) {
            notes.ids.push(recipe.id().into());
            notes.recipes.push(recipe.clone());
        }
        Ok(())
    }
}
