//! Walking a directory and reading its files in parallel.
//!
//! Owns the order of work and the check that files keep still. Invariants: names of one inode are read once; a file that
//! changes while it is read is read again with fresh metadata, and refused if it keeps changing; what a tree cannot
//! record is an error, because what is published becomes what machines are required to be.
//!
//! Does not cut or store content: `file` and the sink do.

use std::{
    collections::{HashMap, HashSet},
    fs::{File, Metadata},
    os::unix::fs::MetadataExt,
    panic,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use dominator_store_core::{BlobId, Content, Device, FlatTree, Hole, Item, Leaf, Meta, Name, Profile, TreePath};
use dominator_store_fs::{
    Dir, FileType, Found, FsError, Listed, Listing, Skipped, Stat, flatten, list, read_holes, read_meta,
};

use super::{
    Progress, PublishOptions,
    file::{CutError, Cutter, Sink},
};
use crate::{
    error::Result,
    limits::{LONG_FILE_LEN, RETRY_COUNT_MAX},
};

/// What a directory holds.
pub(crate) struct Survey {
    /// The directory.
    pub(crate) root: Dir,
    /// Its tree, without content.
    pub(crate) tree: FlatTree,
    /// Paths of all entries found, by position; pieces name files so.
    pub(crate) paths: Vec<TreePath>,
    /// What was left out although the filter manages it.
    pub(crate) skipped: Vec<(TreePath, Skipped)>,
    /// Sum of the sizes of files, hard links counted once.
    pub(crate) content_len: u64,
}

/// Reads the directory `path` and hands the chunks of its files to `sink`.
pub(crate) fn survey<S: Sink>(
    path: &Path,
    profile: Profile,
    options: &PublishOptions,
    progress: &Progress,
    sink: &S,
) -> Result<Survey> {
    let root = Dir::open(path)?;
    let mut listing = list(&root, &options.filter, options.managed, &mut |_| progress.add_entry())?;
    let skipped = skipped(&listing)?;
    let jobs = jobs(&listing);
    let sizes = jobs.iter().filter_map(|pos| listing.entries.get(*pos)).map(|listed| listed.stat.size);
    progress.set_totals(jobs.len() as u64, sizes.sum());
    let contents: Vec<OnceLock<FileContent>> = std::iter::repeat_with(OnceLock::new).take(jobs.len()).collect();
    let reader = Reader { root: &root, listing: &listing, jobs: &jobs, contents: &contents, options, progress };
    reader.read_all(profile, sink)?;
    let mut known: HashMap<Inode, FileContent> = HashMap::with_capacity(jobs.len());
    for (pos, content) in jobs.iter().zip(contents) {
        if let (Some(listed), Some(content)) = (listing.entries.get(*pos), content.into_inner()) {
            known.insert(inode(&listed.stat), content);
        }
    }
    for listed in &mut listing.entries {
        let fresh = known.get(&inode(&listed.stat)).and_then(|content| content.fresh.as_ref());
        if let (Found::File(meta), Some((_, fresh))) = (&mut listed.found, fresh) {
            *meta = fresh.clone();
        }
    }
    let tree = flatten(&listing, |listed| {
        known.get(&inode(&listed.stat)).map(|content| (content.blob, content.size, content.holes.clone()))
    });
    let content_len = content_len(&tree);
    let paths = listing.entries.into_iter().map(|listed| listed.path).collect();
    Ok(Survey { root, tree, paths, skipped, content_len })
}

type Inode = (Device, u64);

const fn inode(stat: &Stat) -> Inode {
    (stat.dev, stat.ino)
}

fn skipped(listing: &Listing) -> Result<Vec<(TreePath, Skipped)>> {
    let mut skipped = Vec::new();
    for listed in &listing.entries {
        match &listed.found {
            Found::Socket => skipped.push((listed.path.clone(), Skipped::Socket)),
            Found::ForeignMount(_) => skipped.push((listed.path.clone(), Skipped::ForeignMount)),
            Found::Beyond(what) => return Err(FsError::Limit { path: listed.path.clone(), what }.into()),
            Found::Dir(_) | Found::File(_) | Found::Other(_) => {}
        }
    }
    Ok(skipped)
}

/// Returns the positions of the files to read, one for each inode: long ones first, the rest as the walk found them.
fn jobs(listing: &Listing) -> Vec<usize> {
    let mut met = HashSet::new();
    let (mut long, mut rest) = (Vec::new(), Vec::new());
    for (pos, listed) in listing.entries.iter().enumerate() {
        let stat = &listed.stat;
        if matches!(listed.found, Found::File(_)) && (stat.nlink <= 1 || met.insert(inode(stat))) {
            if listed.stat.size >= LONG_FILE_LEN { long.push(pos) } else { rest.push(pos) }
        }
    }
    long.sort_by_key(|pos| std::cmp::Reverse(listing.entries.get(*pos).map(|listed| listed.stat.size)));
    long.append(&mut rest);
    long
}

fn content_len(tree: &FlatTree) -> u64 {
    let mut met = HashSet::new();
    let lens = tree.items.iter().map(|(_, item)| match item {
        Item::Leaf(Leaf { link, content: Content::File { size, .. }, .. })
            if link.is_none_or(|group| met.insert(group)) =>
        {
            *size
        }
        _ => 0,
    });
    lens.sum()
}

/// What was true of one inode at one time.
struct FileContent {
    blob: BlobId,
    size: u64,
    holes: Vec<Hole>,
    /// Stat and metadata, if they are newer than those of the walk.
    fresh: Option<(Stat, Meta)>,
}

struct Reader<'a> {
    root: &'a Dir,
    listing: &'a Listing,
    jobs: &'a [usize],
    contents: &'a [OnceLock<FileContent>],
    options: &'a PublishOptions,
    progress: &'a Progress,
}

