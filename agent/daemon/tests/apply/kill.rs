//! Killing the process that applies, at every point and at every system call that changes something.
//!
//! Owns a child that applies. Invariant: what a kill leaves is found by another process, so nothing in memory helps.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use dominator_agent_daemon::{apply::ApplyOptions, service::NoServices};
use dominator_store_core::Filter;

use crate::{
    crash::{check_between, check_recovery},
    fixture::{Fixture, StopAfter, apply_keyed, differences, make_plan, managed_of, open, rich_pair},
    forest::Rng,
};

/// Which pair of trees is applied.
pub(crate) const NTH: usize = 4;
const ROOT: &str = "APPLY_TEST_ROOT";
const POINTS: &str = "APPLY_TEST_POINTS";

/// What the child runs: recovery, then an apply, killed after so many points if the number is given.
#[test]
fn child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else { return };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (old, new) = rich_pair(NTH);
    let fault = number(POINTS).map_or_else(StopAfter::never, StopAfter::kill_after);
    let mut applier = open(&root, ApplyOptions::default()).with_fault(fault);
    applier.recover(&NoServices).expect("recovered");
    let plan = make_plan(&old, &new, &Filter::default());
    apply_keyed(&mut applier, &plan, &|_| None).expect("applied");
}

pub(crate) fn run_child(root: &Path, points: Option<u64>, wrap: &[&str]) -> ExitStatus {
    let exe = std::env::current_exe().expect("this program");
    let exe = exe.to_str().expect("a path");
    let words: Vec<&str> = wrap.iter().copied().chain([exe, "--exact", "kill::child", "--test-threads=1"]).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(ROOT, root);
    if let Some(points) = points {
        command.env(POINTS, points.to_string());
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("child")
}

#[test]
fn a_kill_at_every_point_ends_as_one_of_the_trees() {
    let (old, new) = rich_pair(NTH);
    let fixture = Fixture::with(&old);
    for count in 0.. {
        fixture.make(&old);
        let status = run_child(&fixture.root(), Some(count), &[]);
        let case = format!("killed after {count}");
        check_between(&fixture.scan(managed_of(&old)), &old, &new, true, &case);
        check_recovery(&fixture, &old, &new, &case);
        if status.success() {
            assert!(count > 30, "too few points to mean anything: {count}");
            break;
        }
        assert_eq!(status.signal(), Some(9), "{case}");
    }
}

#[test]
fn a_kill_while_recovering_from_a_kill_does_too() {
    let (old, new) = rich_pair(NTH);
    let fixture = Fixture::with(&old);
    let mut rng = Rng::new(77);
    for _ in 0..40 {
        fixture.make(&old);
        let counts: Vec<u64> = (0..3).map(|_| 1 + rng.next() % 120).collect();
        run_child(&fixture.root(), Some(counts[0]), &[]);
        for count in &counts[1..] {
            // In this process, since the child would go on with an apply.
            let fault = StopAfter::points(count % 30);
            let mut applier = fixture.applier(ApplyOptions::default()).with_fault(fault);
            let _stopped = applier.recover(&NoServices);
        }
        check_recovery(&fixture, &old, &new, &format!("killed after {counts:?}"));
    }
}

/// System calls that change something. Each is counted by itself.
const CHANGING: [&str; 13] = [
    "renameat2",
    "linkat",
    "unlinkat",
    "mkdirat",
    "symlinkat",
    "mknodat",
    "fsync",
    "fdatasync",
    "syncfs",
    "utimensat",
    "fchmod",
    "fchownat",
    "fsetxattr",
];

/// Runs the child with the first, then the second (or a later, by the stride), and so on to the last use of every one of
/// these system calls tampered with, and `check` after each run.
fn tamper(calls: &str, with: &str, stride: usize, check: impl Fn(&Fixture, &str)) {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: strace is not installed");
        return;
    }
    let (old, _) = rich_pair(NTH);
    let fixture = Fixture::with(&old);
    for count in (1..).step_by(stride) {
        fixture.make(&old);
        let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:{with}:when={count}"));
        let log = fixture.outside().join("strace");
        let wrap = ["strace", "-qq", "-f", "-o", log.to_str().expect("text"), "-e", &trace, "-e", &inject];
        run_child(&fixture.root(), None, &wrap);
        check(&fixture, &format!("{with} at {calls} number {count}"));
        // Beyond the last call, nothing is tampered with.
        let log = std::fs::read_to_string(log).expect("log");
        if !log.contains("INJECTED") && !log.contains("killed by SIGKILL") {
            return;
        }
    }
}

#[test]
fn a_kill_at_every_changing_system_call_ends_as_one_of_the_trees() {
    let (old, new) = rich_pair(NTH);
    for calls in CHANGING {
        tamper(calls, "signal=KILL", 1, |fixture, case| {
            check_between(&fixture.scan(managed_of(&old)), &old, &new, true, case);
            check_recovery(fixture, &old, &new, case);
        });
    }
}

#[test]
fn an_error_of_any_changing_system_call_ends_as_one_of_the_trees_at_once() {
    let (old, new) = rich_pair(NTH);
    let check = |fixture: &Fixture, case: &str| {
        let found = fixture.scan(managed_of(&old));
        let is = |tree| differences(&found, tree).is_empty();
        assert!(is(&old) || is(&new), "{case}: neither: {}", differences(&found, &old));
        check_recovery(fixture, &old, &new, case);
    };
    for calls in CHANGING {
        tamper(calls, "error=EIO", 1, check);
    }
    tamper("renameat2", "error=ENOSPC", 1, check);
    tamper("write", "error=ENOSPC", 1, check);
    tamper("pwrite64", "error=ENOSPC", 1, check);
    // Reading is tampered with at a sample of its uses.
    tamper("openat2", "error=EMFILE", 7, check);
    tamper("statx", "error=ENOMEM", 31, check);
    // Several errors at a time may keep a plan from being undone; then the next start does it.
    tamper(&CHANGING.join(","), "error=EIO", 1, |fixture, case| {
        check_between(&fixture.scan(managed_of(&old)), &old, &new, true, case);
        check_recovery(fixture, &old, &new, case);
    });
}
