//! Performing, repeating, interrupting and undoing plans on the model.
//!
//! Owns the promises of `spec/apply.md#steps`, each over thousands of random pairs of trees. Invariant: a failure prints
//! the seed.
//!
//! Single cases with names are in `plan`.

use dominator_agent_core::{BoundStep, Plan, PlanInput, Report, Safety, plan, roll_back, roll_forward};
use dominator_store_core::{Filter, FlatTree, Managed};

use crate::{
    forest::{Rng, pair, root_id},
    model::{Crash, Model, Watch},
};

pub(crate) fn make_plan(old: &FlatTree, new: &FlatTree) -> Plan {
    let managed = Managed { directory_mtimes: old.items[0].1.meta().mtime.is_some(), ..Managed::default() };
    let input = PlanInput {
        have: old,
        from: root_id(old),
        want: new,
        to: root_id(new),
        filter: &Filter::default(),
        managed,
        unmanaged: &[],
        safety: Safety::Forced,
    };
    plan(&input).expect("plan")
}

struct Case {
    old: FlatTree,
    new: FlatTree,
    /// Everything staged, nothing performed.
    ready: Model,
    steps: Vec<BoundStep>,
}

fn case(seed: u64, exchange: bool) -> Case {
    let (old, new) = pair(&mut Rng::new(seed));
    let plan = make_plan(&old, &new);
    let mut ready = Model::new(&old, exchange);
    assert_eq!(ready.tree(&old), old, "seed {seed}: the model holds what it was given");
    let steps = ready.stage(&plan);
    Case { old, new, ready, steps }
}

fn check(seed: u64, what: &str, report: &Report, model: &Model, expected: &FlatTree) {
    assert!(report.drifted.is_empty() && report.kept.is_empty(), "seed {seed}: {what}: {report:?}");
    let found = model.tree(expected);
    for pair in found.items.iter().zip(&expected.items) {
        assert_eq!(pair.0, pair.1, "seed {seed}: {what}");
    }
    assert_eq!(found.items.len(), expected.items.len(), "seed {seed}: {what}");
}

#[test]
fn a_plan_turns_the_old_tree_into_the_new_and_back() {
    for seed in 0..4000 {
        for exchange in [true, false] {
            let case = case(seed, exchange);
            let mut model = case.ready.clone();
            let report = roll_forward(&case.steps, &mut model).expect("no crash");
            check(seed, "forward", &report, &model, &case.new);
            let report = roll_forward(&case.steps, &mut model).expect("no crash");
            check(seed, "forward twice", &report, &model, &case.new);
            let report = roll_back(&case.steps, &mut model).expect("no crash");
            check(seed, "back", &report, &model, &case.old);
            let report = roll_back(&case.steps, &mut model).expect("no crash");
            check(seed, "back twice", &report, &model, &case.old);
        }
    }
}

#[test]
fn the_plan_from_a_tree_to_itself_is_empty() {
    for seed in 0..2000 {
        let (old, new) = pair(&mut Rng::new(seed));
        assert!(make_plan(&old, &old).is_empty());
        assert!(old == new || !make_plan(&old, &new).is_empty(), "seed {seed}");
        assert_eq!(make_plan(&old, &new), make_plan(&old, &new));
    }
}

#[test]
fn no_name_of_both_trees_is_ever_absent_and_nothing_is_ever_neither() {
    for seed in 0..1500 {
        let mut case = case(seed, true);
        case.ready.watch = Some(Watch { old: case.old.clone(), new: case.new.clone() });
        let mut model = case.ready.clone();
        roll_forward(&case.steps, &mut model).expect("no crash");
        roll_back(&case.steps, &mut model).expect("no crash");
        check(seed, "watched", &Report::default(), &model, &case.old);
    }
}

/// Runs `run` on a model that stops after `supply` operations; `None` if it came to its end before.
fn crash_after(
    supply: u64,
    model: &mut Model,
    run: impl FnOnce(&mut Model) -> Result<Report, Crash>,
) -> Option<Report> {
    model.supply = supply;
    let result = run(model).ok();
    model.supply = u64::MAX;
    result
}

#[test]
fn stopping_after_any_operation_leaves_a_way_forward_and_a_way_back() {
    for seed in 0..600 {
        for exchange in [true, false] {
            let case = case(seed, exchange);
            for supply in 0.. {
                let mut stopped = case.ready.clone();
                let ended = crash_after(supply, &mut stopped, |model| roll_forward(&case.steps, model)).is_some();
                let mut model = stopped.clone();
                let report = roll_forward(&case.steps, &mut model).expect("no crash");
                check(seed, &format!("forward after {supply}"), &report, &model, &case.new);
                let mut model = stopped;
                let report = roll_back(&case.steps, &mut model).expect("no crash");
                check(seed, &format!("back after {supply}"), &report, &model, &case.old);
                if ended {
                    break;
                }
            }
        }
    }
}

#[test]
fn stopping_while_finishing_or_undoing_is_no_different() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed ^ 0xdead);
        let case = case(seed, rng.one_in(2));
        for _ in 0..8 {
            let mut model = case.ready.clone();
            crash_after(rng.next() % 40, &mut model, |model| roll_forward(&case.steps, model));
            let back = rng.one_in(2);
            for _ in 0..rng.below(4) {
                crash_after(rng.next() % 40, &mut model, |model| match back {
                    true => roll_back(&case.steps, model),
                    false => roll_forward(&case.steps, model),
                });
            }
            let (report, expected) = match back {
                true => (roll_back(&case.steps, &mut model), &case.old),
                false => (roll_forward(&case.steps, &mut model), &case.new),
            };
            check(seed, "after two crashes", &report.expect("no crash"), &model, expected);
        }
    }
}

#[test]
fn whatever_subset_of_steps_reached_the_disk_there_is_a_way_forward_and_a_way_back() {
    for seed in 0..3000 {
        let mut rng = Rng::new(seed ^ 0xbeef);
        let case = case(seed, true);
        let survived: Vec<BoundStep> = case.steps.iter().filter(|_| rng.one_in(2)).cloned().collect();
        let mut stopped = case.ready.clone();
        roll_forward(&survived, &mut stopped).expect("no crash");
        let mut model = stopped.clone();
        let report = roll_forward(&case.steps, &mut model).expect("no crash");
        check(seed, "forward after a subset", &report, &model, &case.new);
        let mut model = stopped;
        let report = roll_back(&case.steps, &mut model).expect("no crash");
        check(seed, "back after a subset", &report, &model, &case.old);
    }
}
