//! From a directory to a tree, content included.
//!
//! Owns reading files in parallel and reading again what changes meanwhile. Invariants: content, metadata and holes of a
//! file in the tree were true of one inode at one time; names of one inode are read once; what cannot be recorded is an
//! error here, because what is captured becomes what machines are required to be.
//!
//! Chunking the content is `store/engine`, which walks the listing itself.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    panic,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use dominator_store_core::{BlobId, Device, Filter, FlatTree, Hole, Managed, Meta, TreePath};

use crate::{
    Dir, Found, FsError, Listed, Result, Stat, flatten,
    hash::hash_file_at,
    limits::{HASH_BUF_LEN, RETRY_COUNT_MAX},
    list,
    list::{Seen, look},
    read_holes, read_meta,
};

/// A tree, and what of the directory is not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The tree.
    pub tree: FlatTree,
    /// What was left out, in tree order, without what the filter excludes.
    pub skipped: Vec<(TreePath, Skipped)>,
}

/// Why an entry was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Skipped {
    /// A socket.
    Socket,
    /// Another file system; a directory is in the tree, but empty.
    ForeignMount,
}

/// Captures the directory `root`: everything that `filter` manages, as far as it is `managed`, with `threads` readers.
/// Calls `on` for every entry, with the length of its content where that was read.
///
/// # Errors
/// `Unstable` for a file that keeps changing, `Limit` for what a tree cannot record.
pub fn capture(
    root: &Path,
    filter: &Filter,
    managed: Managed,
    threads: NonZeroUsize,
    on: &(dyn Fn(&TreePath, u64) + Sync),
) -> Result<Capture> {
    let root = Dir::open(root)?;
    let mut listing = list(&root, filter, managed, &mut |_| {})?;
    let reader = Reader { root: &root, managed, dev: root.stat_self()?.dev, threads, on };
    let mut known: HashMap<Inode, Content> = HashMap::new();
    // One pass reads every inode; only if a name was given to another inode meanwhile, there is another pass.
    loop {
        let jobs = unread(&listing.entries, &known);
        if jobs.is_empty() {
            break;
        }
        let mut gone = Vec::new();
        for (pos, outcome) in reader.read_all(&listing.entries, &jobs)? {
            let Some(listed) = listing.entries.get_mut(pos) else { continue };
            match outcome {
                Outcome::Read(content) => {
                    listed.stat = content.stat;
                    known.insert(inode(&content.stat), content);
                }
                Outcome::Became(stat, found) => (listed.stat, listed.found) = (stat, found),
                Outcome::Gone => gone.push(listed.path.clone()),
            }
        }
        gone.sort_unstable();
        listing.entries.retain(|listed| gone.binary_search(&listed.path).is_err());
    }
    let mut skipped = Vec::new();
    for listed in &mut listing.entries {
        match &mut listed.found {
            Found::File(meta) => {
                if let Some(content) = known.get(&inode(&listed.stat)) {
                    (listed.stat, *meta) = (content.stat, content.meta.clone());
                }
            }
            Found::Beyond(what) => return Err(FsError::Limit { path: listed.path.clone(), what }),
            Found::Socket => skipped.push((listed.path.clone(), Skipped::Socket)),
            Found::ForeignMount(_) => skipped.push((listed.path.clone(), Skipped::ForeignMount)),
            Found::Dir(_) | Found::Other(_) => {}
        }
        if !matches!(listed.found, Found::File(_)) {
            on(&listed.path, 0);
        }
    }
    let blob = |listed: &Listed| {
        known.get(&inode(&listed.stat)).map(|known| (known.blob, known.stat.size, known.holes.clone()))
    };
    Ok(Capture { tree: flatten(&listing, blob), skipped })
}

type Inode = (Device, u64);

const fn inode(stat: &Stat) -> Inode {
    (stat.dev, stat.ino)
}

