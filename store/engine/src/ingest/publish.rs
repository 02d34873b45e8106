//! Publishing a directory into a store of this machine.
//!
//! Owns the whole way from a directory to a visible image. Invariants: an image is visible only after every object of it
//! is durable; publishing what the name stands for already is no error and changes nothing.
//!
//! Publishing through a server is `prepare` here and `upload` there.

use std::path::Path;

use dominator_store_core::{
    BlobId, ChunkId, FlatTree, Image, ImageId, ImageName, ObjectId, Recipe, RecordEncoder, TreeId, TreePath,
};
use dominator_store_fs::Skipped;

use super::{
    Progress, PublishOptions,
    file::{Piece, Sink},
    survey::{Survey, survey},
};
use crate::{
    Error, Store,
    error::Result,
    session::{Added, Session},
};

/// What a publish did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The image that the name stands for.
    pub image: ImageId,
    /// Its tree.
    pub root: TreeId,
    /// Number of paths in the tree, the root included.
    pub entry_count: u64,
    /// Sum of the sizes of its files in bytes.
    pub content_len: u64,
    /// Objects that were added to the store.
    pub new_object_count: u64,
    /// Bytes that were added to the store, compressed.
    pub new_stored_len: u64,
    /// Whether the name is new; if not, it stood for this image already.
    pub added: bool,
    /// What was left out of the tree although the filter manages it.
    pub skipped: Vec<(TreePath, Skipped)>,
}

impl Store {
    /// Publishes the directory `tree` under `name`.
    ///
    /// Without a creation time in `options`, a name that stands for an image which is equal but for that time is left as
    /// it is.
    ///
    /// # Errors
    /// `Conflict` or `NameUsed` if the name is taken, `Fs(Unstable)` if a file keeps changing, or why files cannot be
    /// read or written. Nothing is visible then.
    pub fn publish_tree(
        &self,
        name: &ImageName,
        tree: &Path,
        options: &PublishOptions,
        progress: &Progress,
    ) -> Result<Published> {
        let session = Session::new(self.inner.clone())?;
        let sink = SessionSink { session: &session, zstd_level: self.zstd_level() };
        let Survey { tree, skipped, content_len, .. } = survey(tree, self.profile(), options, progress, &sink)?;
        let (mut encoder, _) = sink.worker();
        let mut records = Vec::new();
        let root = encode_trees(&tree, &mut |id, raw| {
            if session.claim(id)? {
                records.push(record(&mut encoder, id, &raw)?);
            }
            Ok(())
        })?;
        let mut image = options.image(root, tree.items.len() as u64, content_len);
        if options.created_ms.is_none()
            && let Some(existing) = self.inner.objects.index.event(name)?
        {
            let earlier = Image { created_ms: existing.created_ms, ..image.clone() };
            if earlier.id() == existing.image {
                image = earlier;
            }
        }
        let (id, encoded) = (image.id(), image.encode());
        self.inner.check_name(name, id)?;
        if session.claim(id.into())? {
            records.push(record(&mut encoder, id.into(), &encoded)?);
        }
        let Added { object_count, stored_len } = session.finish(records)?;
        let added = self.inner.publish(name, id, &image)?;
        Ok(Published {
            image: id,
            root,
            entry_count: image.entry_count,
            content_len,
            new_object_count: object_count,
            new_stored_len: stored_len,
            added,
            skipped,
        })
    }
}

/// Encodes every directory of a tree; stops at the first error of `emit`.
pub(super) fn encode_trees(tree: &FlatTree, emit: &mut dyn FnMut(ObjectId, Vec<u8>) -> Result<()>) -> Result<TreeId> {
    let mut emitted = Ok(());
    let root = tree.encode(&mut |id, raw| {
        if emitted.is_ok() {
            emitted = emit(id.into(), raw);
        }
    })?;
    emitted.map(|()| root)
}

/// Makes the record of an object.
pub(super) fn record(encoder: &mut RecordEncoder, id: ObjectId, raw: &[u8]) -> Result<Vec<u8>> {
    let mut record = Vec::new();
    encoder.encode_known(id, raw, &mut record).map_err(Error::Refused)?;
    Ok(record)
}

/// Stores what ingest finds.
struct SessionSink<'a> {
    session: &'a Session,
    zstd_level: i32,
}

impl Sink for SessionSink<'_> {
    /// The buffer is kept, because a fresh one for every chunk costs page faults.
    type Worker = (RecordEncoder, Vec<u8>);

    fn worker(&self) -> Self::Worker {
        (RecordEncoder::new(self.zstd_level), Vec::new())
    }

    fn has_recipe(&self, blob: BlobId) -> Result<bool> {
        self.session.has_recipe(blob)
    }

    fn claim(&self, id: ChunkId) -> Result<bool> {
        self.session.claim(id.into())
    }

    fn put_chunk(&self, (encoder, buf): &mut Self::Worker, id: ChunkId, raw: &[u8], _: Piece) -> Result<()> {
        buf.clear();
        encoder.encode_known(id.into(), raw, buf).map_err(Error::Refused)?;
        self.session.append(buf)
    }

    fn put_recipe(&self, (encoder, _): &mut Self::Worker, recipe: &Recipe) -> Result<()> {
        let raw = recipe.encode();
        let id = recipe.id();
        if self.session.claim(id.into())? {
            self.session.keep_recipe(id, recipe.blob(), record(encoder, id.into(), &raw)?)?;
        }
        Ok(())
    }
}
