//! Every change that is managed changes the root.
//!
//! Owns the table of changes. Invariant: each change is made alone, on a fresh tree.
//! Does not test that nothing else changes the root: `round_trip` does.

use std::{
    fs,
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::Path,
};

use dominator_store_core::{Aspect, Filter, diff};
use dominator_testkit::xattr;
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, makedev};
use tempfile::tempdir;

use crate::support::{ALL, Captured, path, root_of, threads};

fn make(root: &Path) {
    fs::create_dir(root.join("dir")).expect("dir");
    fs::write(root.join("dir/file"), "content").expect("file");
    fs::write(root.join("other"), "other").expect("file");
    fs::hard_link(root.join("other"), root.join("dir/linked")).expect("link");
    symlink("target", root.join("symlink")).expect("symlink");
    let sparse = fs::File::create(root.join("sparse")).expect("file");
    sparse.write_all_at(&[1; 4096], 8192).expect("write");
    for (name, kind, device) in [
        ("fifo", FileType::Fifo, 0),
        ("char", FileType::CharacterDevice, makedev(1, 3)),
        ("block", FileType::BlockDevice, makedev(7, 1)),
    ] {
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::from_raw_mode(0o644), device).expect(name);
    }
    set(&root.join("dir/file"), b"user.a", b"1");
    set(&root.join("dir/file"), xattr::ACL_ACCESS, &xattr::acl(6, &[(1000, 4)], 4, 4, 0));
    set(&root.join("dir/file"), xattr::CAPABILITY, &xattr::capability(1 << 13));
    for entry in ["dir/file", "dir", "other", "symlink", "sparse", "fifo", "char", "block", "."] {
        touch(&root.join(entry), 1_000_000_000, 5);
    }
}

fn set(path: &Path, name: &[u8], value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, XattrFlags::empty()).expect("set attribute");
}

fn touch(path: &Path, seconds: i64, nanoseconds: i64) {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let times = Timestamps { last_access: omit, last_modification: Timespec { tv_sec: seconds, tv_nsec: nanoseconds } };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("touch");
}

fn chown(path: &Path, uid: Option<u32>, gid: Option<u32>) {
    let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).expect("chown");
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Changes content and puts the time back, as silent damage does.
fn overwrite(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).expect("write");
    touch(path, 1_000_000_000, 5);
}

fn replace(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).expect("remove");
    make(path);
    touch(path, 1_000_000_000, 5);
}

type Change = (&'static str, &'static str, Aspect, fn(&Path));

const CHANGES: &[Change] = &[
    ("content", "other", Aspect::Content, |root| overwrite(&root.join("other"), b"OTHER")),
    ("length", "other", Aspect::Content, |root| overwrite(&root.join("other"), b"other!")),
    ("content emptied", "other", Aspect::Content, |root| overwrite(&root.join("other"), b"")),
    ("mode", "other", Aspect::Mode, |root| chmod(&root.join("other"), 0o640)),
    ("set-id bit", "other", Aspect::Mode, |root| chmod(&root.join("other"), 0o4644)),
    ("mode of a directory", "dir", Aspect::Mode, |root| chmod(&root.join("dir"), 0o1755)),
    ("mode of the root", "", Aspect::Mode, |root| chmod(root, 0o711)),
    ("mode of a fifo", "fifo", Aspect::Mode, |root| chmod(&root.join("fifo"), 0o600)),
    ("mode of a device", "char", Aspect::Mode, |root| chmod(&root.join("char"), 0o600)),
    ("owner", "other", Aspect::Owner, |root| chown(&root.join("other"), Some(7), None)),
    ("group", "other", Aspect::Owner, |root| chown(&root.join("other"), None, Some(7))),
    ("owner of a symlink", "symlink", Aspect::Owner, |root| chown(&root.join("symlink"), Some(7), None)),
    ("owner of a directory", "dir", Aspect::Owner, |root| chown(&root.join("dir"), Some(4_294_967_294), None)),
    ("mtime by a nanosecond", "other", Aspect::Mtime, |root| touch(&root.join("other"), 1_000_000_000, 6)),
    ("mtime by a second", "other", Aspect::Mtime, |root| touch(&root.join("other"), 1_000_000_001, 5)),
    ("mtime of a symlink", "symlink", Aspect::Mtime, |root| touch(&root.join("symlink"), 1, 5)),
    ("mtime of a directory", "dir", Aspect::Mtime, |root| touch(&root.join("dir"), -1, 5)),
    ("value of an attribute", "dir/file", Aspect::Xattrs, |root| set(&root.join("dir/file"), b"user.a", b"2")),
    ("another attribute", "other", Aspect::Xattrs, |root| set(&root.join("other"), b"user.b", b"")),
    ("attribute removed", "dir/file", Aspect::Xattrs, |root| {
        rustix::fs::removexattr(root.join("dir/file"), "user.a").expect("remove");
    }),
    ("trusted attribute", "symlink", Aspect::Xattrs, |root| set(&root.join("symlink"), b"trusted.a", b"1")),
    ("attribute of a directory", "dir", Aspect::Xattrs, |root| set(&root.join("dir"), b"user.a", b"1")),
    ("access list", "dir/file", Aspect::Xattrs, |root| {
        set(&root.join("dir/file"), xattr::ACL_ACCESS, &xattr::acl(6, &[(1001, 4)], 4, 4, 0));
    }),
    ("default access list", "dir", Aspect::Xattrs, |root| {
        set(&root.join("dir"), xattr::ACL_DEFAULT, &xattr::acl(7, &[(1, 7)], 5, 7, 0));
    }),
    ("capability", "dir/file", Aspect::Xattrs, |root| {
        set(&root.join("dir/file"), xattr::CAPABILITY, &xattr::capability(1 << 10));
    }),
    ("capability removed", "dir/file", Aspect::Xattrs, |root| {
        rustix::fs::removexattr(root.join("dir/file"), xattr::CAPABILITY).expect("remove");
    }),
    ("symlink target", "symlink", Aspect::Target, |root| {
        replace(&root.join("symlink"), |path| symlink("elsewhere", path).expect("symlink"));
    }),
    ("hard link broken", "other", Aspect::Link, |root| {
        replace(&root.join("other"), |path| fs::write(path, "other").expect("write"));
    }),
    ("another hard link", "another", Aspect::Added, |root| {
        fs::hard_link(root.join("dir/file"), root.join("another")).expect("link");
        touch(root, 1_000_000_000, 5);
    }),
    ("hole filled with zeros", "sparse", Aspect::Holes, |root| {
        let file = fs::OpenOptions::new().write(true).open(root.join("sparse")).expect("open");
        file.write_all_at(&[0; 4096], 0).expect("write");
        touch(&root.join("sparse"), 1_000_000_000, 5);
    }),
    ("device number", "char", Aspect::Device, |root| {
        replace(&root.join("char"), |path| {
            let mode = Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(1, 5)).expect("mknod");
        });
    }),
    ("block device turned character device", "block", Aspect::Type, |root| {
        replace(&root.join("block"), |path| {
            let mode = Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, makedev(7, 1)).expect("mknod");
        });
    }),
    ("file turned directory", "other", Aspect::Type, |root| {
        replace(&root.join("other"), |path| fs::create_dir(path).expect("mkdir"));
    }),
    ("file turned symlink", "other", Aspect::Type, |root| {
        replace(&root.join("other"), |path| symlink("dir/linked", path).expect("symlink"));
    }),
    ("directory turned file", "dir", Aspect::Type, |root| {
        fs::remove_dir_all(root.join("dir")).expect("remove");
        fs::write(root.join("dir"), "").expect("write");
    }),
    ("removed", "fifo", Aspect::Removed, |root| {
        fs::remove_file(root.join("fifo")).expect("remove");
        touch(root, 1_000_000_000, 5);
    }),
    ("added", "dir/new", Aspect::Added, |root| {
        fs::write(root.join("dir/new"), "").expect("write");
        touch(&root.join("dir"), 1_000_000_000, 5);
    }),
    ("directory added", "dir/new", Aspect::Added, |root| {
        fs::create_dir(root.join("dir/new")).expect("mkdir");
        touch(&root.join("dir"), 1_000_000_000, 5);
    }),
];

