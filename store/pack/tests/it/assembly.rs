//! Only exactly the blob is assembled, whatever recipes and sources say.

use std::collections::HashMap;

use dominator_store_core::{BlobId, ChunkId, ObjectId, Profile, Recipe, RecipeChunk};
use dominator_store_pack::{AssembleError, ObjectSource, SourceError, assemble};

use crate::support::bytes;

#[derive(Default)]
struct Memory {
    objects: HashMap<ObjectId, Vec<u8>>,
    recipes: HashMap<BlobId, Recipe>,
}

impl ObjectSource for Memory {
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError> {
        Ok(self.objects.get(&id).cloned())
    }

    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError> {
        Ok(self.recipes.get(&blob).cloned())
    }
}

impl Memory {
    fn add(&mut self, chunk: &[u8]) -> RecipeChunk {
        let id = ChunkId::of(chunk);
        self.objects.insert(id.into(), chunk.to_vec());
        RecipeChunk { id, len: chunk.len() as u32 }
    }

    fn add_recipe(&mut self, blob: BlobId, chunks: Vec<RecipeChunk>) {
        self.recipes.insert(blob, Recipe::new(blob, &Profile::default_profile(), chunks).expect("recipe"));
    }
}

fn run(memory: &Memory, blob: BlobId, size: u64) -> Result<Vec<u8>, AssembleError> {
    let mut out = Vec::new();
    assemble(memory, blob, size, &mut out).map(|()| out)
}

#[test]
fn blobs_of_none_one_and_many_chunks_are_assembled() {
    let mut memory = Memory::default();
    assert_eq!(run(&memory, BlobId::of(b""), 0).expect("empty"), b"");
    for len in [1, 16 * 1024, 16 * 1024 + 1, 1_000_000] {
        let content = bytes(2, len);
        let blob = BlobId::of(&content);
        let chunks: Vec<_> = Profile::default_profile().chunks(&content).map(|chunk| memory.add(chunk)).collect();
        if chunks.len() > 1 {
            memory.add_recipe(blob, chunks);
        }
        assert_eq!(run(&memory, blob, len as u64).expect("blob"), content);
        assert!(matches!(run(&memory, blob, len as u64 + 1), Err(AssembleError::Wrong { .. })));
    }
}

#[test]
fn what_is_missing_is_named() {
    let mut memory = Memory::default();
    let content = bytes(2, 40_000);
    let blob = BlobId::of(&content);
    let single = ObjectId::from(blob.single_chunk());
    assert!(matches!(run(&memory, blob, 40_000), Err(AssembleError::Absent { object, .. }) if object == single));
    let (left, right) = content.split_at(20_000);
    let chunks = vec![memory.add(left), memory.add(right)];
    let lacked = ObjectId::from(chunks[1].id);
    memory.add_recipe(blob, chunks);
    memory.objects.remove(&lacked);
    assert!(matches!(run(&memory, blob, 40_000), Err(AssembleError::Absent { object, .. }) if object == lacked));
}

#[test]
fn a_forged_recipe_is_found() {
    let mut memory = Memory::default();
    let content = bytes(2, 40_000);
    let blob = BlobId::of(&content);
    let (left, right) = content.split_at(20_000);
    let chunks = vec![memory.add(right), memory.add(left)];
    memory.add_recipe(blob, chunks);
    assert!(matches!(run(&memory, blob, 40_000), Err(AssembleError::Wrong { .. })));
    // A recipe filed under another blob, and one that lies about the length of a chunk.
    let other = memory.recipes[&blob].clone();
    memory.recipes.insert(BlobId::of(b"other"), other);
    assert!(matches!(run(&memory, BlobId::of(b"other"), 40_000), Err(AssembleError::Wrong { .. })));
    let mut lying = vec![memory.add(left), memory.add(right)];
    lying[0].len -= 1;
    lying[1].len += 1;
    memory.add_recipe(blob, lying);
    assert!(matches!(run(&memory, blob, 40_000), Err(AssembleError::Wrong { .. })));
}

#[test]
fn nothing_is_not_a_blob_of_some_size() {
    let memory = Memory::default();
    assert!(run(&memory, BlobId::of(b""), 1).is_err());
    assert!(run(&memory, BlobId::of(b"x"), 0).is_err());
}
