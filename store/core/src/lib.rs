//! The identities and formats of the store, without any IO.
//!
//! Owns digests and ids, names and paths, trees, recipes, images, filters, triggers, the chunking profile and the
//! record codec, each with the canonical encoding that `spec/` defines. Invariants: an id is always over encoded bytes;
//! a decoder refuses what is not canonical, consumes everything, bounds every allocation and never panics.
//!
//! Does not read or write files (`store/fs`, `store/pack`), keep an index (`store/engine`) or talk to peers
//! (`protocol/core`).

mod digest;

pub use digest::{
    BlobHasher, BlobId, ChunkId, DIGEST_LEN, Digest, ImageId, ObjectId, ObjectKind, ParseDigestError, RecipeId, TreeId,
};
