//! Random plans on a real file system.
//!
//! Owns the comparison by a scan. Invariant: a failure prints the seed.

use std::num::NonZeroUsize;

use dominator_agent_daemon::apply::{ApplyOptions, ExchangeUse};

use crate::{
    fixture::{Fixture, differences, managed_of},
    forest::{Rng, pair},
};

fn check(make_root: fn() -> Fixture, seeds: std::ops::Range<u64>, options: ApplyOptions) {
    for seed in seeds {
        let (old, new) = pair(&mut Rng::new(seed));
        let fixture = make_root();
        fixture.make(&old);
        let mut applier = fixture.applier(options);
        for want in [&new, &old] {
            let plan = fixture.plan(want);
            let applied = fixture.apply(&mut applier, &plan).unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
            let report = differences(&fixture.scan(managed_of(want)), want);
            assert!(report.is_empty(), "seed {seed}: found (-) is not expected (+):\n{report}\n{plan}");
            assert!(applied.drifted.is_empty() && applied.kept.is_empty(), "seed {seed}: {applied:?}");
            assert!(fixture.plan(want).is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn a_plan_gives_exactly_the_new_tree() {
    check(Fixture::new, 0..400, ApplyOptions::default());
}

#[test]
fn so_it_does_on_the_file_system_for_temporary_files() {
    check(Fixture::on_disk, 400..420, ApplyOptions::default());
}

#[test]
fn several_threads_stage_the_same() {
    check(
        Fixture::new,
        150..250,
        ApplyOptions { threads: NonZeroUsize::new(4).expect("four"), ..ApplyOptions::default() },
    );
}

#[test]
fn so_it_does_where_names_cannot_be_exchanged() {
    check(Fixture::new, 200..400, ApplyOptions { exchange: ExchangeUse::Never, ..ApplyOptions::default() });
}
