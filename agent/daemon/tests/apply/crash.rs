//! Stopping at every point, and while recovering.
//!
//! Owns the promise that the journal alone decides. Invariants: after a stop every path is as in the old or the new tree;
//! after recovery the whole root is; then one more apply gives the new tree.
//!
//! Stops by the kernel are in `kill`.

use std::collections::BTreeMap;

use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions, ExchangeUse, Recovered},
    service::NoServices,
};
use dominator_store_core::{FlatTree, Item, Leaf, Meta, TreePath};

use crate::{
    fixture::{Fixture, StopAfter, assert_same, differences, managed_of, rich_pair},
    forest::Rng,
};

/// An item as one name sees it: without its links, and without the time of a directory.
fn alone(item: &Item) -> Item {
    match item {
        Item::Dir(meta) => Item::Dir(Meta { mtime: None, ..meta.clone() }),
        Item::Leaf(leaf) => Item::Leaf(Leaf { link: None, ..leaf.clone() }),
    }
}

/// Checks that every path is as in one of the two trees, and that none of both is absent.
pub(crate) fn check_between(found: &FlatTree, old: &FlatTree, new: &FlatTree, exchange: bool, case: &str) {
    let side = |tree: &FlatTree| -> BTreeMap<TreePath, Item> {
        tree.items.iter().map(|(path, item)| (path.clone(), alone(item))).collect()
    };
    let (found, old, new) = (side(found), side(old), side(new));
    for (path, item) in &found {
        assert!(old.get(path) == Some(item) || new.get(path) == Some(item), "{case}: {path} is neither: {item:?}");
    }
    for path in old.keys().filter(|path| exchange && new.contains_key(path)) {
        assert!(found.contains_key(path), "{case}: {path} is absent");
    }
}

/// Recovers, and checks that the root is one of the trees, and can become the new one.
pub(crate) fn check_recovery(fixture: &Fixture, old: &FlatTree, new: &FlatTree, case: &str) {
    let mut applier = fixture.applier(ApplyOptions::default());
    let recovered = applier.recover(&NoServices).unwrap_or_else(|error| panic!("{case}: {error:?}"));
    let expected = match &recovered {
        Recovered::Applied(applied) => {
            assert!(applied.drifted.is_empty() && applied.kept.is_empty(), "{case}: {applied:?}");
            new
        }
        Recovered::Discarded(_) | Recovered::RolledBack(_) => old,
        Recovered::Nothing => match differences(&fixture.scan(managed_of(old)), old).is_empty() {
            true => old,
            false => new,
        },
        Recovered::Unreadable(error) => panic!("{case}: {error:?}"),
    };
    let report = differences(&fixture.scan(managed_of(expected)), expected);
    assert!(report.is_empty(), "{case}: {recovered:?}: found (-) is not expected (+):\n{report}");
    assert_eq!(fixture.left_over(), [""; 0], "{case}: {recovered:?}");
    drop(applier);
    fixture.make(new);
}

/// Applies and stops after `count` points; says whether it stopped.
fn stop_apply(fixture: &Fixture, new: &FlatTree, options: ApplyOptions, count: u64) -> bool {
    let plan = fixture.plan(new);
    let mut applier = fixture.applier(options).with_fault(StopAfter::points(count));
    match fixture.apply(&mut applier, &plan) {
        Ok(_) => false,
        Err(ApplyError::Interrupted(_)) => true,
        Err(error) => panic!("after {count}: {error:?}"),
    }
}

#[test]
fn a_stop_at_every_point_ends_as_one_of_the_trees() {
    for (nth, exchange) in [(0, ExchangeUse::Probe), (1, ExchangeUse::Never), (2, ExchangeUse::Probe)] {
        let (old, new) = rich_pair(nth);
        let options = ApplyOptions { exchange, ..ApplyOptions::default() };
        let fixture = Fixture::with(&old);
        for count in 0.. {
            fixture.make(&old);
            let stopped = stop_apply(&fixture, &new, options, count);
            let case = format!("pair {nth}, after {count}");
            let found = fixture.scan(managed_of(&old));
            check_between(&found, &old, &new, exchange == ExchangeUse::Probe, &case);
            check_recovery(&fixture, &old, &new, &case);
            if !stopped {
                assert!(count > 30, "too few points to mean anything: {count}");
                break;
            }
        }
    }
}

#[test]
fn a_stop_while_recovering_changes_nothing_about_that() {
    let (old, new) = rich_pair(3);
    for seed in 0..200 {
        let mut rng = Rng::new(1000 + seed);
        let exchange = if rng.one_in(2) { ExchangeUse::Probe } else { ExchangeUse::Never };
        let options = ApplyOptions { exchange, ..ApplyOptions::default() };
        let fixture = Fixture::with(&old);
        let stops: Vec<u64> = (0..4).map(|_| rng.next() % 50).collect();
        stop_apply(&fixture, &new, options, stops[0] * 2);
        for count in &stops[1..] {
            let mut applier = fixture.applier(options).with_fault(StopAfter::points(*count));
            if let Err(error) = applier.recover(&NoServices) {
                assert!(matches!(error, ApplyError::Interrupted(_)), "seed {seed}: {error:?}");
            }
        }
        check_recovery(&fixture, &old, &new, &format!("seed {seed}, after {stops:?}"));
    }
}

#[test]
fn an_unfinished_apply_is_recovered_before_another_begins() {
    let (old, new) = rich_pair(0);
    let fixture = Fixture::with(&old);
    let mut count = 0;
    // The first stop after the journal was begun.
    loop {
        stop_apply(&fixture, &new, ApplyOptions::default(), count);
        let mut applier = fixture.applier(ApplyOptions::default());
        match fixture.apply(&mut applier, &fixture.plan(&old)) {
            Err(ApplyError::Unfinished) => break,
            Ok(_) => assert_same(&fixture.scan(managed_of(&old)), &old),
            Err(error) => panic!("{error:?}"),
        }
        count += 1;
    }
    check_recovery(&fixture, &old, &new, "after a refusal");
}
