//! Comparing the root with what a plan expects, before and after.
//!
//! Owns three looks: before staging against the scan, before the window against the first look, and after the window
//! against the plan. Invariants: nothing here changes anything; content is not read, because a file whose key is the one
//! of the scan has not changed, and what was staged was hashed.
//!
//! What to do about a difference is the caller's choice.

use dominator_agent_core::{BoundStep, Op, Phase, Plan, Step};
use dominator_store_core::{Content, Item, Leaf, Managed, Meta, Name, TreePath};
use dominator_store_fs::{Dir, FileType, FsError, Stat, StatKey, read_leaf, read_meta, read_meta_self};

use super::{error::ApplyError, limits::LISTED_PATH_COUNT_MAX, root::RootFiles};

/// What the first look saw of each step's path: `None` for what need not stay as it was seen.
pub(super) struct Observed(Vec<Option<StatKey>>);

/// Compares every path with what its step expects.
///
/// # Errors
/// `Drifted` if any differs.
pub(super) fn observe(
    plan: &Plan,
    keys: &(dyn Fn(&TreePath) -> Option<StatKey> + Sync),
    files: &mut RootFiles<'_>,
) -> Result<Observed, ApplyError> {
    let mut observed = Vec::with_capacity(plan.steps.len());
    let mut drifted = Vec::new();
    for step in &plan.steps {
        let seen = see(step, keys(&step.path), plan.managed, files)?;
        if seen.is_none() {
            drifted.push(step.path.clone());
        }
        observed.push(seen.flatten());
    }
    settle(drifted)?;
    Ok(Observed(observed))
}

/// Looks again, after staging has taken its time.
///
/// # Errors
/// `Drifted` if any path is different than at the first look.
pub(super) fn observe_again(plan: &Plan, observed: &Observed, files: &mut RootFiles<'_>) -> Result<(), ApplyError> {
    let mut drifted = Vec::new();
    for (step, expected) in plan.steps.iter().zip(&observed.0) {
        let found = files.look(&step.path, Dir::stat)?;
        let same = match (&step.old, expected) {
            (None, _) => found.is_none(),
            (Some(_), Some(key)) => found.is_some_and(|stat| stat.key() == *key),
            // A directory changes with every name in it.
            (Some(_), None) => step.path.is_root() || found.is_some_and(|stat| stat.kind == FileType::Dir),
        };
        if !same {
            drifted.push(step.path.clone());
        }
    }
    settle(drifted)
}

/// Compares every path with what its step leaves; returns those that differ.
pub(super) fn verify(plan: &Plan, bound: &[BoundStep], files: &mut RootFiles<'_>) -> Result<Vec<TreePath>, ApplyError> {
    let mut differing = Vec::new();
    for (step, bound) in plan.steps.iter().zip(bound) {
        let found = files.look(&step.path, Dir::stat)?;
        let ino = bound.new.or(bound.old);
        let same = match &step.new {
            None => found.is_none(),
            Some(item) if step.path.is_root() => is_root_item(item, step, plan.managed, files.root())?,
            Some(item) => {
                found.is_some_and(|stat| ino.is_some_and(|ino| ino.0 == stat.ino))
                    && is_item(item, step, plan.managed, files)?
            }
        };
        if !same {
            differing.push(step.path.clone());
        }
    }
    differing.truncate(LISTED_PATH_COUNT_MAX);
    Ok(differing)
}

fn settle(mut drifted: Vec<TreePath>) -> Result<(), ApplyError> {
    if drifted.is_empty() {
        return Ok(());
    }
    drifted.truncate(LISTED_PATH_COUNT_MAX);
    Err(ApplyError::Drifted(drifted))
}

/// Returns the key to be found again if the path is as expected (none for directories), and nothing if it is not.
fn see(
    step: &Step,
    key: Option<StatKey>,
    managed: Managed,
    files: &mut RootFiles<'_>,
) -> Result<Option<Option<StatKey>>, ApplyError> {
    let found = match step.path.is_root() {
        true => Some(files.root().stat_self()?),
        false => files.look(&step.path, Dir::stat)?,
    };
    Ok(match (&step.old, found) {
        (None, None) => Some(None),
        (Some(Item::Dir(_)), Some(stat)) if stat.kind == FileType::Dir => {
            let item = step.old.as_ref().filter(|_| step.phase != Phase::DirTimes);
            let same = match item {
                Some(item) if step.path.is_root() => is_root_item(item, step, managed, files.root())?,
                Some(item) => is_item(item, step, managed, files)?,
                None => true,
            };
            same.then_some(None)
        }
        // A key covers content and metadata, for it has the time of the last change of either.
        (Some(Item::Leaf(_)), Some(stat)) if key.is_some() => (key == Some(stat.key())).then_some(key),
        (Some(item @ Item::Leaf(_)), Some(stat)) => is_item(item, step, managed, files)?.then_some(Some(stat.key())),
        _ => None,
    })
}

/// Says whether type, metadata and what can be seen of the content are those of `item`.
fn is_item(item: &Item, step: &Step, managed: Managed, files: &mut RootFiles<'_>) -> Result<bool, ApplyError> {
    let same = files.look(&step.path, |dir, name| match item {
        Item::Dir(meta) => {
            let stat = dir.stat(name)?;
            let found = read_meta(dir, name, &stat, managed)?;
            Ok(stat.kind == FileType::Dir && is_meta(&found, meta, step))
        }
        Item::Leaf(leaf) => is_leaf(leaf, dir, name, managed),
    })?;
    Ok(same == Some(true))
}

fn is_root_item(item: &Item, step: &Step, managed: Managed, root: &Dir) -> Result<bool, ApplyError> {
    let stat = root.stat_self()?;
    let found = read_meta_self(root, &stat, managed)?;
    Ok(is_meta(&found, item.meta(), step))
}

fn is_leaf(leaf: &Leaf, dir: &Dir, name: &Name, managed: Managed) -> Result<bool, FsError> {
    let stat: Stat = dir.stat(name)?;
    let Content::File { size, .. } = &leaf.content else {
        let found = read_leaf(dir, name, managed)?;
        return Ok(found.is_some_and(|found| found.content == leaf.content && found.meta == leaf.meta));
    };
    Ok(stat.kind == FileType::File && stat.size == *size && read_meta(dir, name, &stat, managed)? == leaf.meta)
}

/// Compares metadata of directories; their time only where the step is about it or makes the directory.
fn is_meta(found: &Meta, expected: &Meta, step: &Step) -> bool {
    let with_mtime = matches!(step.op, Op::SetMtime { .. } | Op::Create { .. });
    let mtime = if with_mtime { found.mtime } else { expected.mtime };
    Meta { mtime, ..found.clone() } == *expected
}