/// Returns the positions of files whose inode was not read yet, one for each inode.
fn unread(entries: &[Listed], known: &HashMap<Inode, Content>) -> Vec<usize> {
    let mut jobs = HashMap::new();
    for (pos, listed) in entries.iter().enumerate() {
        if matches!(listed.found, Found::File(_)) && !known.contains_key(&inode(&listed.stat)) {
            jobs.entry(inode(&listed.stat)).or_insert(pos);
        }
    }
    let mut jobs: Vec<usize> = jobs.into_values().collect();
    jobs.sort_unstable();
    jobs
}

/// What was true of one inode at one time.
struct Content {
    stat: Stat,
    meta: Meta,
    blob: BlobId,
    holes: Vec<Hole>,
}

enum Outcome {
    Read(Content),
    /// The name stands for something else now.
    Became(Stat, Found),
    Gone,
}

struct Reader<'a> {
    root: &'a Dir,
    managed: Managed,
    dev: Device,
    threads: NonZeroUsize,
    on: &'a (dyn Fn(&TreePath, u64) + Sync),
}

impl Reader<'_> {
    fn read_all(&self, entries: &[Listed], jobs: &[usize]) -> Result<Vec<(usize, Outcome)>> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<Vec<(usize, Outcome)>> {
            let mut buf = vec![0; HASH_BUF_LEN];
            let mut parent = None;
            let mut outcomes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Some(&pos) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                let Some(listed) = entries.get(pos) else { break };
                match self.read(listed, &mut parent, &mut buf) {
                    Ok(outcome) => outcomes.push((pos, outcome)),
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(outcomes)
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.get().min(jobs.len())).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::with_capacity(jobs.len());
            for worker in workers {
                all.extend(worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic))?);
            }
            Ok(all)
        })
    }

    fn read(&self, listed: &Listed, parent: &mut Option<(TreePath, Dir)>, buf: &mut [u8]) -> Result<Outcome> {
        let (Some(parent_path), Some(name)) = (listed.path.parent(), listed.path.name()) else {
            return Ok(Outcome::Gone);
        };
        if parent.as_ref().is_none_or(|(path, _)| *path != parent_path) {
            match self.root.open_path(&parent_path) {
                Ok(dir) => *parent = Some((parent_path, dir)),
                Err(error) if error.is_absent() => return Ok(Outcome::Gone),
                Err(error) => return Err(error),
            }
        }
        let Some((_, dir)) = parent else { return Ok(Outcome::Gone) };
        for _ in 0..RETRY_COUNT_MAX {
            match self.read_once(dir, listed, buf) {
                Err(FsError::Unstable { .. }) => {}
                Err(error) if error.is_replaced() => match look(dir, &name, self.managed, self.dev, &|_| None)? {
                    None => return Ok(Outcome::Gone),
                    Some((_, Seen::Leaf(Found::File(_)))) => {}
                    Some((stat, Seen::Leaf(found))) => return Ok(Outcome::Became(stat, found)),
                    // What is in it was never listed.
                    Some((_, Seen::Dir)) => break,
                },
                Err(error) => return Err(error),
                Ok(content) => {
                    (self.on)(&listed.path, content.stat.size);
                    return Ok(Outcome::Read(content));
                }
            }
        }
        Err(FsError::Unstable { path: listed.path.clone() })
    }

    fn read_once(&self, dir: &Dir, listed: &Listed, buf: &mut [u8]) -> Result<Content> {
        let name = listed.path.name().ok_or_else(|| FsError::Unstable { path: listed.path.clone() })?;
        let file = dir.open_file(&name)?;
        let (blob, stat) = hash_file_at(&file, &listed.path, buf)?;
        let holes = if self.managed.holes { read_holes(&file, stat.size) } else { Ok(Vec::new()) };
        let holes = holes.map_err(|error| error.located(&listed.path))?;
        let meta = match &listed.found {
            Found::File(meta) if stat.key() == listed.stat.key() => meta.clone(),
            // Changed since it was listed; the key says whether the new metadata belongs to what was read.
            _ => read_meta(dir, &name, &stat, self.managed)?,
        };
        if dir.stat(&name)?.key() != stat.key() {
            return Err(FsError::Unstable { path: listed.path.clone() });
        }
        Ok(Content { stat, meta, blob, holes })
    }
}
