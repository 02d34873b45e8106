//! Others at work on the root while a plan is applied.
//!
//! Owns a reader that looks for absent names and an attacker that swaps directories for links. Invariants: the reader finds
//! every name that both trees have, as one of the two; nothing outside the root changes.

use std::{
    os::unix::fs::{MetadataExt, symlink},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions},
    service::NoServices,
};
use dominator_store_core::{Filter, FlatTree, Managed, Name};
use dominator_store_fs::Dir;

use crate::{
    fixture::{Fixture, apply_keyed, assert_same, make_plan},
    forest::content,
};

/// Makes a root with files, links and directories of which about half differ by `version`.
fn fill(root: &Path, version: u8) {
    for at in 0..300 {
        let dir = root.join(format!("d{}", at % 5)).join(format!("e{}", at % 3));
        std::fs::create_dir_all(&dir).expect("directory");
        std::fs::write(dir.join(format!("f{at}")), content(if at % 2 == 0 { version } else { 4 })).expect("file");
        let link = dir.join(format!("l{at}"));
        symlink(if at % 2 == 0 { version.to_string() } else { "same".to_owned() }, link).expect("link");
        std::fs::write(dir.join(format!("only-{version}-{at}")), "").expect("file");
        // A directory in one version, a file in the other.
        let kind = dir.join(format!("t{at}"));
        if (at + usize::from(version)) % 2 == 0 {
            std::fs::create_dir(&kind).expect("directory");
            std::fs::write(kind.join("x"), content(version)).expect("file");
        } else {
            std::fs::write(kind, content(version)).expect("file");
        }
    }
}

fn versions() -> (Fixture, FlatTree, FlatTree) {
    let (fixture, other) = (Fixture::new(), Fixture::new());
    fill(&fixture.root(), 1);
    fill(&other.root(), 2);
    let (old, new) = (fixture.scan(Managed::default()), other.scan(Managed::default()));
    (fixture, old, new)
}

/// What one look at a name tells: type and mode, size, owner.
type Glance = (u32, u64, u32);

#[test]
fn a_reader_finds_every_name_all_the_time() {
    let (fixture, old, new) = versions();
    let glance = |path: &PathBuf| -> Option<Glance> {
        let meta = path.symlink_metadata().ok()?;
        // The size of a directory is its file system's business.
        Some((meta.mode(), if meta.is_dir() { 0 } else { meta.size() }, meta.uid()))
    };
    let both: Vec<PathBuf> = old
        .items
        .iter()
        .filter(|(path, _)| new.items.binary_search_by(|(other, _)| other.cmp(path)).is_ok())
        .map(|(path, _)| fixture.path(std::str::from_utf8(path.as_bytes()).expect("text")))
        .collect();
    let before: Vec<_> = both.iter().map(glance).collect();
    fixture.make(&new);
    let after: Vec<_> = both.iter().map(glance).collect();
    let (over, looks) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut wrong = Vec::new();
            while !over.load(Ordering::Relaxed) {
                for ((path, before), after) in both.iter().zip(&before).zip(&after) {
                    let found = glance(path);
                    if found != *before && found != *after {
                        wrong.push((path.clone(), found));
                    }
                }
                looks.fetch_add(both.len() as u64, Ordering::Relaxed);
            }
            wrong
        });
        for _ in 0..6 {
            fixture.make(&old);
            fixture.make(&new);
        }
        over.store(true, Ordering::Relaxed);
        assert_eq!(reader.join().expect("reader"), []);
    });
    assert!(looks.load(Ordering::Relaxed) > 100_000, "too few looks: {looks:?}");
}

#[test]
fn an_attacker_who_swaps_directories_for_links_reaches_nothing_outside() {
    let (mut fixture, old, new) = versions();
    fixture.filter = Filter::parse("exclude glob /swap*\n").expect("filter");
    // Outside there is the same tree, so that every operation that got there would succeed.
    let outside = fixture.outside().join("outside");
    std::fs::create_dir(&outside).expect("directory");
    fill(&outside, 1);
    let untouched = |path: &Path| {
        let threads = std::num::NonZeroUsize::MIN;
        let managed = Managed { directory_mtimes: true, ..Managed::default() };
        dominator_store_fs::capture(path, &Filter::default(), managed, threads, &|_, _| {}).expect("capture").tree
    };
    for at in 0..5 {
        symlink(outside.join(format!("d{at}")), fixture.path(&format!("swap{at}"))).expect("link");
    }
    let before = untouched(&outside);
    let (over, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let (mut applied, mut refused) = (0, 0);
    let mut applier = fixture.applier(ApplyOptions::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            let root = Dir::open(&fixture.root()).expect("root");
            let name = |text: String| Name::new(text.as_bytes()).expect("name");
            let names: Vec<_> = (0..5).map(|at| (name(format!("d{at}")), name(format!("swap{at}")))).collect();
            while !over.load(Ordering::Relaxed) {
                for (dir, link) in &names {
                    // There and back at once, so that most applies get as far as the window.
                    let _absent = root.exchange(dir, &root, link);
                    let _absent = root.exchange(dir, &root, link);
                    swaps.fetch_add(1, Ordering::Relaxed);
                    let pause = Instant::now();
                    while pause.elapsed() < Duration::from_micros(40) {
                        std::hint::spin_loop();
                    }
                }
            }
            // Every directory is back in its place.
            for (dir, link) in &names {
                if root.stat(link).is_ok_and(|stat| stat.kind == dominator_store_fs::FileType::Dir) {
                    root.exchange(dir, &root, link).expect("exchanged");
                }
            }
        });
        let begun = Instant::now();
        let trees = [&old, &new];
        let mut at = 0;
        while begun.elapsed() < Duration::from_secs(6) {
            let plan = make_plan(trees[at % 2], trees[(at + 1) % 2], &fixture.filter);
            match apply_keyed(&mut applier, &plan, &|_| None) {
                Ok(report) => {
                    applied += 1;
                    at += usize::from(report.drifted.is_empty());
                }
                Err(ApplyError::Drifted(_)) => {
                    refused += 1;
                    at += refused % 2;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_same(&untouched(&outside), &before);
    let swaps = swaps.load(Ordering::Relaxed);
    eprintln!("{applied} applied, {refused} refused, {swaps} swaps");
    assert!(applied > 5 && refused > 5 && swaps > 10_000, "{applied} applied, {refused} refused, {swaps} swaps");
    applier.recover(&NoServices).expect("recovered");
    drop(applier);
    for want in [&new, &old] {
        fixture.make(want);
    }
}
