//! A root that is not what the plan was made for.
//!
//! Owns what happens then: before the window everything stays; in the window the path is left alone and reported.

use std::{
    io::{self, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
};

use dominator_agent_core::{Plan, PlanInput, Safety, ServicePlan, plan};
use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions, Blobs},
    service::NoServices,
};
use dominator_store_core::{BlobId, FlatTree, Managed, TreePath};
use dominator_store_fs::capture;

use crate::{
    fixture::{Fixture, TestBlobs, apply_keyed, assert_same},
    forest::{content, root_id},
};

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).expect(text)
}

fn write(fixture: &Fixture, at: &str, label: u8) {
    let at = fixture.path(at);
    std::fs::create_dir_all(at.parent().expect("parent")).expect("directories");
    std::fs::write(at, content(label)).expect("written");
}

/// A root with three files, and the tree with other content that it is to become.
fn ready() -> (Fixture, FlatTree, FlatTree) {
    let fixture = Fixture::new();
    let other = Fixture::new();
    for (at, label) in [("d/a", 1), ("d/b", 2), ("c", 3)] {
        write(&fixture, at, label);
        write(&other, at, label + 6);
    }
    write(&fixture, "gone/x/y", 1);
    let (old, new) = (fixture.scan(Managed::default()), other.scan(Managed::default()));
    (fixture, old, new)
}

#[test]
fn a_path_that_changed_after_the_scan_is_named_and_nothing_changes() {
    let (fixture, _, new) = ready();
    let mut applier = fixture.applier(ApplyOptions::default());
    let plan = fixture.plan(&new);
    // Same length, same time: only the change time tells.
    let before = std::fs::metadata(fixture.path("d/a")).expect("file").modified().expect("time");
    let key = fixture.key(&path("d/a"));
    std::fs::write(fixture.path("d/a"), [9]).expect("written");
    std::fs::File::options().write(true).open(fixture.path("d/a")).expect("file").set_modified(before).expect("time");
    let changed = fixture.scan(Managed::default());
    let keys = |at: &TreePath| if *at == path("d/a") { key } else { fixture.key(at) };
    let failed = apply_keyed(&mut applier, &plan, &keys);
    assert!(matches!(failed, Err(ApplyError::Drifted(paths)) if paths == [path("d/a")]));
    assert_same(&fixture.scan(Managed::default()), &changed);
    assert_eq!(fixture.left_over(), [""; 0]);
    drop(applier);
    fixture.make(&new);
}

#[test]
fn metadata_is_compared_where_no_key_is_known() {
    let (fixture, _, new) = ready();
    let mut applier = fixture.applier(ApplyOptions::default());
    let plan = fixture.plan(&new);
    std::fs::set_permissions(fixture.path("c"), std::fs::Permissions::from_mode(0o4755)).expect("mode");
    std::fs::write(fixture.path("new"), "").expect("written");
    let failed = apply_keyed(&mut applier, &plan, &|_| None);
    assert!(matches!(failed, Err(ApplyError::Drifted(paths)) if paths == [path("c")]));
}

/// Changes the root while the plan is being staged.
struct Meddler<'a>(&'a (dyn Fn() + Sync));

impl Blobs for Meddler<'_> {
    fn write_blob(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        (self.0)();
        TestBlobs.write_blob(blob, size, out)
    }
}

#[test]
fn a_path_that_changes_while_staging_is_named_and_nothing_changes() {
    let (fixture, _, new) = ready();
    let mut applier = fixture.applier(ApplyOptions::default());
    let plan = fixture.plan(&new);
    let meddle = || std::fs::write(fixture.path("c"), "meddled").expect("written");
    let services = ServicePlan::default();
    let failed = fixture.apply_with(&mut applier, &plan, &Meddler(&meddle), &services, &NoServices);
    assert!(matches!(failed, Err(ApplyError::Drifted(paths)) if paths == [path("c")]));
    assert_eq!(std::fs::read(fixture.path("c")).expect("file"), b"meddled");
    assert_eq!(std::fs::read(fixture.path("d/a")).expect("file"), content(1));
    drop(applier);
    fixture.make(&new);
}

/// Says that a blob is there and gives other bytes.
struct Liar;

impl Blobs for Liar {
    fn write_blob(&self, _: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&vec![0xee; size as usize])
    }
}

#[test]
fn wrong_content_is_never_installed() {
    let (fixture, old, new) = ready();
    let mut applier = fixture.applier(ApplyOptions::default());
    let plan = fixture.plan(&new);
    let failed = fixture.apply_with(&mut applier, &plan, &Liar, &ServicePlan::default(), &NoServices);
    assert!(matches!(failed, Err(ApplyError::Blob { .. })));
    assert_same(&fixture.scan(Managed::default()), &old);
    assert_eq!(fixture.left_over(), [""; 0]);
}

