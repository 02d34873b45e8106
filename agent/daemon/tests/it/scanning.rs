//! The scan beside a naive one: after every change, the same root as a capture that remembers nothing.

use std::{
    fs,
    num::NonZeroUsize,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dominator_agent_daemon::scan::Scanner;
use dominator_store_core::{Filter, Managed, TreePath, read_directory};
use dominator_store_fs::Dir;
use dominator_testkit::{Rng, hostile_tree};
use rustix::fs::{AtFlags, CWD, FallocateFlags, Gid, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};

use crate::support::{capture, noise, write};

fn scanner(root: &Path) -> Scanner {
    Scanner::new(Dir::open(root).expect("root"))
}

/// Looks at the root with both and compares.
fn check(scanner: &mut Scanner, root: &Path, filter: &Filter, after: &str) {
    let pass = scanner.pass(NonZeroUsize::MIN).expect("pass");
    let expected = capture(root, filter);
    assert_eq!(pass.snapshot.flat(), &expected, "after {after}");
    assert_eq!(pass.snapshot.root(), expected.encode(&mut |_, _| ()).expect("tree"), "after {after}");
    assert!(pass.snapshot.unread().is_empty(), "after {after}");
}

type Change = fn(&Path, &mut Rng);

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds },
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("utimensat");
}

/// Every kind of change to the file `path`, which is a file again for the next one.
const CHANGES: &[(&str, Change)] = &[
    ("other content of the same size", |path, rng| {
        let len = fs::metadata(path).expect("metadata").len();
        fs::write(path, rng.bytes(usize::try_from(len).expect("len"))).expect("write");
    }),
    ("other content of the same size and time", |path, rng| {
        let meta = fs::metadata(path).expect("metadata");
        let file = fs::OpenOptions::new().write(true).open(path).expect("open");
        file.write_all_at(&rng.bytes(usize::try_from(meta.len().min(16)).expect("len")), 0).expect("write");
        set_mtime(path, meta.mtime(), meta.mtime_nsec());
    }),
    ("more content", |path, rng| fs::write(path, rng.bytes(70_000)).expect("write")),
    ("less content", |path, _| fs::write(path, b"x").expect("write")),
    ("no content", |path, _| fs::write(path, b"").expect("write")),
    ("a new file in its place", |path, rng| {
        let fresh = path.with_extension("fresh");
        fs::write(&fresh, rng.bytes(100)).expect("write");
        fs::rename(&fresh, path).expect("rename");
    }),
    ("another mode", |path, _| fs::set_permissions(path, fs::Permissions::from_mode(0o4711)).expect("chmod")),
    ("another owner", |path, _| {
        rustix::fs::chownat(CWD, path, Some(Uid::from_raw(7)), None, AtFlags::empty()).expect("chown");
    }),
    ("another group", |path, _| {
        rustix::fs::chownat(CWD, path, None, Some(Gid::from_raw(9)), AtFlags::empty()).expect("chown");
    }),
    ("another time", |path, _| set_mtime(path, 1, 1)),
    ("another nanosecond", |path, _| set_mtime(path, 1, 2)),
    ("an attribute", |path, _| {
        rustix::fs::setxattr(path, "user.a", b"1", XattrFlags::empty()).expect("setxattr");
    }),
    ("another value of an attribute", |path, _| {
        rustix::fs::setxattr(path, "user.a", b"2", XattrFlags::empty()).expect("setxattr");
    }),
    ("a capability", |path, _| {
        let value = dominator_testkit::xattr::capability(1 << 10);
        rustix::fs::setxattr(path, "security.capability", &value, XattrFlags::empty()).expect("setxattr");
    }),
    ("no attribute", |path, _| rustix::fs::removexattr(path, "user.a").expect("removexattr")),
    ("another name", |path, _| fs::hard_link(path, path.with_extension("twin")).expect("link")),
    ("a third name elsewhere", |path, _| {
        write(&path.with_extension("dir").join("x"), b"");
        fs::hard_link(path, path.with_extension("dir").join("triplet")).expect("link");
    }),
    ("content under several names", |path, rng| fs::write(path, rng.bytes(10)).expect("write")),
    ("a name less", |path, _| fs::remove_file(path.with_extension("twin")).expect("unlink")),
    ("a name moved", |path, _| {
        fs::rename(path.with_extension("dir").join("triplet"), path.with_extension("moved")).expect("rename");
    }),
    ("the last other name gone", |path, _| fs::remove_file(path.with_extension("moved")).expect("unlink")),
    ("a hole", |path, _| {
        fs::write(path, noise(1, 65_536)).expect("write");
        let file = fs::OpenOptions::new().write(true).open(path).expect("open");
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, flags, 4096, 8192).expect("fallocate");
    }),
    ("a hole filled with zeros", |path, _| {
        let file = fs::OpenOptions::new().write(true).open(path).expect("open");
        file.write_all_at(&[0; 8192], 4096).expect("write");
    }),
    ("a directory in its place", |path, _| {
        fs::remove_file(path).expect("unlink");
        fs::create_dir(path).expect("mkdir");
        fs::write(path.join("inner"), b"inner").expect("write");
    }),
    ("a symlink in its place", |path, _| {
        fs::remove_dir_all(path).expect("rmdir");
        symlink("/etc/passwd", path).expect("symlink");
    }),
    ("another target", |path, _| {
        fs::remove_file(path).expect("unlink");
        symlink("/etc/shadow", path).expect("symlink");
    }),
    ("another owner of the symlink", |path, _| {
        let owner = Some(Uid::from_raw(3));
        rustix::fs::chownat(CWD, path, owner, None, AtFlags::SYMLINK_NOFOLLOW).expect("chown");
    }),
    ("a fifo in its place", |path, _| {
        fs::remove_file(path).expect("unlink");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("mkfifo");
    }),
    ("nothing in its place", |path, _| fs::remove_file(path).expect("unlink")),
    ("a file in its place", |path, rng| fs::write(path, rng.bytes(300)).expect("write")),
    ("another mode of its directory", |path, _| {
        let parent = path.parent().expect("parent");
        fs::set_permissions(parent, fs::Permissions::from_mode(0o711)).expect("chmod");
    }),
    ("a default access list of its directory", |path, _| {
        let value = dominator_testkit::xattr::acl(7, &[(1000, 5)], 5, 5, 0);
        rustix::fs::setxattr(path.parent().expect("parent"), "system.posix_acl_default", &value, XattrFlags::empty())
            .expect("setxattr");
    }),
    ("its directory moved and back", |path, _| {
        let parent = path.parent().expect("parent");
        let aside = parent.with_extension("aside");
        fs::rename(parent, &aside).expect("rename");
        fs::rename(&aside, parent).expect("rename");
    }),
];

