//! Which names keep the inode they have.
//!
//! Owns the decision for groups of hard links and for single files alike. Invariant: after the plan exactly the names of
//! a required group share an inode: a set of names keeps its inode only if all of them have it now, no other set keeps
//! it, and every other name that has it now is replaced or removed.
//!
//! Does not make steps (`build`).

use std::collections::{BTreeMap, BTreeSet};

use dominator_store_core::{Item, Leaf, LinkGroup, TreePath};

use super::{PlanError, PlanInput, build::Pair};

/// What happens to a required leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is there already.
    Keep,
    /// Only its modification time is set.
    Touch,
    /// It is staged, and put in place.
    Stage,
}

/// Returns the fate of every pair, by position; what is no required leaf has none of interest.
pub(super) fn fates(input: &PlanInput<'_>, pairs: &[Pair<'_>]) -> Result<Vec<Fate>, PlanError> {
    let mut have_count: BTreeMap<LinkGroup, usize> = BTreeMap::new();
    for (_, item) in &input.have.items {
        if let Some(group) = link(item) {
            *have_count.entry(group).or_default() += 1;
        }
    }
    let mut sets: BTreeMap<LinkGroup, Vec<usize>> = BTreeMap::new();
    for (at, pair) in pairs.iter().enumerate() {
        if let Some(group) = pair.new.and_then(link) {
            sets.entry(group).or_default().push(at);
        }
    }
    for set in sets.values() {
        check_set(set, pairs)?;
    }
    let mut fates = vec![Fate::Stage; pairs.len()];
    let mut inherited = BTreeSet::new();
    for (at, pair) in pairs.iter().enumerate() {
        let Some(Item::Leaf(new)) = pair.new else { continue };
        let single = [at];
        let set: &[usize] = match new.link {
            // A set is judged at its first name.
            Some(group) => match sets.get(&group) {
                Some(set) if set.first() == Some(&at) => set,
                _ => continue,
            },
            None => &single,
        };
        let fate = fate_of_set(set, new, pairs, &have_count, &mut inherited);
        for (nth, at) in set.iter().enumerate() {
            // One inode has one time: setting it by the first name sets it for all.
            let fate = if fate == Fate::Touch && nth > 0 { Fate::Keep } else { fate };
            if let Some(slot) = fates.get_mut(*at) {
                *slot = fate;
            }
        }
    }
    Ok(fates)
}

fn link(item: &Item) -> Option<LinkGroup> {
    match item {
        Item::Leaf(leaf) => leaf.link,
        Item::Dir(_) => None,
    }
}

fn leaf(item: Option<&Item>) -> Option<&Leaf> {
    match item {
        Some(Item::Leaf(leaf)) => Some(leaf),
        _ => None,
    }
}

/// Checks that a required group has two names or more and that they agree.
fn check_set(set: &[usize], pairs: &[Pair<'_>]) -> Result<(), PlanError> {
    let mut items = set.iter().filter_map(|at| pairs.get(*at));
    let Some(first) = items.next() else { return Ok(()) };
    let inconsistent = |path: &TreePath| Err(PlanError::LinkGroup(path.clone()));
    if set.len() < 2 {
        return inconsistent(first.path);
    }
    match items.find(|pair| pair.new != first.new) {
        Some(pair) => inconsistent(pair.path),
        None => Ok(()),
    }
}

fn fate_of_set(
    set: &[usize],
    new: &Leaf,
    pairs: &[Pair<'_>],
    have_count: &BTreeMap<LinkGroup, usize>,
    inherited: &mut BTreeSet<LinkGroup>,
) -> Fate {
    let mut olds = set.iter().map(|at| pairs.get(*at).and_then(|pair| leaf(pair.old)));
    let Some(Some(old)) = olds.next() else { return Fate::Stage };
    // Without a group in common, several names are several inodes.
    let shared = olds.all(|other| other.is_some_and(|other| other.link.is_some() && other.link == old.link));
    if !shared || old.link.is_some_and(|group| inherited.contains(&group)) {
        return Fate::Stage;
    }
    let alone = old.link.is_none_or(|group| have_count.get(&group) == Some(&set.len()));
    let same_content = old.content == new.content;
    let fate = match () {
        () if same_content && old.meta == new.meta => Fate::Keep,
        // A name that is about to go must not be seen with the new time.
        () if same_content && alone && differs_in_mtime_only(old, new) => Fate::Touch,
        () => return Fate::Stage,
    };
    inherited.extend(old.link);
    fate
}

fn differs_in_mtime_only(old: &Leaf, new: &Leaf) -> bool {
    let mut touched = old.meta.clone();
    touched.mtime = new.meta.mtime;
    new.meta.mtime.is_some() && touched == new.meta
}
