//! A tree as a flat, sorted list of paths, and back.
//!
//! Owns both directions: [`walk`] visits every path of a stored tree, [`FlatTree`] makes a stored tree of a list.
//! Invariant: encoding what a walk visited gives the same root.
//!
//! Does not read file systems: `store/fs` makes such a list from a directory.

use super::{
    directory::{Directory, DirectoryError, ReadTreeError},
    meta::Meta,
    node::{Entry, Item, Node},
};
use crate::{TreeId, TreePath, limits::TREE_DEPTH_MAX};

/// Visits every path of the tree `root`, a directory before what is in it, at most `entry_count_max` of them.
///
/// # Errors
/// What `get` returns; `TooLarge` and `TooDeep` for trees beyond the bounds (a small set of objects can spell a tree of
/// any size, because equal directories are one object).
pub fn walk<E>(
    root: TreeId,
    entry_count_max: u64,
    get: &mut impl FnMut(TreeId) -> Result<Directory, ReadTreeError<E>>,
    visit: &mut impl FnMut(TreePath, Item),
) -> Result<(), ReadTreeError<E>> {
    let mut entry_count = 0;
    let mut pending = vec![(TreePath::root(), 0, Node::Dir(root))];
    while let Some((path, depth, node)) = pending.pop() {
        entry_count += 1;
        if entry_count > entry_count_max {
            return Err(ReadTreeError::TooLarge(entry_count_max));
        }
        match node {
            Node::Leaf(leaf) => visit(path, Item::Leaf(leaf)),
            Node::Dir(tree) if depth > TREE_DEPTH_MAX => return Err(ReadTreeError::TooDeep(tree)),
            Node::Dir(tree) => {
                let (meta, entries) = get(tree)?.into_parts();
                pending.extend(entries.into_iter().rev().map(|entry| (path.join(&entry.name), depth + 1, entry.node)));
                visit(path, Item::Dir(meta));
            }
        }
    }
    Ok(())
}

/// Why a list of paths is not a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlatTreeError {
    /// There is no root, or the root is no directory.
    #[error("the list does not begin with a root directory")]
    NoRoot,
    /// A path whose parent is not a directory of the list, or paths out of order.
    #[error("path {0} does not follow its directory")]
    Misplaced(TreePath),
    /// Entries that are no directory.
    #[error("directory {0} cannot be encoded")]
    Directory(TreePath, #[source] DirectoryError),
}

/// A whole tree in memory: paths in the order of a walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlatTree {
    /// The root directory first, every path after its directory.
    pub items: Vec<(TreePath, Item)>,
}

impl FlatTree {
    /// Sorts items into the order of a walk.
    pub fn new(mut items: Vec<(TreePath, Item)>) -> Self {
        items.sort_by(|a, b| a.0.cmp(&b.0));
        Self { items }
    }

    /// Encodes every directory, inner ones first, and returns the root's id.
    ///
    /// # Errors
    /// If the list is not a tree.
    pub fn encode(&self, emit: &mut impl FnMut(TreeId, Vec<u8>)) -> Result<TreeId, FlatTreeError> {
        self.encode_directories(&mut |_, directory| directory.encode(emit))
    }

    /// Builds every directory, inner ones first; `encode` returns the id of each. Returns the root's id.
    ///
    /// # Errors
    /// If the list is not a tree.
    pub fn encode_directories(
        &self,
        encode: &mut impl FnMut(&TreePath, Directory) -> TreeId,
    ) -> Result<TreeId, FlatTreeError> {
        let mut open: Vec<OpenDirectory<'_>> = Vec::new();
        let mut root = None;
        for (path, item) in &self.items {
            if let Some(parent) = path.parent() {
                while open.last().is_some_and(|dir| *dir.path != parent) {
                    close_last(&mut open, &mut root, encode)?;
                }
                if open.is_empty() {
                    return Err(FlatTreeError::Misplaced(path.clone()));
                }
            } else if !open.is_empty() || root.is_some() {
                return Err(FlatTreeError::Misplaced(path.clone()));
            }
            match item {
                Item::Dir(meta) => open.push(OpenDirectory { path, meta, entries: Vec::new() }),
                Item::Leaf(leaf) => {
                    let (Some(dir), Some(name)) = (open.last_mut(), path.name()) else {
                        return Err(FlatTreeError::NoRoot);
                    };
                    dir.entries.push(Entry { name, node: Node::Leaf(leaf.clone()) });
                }
            }
        }
        while !open.is_empty() {
            close_last(&mut open, &mut root, encode)?;
        }
        root.ok_or(FlatTreeError::NoRoot)
    }
}

struct OpenDirectory<'a> {
    path: &'a TreePath,
    meta: &'a Meta,
    entries: Vec<Entry>,
}

fn close_last(
    open: &mut Vec<OpenDirectory<'_>>,
    root: &mut Option<TreeId>,
    encode: &mut impl FnMut(&TreePath, Directory) -> TreeId,
) -> Result<(), FlatTreeError> {
    let Some(dir) = open.pop() else { return Ok(()) };
    let directory = Directory::new(dir.meta.clone(), dir.entries)
        .map_err(|error| FlatTreeError::Directory(dir.path.clone(), error))?;
    let id = encode(dir.path, directory);
    match (open.last_mut(), dir.path.name()) {
        (Some(parent), Some(name)) => parent.entries.push(Entry { name, node: Node::Dir(id) }),
        _ => *root = Some(id),
    }
    Ok(())
}
