//! Hard-link groups: names that are one file.
//!
//! Owns the id of a group: a digest of the path of its least member. Invariant: the id depends only on which paths are
//! in the group, so that two captures of the same tree agree and a group added elsewhere changes nothing here.
//!
//! Which names share an inode is found by `store/fs`; a group with one visible member has no id.

use crate::{Digest, TreePath};

/// Names one set of paths that are hard links of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkGroup([u8; LinkGroup::LEN]);

impl LinkGroup {
    /// Length in bytes.
    pub const LEN: usize = 16;

    /// Returns the id of the group whose least path, in tree order, is `least`.
    pub fn of(least: &TreePath) -> Self {
        let digest = Digest::derive(LINK_CONTEXT, least.as_bytes());
        let (id, _) = digest.as_bytes().split_first_chunk().expect("a digest is longer than a link group id");
        Self(*id)
    }

    /// Reads an id from a slice of exactly 16 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the raw bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

const LINK_CONTEXT: &str = "dominator 2026-11 link group v1";
