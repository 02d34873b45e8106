//! What differs between two trees.
//!
//! Owns the comparison. Invariant: sub-trees with equal ids are not read, so the work is proportional to the change;
//! differences come in the order of a walk, a directory before what is in it.
//!
//! Does not judge differences: the agent plans from them, the controller reports them.

use super::{
    directory::{Directory, ReadTreeError},
    node::{Content, Entry, Item, Node},
};
use crate::{TreeId, TreePath, limits::TREE_DEPTH_MAX};

/// One path at which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub path: TreePath,
    /// What the old tree has there.
    pub old: Option<Item>,
    /// What the new tree has there.
    pub new: Option<Item>,
}

/// In which respect an entry differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Another type.
    Type,
    /// Other bytes.
    Content,
    /// Another symlink target.
    Target,
    /// Another device number.
    Device,
    /// Other permission bits.
    Mode,
    /// Another user or group.
    Owner,
    /// Another modification time.
    Mtime,
    /// Other extended attributes, access lists or capabilities.
    Xattrs,
    /// Another set of hard links.
    Link,
    /// Other holes.
    Holes,
}

impl Aspect {
    /// Returns the word used in tables and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Type => "type",
            Self::Content => "content",
            Self::Target => "target",
            Self::Device => "device",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Mtime => "mtime",
            Self::Xattrs => "xattrs",
            Self::Link => "links",
            Self::Holes => "holes",
        }
    }
}

impl Difference {
    /// Returns every respect in which the two sides differ.
    pub fn aspects(&self) -> Vec<Aspect> {
        let (old, new) = match (&self.old, &self.new) {
            (Some(old), Some(new)) => (old, new),
            (None, Some(_)) => return vec![Aspect::Added],
            (Some(_), None) => return vec![Aspect::Removed],
            (None, None) => return Vec::new(),
        };
        let mut aspects = Vec::new();
        let mut note = |differs: bool, aspect| {
            if differs {
                aspects.push(aspect);
            }
        };
        if old.type_word() != new.type_word() {
            note(true, Aspect::Type);
            return aspects;
        }
        if let (Item::Leaf(old), Item::Leaf(new)) = (old, new) {
            match (&old.content, &new.content) {
                (Content::File { blob: a, holes: x, .. }, Content::File { blob: b, holes: y, .. }) => {
                    note(a != b, Aspect::Content);
                    note(x != y, Aspect::Holes);
                }
                (Content::Symlink { target: a }, Content::Symlink { target: b }) => note(a != b, Aspect::Target),
                (a, b) => note(a != b, Aspect::Device),
            }
            note(old.link != new.link, Aspect::Link);
        }
        let (old, new) = (old.meta(), new.meta());
        note(old.mode != new.mode, Aspect::Mode);
        note((old.uid, old.gid) != (new.uid, new.gid), Aspect::Owner);
        note(old.mtime != new.mtime, Aspect::Mtime);
        note(old.xattrs != new.xattrs, Aspect::Xattrs);
        aspects
    }
}

/// Compares two trees; `None` is a tree that does not exist. Calls `visit` for every difference.
///
/// # Errors
/// What `get` returns, and `TooDeep` for trees that no path could reach.
pub fn diff<E>(
    old: Option<TreeId>,
    new: Option<TreeId>,
    get: &mut impl FnMut(TreeId) -> Result<Directory, ReadTreeError<E>>,
    visit: &mut impl FnMut(Difference),
) -> Result<(), ReadTreeError<E>> {
    diff_at(&TreePath::root(), 0, old, new, get, visit)
}

fn diff_at<E>(
    path: &TreePath,
    depth: usize,
    old: Option<TreeId>,
    new: Option<TreeId>,
    get: &mut impl FnMut(TreeId) -> Result<Directory, ReadTreeError<E>>,
    visit: &mut impl FnMut(Difference),
) -> Result<(), ReadTreeError<E>> {
    if old == new {
        return Ok(());
    }
    if depth > TREE_DEPTH_MAX {
        return Err(ReadTreeError::TooDeep(new.or(old).unwrap_or(TreeId::of(&[]))));
    }
    let old = old.map(&mut *get).transpose()?;
    let new = new.map(&mut *get).transpose()?;
    let metas = (old.as_ref().map(Directory::meta), new.as_ref().map(Directory::meta));
    if metas.0 != metas.1 {
        let dir = |meta: Option<&super::Meta>| meta.cloned().map(Item::Dir);
        visit(Difference { path: path.clone(), old: dir(metas.0), new: dir(metas.1) });
    }
    let mut old = old.as_ref().map(Directory::entries).unwrap_or_default().iter().peekable();
    let mut new = new.as_ref().map(Directory::entries).unwrap_or_default().iter().peekable();
    loop {
        let (a, b) = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => (old.next(), None),
            (None, Some(_)) => (None, new.next()),
            (Some(a), Some(b)) => match a.name.cmp(&b.name) {
                std::cmp::Ordering::Less => (old.next(), None),
                std::cmp::Ordering::Greater => (None, new.next()),
                std::cmp::Ordering::Equal => (old.next(), new.next()),
            },
        };
        if let Some(entry) = a.or(b) {
            diff_entry(&path.join(&entry.name), depth, a, b, get, visit)?;
        }
    }
}

fn diff_entry<E>(
    path: &TreePath,
    depth: usize,
    old: Option<&Entry>,
    new: Option<&Entry>,
    get: &mut impl FnMut(TreeId) -> Result<Directory, ReadTreeError<E>>,
    visit: &mut impl FnMut(Difference),
) -> Result<(), ReadTreeError<E>> {
    fn split(entry: Option<&Entry>) -> (Option<TreeId>, Option<Item>) {
        match entry.map(|entry| &entry.node) {
            None => (None, None),
            Some(Node::Dir(tree)) => (Some(*tree), None),
            Some(Node::Leaf(leaf)) => (None, Some(Item::Leaf(leaf.clone()))),
        }
    }
    let ((old_dir, old_leaf), (new_dir, new_leaf)) = (split(old), split(new));
    match (old_leaf, new_leaf) {
        (None, None) => diff_at(path, depth + 1, old_dir, new_dir, get, visit),
        // A directory became a leaf or a leaf a directory: one difference for the path, then what was or is below it.
        (old_leaf, new_leaf) if old_dir.is_some() || new_dir.is_some() => {
            let mut top = |difference: Difference| {
                let (old, new) = match difference.path == *path {
                    true => (difference.old.or(old_leaf.clone()), difference.new.or(new_leaf.clone())),
                    false => (difference.old, difference.new),
                };
                visit(Difference { path: difference.path, old, new });
            };
            let mut top: &mut dyn FnMut(Difference) = &mut top;
            let mut get: &mut dyn FnMut(TreeId) -> Result<Directory, ReadTreeError<E>> = get;
            diff_at(path, depth + 1, old_dir, new_dir, &mut get, &mut top)
        }
        (old, new) => {
            if old != new {
                visit(Difference { path: path.clone(), old, new });
            }
            Ok(())
        }
    }
}
