//! A local user who swaps entries while we work never leads us outside.
//!
//! Owns the swapper and the canaries. Invariant: each kind of work is repeated thousands of times against a thread that
//! does nothing but swap.
//! Does not expect the work to succeed, only that it stays inside.

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use dominator_store_core::{BlobId, Filter, Leaf, Meta};
use dominator_store_fs::{Dir, FileType, Found, NewFile, capture, list, make_dir, make_leaf, write_meta_in_place};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::{TempDir, tempdir};

use crate::support::{ALL, name, path, threads};

const SECRET: &[u8] = b"content that only the outside has";

struct Field {
    _dir: TempDir,
    root: PathBuf,
    outside: PathBuf,
}

impl Field {
    /// `root/a/victim` is a directory and `root/a/bait` a link to a directory outside with the same names in it.
    fn new() -> Self {
        let dir = tempdir().expect("tempdir");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir_all(root.join("a/victim/sub")).expect("mkdir");
        fs::create_dir_all(outside.join("sub")).expect("mkdir");
        symlink(&outside, root.join("a/bait")).expect("symlink");
        for at in 0..20 {
            fs::write(root.join(format!("a/victim/{at}")), "inside").expect("write");
            fs::write(root.join(format!("a/victim/sub/{at}")), "inside").expect("write");
            for at in [format!("canary-{at}"), format!("sub/canary-{at}"), at.to_string(), format!("sub/{at}")] {
                fs::write(outside.join(at), SECRET).expect("write");
            }
        }
        fs::write(root.join("a/file"), "inside").expect("write");
        symlink(outside.join("0"), root.join("a/file-bait")).expect("symlink");
        Self { _dir: dir, root, outside }
    }

    fn outside_state(&self) -> Vec<(PathBuf, u32, u32, i64, i64, Vec<u8>)> {
        let mut state = Vec::new();
        let mut pending = vec![self.outside.clone()];
        while let Some(path) = pending.pop() {
            let stat = fs::symlink_metadata(&path).expect("outside");
            let bytes = if stat.is_file() { fs::read(&path).expect("outside") } else { Vec::new() };
            if stat.is_dir() {
                pending.extend(fs::read_dir(&path).expect("outside").map(|entry| entry.expect("outside").path()));
            }
            state.push((path, stat.mode(), stat.uid(), stat.ctime(), stat.ctime_nsec(), bytes));
        }
        state.sort();
        state
    }

    /// Repeats `work` while `a` and `b` are swapped all the time; says how often each was done.
    fn race(&self, a: &str, b: &str, work: impl Fn(&Dir)) {
        let before = self.outside_state();
        let (a, b) = (self.root.join(a), self.root.join(b));
        let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
        let mut rounds = 0;
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    if renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).is_ok() {
                        swaps.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
            let dir = Dir::open(&self.root).expect("root");
            let start = Instant::now();
            // Caught, so that the swapper is stopped whatever happens.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                while rounds < 2000 || swaps.load(Ordering::Relaxed) < 10_000 {
                    work(&dir);
                    rounds += 1;
                    if start.elapsed() > Duration::from_secs(60) {
                        break;
                    }
                }
            }));
            stop.store(true, Ordering::Relaxed);
            if let Err(panic) = outcome {
                std::panic::resume_unwind(panic);
            }
        });
        println!("{rounds} rounds against {} swaps", swaps.load(Ordering::Relaxed));
        assert!(rounds > 100 && swaps.load(Ordering::Relaxed) > 1000);
        assert!(self.outside_state() == before, "something outside changed");
    }
}

fn mentions_outside(path: &impl std::fmt::Display) -> bool {
    path.to_string().contains("canary")
}

#[test]
fn a_walk_lists_nothing_outside() {
    let field = Field::new();
    field.race("a/victim", "a/bait", |root| {
        let listing = list(root, &Filter::default(), ALL, &mut |_| {}).expect("list");
        for listed in &listing.entries {
            assert!(!mentions_outside(&listed.path), "{}", listed.path);
        }
        // Both names are always there, whatever they are.
        let tops = ["a/victim", "a/bait"].map(path);
        assert!(tops.iter().all(|top| listing.entries.iter().any(|listed| listed.path == *top)));
    });
}