#[test]
fn local_content_that_is_no_longer_there_is_taken_from_the_source() {
    let fixture = Fixture::new();
    write(&fixture, "a", 2);
    let old = fixture.scan(Managed::default());
    let other = Fixture::new();
    write(&other, "a", 2);
    write(&other, "b", 2);
    let new = other.scan(Managed::default());
    let plan = fixture.plan(&new);
    assert!(plan.needs().is_empty(), "the content is in the root");
    // Not a path of the plan, so only the copy notices.
    std::fs::write(fixture.path("a"), "other").expect("written");
    let mut want = plan.clone();
    want.steps.retain(|step| step.path == path("b"));
    let mut applier = fixture.applier(ApplyOptions::default());
    fixture.apply(&mut applier, &want).expect("applied");
    assert_eq!(std::fs::read(fixture.path("b")).expect("file"), content(2));
    drop((applier, old));
}

#[test]
fn what_is_not_managed_stays_and_keeps_its_directory() {
    let (fixture, _, new) = ready();
    let _socket = UnixListener::bind(fixture.path("gone/x/socket")).expect("socket");
    let mut applier = fixture.applier(ApplyOptions::default());
    // The plan does not know of the socket.
    let applied = fixture.apply(&mut applier, &fixture.plan(&new)).expect("applied");
    assert_eq!(applied.kept, [path("gone/x"), path("gone")]);
    assert!(fixture.path("gone/x/socket").exists() && !fixture.path("gone/x/y").exists());
    drop(applier);
    // This one does, as a scan tells.
    let plan = scanned_plan(&fixture, &new);
    assert_eq!(plan.kept, [path("gone"), path("gone/x")]);
    assert!(plan.is_empty());
}

/// Makes a plan from a scan that tells what it did not manage.
fn scanned_plan(fixture: &Fixture, want: &FlatTree) -> Plan {
    let threads = std::num::NonZeroUsize::MIN;
    let scan = capture(&fixture.root(), &fixture.filter, Managed::default(), threads, &|_, _| {}).expect("capture");
    let unmanaged: Vec<TreePath> = scan.skipped.into_iter().map(|(path, _)| path).collect();
    let input = PlanInput {
        have: &scan.tree,
        from: root_id(&scan.tree),
        want,
        to: root_id(want),
        filter: &fixture.filter,
        managed: Managed::default(),
        unmanaged: &unmanaged,
        safety: Safety::Forced,
    };
    plan(&input).expect("plan")
}

#[test]
fn a_directory_filled_in_the_meantime_does_not_become_a_file() {
    let fixture = Fixture::new();
    write(&fixture, "d/x", 1);
    let other = Fixture::new();
    write(&other, "d", 2);
    write(&other, "e", 3);
    let new = other.scan(Managed::default());
    let _socket = UnixListener::bind(fixture.path("d/socket")).expect("socket");
    let mut applier = fixture.applier(ApplyOptions::default());
    let applied = fixture.apply(&mut applier, &fixture.plan(&new)).expect("applied");
    assert_eq!(applied.kept, [path("d")]);
    assert!(fixture.path("d/socket").exists() && fixture.path("e").exists());
}

#[test]
fn a_foreign_mount_is_left_alone() {
    let fixture = Fixture::new();
    write(&fixture, "mnt/below/x", 1);
    write(&fixture, "a", 1);
    let want = {
        let other = Fixture::new();
        write(&other, "a", 2);
        other.scan(Managed::default())
    };
    // Planned before something was mounted there.
    let plan = fixture.plan(&want);
    let mount = crate::space::Tmpfs::mount(&fixture.path("mnt/below"), "size=1M");
    std::fs::write(fixture.path("mnt/below/inside"), "theirs").expect("written");
    let mut applier = fixture.applier(ApplyOptions::default());
    let failed = fixture.apply(&mut applier, &plan);
    assert!(matches!(failed, Err(ApplyError::Drifted(_))), "{failed:?}");
    assert_eq!(std::fs::read(fixture.path("mnt/below/inside")).expect("file"), b"theirs");
    let applied = fixture.apply(&mut applier, &scanned_plan(&fixture, &want)).expect("applied");
    assert_eq!(applied.kept, [path("mnt"), path("mnt/below")]);
    assert!(applied.drifted.is_empty(), "{applied:?}");
    assert_eq!(std::fs::read(fixture.path("mnt/below/inside")).expect("file"), b"theirs");
    assert_eq!(std::fs::read(fixture.path("a")).expect("file"), content(2));
    drop(mount);
    drop(applier);
    fixture.make(&want);
}

#[test]
fn a_step_that_the_kernel_refuses_undoes_the_plan() {
    let (fixture, old, new) = ready();
    let plan = fixture.plan(&new);
    // The last step but the directories' may not be performed.
    let at = fixture.path("gone/x/y");
    let immutable = |flag: &str| {
        std::process::Command::new("chattr").arg(flag).arg(&at).status().is_ok_and(|status| status.success())
    };
    if !immutable("+i") {
        eprintln!("SKIPPED: no immutable files here");
        return;
    }
    let mut applier = fixture.applier(ApplyOptions::default());
    let failed = fixture.apply(&mut applier, &plan);
    assert!(immutable("-i"));
    assert!(matches!(failed, Err(ApplyError::RolledBack(_))), "{failed:?}");
    assert_same(&fixture.scan(Managed::default()), &old);
    assert_eq!(fixture.left_over(), [""; 0]);
    drop(applier);
    fixture.make(&new);
}
