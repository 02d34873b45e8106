//! From a tree to a directory.
//!
//! Owns the order: directories, then files in parallel, then hard links, then the metadata of directories from the
//! deepest up, so that times and forbidding modes are not disturbed by what is made within. Invariant: a finished
//! checkout, captured, is the same tree.
//!
//! Does not replace anything (the agent's apply does) and does not wait for the disk (the caller syncs if it must).

use std::{
    collections::BTreeMap,
    error::Error,
    fs::DirBuilder,
    io::{self, Write},
    num::NonZeroUsize,
    os::unix::fs::DirBuilderExt,
    panic,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use dominator_store_core::{
    BlobId, Content, Directory, FlatTree, Item, Leaf, LinkGroup, Managed, ReadTreeError, TreeId, TreePath, walk,
};

use crate::{Dir, FsError, NewFile, Result, limits::CHECKOUT_ENTRY_COUNT_MAX, make_dir, make_leaf, write_dir_meta};

/// Gives the content of files.
pub trait BlobSource: Sync {
    /// Writes the blob `id` of `size` bytes to `out`, having checked that these are its bytes before it returns.
    fn read_blob(&self, id: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()>;
}

/// How to check out.
#[derive(Debug, Clone, Copy)]
pub struct CheckoutOptions {
    /// What the image manages.
    pub managed: Managed,
    /// How many files are written at once.
    pub threads: NonZeroUsize,
}

/// What a checkout made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Number of paths, the destination itself included.
    pub entry_count: u64,
    /// Bytes of files, hard links counted once.
    pub content_len: u64,
}

/// Makes the tree `root` in the directory `dest`, which is absent or empty; `tree` reads directories. Calls `on` for
/// every entry made, with the length of its content.
///
/// # Errors
/// `NotEmpty` if there is something in `dest`, `Tree` if the tree cannot be read; `Incomplete` around anything that
/// happens after the first entry was made.
pub fn checkout<E: Error + Send + Sync + 'static>(
    dest: &Path,
    root: TreeId,
    mut tree: impl FnMut(TreeId) -> Result<Directory, ReadTreeError<E>>,
    blobs: &dyn BlobSource,
    options: CheckoutOptions,
    on: &(dyn Fn(&TreePath, u64) + Sync),
) -> Result<CheckoutReport> {
    let mut items = Vec::new();
    walk(root, CHECKOUT_ENTRY_COUNT_MAX, &mut tree, &mut |path, item| items.push((path, item)))
        .map_err(|error| FsError::Tree(Box::new(error)))?;
    let tree = FlatTree { items };
    let links = find_links(&tree)?;
    let dir = open_empty(dest)?;
    let job = Job { root: &dir, tree: &tree, links: &links, blobs, options, on };
    job.make().map_err(|error| FsError::Incomplete { path: dest.to_owned(), source: Box::new(error) })
}

fn open_empty(dest: &Path) -> Result<Dir> {
    match DirBuilder::new().mode(0o700).create(dest) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(FsError::Open { path: dest.to_owned(), source: error });
        }
        _ => {}
    }
    let dir = Dir::open(dest)?;
    if !dir.names()?.is_empty() {
        return Err(FsError::NotEmpty { path: dest.to_owned() });
    }
    Ok(dir)
}

/// Finds the first member of every group and checks that the others are the same file.
fn find_links(tree: &FlatTree) -> Result<BTreeMap<LinkGroup, usize>> {
    let mut firsts: BTreeMap<LinkGroup, usize> = BTreeMap::new();
    for (pos, (path, item)) in tree.items.iter().enumerate() {
        let Item::Leaf(Leaf { link: Some(link), .. }) = item else { continue };
        let first = *firsts.entry(*link).or_insert(pos);
        if tree.items.get(first).is_none_or(|(_, first)| first != item) {
            return Err(FsError::LinkGroup { path: path.clone() });
        }
    }
    Ok(firsts)
}

struct Job<'a> {
    root: &'a Dir,
    tree: &'a FlatTree,
    links: &'a BTreeMap<LinkGroup, usize>,
    blobs: &'a dyn BlobSource,
    options: CheckoutOptions,
    on: &'a (dyn Fn(&TreePath, u64) + Sync),
}