#[test]
fn a_capture_reads_nothing_outside() {
    let field = Field::new();
    let secret = BlobId::of(SECRET);
    field.race("a/victim", "a/bait", |_| {
        let Ok(captured) = capture(&field.root, &Filter::default(), ALL, threads(), &|_, _| {}) else { return };
        for (path, item) in &captured.tree.items {
            assert!(!mentions_outside(path), "{path}");
            assert!(item.blob().is_none_or(|(blob, _)| blob != secret), "{path}");
        }
    });
}

#[test]
fn opening_reads_nothing_outside() {
    let field = Field::new();
    field.race("a/victim", "a/bait", |root| {
        for at in ["a/victim/3", "a/bait/3", "a/victim/sub/3"] {
            if let Ok(mut file) = root.open_file_path(&path(at)) {
                let mut content = Vec::new();
                file.read_to_end(&mut content).expect("read");
                assert_ne!(content, SECRET);
            }
        }
        for at in ["a/victim", "a/victim/sub", "a/bait"] {
            if let Ok(dir) = root.open_path(&path(at)) {
                assert!(!dir.names().expect("names").iter().any(mentions_outside));
            }
        }
        if let Ok(stat) = root.stat_path(&path("a/victim/canary-0")) {
            panic!("{stat:?}");
        }
    });
}

#[test]
fn a_swapped_file_is_not_followed() {
    let field = Field::new();
    field.race("a/file", "a/file-bait", |root| {
        let dir = root.open_path(&path("a")).expect("a");
        if let Ok(mut file) = dir.open_file(&name("file")) {
            let mut content = Vec::new();
            file.read_to_end(&mut content).expect("read");
            assert_ne!(content, SECRET);
        }
    });
}

#[test]
fn metadata_and_removal_stay_inside() {
    let field = Field::new();
    let meta = |mode| Meta { xattrs: Vec::new(), ..Meta::new(mode, 12, 13) };
    field.race("a/file", "a/file-bait", |root| {
        let dir = root.open_path(&path("a")).expect("a");
        for entry in ["file", "file-bait"] {
            let _ = write_meta_in_place(&dir, &name(entry), &meta(0o4755), ALL);
            let _ = write_meta_in_place(&dir, &name(entry), &meta(0o600), ALL);
        }
    });
    field.race("a/victim", "a/bait", |root| {
        if let Ok(dir) = root.open_path(&path("a/victim")) {
            let _ = dir.unlink(&name("canary-1"));
            let _ = dir.remove_tree(&name("sub"));
            if make_dir(&dir, &name("sub")).is_ok() {
                let _ = NewFile::create(&dir, &name("0"), 0, &[]);
            }
        }
        if let Ok(dir) = root.open_path(&path("a/bait/sub")) {
            let _ = NewFile::create(&dir, &name("planted"), 0, &[]);
            let leaf = Leaf { meta: meta(0o600), link: None, content: dominator_store_core::Content::Fifo };
            let _ = make_leaf(&dir, &name("planted-pipe"), &leaf, ALL);
            let _ = dir.remove_tree(&name("canary-2"));
        }
    });
}

#[test]
fn removing_a_whole_tree_stays_inside() {
    let field = Field::new();
    field.race("a/victim", "a/bait", |root| {
        let dir = root.open_path(&path("a")).expect("a");
        let _ = dir.remove_tree(&name("victim"));
        // Whichever of the two is gone is made again, without following anything either.
        for missing in ["victim", "bait"] {
            if dir.stat(&name(missing)).is_ok() {
                continue;
            }
            let other = if missing == "bait" { "victim" } else { "bait" };
            if dir.stat(&name(other)).is_ok_and(|stat| stat.kind == FileType::Dir) {
                let _ = symlink(&field.outside, field.root.join("a").join(missing));
            } else if let Ok(made) = make_dir(&dir, &name(missing)) {
                let _ = NewFile::create(&made, &name("0"), 0, &[]);
                if let Ok(sub) = make_dir(&made, &name("sub")) {
                    let _ = NewFile::create(&sub, &name("canary-0"), 0, &[]);
                }
            }
        }
    });
}

#[test]
fn a_race_with_types_never_breaks_the_walk() {
    let field = Field::new();
    let spare = field.root.join("a/spare");
    fs::write(&spare, "a file in the place of a directory").expect("write");
    field.race("a/victim", "a/spare", |root| {
        let listing = list(root, &Filter::default(), ALL, &mut |_| {}).expect("list");
        let top = listing.entries.iter().find(|listed| listed.path == path("a/victim")).expect("always there");
        assert!(matches!(top.found, Found::Dir(_) | Found::File(_) | Found::Beyond(_)), "{top:?}");
    });
}
