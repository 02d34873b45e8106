//! A full disk stops publishes and nothing else.

use std::{fs, path::Path, process::Command};

use dominator_store_engine::{Progress, Store, StoreOptions};

use crate::support::{assert_is, faults, files, make_tree, name, noise, options, publish};

/// A small file system, unmounted when it is dropped.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[test]
#[expect(clippy::print_stderr, reason = "a test that could not run must say so")]
fn a_full_disk_refuses_a_publish_and_leaves_no_trace() {
    let dir = tempfile::tempdir().expect("dir");
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).expect("mkdir");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=48m", "tmpfs"]).arg(&disk).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this machine does not allow to mount a tmpfs");
        return;
    }
    let _mount = Mount(&disk);
    let path = disk.join("store");
    let store = Store::init(&path, StoreOptions::default()).expect("init");
    let tree = make_tree(dir.path(), 1);
    publish(&store, "small", &tree);
    let large = dir.path().join("large");
    fs::create_dir(&large).expect("mkdir");
    for at in 0..20 {
        fs::write(large.join(format!("{at}")), noise(1000 + at, 5_000_000)).expect("write");
    }
    for _ in 0..3 {
        let refused = store.publish_tree(&name("large"), &large, &options(), &Progress::default());
        let refused = refused.expect_err("it does not fit");
        let text = crate::support::describe(&refused);
        assert!(text.contains("No space left"), "{text}");
        assert_is(&store, "small", &tree);
        assert_eq!(faults(&store), [""; 0]);
        assert!(files(&path.join("packs"), "part").is_empty());
    }
    assert_eq!(store.images("", None, 10).expect("list").len(), 1);
    drop(store);
    let store = Store::open(&path).expect("open");
    assert_is(&store, "small", &tree);
    let next = make_tree(dir.path(), 2);
    publish(&store, "next", &next);
    assert_is(&store, "next", &next);
}