impl Reader<'_> {
    fn read_all<S: Sink>(&self, profile: Profile, sink: &S) -> Result<()> {
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let work = || -> Result<()> {
            let mut cutter = Cutter::new(profile, sink);
            let mut parent = None;
            while !stop.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let job = self.jobs.get(at).and_then(|pos| Some((*pos, self.listing.entries.get(*pos)?)));
                let (Some((pos, listed)), Some(slot)) = (job, self.contents.get(at)) else { break };
                match self.read(&mut cutter, &mut parent, pos, listed) {
                    Ok(content) => {
                        self.progress.add_file(content.size);
                        // Each job is taken once, so the slot is empty.
                        let _ = slot.set(content);
                    }
                    Err(error) => {
                        stop.store(true, Ordering::Relaxed);
                        return Err(error);
                    }
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let count = self.options.thread_count().min(self.jobs.len());
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(work)).collect();
            let joined =
                workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
            // Every worker is joined, also after the first error.
            joined.collect::<Vec<_>>().into_iter().collect()
        })
    }

    fn read<S: Sink>(
        &self,
        cutter: &mut Cutter<'_, S>,
        parent: &mut Option<(TreePath, Dir)>,
        pos: usize,
        listed: &Listed,
    ) -> Result<FileContent> {
        let unstable = || FsError::Unstable { path: listed.path.clone() };
        let (Some(path), Some(name)) = (listed.path.parent(), listed.path.name()) else {
            return Err(unstable().into());
        };
        // Files of one directory follow each other, so its handle is kept.
        let dir = match parent {
            Some((at, dir)) if *at == path => &*dir,
            _ => &parent.insert((path.clone(), self.root.open_path(&path)?)).1,
        };
        let mut fresh = None;
        for _ in 0..=RETRY_COUNT_MAX {
            let stat = fresh.as_ref().map_or(&listed.stat, |(stat, _)| stat);
            let file = dir.open_file(&name)?;
            if let Some((blob, holes)) = self.read_once(cutter, &file, pos, &listed.path, stat)? {
                return Ok(FileContent { blob, size: stat.size, holes, fresh });
            }
            fresh = Some(self.look_again(dir, &name, &listed.stat)?.ok_or_else(unstable)?);
        }
        Err(unstable().into())
    }

    /// Reads the file once; `None` if it is not, or does not stay, what `stat` says.
    fn read_once<S: Sink>(
        &self,
        cutter: &mut Cutter<'_, S>,
        file: &File,
        pos: usize,
        path: &TreePath,
        stat: &Stat,
    ) -> Result<Option<(BlobId, Vec<Hole>)>> {
        let io = |source| FsError::Io { operation: "read", path: path.clone(), source };
        let is_same = |found: &Metadata| is_same(stat, found);
        if !is_same(&file.metadata().map_err(io)?) {
            return Ok(None);
        }
        let (blob, len) = match cutter.cut(file, pos, stat.size) {
            Ok(found) => found,
            Err(CutError::Read(source)) => return Err(io(source).into()),
            Err(CutError::Sink(error)) => return Err(error),
        };
        // After the content, because reserved storage counts as a hole until it is read.
        let holes = if self.options.managed.holes { read_holes(file, stat.size)? } else { Vec::new() };
        let still = len == stat.size && is_same(&file.metadata().map_err(io)?);
        Ok(still.then_some((blob, holes)))
    }

    /// Looks at a name again; `None` if it is no file any more, or another one than its hard links are.
    fn look_again(&self, dir: &Dir, name: &Name, before: &Stat) -> Result<Option<(Stat, Meta)>> {
        match dir.try_stat(name)? {
            Some(stat) if stat.kind == FileType::File && (stat.ino == before.ino || before.nlink <= 1) => {
                let meta = read_meta(dir, name, &stat, self.options.managed)?;
                Ok(Some((stat, meta)))
            }
            _ => Ok(None),
        }
    }
}

/// Says whether an open file is what the walk saw. The device is left out: a name opened beneath one root is on it.
fn is_same(stat: &Stat, found: &Metadata) -> bool {
    let time = |time: dominator_store_core::Mtime| (time.seconds, i64::from(time.nanoseconds));
    stat.ino == found.ino()
        && stat.size == found.size()
        && time(stat.mtime) == (found.mtime(), found.mtime_nsec())
        && time(stat.ctime) == (found.ctime(), found.ctime_nsec())
}
