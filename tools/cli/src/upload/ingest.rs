//! A directory as objects, without a store.
//!
//! Owns reading: files are cut and hashed by several threads, each object is offered once, and what was read is kept only
//! until the server says whether it wants it. So publishing to a server needs no local store, no second reading and bounded
//! memory; the price is that every file is read at every publish (a store on this machine has a stat cache instead).
//! Invariants: a file that changes while it is read fails the publish; a tree is offered after all that it lists.
//!
//! Does not speak to the server: that is `courier`.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    num::NonZeroUsize,
    os::unix::fs::MetadataExt as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context as _, Result, bail};
use dominator_protocol_core::Commit;
use dominator_store_core::{
    BlobId, Device, Filter, FlatTree, Hole, ImageId, Item, Managed, ObjectId, ObjectKind, Profile, Recipe, TreeId,
    limits::object_len_max,
};
use dominator_store_fs::{Dir, Found, Listed, Listing, Stat, flatten, list, read_holes};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use super::{
    courier::{Candidate, Errand},
    cut::Cutter,
    limits::OBJECT_OVERHEAD_LEN,
};
use crate::{error::Advice, progress::Meter};

/// The courier is gone; its own error says why.
#[derive(Debug, thiserror::Error)]
#[error("the server does not take more")]
pub(super) struct Gone;

/// Hands objects to the courier, each once.
pub(super) struct Intake {
    pub(super) errands: mpsc::UnboundedSender<Errand>,
    pub(super) budget: Arc<Semaphore>,
    pub(super) runtime: Handle,
    pub(super) offered: Mutex<HashSet<ObjectId>>,
}

/// Which files an inode's content was read for.
type Inode = (Device, u64);
/// What a file holds.
type FileContent = (BlobId, u64, Vec<Hole>);

/// A whole directory, read and offered.
pub(super) struct Ingested {
    /// Id of its root.
    pub(super) root: TreeId,
    /// Paths in it, the root included.
    pub(super) entry_count: u64,
    /// Bytes of its files, hard links counted once.
    pub(super) content_len: u64,
    /// What it holds that no image can: sockets and other mounts.
    pub(super) skipped: Vec<String>,
}

impl Intake {
    /// Offers an object, unless it was offered before; waits while too much is under way.
    pub(super) fn offer(&self, id: ObjectId, bytes: &[u8]) -> Result<()> {
        if bytes.len() > object_len_max(id.kind) {
            bail!("{id} of {} bytes is above the limit of its kind", bytes.len());
        }
        if !self.offered.lock().unwrap_or_else(PoisonError::into_inner).insert(id) {
            return Ok(());
        }
        let cost = u32::try_from(bytes.len())?.saturating_add(OBJECT_OVERHEAD_LEN);
        let permit = self.runtime.block_on(Arc::clone(&self.budget).acquire_many_owned(cost)).map_err(|_| Gone)?;
        let candidate = Candidate { id, bytes: bytes.to_vec(), permit };
        Ok(self.errands.send(Errand::Offer(candidate)).map_err(|_| Gone)?)
    }

    /// Asks for the image to become visible.
    pub(super) fn commit(&self, name: &str, image: ImageId) -> Result<()> {
        Ok(self.errands.send(Errand::Commit(Commit { name: name.to_owned(), image })).map_err(|_| Gone)?)
    }

