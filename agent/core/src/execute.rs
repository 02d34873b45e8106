//! What performing and undoing a step means.
//!
//! Owns the decisions between look and act (`spec/apply.md#steps`), for the first run, for the repetition after a crash
//! and for the way back. Invariants: a step acts only on the inode it was bound to; what it takes out of the root stays
//! in the stage or the rollback directory; whatever subset of steps has reached the disk, performing all of them gives
//! the new tree and undoing all of them the old one.
//!
//! Does not touch names itself ([`Files`] does) and keeps no journal.

use dominator_store_core::{Meta, TreePath};

use crate::{
    files::{Files, Found, Ino, Moved, Place},
    step::{BoundStep, Op, Slot, Step, Swap},
};

/// What carrying out a list of steps came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Steps that changed something.
    pub done_count: u64,
    /// Paths that somebody else changed meanwhile; they were left alone.
    pub drifted: Vec<TreePath>,
    /// Directories that stay because something is in them that is not managed.
    pub kept: Vec<TreePath>,
}

/// What one step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Already,
    Drifted,
    Kept,
}

/// Steps with the inodes they are about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Binding {
    /// The steps, in order.
    pub steps: Vec<BoundStep>,
    /// Paths that do not have what their step expects: absent, another type, or there though they should not be.
    pub drifted: Vec<TreePath>,
}

/// Looks up what every step is about, once everything is staged.
///
/// # Errors
/// The first error of `files`.
pub fn bind<F: Files>(steps: &[Step], files: &mut F) -> Result<Binding, F::Error> {
    let mut binding = Binding { steps: Vec::with_capacity(steps.len()), drifted: Vec::new() };
    for step in steps {
        let found = files.find(Place::Root(&step.path))?;
        let expected = match (&step.old, found) {
            (None, None) => true,
            (Some(item), Some(Found { ino: Some(_), is_dir })) => item.is_dir() == is_dir,
            _ => false,
        };
        if !expected {
            binding.drifted.push(step.path.clone());
            continue;
        }
        let new = match &step.op {
            Op::Create { slot } | Op::Replace { slot, .. } => files.find(Place::Stage(*slot))?,
            Op::Remove { .. } | Op::RemoveDir { .. } | Op::SetMeta { .. } | Op::SetMtime { .. } => None,
        };
        let ino = |found: Option<Found>| found.and_then(|found| found.ino);
        binding.steps.push(BoundStep { path: step.path.clone(), op: step.op.clone(), old: ino(found), new: ino(new) });
    }
    Ok(binding)
}

/// Performs every step in order. Steps that are done already change nothing.
///
/// # Errors
/// The first error of `files`; the steps before it are done.
pub fn roll_forward<F: Files>(steps: &[BoundStep], files: &mut F) -> Result<Report, F::Error> {
    let mut report = Report::default();
    for step in steps {
        report.add(step, perform(step, files)?);
    }
    Ok(report)
}

/// Undoes every step in reverse order. Steps that were not performed, or are undone already, change nothing.
///
/// # Errors
/// The first error of `files`; the steps after it in the list are undone.
pub fn roll_back<F: Files>(steps: &[BoundStep], files: &mut F) -> Result<Report, F::Error> {
    let mut report = Report::default();
    for step in steps.iter().rev() {
        report.add(step, undo(step, files)?);
    }
    // Undoing has disturbed the times of directories, whichever step was about them.
    for step in steps {
        restore_dir_mtime(step, files)?;
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, step: &BoundStep, outcome: Outcome) {
        match outcome {
            Outcome::Done => self.done_count += 1,
            Outcome::Already => {}
            Outcome::Drifted => self.drifted.push(step.path.clone()),
            Outcome::Kept => self.kept.push(step.path.clone()),
        }
    }
}

fn is(found: Option<Found>, ino: Option<Ino>) -> bool {
    ino.is_some() && found.and_then(|found| found.ino) == ino
}

