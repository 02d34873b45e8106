//! What directories of running machines hold: pipes, sockets, mounts, files that change, depth without end.
//!
//! Owns the cases that are no part of a tree. Does not test races with an attacker: `race` does.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::FileExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    sync::mpsc,
    thread,
    time::Duration,
};

use dominator_store_core::{Content, Filter, Item, TreePath};
use dominator_store_fs::{
    Dir, FileType, Found, FsError, Skipped, Stat, capture, list, list_below, list_known, read_holes,
};
use rustix::{
    fs::{CWD, FallocateFlags, Mode},
    mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount},
};
use tempfile::tempdir;

use crate::support::{ALL, capture_all, name, path, root_of, threads};

/// Fails the test if `work` blocks.
fn within_seconds<T: Send + 'static>(seconds: u64, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tx, rx) = mpsc::channel();
    thread::spawn(move || tx.send(work()));
    rx.recv_timeout(Duration::from_secs(seconds)).expect("the work blocks")
}

#[test]
fn pipes_are_never_waited_for() {
    let dir = tempdir().expect("tempdir");
    rustix::fs::mkfifoat(CWD, dir.path().join("fifo"), Mode::RUSR).expect("mkfifo");
    let root = dir.path().to_owned();
    within_seconds(20, move || {
        let captured = capture_all(&root);
        assert!(
            captured
                .tree
                .items
                .iter()
                .any(|(_, item)| matches!(item, Item::Leaf(leaf) if leaf.content == Content::Fifo))
        );
        let error = Dir::open(&root).expect("open").open_file(&name("fifo")).expect_err("a pipe is no file");
        assert!(matches!(error, FsError::WrongType { found: FileType::Fifo, .. }), "{error}");
    });
}

#[test]
fn sockets_are_skipped_and_reported() {
    let dir = tempdir().expect("tempdir");
    let _socket = UnixListener::bind(dir.path().join("socket")).expect("bind");
    let captured = capture_all(dir.path());
    assert_eq!(captured.skipped, [(path("socket"), Skipped::Socket)]);
    assert_eq!(captured.tree.items.len(), 1);
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).expect("unmount");
    }
}

fn mounted(at: &Path, done: rustix::io::Result<()>) -> Option<Mounted> {
    match done {
        Ok(()) => Some(Mounted(at.to_owned())),
        Err(errno) => {
            eprintln!("SKIPPED: this machine does not allow mounting: {errno}");
            None
        }
    }
}

#[test]
fn mounts_are_not_entered() {
    let dir = tempdir().expect("tempdir");
    let root = dir.path().join("root");
    for at in ["tmpfs", "same"] {
        fs::create_dir_all(root.join(at)).expect("mkdir");
    }
    fs::create_dir(dir.path().join("elsewhere")).expect("mkdir");
    fs::write(dir.path().join("elsewhere/inside-mount"), "x").expect("write");
    fs::write(root.join("file"), "below").expect("write");
    // Another file system, the same one at another place, and a file over a file.
    let elsewhere = dir.path().join("elsewhere");
    let Some(_tmpfs) =
        mounted(&root.join("tmpfs"), mount("tmpfs", root.join("tmpfs"), "tmpfs", MountFlags::empty(), None))
    else {
        return;
    };
    fs::write(root.join("tmpfs/inside-mount"), "x").expect("write");
    let _same = mounted(&root.join("same"), mount_bind(&elsewhere, root.join("same")));
    let _file = mounted(&root.join("file"), mount_bind(elsewhere.join("inside-mount"), root.join("file")));

    let captured = capture_all(&root);
    let paths: Vec<String> = captured.tree.items.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/", "/same", "/tmpfs"]);
    let foreign = |at: &str| (path(at), Skipped::ForeignMount);
    assert_eq!(captured.skipped, [foreign("file"), foreign("same"), foreign("tmpfs")]);

    let opened = Dir::open(&root).expect("open");
    assert!(opened.open_path(&path("tmpfs")).is_err() && opened.open_path(&path("same")).is_err());
    assert!(opened.open_file(&name("file")).is_err());
    assert!(opened.remove_tree(&name("tmpfs")).is_err());
    assert!(root.join("tmpfs/inside-mount").exists() && elsewhere.join("inside-mount").exists());
}

#[test]
fn a_file_that_keeps_changing_is_named() {
    let dir = tempdir().expect("tempdir");
    let file = fs::File::create(dir.path().join("busy")).expect("create");
    file.set_len(64 << 20).expect("set_len");
    let stop = AtomicBool::new(false);
    let found = thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0u64;
            while !stop.load(Ordering::Relaxed) {
                round += 1;
                file.write_all_at(&round.to_le_bytes(), (round * 4096) % (64 << 20)).expect("write");
            }
        });
        // On a busy machine the writer may rest while the file is read, now and then.
        let capture = || capture(dir.path(), &Filter::default(), ALL, threads(), &|_, _| {});
        let found = (0..20).find_map(|_| capture().err());
        stop.store(true, Ordering::Relaxed);
        found
    });
    assert!(matches!(&found, Some(FsError::Unstable { path: found }) if *found == path("busy")), "{found:?}");
    root_of(dir.path());
}