    /// Returns how many objects were offered.
    pub(super) fn offered_count(&self) -> u64 {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}

/// Reads the directory, offers every object of it, and returns its root.
pub(super) fn ingest(
    root: &Dir,
    filter: &Filter,
    managed: Managed,
    profile: Profile,
    threads: NonZeroUsize,
    intake: &Intake,
    meter: &Meter,
) -> Result<Ingested> {
    let listing = list(root, filter, managed, &mut |_| meter.add_count(1))?;
    let skipped = check(&listing)?;
    let files = files(&listing);
    meter.set_total_len(files.iter().map(|file| file.stat.size).sum());
    let contents = read_files(root, &files, profile, threads, intake, meter)?;
    let tree = flatten(&listing, |file| contents.get(&(file.stat.dev, file.stat.ino)).cloned());
    let root = offer_trees(&tree, intake)?;
    Ok(Ingested {
        root,
        entry_count: tree.items.len() as u64,
        content_len: contents.values().map(|(_, size, _)| size).sum(),
        skipped,
    })
}

/// Refuses what no image can hold, and names what is left out.
fn check(listing: &Listing) -> Result<Vec<String>> {
    let mut skipped = Vec::new();
    for entry in &listing.entries {
        match &entry.found {
            Found::Beyond(what) => {
                let hint = "leave it out with --exclude, or change it";
                return Err(Advice::new(format!("{} cannot be in an image: {what}", entry.path), hint).into());
            }
            Found::Socket => skipped.push(format!("{} (socket)", entry.path)),
            Found::ForeignMount(_) => skipped.push(format!("{} (another file system is mounted there)", entry.path)),
            _ => {}
        }
    }
    Ok(skipped)
}

/// Returns one entry for each inode with content.
fn files(listing: &Listing) -> Vec<&Listed> {
    let mut seen: HashSet<Inode> = HashSet::new();
    let is_file = |entry: &&Listed| matches!(entry.found, Found::File(_));
    let files = listing.entries.iter().filter(is_file);
    files.filter(|file| seen.insert((file.stat.dev, file.stat.ino))).collect()
}

fn read_files(
    root: &Dir,
    files: &[&Listed],
    profile: Profile,
    threads: NonZeroUsize,
    intake: &Intake,
    meter: &Meter,
) -> Result<HashMap<Inode, FileContent>> {
    let next_pos = AtomicUsize::new(0);
    let work = || {
        let mut cutter = Cutter::new(profile);
        let mut contents = Vec::new();
        while let Some(file) = files.get(next_pos.fetch_add(1, Ordering::Relaxed)) {
            let read = read_file(root, file, profile, &mut cutter, intake, meter);
            match read.with_context(|| format!("cannot publish {}", file.path)) {
                Ok(content) => contents.push(((file.stat.dev, file.stat.ino), content)),
                Err(error) => {
                    // The others stop at their next file.
                    next_pos.store(files.len(), Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(contents)
    };
    let mut contents = HashMap::with_capacity(files.len());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        let results =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        results.collect::<Result<Vec<_>>>()
    })?
    .into_iter()
    .for_each(|read| contents.extend(read));
    Ok(contents)
}

fn read_file(
    root: &Dir,
    listed: &Listed,
    profile: Profile,
    cutter: &mut Cutter,
    intake: &Intake,
    meter: &Meter,
) -> Result<FileContent> {
    let mut file = root.open_file_path(&listed.path)?;
    check_unchanged(&file, &listed.stat)?;
    let cut = cutter.cut::<anyhow::Error>(&mut file, &mut |id, chunk| {
        meter.add_len(chunk.len() as u64);
        intake.offer(id.into(), chunk)
    })?;
    let holes = read_holes(&file, cut.size)?;
    check_unchanged(&file, &listed.stat)?;
    if cut.chunks.len() > 1 {
        let recipe = Recipe::new(cut.blob, &profile, cut.chunks)?.encode();
        intake.offer(ObjectId::of(ObjectKind::Recipe, &recipe), &recipe)?;
    }
    Ok((cut.blob, cut.size, holes))
}

/// Metadata was read with the listing, so content read from a file that changed since would be of another time.
fn check_unchanged(file: &File, stat: &Stat) -> Result<()> {
    let now = file.metadata()?;
    let time = |seconds: i64, nanoseconds: i64| (seconds, u32::try_from(nanoseconds).unwrap_or(0));
    let is_same = now.ino() == stat.ino
        && now.size() == stat.size
        && time(now.mtime(), now.mtime_nsec()) == (stat.mtime.seconds, stat.mtime.nanoseconds)
        && time(now.ctime(), now.ctime_nsec()) == (stat.ctime.seconds, stat.ctime.nanoseconds);
    if !is_same {
        return Err(Advice::new("the file changed while it was read", "publish a tree that nobody writes to").into());
    }
    Ok(())
}

/// Offers every tree object, inner ones first.
fn offer_trees(tree: &FlatTree, intake: &Intake) -> Result<TreeId> {
    if let Some((path, _)) = tree.items.first().filter(|(_, item)| !matches!(item, Item::Dir(_))) {
        bail!("{path} is not a directory");
    }
    let mut failure = None;
    let root = tree.encode(&mut |id, bytes| {
        if failure.is_none() {
            failure = intake.offer(id.into(), &bytes).err();
        }
    })?;
    failure.map_or(Ok(root), Err)
}
