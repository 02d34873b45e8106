//! Trees: the canonical listing of one directory (`spec/tree.md`).
//!
//! Owns the model of a directory (`node`, `meta`), its encoding in history-independent pages (`directory`, `object`),
//! hard-link groups (`link`), holes (`hole`) and the comparison of two trees (`diff`). Invariants: entries are sorted by
//! raw name and unique; a directory's own metadata is part of its own object; equal directories have equal ids,
//! whatever was done to make them.
//!
//! Does not read directories (`store/fs`) or store objects (`store/pack`, `store/engine`).

mod diff;
mod directory;
mod hole;
mod link;
mod meta;
mod node;
mod object;
mod walk;

pub use diff::{Aspect, Difference, diff};
pub use directory::{Directory, DirectoryError, ReadTreeError, read_directory};
pub use hole::{Hole, coarsen_holes};
pub use link::LinkGroup;
pub use meta::{Meta, Mtime, Xattr};
pub use node::{Content, Device, Entry, Item, Leaf, Node};
pub use object::{PageRef, TreeBody, TreeObject};
pub use walk::{FlatTree, FlatTreeError, walk};