#[test]
fn the_root_is_that_of_a_capture_after_every_kind_of_change() {
    for seed in 0..2 {
        let dir = tempfile::tempdir().expect("directory");
        hostile_tree(dir.path(), seed).expect("tree");
        let target = dir.path().join("the directory/the file");
        write(&target, noise(seed, 40_000));
        let (mut scanner, mut rng) = (scanner(dir.path()), Rng::new(seed));
        check(&mut scanner, dir.path(), &Filter::default(), "the first pass");
        for (what, change) in CHANGES {
            change(&target, &mut rng);
            check(&mut scanner, dir.path(), &Filter::default(), what);
        }
    }
}

#[test]
fn changes_anywhere_in_a_generated_tree_are_seen() {
    let dir = tempfile::tempdir().expect("directory");
    let made = hostile_tree(dir.path(), 11).expect("tree");
    let files: Vec<PathBuf> =
        made.paths.into_iter().filter(|path| path.symlink_metadata().is_ok_and(|meta| meta.is_file())).collect();
    assert!(files.len() > 20);
    let (mut scanner, mut rng) = (scanner(dir.path()), Rng::new(11));
    scanner.pass(NonZeroUsize::MIN).expect("pass");
    for round in 0..60 {
        let path = rng.pick(&files).clone();
        match rng.below(3) {
            0 => drop(fs::write(&path, rng.bytes(round))),
            1 => set_mtime(&path, i64::try_from(round).expect("seconds"), 0),
            _ => drop(fs::set_permissions(&path, fs::Permissions::from_mode(u32::try_from(round).expect("mode")))),
        }
        check(&mut scanner, dir.path(), &Filter::default(), &format!("a change of {}", path.display()));
    }
}

#[test]
fn an_unchanged_tree_gives_the_same_snapshot_without_reading() {
    let dir = tempfile::tempdir().expect("directory");
    for at in 0..50_u64 {
        let path = dir.path().join(format!("d{}/f{at}", at % 7));
        write(&path, noise(at, 1000));
    }
    let mut scanner = scanner(dir.path());
    let first = scanner.pass(NonZeroUsize::MIN).expect("pass");
    assert_eq!((first.hashed_count, first.hashed_len), (50, 50_000));
    let second = scanner.pass(NonZeroUsize::MIN).expect("pass");
    assert_eq!(second.snapshot.root(), first.snapshot.root());
    assert!(Arc::ptr_eq(second.snapshot.objects(), first.snapshot.objects()), "nothing is encoded again");
    // Until the times are old enough to be trusted, nothing is read; then everything is read once more, and never again.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let mut reread_count = second.hashed_count;
    while reread_count < 50 {
        assert!(std::time::Instant::now() < end, "the second look never came");
        std::thread::sleep(std::time::Duration::from_millis(50));
        reread_count += scanner.pass(NonZeroUsize::MIN).expect("pass").hashed_count;
    }
    assert_eq!(reread_count, 50);
    let settled = scanner.pass(NonZeroUsize::MIN).expect("pass");
    let last = scanner.pass(NonZeroUsize::MIN).expect("pass");
    assert_eq!(last.hashed_count, 0);
    assert!(Arc::ptr_eq(&last.snapshot, &settled.snapshot));
}