#[test]
fn every_managed_change_changes_the_root_and_is_named() {
    for (what, at, aspect, change) in CHANGES {
        let dir = tempdir().expect("tempdir");
        make(dir.path());
        let before = Captured::new(dir.path(), ALL);
        assert_eq!(root_of(dir.path()), before.root, "{what}: reading changes nothing");
        change(dir.path());
        let after = Captured::new(dir.path(), ALL);
        assert_ne!(after.root, before.root, "{what}");
        let mut found = Vec::new();
        let mut get = |id| before.directory(id).or_else(|_| after.directory(id));
        diff(Some(before.root), Some(after.root), &mut get, &mut |difference| {
            if difference.path == path(at) {
                found = difference.aspects();
            }
        })
        .expect("diff");
        assert!(found.contains(aspect), "{what}: {found:?}");
    }
}

type Harmless = (&'static str, fn(&Path));

#[test]
fn what_is_not_metadata_of_content_changes_nothing() {
    let changes: [Harmless; 4] = [
        ("access time", |root| {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let times = Timestamps { last_access: Timespec { tv_sec: 9, tv_nsec: 9 }, last_modification: omit };
            rustix::fs::utimensat(CWD, root.join("other"), &times, AtFlags::empty()).expect("touch");
        }),
        ("order of creation", |root| {
            for name in ["z", "y"] {
                fs::write(root.join(name), "").expect("write");
            }
            fs::remove_file(root.join("z")).expect("remove");
            fs::remove_file(root.join("y")).expect("remove");
            touch(root, 1_000_000_000, 5);
        }),
        ("hard link outside of the tree", |root| {
            fs::hard_link(root.join("dir/file"), root.with_extension("outside")).expect("link");
        }),
        ("private directory of the agent", |root| {
            fs::create_dir(root.join(".subd")).expect("mkdir");
            fs::write(root.join(".subd/state"), "x").expect("write");
            touch(root, 1_000_000_000, 5);
        }),
    ];
    for (what, change) in changes {
        let dir = tempdir().expect("tempdir");
        let root = dir.path().join("root");
        fs::create_dir(&root).expect("mkdir");
        make(&root);
        let before = root_of(&root);
        change(&root);
        assert_eq!(root_of(&root), before, "{what}");
    }
}

#[test]
fn filtered_paths_are_not_captured() {
    let dir = tempdir().expect("tempdir");
    make(dir.path());
    let filter =
        Filter::parse("include exact /dir/file\nexclude glob /dir/*\nexclude tree /other\nexclude exact /fifo")
            .expect("filter");
    let captured = dominator_store_fs::capture(dir.path(), &filter, ALL, threads(), &|_, _| {}).expect("capture");
    let paths: Vec<String> = captured.tree.items.iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(paths, ["/", "/block", "/char", "/dir", "/dir/file", "/sparse", "/symlink"]);
    assert!(captured.skipped.is_empty());
}