fn perform<F: Files>(step: &BoundStep, files: &mut F) -> Result<Outcome, F::Error> {
    let root = Place::Root(&step.path);
    match &step.op {
        Op::Create { slot } => {
            let found = files.find(root)?;
            match found {
                _ if is(found, step.new) => Ok(Outcome::Already),
                Some(_) => Ok(Outcome::Drifted),
                None => files.rename_new(Place::Stage(*slot), root).map(done),
            }
        }
        Op::Replace { slot, swap } => {
            let found = files.find(root)?;
            match found {
                _ if is(found, step.new) => Ok(Outcome::Already),
                _ if is(found, step.old) && files.can_exchange() => exchange(step, *slot, swap, files),
                _ if is(found, step.old) => replace_without_exchange(step, *slot, swap, files),
                // A crash between the two renames of the way without exchange, or somebody removed it: nothing is lost
                // by putting the new one there.
                None => files.rename_new(Place::Stage(*slot), root).map(done),
                Some(_) => Ok(Outcome::Drifted),
            }
        }
        Op::Remove { slot } => {
            let found = files.find(root)?;
            match found {
                None => Ok(Outcome::Already),
                _ if is(found, step.old) => take_out(step, *slot, files),
                Some(_) => Ok(Outcome::Drifted),
            }
        }
        Op::RemoveDir { .. } => {
            let found = files.find(root)?;
            match found {
                None => Ok(Outcome::Already),
                _ if is(found, step.old) => Ok(match files.remove_dir(root)? {
                    Moved::Done => Outcome::Done,
                    Moved::Refused => Outcome::Kept,
                }),
                Some(_) => Ok(Outcome::Drifted),
            }
        }
        Op::SetMeta { new, .. } => match step.old {
            Some(ino) => files.write_meta(root, ino, new).map(done),
            None => Ok(Outcome::Drifted),
        },
        Op::SetMtime { new, .. } => match step.old {
            Some(ino) => files.write_mtime(root, ino, *new).map(done),
            None => Ok(Outcome::Drifted),
        },
    }
}

fn done(moved: Moved) -> Outcome {
    match moved {
        Moved::Done => Outcome::Done,
        Moved::Refused => Outcome::Drifted,
    }
}

/// Exchanges the staged entry and the live one, and looks at what came out: between the look and the act somebody may
/// have put something else there, which is then given back.
fn exchange<F: Files>(step: &BoundStep, slot: Slot, swap: &Swap, files: &mut F) -> Result<Outcome, F::Error> {
    let (root, stage) = (Place::Root(&step.path), Place::Stage(slot));
    if files.exchange(stage, root)? == Moved::Refused {
        return Ok(Outcome::Drifted);
    }
    let out = files.find(stage)?;
    let full = match swap {
        Swap::Shrink { .. } => !files.is_empty_dir(stage)?,
        Swap::Leaf | Swap::Grow => false,
    };
    match is(out, step.old) {
        true if !full => Ok(Outcome::Done),
        expected => {
            let _gone_meanwhile = files.exchange(stage, root)?;
            Ok(if expected { Outcome::Kept } else { Outcome::Drifted })
        }
    }
}

/// Replaces on a file system without exchange: the old entry is kept under another name first. Where a directory is
/// involved, the name is absent for a moment; there is no other way.
fn replace_without_exchange<F: Files>(
    step: &BoundStep,
    slot: Slot,
    swap: &Swap,
    files: &mut F,
) -> Result<Outcome, F::Error> {
    let (root, stage, rollback) = (Place::Root(&step.path), Place::Stage(slot), Place::Rollback(slot));
    match swap {
        Swap::Leaf => {
            // Refused after a crash between the two calls: then the link is there, which the look decides.
            let _there_already = files.link(root, rollback)?;
            let kept = files.find(rollback)?;
            if !is(kept, step.old) {
                return Ok(Outcome::Drifted);
            }
            return files.rename_over(stage, root).map(done);
        }
        Swap::Grow => {
            let outcome = take_out(step, slot, files)?;
            if outcome != Outcome::Done {
                return Ok(outcome);
            }
        }
        Swap::Shrink { .. } => {
            if files.remove_dir(root)? == Moved::Refused {
                return Ok(Outcome::Kept);
            }
        }
    }
    files.rename_new(stage, root).map(done)
}

/// Moves the live entry to the rollback directory, and gives it back if it was not the one expected.
fn take_out<F: Files>(step: &BoundStep, slot: Slot, files: &mut F) -> Result<Outcome, F::Error> {
    let (root, rollback) = (Place::Root(&step.path), Place::Rollback(slot));
    if files.rename_new(root, rollback)? == Moved::Refused {
        return Ok(Outcome::Drifted);
    }
    let out = files.find(rollback)?;
    if is(out, step.old) {
        return Ok(Outcome::Done);
    }
    let _taken_meanwhile = files.rename_new(rollback, root)?;
    Ok(Outcome::Drifted)
}

