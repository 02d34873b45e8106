//! A walk over a directory: everything about every entry but the content of files.
//!
//! Owns the order and the robustness of the walk. Invariants: entries come in tree order, a directory before what is in
//! it; what vanishes meanwhile is left out; what is swapped meanwhile is looked at again, and never followed; nothing
//! that a user may put into a directory makes the walk fail, only the kernel does.
//!
//! Does not read files (`capture`, or whoever has a better idea of which to read) and does not find hard links
//! (`flatten`).

use dominator_store_core::{
    Device, Filter, Leaf, Managed, Meta, Name, TreePath,
    limits::{BLOB_LEN_MAX, PATH_LEN_MAX, TREE_DEPTH_MAX},
};
use rustix::io::Errno;

use crate::{
    Dir, FileType, FsError, Result, Stat,
    leaf::read_leaf_of,
    limits::{DIR_BUF_LEN, RETRY_COUNT_MAX},
    meta::{plain, read_meta, read_meta_self},
};

/// A whole walk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The entries in tree order, the directory itself first.
    pub entries: Vec<Listed>,
}

/// One entry of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Where it is.
    pub path: TreePath,
    /// What the kernel says about it.
    pub stat: Stat,
    /// What it is to a tree.
    pub found: Found,
}

/// What an entry is to a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A directory; its entries follow.
    Dir(Meta),
    /// A regular file.
    File(Meta),
    /// A symbolic link, device or pipe; its link group is not known yet.
    Other(Leaf),
    /// Another file system; not entered. A directory has the mode, owner and time that are seen there.
    ForeignMount(Option<Meta>),
    /// A socket, which belongs to a running process and not to a tree.
    Socket,
    /// Something that a tree cannot record, and why; if it is a directory, it is not entered.
    Beyond(&'static str),
}

/// Lists everything beneath `root` that `filter` manages, as far as it is `managed`; calls `on` for every entry.
///
/// # Errors
/// What the kernel refuses, other than because of a change meanwhile.
pub fn list(root: &Dir, filter: &Filter, managed: Managed, on: &mut dyn FnMut(&TreePath)) -> Result<Listing> {
    list_below(root, &TreePath::root(), filter, managed, on)
}

/// Lists the entry `at` beneath `root` and everything beneath it that `filter` manages; nothing if it is absent, not
/// managed or beneath a mount.
///
/// # Errors
/// As [`list`].
pub fn list_below(
    root: &Dir,
    at: &TreePath,
    filter: &Filter,
    managed: Managed,
    on: &mut dyn FnMut(&TreePath),
) -> Result<Listing> {
    list_known(root, at, filter, managed, &|_, _| None, on)
}

/// Like [`list_below`], but takes what `known` says about an entry that is not a directory for what it is to a tree,
/// without reading its attributes or target again.
///
/// The caller answers for entries whose key it knows and which was settled when they were looked at ([`crate::StatKey`]):
/// the change time covers everything that would be read here. This about halves the time of a walk.
///
/// # Errors
/// As [`list`].
pub fn list_known(
    root: &Dir,
    at: &TreePath,
    filter: &Filter,
    managed: Managed,
    known: &dyn Fn(&TreePath, &Stat) -> Option<Found>,
    on: &mut dyn FnMut(&TreePath),
) -> Result<Listing> {
    let mut walk = Walk {
        filter,
        managed,
        known,
        on,
        dev: root.stat_self()?.dev,
        entries: Vec::new(),
        buf: Vec::with_capacity(DIR_BUF_LEN),
    };
    match (at.parent(), at.name()) {
        (Some(parent), Some(name)) => match root.open_path(&parent) {
            Ok(dir) if filter.manages_deep(at) => walk.entry(&dir, &name, at)?,
            Ok(_) => {}
            Err(error) if error.is_replaced() => {}
            Err(error) => return Err(error),
        },
        // A handle of its own, because a handle is listed once.
        _ => walk.directory(&root.open_path(at)?, at)?,
    }
    Ok(Listing { entries: walk.entries })
}

