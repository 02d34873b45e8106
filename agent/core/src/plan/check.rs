//! What is refused before a plan is made.
//!
//! Owns the shape of the two trees and the safety rules. Invariant: what passes is a tree whose paths are all managed, so
//! the builder needs no checks of its own.
//!
//! Consistency of hard links is `links`.

use dominator_store_core::{Filter, FlatTree, Item, PRIVATE_DIR, TreePath};

use super::{PlanError, PlanInput, Safety, build::Pair};
use crate::limits::SAFETY_ENTRY_COUNT_MIN;

pub(super) fn trees(input: &PlanInput<'_>) -> Result<(), PlanError> {
    shape(input.have)?;
    shape(input.want)?;
    managed(input.want, input.filter)
}

/// Checks that every path follows its directory, and that paths ascend.
fn shape(tree: &FlatTree) -> Result<(), PlanError> {
    let mut open: Vec<&TreePath> = Vec::new();
    let mut last: Option<&TreePath> = None;
    for (path, item) in &tree.items {
        let misplaced = || PlanError::NotATree(path.clone());
        match (last, path.parent()) {
            (None, None) => {}
            (Some(last), Some(parent)) if last < path => {
                while open.last().is_some_and(|dir| **dir != parent) {
                    open.pop();
                }
                if open.is_empty() {
                    return Err(misplaced());
                }
            }
            _ => return Err(misplaced()),
        }
        if item.is_dir() {
            open.push(path);
        } else if path.is_root() {
            return Err(misplaced());
        }
        last = Some(path);
    }
    last.map(|_| ()).ok_or(PlanError::NotATree(TreePath::root()))
}

/// Checks that the filter manages every path; what an excluded directory holds is found by the directory.
fn managed(tree: &FlatTree, filter: &Filter) -> Result<(), PlanError> {
    let excluded = tree.items.iter().find(|(path, _)| !filter.manages(path));
    match excluded {
        Some((path, _)) => Err(PlanError::Excluded(path.clone())),
        None => Ok(()),
    }
}

/// Says whether the path belongs to the agent.
pub(super) fn is_private(path: &TreePath) -> bool {
    path.components().next() == Some(PRIVATE_DIR.as_bytes())
}

/// Refuses what would remove most of a machine.
pub(super) fn safety(input: &PlanInput<'_>, pairs: &[Pair<'_>]) -> Result<(), PlanError> {
    let count = |wanted: fn(&Pair<'_>) -> bool| pairs.iter().filter(|pair| wanted(pair)).count() as u64;
    // The root is no entry: it cannot come or go.
    let have_count = count(|pair| pair.old.is_some()).saturating_sub(1);
    let want_count = count(|pair| pair.new.is_some()).saturating_sub(1);
    let removed_count = count(|pair| pair.old.is_some() && pair.new.is_none());
    if input.safety == Safety::Forced || have_count < SAFETY_ENTRY_COUNT_MIN {
        return Ok(());
    }
    if removed_count > have_count / 2 {
        return Err(PlanError::RemovesMost { removed_count, have_count });
    }
    if want_count < have_count.div_ceil(2) {
        return Err(PlanError::ShrinksMost { want_count, have_count });
    }
    Ok(())
}

/// Says whether an item may be moved as one name of several.
pub(super) fn is_leaf(item: Option<&Item>) -> bool {
    item.is_some_and(|item| !item.is_dir())
}
