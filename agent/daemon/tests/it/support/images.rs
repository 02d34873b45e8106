//! Images in memory, made from directories without the engine of a store.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use dominator_store_core::{
    BlobId, ChunkId, Filter, Image, ImageId, Managed, ObjectId, ObjectKind, Profile, Recipe, RecipeChunk,
    RecordEncoder, TreeId, Trigger,
};

use super::capture;

/// Every object of some images, as records.
#[derive(Default)]
pub(crate) struct Images {
    pub(crate) records: HashMap<ObjectId, Vec<u8>>,
    pub(crate) recipes: HashMap<BlobId, ObjectId>,
}

/// One image, as a directive names it.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) name: String,
    pub(crate) id: ImageId,
    pub(crate) encoded: Vec<u8>,
    pub(crate) root: TreeId,
}

impl Images {
    pub(crate) fn publish(&mut self, name: &str, dir: &Path) -> Published {
        self.publish_with(name, dir, Filter::default(), Vec::new())
    }

    pub(crate) fn publish_with(&mut self, name: &str, dir: &Path, filter: Filter, triggers: Vec<Trigger>) -> Published {
        let tree = capture(dir, &filter);
        let root = tree.encode(&mut |_, bytes| self.put(ObjectKind::Tree, &bytes)).expect("tree");
        let mut content_len = 0;
        for (path, item) in &tree.items {
            let Some((blob, size)) = item.blob() else { continue };
            content_len += size;
            if size > 0 {
                let bytes = std::fs::read(dir.join(os_path(path.as_bytes()))).expect("file");
                assert_eq!(BlobId::of(&bytes), blob);
                self.put_blob(&bytes);
            }
        }
        let image = Image {
            root,
            managed: Managed::default(),
            filter,
            triggers,
            entry_count: tree.items.len() as u64,
            content_len,
            created_ms: 1,
            created_by: "test".to_owned(),
            tags: BTreeMap::new(),
        };
        Published { name: name.to_owned(), id: image.id(), encoded: image.encode(), root }
    }

    /// Serves a recipe of `blob` that names its chunks in another order.
    pub(crate) fn put_lying_recipe(&mut self, blob: BlobId) {
        let record = &self.records[&self.recipes[&blob]];
        let record = dominator_store_core::Record::parse(record).expect("record");
        let recipe = dominator_store_core::RecordDecoder::new().open(&record).expect("recipe");
        let mut chunks = Recipe::decode(&recipe).expect("recipe").chunks().to_vec();
        chunks.reverse();
        let lie = Recipe::new(blob, &Profile::default_profile(), chunks).expect("recipe");
        self.put(ObjectKind::Recipe, &lie.encode());
        self.recipes.insert(blob, lie.id().into());
    }

    fn put_blob(&mut self, bytes: &[u8]) {
        let profile = Profile::default_profile();
        let chunks: Vec<&[u8]> = profile.chunks(bytes).collect();
        for chunk in &chunks {
            self.put(ObjectKind::Chunk, chunk);
        }
        if chunks.len() > 1 {
            let row =
                |chunk: &&[u8]| RecipeChunk { id: ChunkId::of(chunk), len: u32::try_from(chunk.len()).expect("len") };
            let recipe = Recipe::new(BlobId::of(bytes), &profile, chunks.iter().map(row).collect()).expect("recipe");
            self.put(ObjectKind::Recipe, &recipe.encode());
            self.recipes.insert(recipe.blob(), recipe.id().into());
        }
    }

    fn put(&mut self, kind: ObjectKind, bytes: &[u8]) {
        let mut record = Vec::new();
        RecordEncoder::new(1).encode(kind, bytes, &mut record).expect("record");
        self.records.insert(ObjectId::of(kind, bytes), record);
    }
}

fn os_path(bytes: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(bytes)
}
