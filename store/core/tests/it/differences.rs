//! The comparison of two trees, against a naive one over two sorted maps.
//!
//! Owns the model. Invariant: the same differences in the same order, and equal sub-trees are not read.
//! Does not test what a difference is called: `store/fs` does, change by change.

use std::collections::{BTreeMap, BTreeSet};

use dominator_store_core::{Difference, FlatTree, Item, TreePath, diff};
use dominator_testkit::{Rng, flat_tree, name};

use crate::support::Objects;

type Model = BTreeMap<TreePath, Item>;

fn naive(old: &Model, new: &Model) -> Vec<Difference> {
    let paths: BTreeSet<&TreePath> = old.keys().chain(new.keys()).collect();
    let pairs = paths.into_iter().map(|path| (path, old.get(path), new.get(path)));
    pairs
        .filter(|(_, old, new)| old != new)
        .map(|(path, old, new)| Difference { path: path.clone(), old: old.cloned(), new: new.cloned() })
        .collect()
}

fn model(seed: u64, entry_count: usize) -> Model {
    flat_tree(seed, entry_count).tree.items.into_iter().collect()
}

/// Changes some paths: other items, other types, removed and added ones.
fn mutate(rng: &mut Rng, tree: &mut Model, donor: &Model) {
    let donors: Vec<&Item> = donor.values().collect();
    for _ in 0..1 + rng.below(12) {
        let paths: Vec<TreePath> = tree.keys().cloned().collect();
        let at = rng.pick(&paths).clone();
        match rng.below(4) {
            0 if !at.is_root() => tree.retain(|path, _| !path.starts_with(&at)),
            1 => {
                let item = (*rng.pick(&donors)).clone();
                if item.is_dir() || !at.is_root() {
                    if !item.is_dir() {
                        tree.retain(|path, _| !path.starts_with(&at));
                    }
                    tree.insert(at, item);
                }
            }
            _ => {
                let parent = match tree.get(&at) {
                    Some(Item::Dir(_)) => at,
                    _ => at.parent().unwrap_or_default(),
                };
                tree.entry(parent.join(&name(rng))).or_insert_with(|| (*rng.pick(&donors)).clone());
            }
        }
    }
}

fn check(old: &Model, new: &Model) {
    let mut objects = Objects::default();
    let mut put = |tree: &Model| objects.put_tree(&FlatTree::new(tree.clone().into_iter().collect()));
    let (old_root, new_root) = (put(old), put(new));
    let mut reads = 0;
    let mut found = Vec::new();
    let mut get = |id| {
        reads += 1;
        objects.directory(id)
    };
    diff(Some(old_root), Some(new_root), &mut get, &mut |difference| found.push(difference)).expect("diff");
    let expected = naive(old, new);
    assert_eq!(found, expected);
    // Each difference is in or below a directory that was read, on both sides.
    let depths: usize = expected.iter().map(|difference| difference.path.depth() + 1).sum();
    assert!(reads <= 2 * depths, "{reads} directories read for {depths}");
}

#[test]
fn differences_are_those_of_two_sorted_maps() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let old = model(seed, 1 + rng.pos(200));
        let mut new = old.clone();
        mutate(&mut rng, &mut new, &model(seed + 10_000, 50));
        check(&old, &new);
        check(&new, &old);
        check(&old, &old);
    }
}

#[test]
fn unrelated_trees_and_no_tree_at_all_can_be_compared() {
    for seed in 0..30 {
        let (old, new) = (model(seed, 100), model(seed + 1, 100));
        check(&old, &new);
        let mut objects = Objects::default();
        let root = objects.put_tree(&FlatTree::new(old.clone().into_iter().collect()));
        for (from, to, expected) in
            [(None, Some(root), naive(&Model::new(), &old)), (Some(root), None, naive(&old, &Model::new()))]
        {
            let mut found = Vec::new();
            diff(from, to, &mut |id| objects.directory(id), &mut |difference| found.push(difference)).expect("diff");
            assert_eq!(found, expected);
        }
    }
}