fn undo<F: Files>(step: &BoundStep, files: &mut F) -> Result<Outcome, F::Error> {
    let root = Place::Root(&step.path);
    match &step.op {
        Op::Create { slot } => {
            let found = files.find(root)?;
            if is(found, step.new) {
                files.rename_new(root, Place::Stage(*slot)).map(done)
            } else {
                Ok(Outcome::Already)
            }
        }
        Op::Replace { slot, swap } => undo_replace(step, *slot, swap, files),
        Op::Remove { slot } => {
            let kept = files.find(Place::Rollback(*slot))?;
            if is(kept, step.old) {
                files.rename_new(Place::Rollback(*slot), root).map(done)
            } else {
                Ok(Outcome::Already)
            }
        }
        Op::RemoveDir { slot, meta } => match files.find(root)? {
            Some(_) => Ok(Outcome::Already),
            None => make_again(&step.path, *slot, meta, files),
        },
        Op::SetMeta { old, .. } => match step.old {
            Some(ino) => files.write_meta(root, ino, old).map(done),
            None => Ok(Outcome::Already),
        },
        Op::SetMtime { old, .. } => match (step.old, old) {
            (Some(ino), Some(old)) => files.write_mtime(root, ino, *old).map(done),
            _ => Ok(Outcome::Already),
        },
    }
}

fn undo_replace<F: Files>(step: &BoundStep, slot: Slot, swap: &Swap, files: &mut F) -> Result<Outcome, F::Error> {
    let (root, stage, rollback) = (Place::Root(&step.path), Place::Stage(slot), Place::Rollback(slot));
    let found = files.find(root)?;
    if is(found, step.old) {
        return Ok(Outcome::Already);
    }
    let is_new = is(found, step.new);
    if let Some(found) = found.filter(|_| !is_new) {
        // A directory that was removed is made again as another inode.
        let is_made_again = found.is_dir && matches!(swap, Swap::Shrink { .. });
        return Ok(if is_made_again { Outcome::Already } else { Outcome::Drifted });
    }
    let (staged, kept) = (files.find(stage)?, files.find(rollback)?);
    if is_new && is(staged, step.old) {
        return files.exchange(stage, root).map(done);
    }
    if is_new && is(kept, step.old) && *swap == Swap::Leaf {
        return files.rename_over(rollback, root).map(done);
    }
    if is_new && files.rename_new(root, stage)? == Moved::Refused {
        return Ok(Outcome::Drifted);
    }
    match swap {
        Swap::Shrink { meta } => make_again(&step.path, slot, meta, files),
        Swap::Leaf | Swap::Grow if is(kept, step.old) => files.rename_new(rollback, root).map(done),
        Swap::Leaf | Swap::Grow => Ok(Outcome::Drifted),
    }
}

/// Makes a removed directory again, complete before it is visible.
fn make_again<F: Files>(path: &TreePath, slot: Slot, meta: &Meta, files: &mut F) -> Result<Outcome, F::Error> {
    match files.make_dir(Place::Rollback(slot), meta)? {
        Moved::Done => files.rename_new(Place::Rollback(slot), Place::Root(path)).map(done),
        Moved::Refused => Ok(Outcome::Drifted),
    }
}

fn restore_dir_mtime<F: Files>(step: &BoundStep, files: &mut F) -> Result<(), F::Error> {
    let mtime = match &step.op {
        Op::SetMtime { old, .. } => *old,
        Op::RemoveDir { meta, .. } | Op::Replace { swap: Swap::Shrink { meta }, .. } => meta.mtime,
        Op::Create { .. } | Op::Replace { .. } | Op::Remove { .. } | Op::SetMeta { .. } => None,
    };
    let Some(mtime) = mtime else { return Ok(()) };
    let root = Place::Root(&step.path);
    if let Some(Found { ino: Some(ino), is_dir: true }) = files.find(root)? {
        let _gone_meanwhile = files.write_mtime(root, ino, mtime)?;
    }
    Ok(())
}
