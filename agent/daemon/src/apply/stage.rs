//! The stage: everything a plan needs, complete before anything changes.
//!
//! Owns the directories of a plan and filling them. Invariants: an entry in a slot has its final content and metadata, was
//! hashed from what was written, and is durable before the journal names it; names of one file are links of one inode.
//!
//! What is staged is the plan's choice; content comes from the root itself where it has it, else from [`Blobs`].

use std::{
    io::{self, Read, Write},
    num::NonZeroUsize,
    panic,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
};

use dominator_agent_core::{Plan, PlanId, Slot, Source, Staged};
use dominator_store_core::{BlobId, Content, Hole, Item, Leaf, Name, TreePath};
use dominator_store_fs::{Dir, FsError, NewFile, make_dir, make_leaf, write_dir_meta};

use super::{
    applier::Progress,
    blobs::{Blobs, Hashing},
    error::ApplyError,
    fault::{Fault, Point},
    limits::COPY_BUF_LEN,
    private::{PrivateDir, own_name},
};

/// The directories of one plan in the private directory.
pub(super) struct PlanDirs {
    pub(super) stage: Dir,
    pub(super) rollback: Dir,
}

impl PlanDirs {
    /// Opens the directories of a plan, or makes them.
    pub(super) fn open(private: &PrivateDir, plan: PlanId) -> Result<Self, ApplyError> {
        let open = |kind| -> Result<Dir, ApplyError> {
            let (parent, name) = (private.sub(kind)?, own_name(&plan.to_string()));
            match parent.try_stat(&name)? {
                Some(_) => Ok(parent.open_child(&name)?),
                None => Ok(make_dir(&parent, &name)?),
            }
        };
        Ok(Self { stage: open(STAGE_NAME)?, rollback: open(ROLLBACK_NAME)? })
    }

    /// Removes the directories of every plan.
    pub(super) fn remove_all(private: &PrivateDir) -> Result<(), ApplyError> {
        for kind in [STAGE_NAME, ROLLBACK_NAME] {
            let parent = private.sub(kind)?;
            for name in parent.names()? {
                parent.remove_tree(&name)?;
            }
        }
        Ok(())
    }
}

/// What staging works with.
pub(super) struct Stager<'a> {
    pub(super) root: &'a Dir,
    pub(super) stage: &'a Dir,
    pub(super) plan: &'a Plan,
    pub(super) blobs: &'a dyn Blobs,
    pub(super) fault: &'a dyn Fault,
    pub(super) threads: NonZeroUsize,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
}

/// Makes everything the plan stages, and waits until it is durable.
///
/// # Errors
/// What went wrong first; the stage is then to be removed.
pub(super) fn stage(stager: &Stager<'_>) -> Result<(), ApplyError> {
    stager.run()
}