impl Job<'_> {
    fn make(&self) -> Result<CheckoutReport> {
        self.make_dirs()?;
        let content_len = self.make_leaves()?;
        self.make_links()?;
        self.finish_dirs()?;
        Ok(CheckoutReport { entry_count: self.tree.items.len() as u64, content_len })
    }

    fn make_dirs(&self) -> Result<()> {
        let mut open: Vec<Dir> = vec![self.root.try_clone()?];
        for (path, item) in &self.tree.items {
            let (Some(name), true) = (path.name(), item.is_dir()) else { continue };
            open.truncate(path.depth());
            if let Some(parent) = open.last() {
                let dir = make_dir(parent, &name)?;
                open.push(dir);
            }
        }
        Ok(())
    }

    /// Makes everything that is neither a directory nor a further name of a file; returns the bytes written.
    fn make_leaves(&self) -> Result<u64> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<u64> {
            let mut at = At::default();
            let mut content_len = 0;
            while !stop.load(Ordering::Relaxed) {
                let start = next.fetch_add(BATCH_LEN, Ordering::Relaxed);
                let end = start.saturating_add(BATCH_LEN).min(self.tree.items.len());
                let Some(batch) = self.tree.items.get(start..end).filter(|batch| !batch.is_empty()) else { break };
                for (pos, (path, item)) in (start..).zip(batch) {
                    let made = self.make_item(pos, path, item, &mut at);
                    if made.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    content_len += made?;
                }
            }
            Ok(content_len)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.options.threads.get()).map(|_| scope.spawn(work)).collect();
            let mut content_len = 0;
            for worker in workers {
                content_len += worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?;
            }
            Ok(content_len)
        })
    }

    fn make_item(&self, pos: usize, path: &TreePath, item: &Item, at: &mut At) -> Result<u64> {
        let Item::Leaf(leaf) = item else { return Ok(0) };
        let further = leaf.link.is_some_and(|link| self.links.get(&link) != Some(&pos));
        let (Some(name), false) = (path.name(), further) else { return Ok(0) };
        let dir = at.parent_of(self.root, path)?;
        let managed = self.options.managed;
        let len = match &leaf.content {
            Content::File { size, blob, holes } => {
                let mut file = NewFile::create(dir, &name, *size, holes)?;
                if *size > 0 {
                    let read = self.blobs.read_blob(*blob, *size, &mut file);
                    read.map_err(|source| FsError::Blob { path: path.clone(), blob: *blob, source })?;
                }
                file.finish(&leaf.meta, managed)?;
                *size
            }
            _ => {
                make_leaf(dir, &name, leaf, managed)?;
                0
            }
        };
        (self.on)(path, len);
        Ok(len)
    }

    fn make_links(&self) -> Result<()> {
        let mut at = At::default();
        for (pos, (path, item)) in self.tree.items.iter().enumerate() {
            let Item::Leaf(Leaf { link: Some(link), .. }) = item else { continue };
            let first = self.links.get(link).filter(|first| **first != pos);
            let Some((first, _)) = first.and_then(|first| self.tree.items.get(*first)) else { continue };
            let (Some(parent), Some(first_name), Some(name)) = (first.parent(), first.name(), path.name()) else {
                continue;
            };
            let dir = at.parent_of(self.root, path)?;
            self.root.open_path(&parent)?.link(&first_name, dir, &name)?;
            (self.on)(path, 0);
        }
        Ok(())
    }

    fn finish_dirs(&self) -> Result<()> {
        for (path, item) in self.tree.items.iter().rev() {
            if let Item::Dir(meta) = item {
                write_dir_meta(&self.root.open_path(path)?, meta, self.options.managed)?;
                (self.on)(path, 0);
            }
        }
        Ok(())
    }
}

/// How many consecutive entries a thread takes at once, so that threads are seldom in the same directory.
const BATCH_LEN: usize = 32;

/// The directory used last, kept open for its next entry.
#[derive(Default)]
struct At(Option<(TreePath, Dir)>);

impl At {
    fn parent_of(&mut self, root: &Dir, path: &TreePath) -> Result<&Dir> {
        let parent = path.parent().unwrap_or_default();
        let dir = match self.0.take() {
            Some((open, dir)) if open == parent => dir,
            _ => root.open_path(&parent)?,
        };
        Ok(&self.0.insert((parent, dir)).1)
    }
}