/// Looks at one entry that is not entered if it is a directory: gives `None` if there is none.
pub(crate) fn look(
    dir: &Dir,
    name: &Name,
    managed: Managed,
    dev: Device,
    known: &dyn Fn(&Stat) -> Option<Found>,
) -> Result<Option<(Stat, Seen)>> {
    let mut last = None;
    for _ in 0..RETRY_COUNT_MAX {
        let Some(stat) = dir.try_stat(name)? else { return Ok(None) };
        last = Some(stat);
        match look_once(dir, name, &stat, managed, dev, known) {
            Ok(seen) => return Ok(Some((stat, seen))),
            // A link that is no link any more gives EINVAL.
            Err(error) if error.is_replaced() || error.errno() == Some(Errno::INVAL) => {}
            Err(FsError::Unstable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(last.map(|stat| (stat, Seen::Leaf(Found::Beyond(RESTLESS)))))
}

/// What a look at one entry finds.
pub(crate) enum Seen {
    /// A directory of this file system, whose metadata is read once it is open.
    Dir,
    /// Anything else.
    Leaf(Found),
}

fn look_once(
    dir: &Dir,
    name: &Name,
    stat: &Stat,
    managed: Managed,
    dev: Device,
    known: &dyn Fn(&Stat) -> Option<Found>,
) -> Result<Seen> {
    let is_dir = stat.kind == FileType::Dir;
    // Union file systems give files other device numbers than directories, so only directories are compared.
    if stat.mount_root || (is_dir && stat.dev != dev) {
        return Ok(Seen::Leaf(Found::ForeignMount(is_dir.then(|| plain(stat, managed)))));
    }
    if !is_dir && let Some(found) = known(stat) {
        return Ok(Seen::Leaf(found));
    }
    let found = match stat.kind {
        FileType::Dir => return Ok(Seen::Dir),
        FileType::Socket => Ok(Found::Socket),
        FileType::File if stat.size > BLOB_LEN_MAX => Ok(Found::Beyond("file too long")),
        FileType::File => read_meta(dir, name, stat, managed).map(Found::File),
        FileType::Symlink | FileType::Block | FileType::Char | FileType::Fifo => {
            read_leaf_of(dir, name, stat, managed).map(|leaf| leaf.map_or(Found::Beyond(RESTLESS), Found::Other))
        }
    };
    found.or_else(beyond).map(Seen::Leaf)
}

fn beyond(error: FsError) -> Result<Found> {
    match error {
        FsError::Limit { what, .. } => Ok(Found::Beyond(what)),
        error => Err(error),
    }
}

struct Walk<'a> {
    filter: &'a Filter,
    managed: Managed,
    known: &'a dyn Fn(&TreePath, &Stat) -> Option<Found>,
    on: &'a mut dyn FnMut(&TreePath),
    dev: Device,
    entries: Vec<Listed>,
    buf: Vec<u8>,
}

impl Walk<'_> {
    fn directory(&mut self, dir: &Dir, path: &TreePath) -> Result<()> {
        let stat = dir.stat_self()?;
        let found = read_meta_self(dir, &stat, self.managed).map(Found::Dir).or_else(beyond)?;
        let enter = matches!(found, Found::Dir(_));
        self.push(path.clone(), stat, found);
        if !enter {
            return Ok(());
        }
        let mut names = Vec::new();
        dir.names_once(&mut self.buf, &mut |name, ino| names.push((ino, name)))?;
        // Inode order is disk order for the look, name order is tree order for the result.
        names.sort_unstable();
        let mut seen = Vec::with_capacity(names.len());
        for (_, name) in names {
            let path = path.join(&name);
            if !self.filter.manages(&path) {
                continue;
            }
            if let Some((stat, mut found)) = self.look(dir, &name, &path)? {
                if path.as_bytes().len() > PATH_LEN_MAX || path.depth() > TREE_DEPTH_MAX {
                    found = Seen::Leaf(Found::Beyond("path too long or too deep"));
                }
                seen.push((name, path, stat, found));
            }
        }
        seen.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        for (name, path, stat, found) in seen {
            match found {
                Seen::Leaf(found) => self.push(path, stat, found),
                Seen::Dir => self.entry(dir, &name, &path)?,
            }
        }
        Ok(())
    }

    /// Looks at an entry again and enters it if it is a directory.
    fn entry(&mut self, dir: &Dir, name: &Name, path: &TreePath) -> Result<()> {
        let mut last = None;
        for _ in 0..RETRY_COUNT_MAX {
            match dir.open_child(name) {
                Ok(child) => return self.directory(&child, path),
                Err(error) if error.is_replaced() => {}
                Err(error) => return Err(error),
            }
            match self.look(dir, name, path)? {
                None => return Ok(()),
                Some((stat, Seen::Leaf(found))) => {
                    self.push(path.clone(), stat, found);
                    return Ok(());
                }
                Some((stat, Seen::Dir)) => last = Some(stat),
            }
        }
        if let Some(stat) = last {
            self.push(path.clone(), stat, Found::Beyond(RESTLESS));
        }
        Ok(())
    }

    fn look(&self, dir: &Dir, name: &Name, path: &TreePath) -> Result<Option<(Stat, Seen)>> {
        look(dir, name, self.managed, self.dev, &|stat| (self.known)(path, stat))
    }

    fn push(&mut self, path: TreePath, stat: Stat, found: Found) {
        (self.on)(&path);
        self.entries.push(Listed { path, stat, found });
    }
}

const RESTLESS: &str = "entry that changes faster than it can be looked at";