impl Stager<'_> {
    fn run(&self) -> Result<(), ApplyError> {
        let mut places = Places::new(self.stage);
        for staged in self.plan.staged.iter().filter(|staged| staged.item.is_dir()) {
            self.fault.reach(Point::Stage)?;
            let (dir, name) = places.hold(staged)?;
            make_dir(dir, &name)?;
        }
        self.write_leaves()?;
        for staged in &self.plan.staged {
            let Source::Link(primary) = staged.source else { continue };
            let Some(primary) = self.plan.staged.get(primary) else { continue };
            self.fault.reach(Point::Stage)?;
            let from = Places::new(self.stage).into_held(primary)?;
            let (dir, name) = places.hold(staged)?;
            from.0.link(&from.1, dir, &name)?;
        }
        // Inner directories first, since making an entry changes the time of the one around it.
        for staged in self.plan.staged.iter().rev() {
            let Item::Dir(meta) = &staged.item else { continue };
            self.fault.reach(Point::Stage)?;
            let (dir, name) = places.hold(staged)?;
            write_dir_meta(&dir.open_child(&name)?, meta, self.plan.managed)?;
        }
        self.fault.reach(Point::SyncStage)?;
        (self.progress)(Progress::Syncing);
        Ok(self.stage.sync_file_system()?)
    }

    /// Makes everything but directories and links, with several threads.
    fn write_leaves(&self) -> Result<(), ApplyError> {
        let is_leaf = |staged: &&Staged| !staged.item.is_dir() && !matches!(staged.source, Source::Link(_));
        let leaves: Vec<&Staged> = self.plan.staged.iter().filter(is_leaf).collect();
        let (next, done_count, done_len) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        let failed = AtomicBool::new(false);
        let (count, len) = (leaves.len() as u64, self.plan.staged_len());
        let work = || -> Result<(), ApplyError> {
            let mut places = Places::new(self.stage);
            let mut buf = vec![0; COPY_BUF_LEN];
            while let Some(staged) = leaves.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    break;
                }
                if let Err(error) = self.write_leaf(staged, &mut places, &mut buf) {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                let size = staged.item.blob().map_or(0, |(_, size)| size);
                let done_len = done_len.fetch_add(size, Ordering::Relaxed) + size;
                let done_count = done_count.fetch_add(1, Ordering::Relaxed) + 1;
                (self.progress)(Progress::Staging { done_count, count, done_len, len });
            }
            Ok(())
        };
        let threads = self.threads.get().min(leaves.len());
        if threads <= 1 {
            return work();
        }
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            let results: Vec<_> = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic)))
                .collect();
            results.into_iter().collect()
        })
    }

    fn write_leaf(&self, staged: &Staged, places: &mut Places<'_>, buf: &mut [u8]) -> Result<(), ApplyError> {
        self.fault.reach(Point::Stage)?;
        let Item::Leaf(leaf) = &staged.item else { return Ok(()) };
        let (dir, name) = places.hold(staged)?;
        let Content::File { size, blob, holes } = &leaf.content else {
            return Ok(make_leaf(dir, &name, leaf, self.plan.managed)?);
        };
        let file = NewJob { dir, name: &name, leaf, size: *size, blob: *blob, holes, path: &staged.path };
        match &staged.source {
            Source::Blob { local: Some(local), .. } if self.copy_local(&file, local, buf)? => Ok(()),
            Source::Blob { .. } => self.write_blob(&file),
            Source::None | Source::Link(_) => Ok(file.create()?.finish(&leaf.meta, self.plan.managed)?),
        }
    }

    /// Copies from a file of the root; says whether that was possible: it may have changed since it was scanned.
    fn copy_local(&self, file: &NewJob<'_>, local: &TreePath, buf: &mut [u8]) -> Result<bool, ApplyError> {
        let Ok(mut source) = self.root.open_file_path(local) else { return Ok(false) };
        let mut out = Hashing::new(file.create()?);
        let copied = copy(&mut source, &mut out, file.size, buf).and_then(|()| out.finish(file.blob));
        match copied {
            Ok(out) => {
                out.finish(&file.leaf.meta, self.plan.managed)?;
                Ok(true)
            }
            Err(error) if is_full(&error) => Err(ApplyError::io("copy into the stage", error)),
            Err(_) => {
                file.dir.unlink(file.name)?;
                Ok(false)
            }
        }
    }

    fn write_blob(&self, file: &NewJob<'_>) -> Result<(), ApplyError> {
        let mut out = Hashing::new(file.create()?);
        let written = self.blobs.write_blob(file.blob, file.size, &mut out).and_then(|()| out.finish(file.blob));
        match written {
            Ok(out) => Ok(out.finish(&file.leaf.meta, self.plan.managed)?),
            Err(source) if is_full(&source) => Err(ApplyError::io("write into the stage", source)),
            Err(source) => Err(ApplyError::Blob { blob: file.blob, path: file.path.clone(), source }),
        }
    }
}

/// A file to be made.
struct NewJob<'a> {
    dir: &'a Dir,
    name: &'a Name,
    leaf: &'a Leaf,
    size: u64,
    blob: BlobId,
    holes: &'a [Hole],
    path: &'a TreePath,
}

impl NewJob<'_> {
    fn create(&self) -> Result<NewFile, FsError> {
        NewFile::create(self.dir, self.name, self.size, self.holes)
    }
}

/// Copies until the end, at most one byte more than `size`, which the target refuses.
fn copy(source: &mut impl Read, out: &mut impl Write, size: u64, buf: &mut [u8]) -> io::Result<()> {
    let mut source = source.take(size.saturating_add(1));
    loop {
        match source.read(buf) {
            Ok(0) => return Ok(()),
            Ok(len) => out.write_all(buf.get(..len).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Finds where staged entries are, holding the directory of the last one.
struct Places<'a> {
    stage: &'a Dir,
    last: Option<(Slot, TreePath, Dir)>,
}

impl<'a> Places<'a> {
    const fn new(stage: &'a Dir) -> Self {
        Self { stage, last: None }
    }

    /// Returns the directory and the name of a staged entry.
    fn hold(&mut self, staged: &Staged) -> Result<(&Dir, Name), FsError> {
        let slot = own_name(&staged.slot.to_string());
        let (Some(parent), Some(name)) = (staged.below.parent(), staged.below.name()) else {
            return Ok((self.stage, slot));
        };
        let held = self.last.take().filter(|(slot, at, _)| (*slot, at) == (staged.slot, &parent));
        let dir = match held {
            Some((_, _, dir)) => dir,
            None => self.stage.open_child(&slot)?.open_path(&parent)?,
        };
        let (_, _, dir) = self.last.insert((staged.slot, parent, dir));
        Ok((dir, name))
    }

    /// Returns the directory, owned, and the name of a staged entry.
    fn into_held(mut self, staged: &Staged) -> Result<(Dir, Name), FsError> {
        let (dir, name) = self.hold(staged)?;
        Ok((dir.try_clone()?, name))
    }
}

const STAGE_NAME: &str = "stage";
const ROLLBACK_NAME: &str = "rollback";
