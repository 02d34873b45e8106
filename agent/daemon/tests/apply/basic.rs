//! Single promises of an apply.
//!
//! Owns what is easier to read as one case than found by chance. Invariant: each test says one sentence.

use std::{
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

use dominator_agent_core::{PlanId, journal::Outcome};
use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions, Keep, Recovered},
    service::NoServices,
};
use dominator_store_core::{Digest, FlatTree, Managed};

use crate::{
    fixture::{Fixture, assert_same},
    forest::{Forest, Rng},
};

fn two() -> (FlatTree, FlatTree) {
    let mut rng = Rng::new(7);
    let old = Forest::random(&mut rng, false);
    let new = old.changed(&mut rng, 20);
    (old.tree(), new.tree())
}

#[test]
fn one_root_has_one_applier() {
    let fixture = Fixture::new();
    let first = fixture.applier(ApplyOptions::default());
    let second = dominator_agent_daemon::apply::Applier::open(fixture.dir(), ApplyOptions::default());
    assert!(matches!(second, Err(ApplyError::Locked)));
    drop(first);
    fixture.applier(ApplyOptions::default());
}

#[test]
fn the_private_directory_is_closed_to_others() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path(".subd")).expect("directory");
    std::fs::set_permissions(fixture.path(".subd"), std::fs::Permissions::from_mode(0o777)).expect("mode");
    fixture.applier(ApplyOptions::default());
    let meta = std::fs::metadata(fixture.path(".subd")).expect("directory");
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o700, 0));
}

#[test]
fn a_private_directory_of_somebody_else_is_refused() {
    let open = |fixture: &Fixture| {
        let opened = dominator_agent_daemon::apply::Applier::open(fixture.dir(), ApplyOptions::default());
        assert!(matches!(opened, Err(ApplyError::Private { .. })));
    };
    let fixture = Fixture::new();
    symlink("/tmp", fixture.path(".subd")).expect("link");
    open(&fixture);
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path(".subd")).expect("directory");
    std::os::unix::fs::chown(fixture.path(".subd"), Some(1000), None).expect("owner");
    open(&fixture);
}

#[test]
fn the_last_apply_is_known_after_a_restart() {
    let (old, new) = two();
    let fixture = Fixture::with(&old);
    let plan = fixture.plan(&new);
    fixture.apply(&mut fixture.applier(ApplyOptions::default()), &plan).expect("applied");
    let mut applier = fixture.applier(ApplyOptions::default());
    assert!(matches!(applier.recover(&NoServices), Ok(Recovered::Nothing)));
    let last = applier.last().expect("known");
    assert_eq!((last.plan, last.to, last.generation, last.outcome), (plan.id, plan.to, 1, Outcome::Applied));
    assert_eq!(fixture.left_over(), [""; 0]);
}

#[test]
fn what_was_taken_out_can_be_kept_until_the_next_apply() {
    let (old, new) = two();
    let fixture = Fixture::with(&old);
    let options = ApplyOptions { keep: Keep::Rollback, ..ApplyOptions::default() };
    let mut applier = fixture.applier(options);
    fixture.apply(&mut applier, &fixture.plan(&new)).expect("applied");
    assert_eq!(fixture.left_over().len(), 2);
    drop(applier);
    fixture.make(&old);
    assert_eq!(fixture.left_over(), [""; 0]);
}

#[test]
fn a_journal_that_cannot_be_read_is_put_aside() {
    let (old, new) = two();
    let fixture = Fixture::with(&old);
    std::fs::write(fixture.path(".subd/journal"), "something else entirely").expect("written");
    let mut applier = fixture.applier(ApplyOptions::default());
    assert!(matches!(applier.recover(&NoServices), Ok(Recovered::Unreadable(_))));
    assert!(matches!(applier.recover(&NoServices), Ok(Recovered::Nothing)));
    assert!(fixture.path(".subd/journal.bad").exists());
    fixture.apply(&mut applier, &fixture.plan(&new)).expect("applied");
    assert_same(&fixture.scan(Managed::default()), &new);
}

#[test]
fn an_empty_plan_is_applied_too() {
    let (old, _) = two();
    let fixture = Fixture::with(&old);
    let plan = fixture.plan(&old);
    assert!(plan.is_empty());
    let mut applier = fixture.applier(ApplyOptions::default());
    let applied = fixture.apply(&mut applier, &plan).expect("applied");
    assert_eq!((applied.step_count, applied.changed_count), (0, 0));
    assert_ne!(applied.plan, PlanId(Digest::of(b"")));
}

#[test]
fn the_files_of_a_running_program_keep_their_inode() {
    let fixture = Fixture::new();
    let forest = Forest::random(&mut Rng::new(3), false);
    fixture.make(&forest.tree());
    let inodes = |root: &Path| -> Vec<u64> {
        let mut inodes: Vec<u64> = walk(root).iter().map(|at| at.symlink_metadata().expect("entry").ino()).collect();
        inodes.sort_unstable();
        inodes
    };
    let before = inodes(&fixture.root());
    fixture.make(&forest.tree());
    assert_eq!(inodes(&fixture.root()), before, "what is right already is left alone");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("directory") {
        let path = entry.expect("entry").path();
        if path.file_name() == Some(".subd".as_ref()) {
            continue;
        }
        if path.symlink_metadata().expect("entry").is_dir() {
            found.extend(walk(&path));
        }
        found.push(path);
    }
    found
}