#[test]
fn files_that_come_and_go_do_not_stop_a_capture() {
    let dir = tempdir().expect("tempdir");
    for at in 0..200 {
        fs::write(dir.path().join(format!("stays-{at}")), "x".repeat(at)).expect("write");
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (at, kept) = (dir.path().join(format!("goes-{}", round % 50)), dir.path().join("kept"));
                fs::write(&at, round.to_string()).expect("write");
                fs::rename(&at, &kept).expect("rename");
                let _ = fs::remove_file(dir.path().join("dir"));
                fs::write(dir.path().join("dir"), "").expect("write");
                fs::remove_file(dir.path().join("dir")).expect("remove");
                let _ = std::os::unix::fs::symlink("x", dir.path().join("dir"));
            }
        });
        for _ in 0..100 {
            let captured = capture(dir.path(), &Filter::default(), ALL, threads(), &|_, _| {});
            // A name may be swapped faster than it can be read; then exactly that is said.
            match captured {
                Ok(captured) => {
                    let stays = captured.tree.items.iter().filter(|(path, _)| path.to_string().contains("stays"));
                    assert_eq!(stays.count(), 200);
                    captured.tree.encode(&mut |_, _| {}).expect("tree");
                }
                Err(FsError::Unstable { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn nesting_without_end_is_listed_to_the_limit_and_can_be_removed() {
    let dir = tempdir().expect("tempdir");
    let top = Dir::open(dir.path()).expect("open");
    // Deeper than a path can say: each level is made in the one before.
    let mut at = dominator_store_fs::make_dir(&top, &name("top")).expect("mkdir");
    for _ in 0..1500 {
        at = dominator_store_fs::make_dir(&at, &name("deeper")).expect("mkdir");
        dominator_store_fs::NewFile::create(&at, &name("file"), 0, &[]).expect("create");
    }
    let listing = list(&top, &Filter::default(), ALL, &mut |_| {}).expect("list");
    let beyond: Vec<_> = listing.entries.iter().filter(|listed| matches!(listed.found, Found::Beyond(_))).collect();
    assert_eq!(beyond.len(), 2, "{beyond:?}");
    assert!(matches!(capture(dir.path(), &Filter::default(), ALL, threads(), &|_, _| {}), Err(FsError::Limit { .. })));
    top.remove_tree(&name("top")).expect("remove");
    assert!(top.names().expect("names").is_empty());
    top.remove_tree(&name("top")).expect("that there is nothing is no error");
}

#[test]
fn preallocated_files_have_no_holes_whatever_is_cached() {
    let dir = tempdir().expect("tempdir");
    let at = dir.path().join("preallocated");
    let mut file = fs::File::options().create_new(true).read(true).write(true).open(&at).expect("create");
    if let Err(errno) = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 1 << 20) {
        eprintln!("SKIPPED: no fallocate here: {errno}");
        return;
    }
    file.write_all(b"head").expect("write");
    file.sync_all().expect("sync");
    assert_eq!(read_holes(&file, 1 << 20).expect("holes"), []);
    let before = root_of(dir.path());
    assert_eq!(root_of(dir.path()), before);
}

#[test]
fn a_part_of_a_tree_can_be_listed() {
    let dir = tempdir().expect("tempdir");
    fs::create_dir_all(dir.path().join("a/b")).expect("mkdir");
    fs::write(dir.path().join("a/b/c"), "").expect("write");
    fs::write(dir.path().join("a/d"), "").expect("write");
    let root = Dir::open(dir.path()).expect("open");
    let filter = Filter::parse("exclude tree /a/d").expect("filter");
    let below = |at: &str| -> Vec<String> {
        let listing = list_below(&root, &path(at), &filter, ALL, &mut |_| {}).expect("list");
        listing.entries.iter().map(|listed| listed.path.to_string()).collect()
    };
    assert_eq!(below("a"), ["/a", "/a/b", "/a/b/c"]);
    assert_eq!(below("a/b/c"), ["/a/b/c"]);
    for nothing in ["a/d", "x", "x/y", "a/b/c/d"] {
        assert!(below(nothing).is_empty(), "{nothing}");
    }
    assert_eq!(below("").len(), 4);
}

#[test]
fn what_is_known_is_not_read_again_unless_it_changed() {
    let dir = tempdir().expect("tempdir");
    dominator_testkit::hostile_tree(dir.path(), 99).expect("hostile tree");
    let root = Dir::open(dir.path()).expect("open");
    let filter = Filter::default();
    let first = list(&root, &filter, ALL, &mut |_| {}).expect("list");
    let known: BTreeMap<_, _> = first.entries.iter().map(|listed| (listed.path.clone(), listed.clone())).collect();
    let reads = Cell::new(0);
    let again = || {
        reads.set(0);
        let reuse = |path: &TreePath, stat: &Stat| {
            let found =
                known.get(path).filter(|listed| listed.stat.key() == stat.key()).map(|listed| listed.found.clone());
            reads.set(reads.get() + u32::from(found.is_none()));
            found
        };
        list_known(&root, &TreePath::root(), &filter, ALL, &reuse, &mut |_| {}).expect("list")
    };
    assert_eq!(again(), first);
    assert_eq!(reads.get(), 0);
    let changed = first.entries.iter().find(|listed| listed.stat.kind == FileType::File && listed.stat.nlink == 1);
    let changed = &changed.expect("a file").path;
    let at = dir.path().join(std::ffi::OsStr::from_bytes(changed.as_bytes()));
    rustix::fs::lsetxattr(&at, "user.new", b"1", rustix::fs::XattrFlags::empty()).expect("set");
    let second = again();
    assert_eq!(reads.get(), 1);
    assert_eq!(second, list(&root, &filter, ALL, &mut |_| {}).expect("list"));
    assert_ne!(second, first);
}