#[test]
fn the_private_directory_and_excluded_paths_are_left_out() {
    let dir = tempfile::tempdir().expect("directory");
    for path in [".subd/state", "keep/a", "keep/.subd/b", "var/log/c", "var/d"] {
        write(&dir.path().join(path), path);
    }
    let filter = Filter::parse("exclude tree /var/log").expect("filter");
    let mut scanner = scanner(dir.path());
    scanner.configure(&filter, Managed::default());
    check(&mut scanner, dir.path(), &filter, "configuration");
    let snapshot = Arc::clone(scanner.snapshot().expect("snapshot"));
    let paths: Vec<String> = snapshot.flat().items.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/", "/keep", "/keep/.subd", "/keep/.subd/b", "/keep/a", "/var", "/var/d"]);
    scanner.configure(&Filter::default(), Managed::default());
    check(&mut scanner, dir.path(), &Filter::default(), "another configuration");
    assert!(!snapshot.is_under(&Filter::default(), Managed::default()));
}

#[test]
fn objects_have_their_digests_and_spell_the_tree() {
    let dir = tempfile::tempdir().expect("directory");
    hostile_tree(dir.path(), 5).expect("tree");
    for at in 0..500 {
        write(&dir.path().join(format!("many/{at}")), b"");
    }
    let mut scanner = scanner(dir.path());
    let snapshot = scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot;
    let mut items = Vec::new();
    let mut get = |id| {
        read_directory(id, &mut |id: dominator_store_core::TreeId| {
            let bytes = snapshot.objects().get(id).ok_or("absent")?.to_vec();
            assert_eq!(dominator_store_core::TreeId::of(&bytes), id);
            Ok::<_, &str>(bytes)
        })
    };
    dominator_store_core::walk(snapshot.root(), 1 << 20, &mut get, &mut |path, item| items.push((path, item)))
        .expect("walk");
    assert_eq!(items, snapshot.flat().items);
}

#[test]
fn seeds_and_keys_name_files_that_are_so() {
    let dir = tempfile::tempdir().expect("directory");
    write(&dir.path().join("a"), b"same");
    write(&dir.path().join("b"), b"same");
    write(&dir.path().join("empty"), b"");
    let mut scanner = scanner(dir.path());
    let snapshot = scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot;
    let seed = snapshot.seed(dominator_store_core::BlobId::of(b"same")).expect("seed");
    assert_eq!(fs::read(dir.path().join(std::ffi::OsStr::from_bytes(seed.path.as_bytes()))).expect("read"), b"same");
    assert!(snapshot.seed(dominator_store_core::BlobId::of(b"")).is_none());
    assert_eq!(snapshot.key(seed.path).map(|key| key.size), Some(4));
    assert_eq!(snapshot.key(&TreePath::parse(b"c").expect("path")), None);
}

#[test]
fn a_file_that_is_written_all_the_time_never_looks_like_any_content() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("log");
    write(&path, noise(1, 8 << 20));
    let (stop, written_count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = std::thread::spawn({
        let (path, stop, written_count) = (path, Arc::clone(&stop), Arc::clone(&written_count));
        move || {
            let file = fs::OpenOptions::new().write(true).open(path).expect("open");
            while !stop.load(Ordering::Relaxed) {
                let at = 4096 * written_count.load(Ordering::Relaxed);
                file.write_all_at(&at.to_le_bytes(), at % (8 << 20)).expect("write");
                written_count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    let mut scanner = scanner(dir.path());
    let (mut roots, mut unread_count) = (std::collections::BTreeSet::new(), 0);
    for _ in 0..20 {
        // The writer may be kept from running; only what it changed must be seen, once the clock of the file system moved.
        let seen_count = written_count.load(Ordering::Relaxed);
        while written_count.load(Ordering::Relaxed) == seen_count {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let snapshot = scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot;
        unread_count += snapshot.unread().len();
        roots.insert(snapshot.root());
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().expect("writer");
    assert!(unread_count > 0);
    assert_eq!(roots.len(), 20, "a root is told twice although the file changed in between");
    check(&mut scanner, dir.path(), &Filter::default(), "the writer stopped");
}
