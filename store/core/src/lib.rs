//! The identities and formats of the store, without any IO.
//!
//! Owns digests and ids, names and paths, trees, recipes, images, filters, triggers, the chunking profile and the
//! record codec, each with the canonical encoding that `spec/` defines. Invariants: an id is always over encoded bytes;
//! a decoder refuses what is not canonical, consumes everything, bounds every allocation and never panics.
//!
//! Does not read or write files (`store/fs`, `store/pack`), keep an index (`store/engine`) or talk to peers
//! (`protocol/core`).

pub mod cbor;
mod digest;
mod filter;
mod image;
pub mod limits;
mod name;
mod pattern;
mod profile;
mod recipe;
mod record;
#[cfg(test)]
mod testing;
mod tree;
mod trigger;

pub use digest::{
    BlobHasher, BlobId, ChunkId, DIGEST_LEN, Digest, ImageId, ObjectId, ObjectKind, ParseDigestError, RecipeId, TreeId,
};
pub use filter::{Action, Filter, FilterError, PRIVATE_DIR, Rule};
pub use image::{Image, ImageName, ImageNameError, Managed};
pub use name::{Name, NameError, TreePath};
pub use pattern::{Pattern, PatternError, PatternKind};
pub use profile::Profile;
pub use recipe::{Recipe, RecipeChunk, RecipeError};
pub use record::{Codec, RECORD_HEADER_LEN, Record, RecordDecoder, RecordEncoder, RecordError, RecordHeader};
pub use tree::{
    Aspect, Content, Device, Difference, Directory, DirectoryError, Entry, FlatTree, FlatTreeError, Hole, Item, Leaf,
    LinkGroup, Meta, Mtime, Node, PageRef, ReadTreeError, TreeBody, TreeObject, Xattr, coarsen_holes, diff,
    read_directory, walk,
};
pub use trigger::{Trigger, TriggerAction};
