//! The single operations, and what they refuse.
//!
//! Owns the misuse cases. Does not test whole trees: `round_trip` does.

use std::{
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use dominator_store_core::{
    BlobId, Content, Directory, Entry, FlatTree, Hole, Item, Leaf, LinkGroup, Managed, Meta, Mtime, Node,
    ReadTreeError, TreeId, TreePath, Xattr, read_directory,
};
use dominator_store_fs::{
    BlobSource, CheckoutOptions, Dir, FsError, NewFile, StatKey, checkout, make_dir, make_leaf, read_meta,
    write_dir_meta, write_meta_in_place, write_mtime,
};
use dominator_testkit::xattr;
use tempfile::tempdir;

use crate::support::{ALL, Captured, name, path, threads};

fn xattrs(list: &[(&[u8], &[u8])]) -> Vec<Xattr> {
    list.iter().map(|(name, value)| Xattr { name: (*name).into(), value: (*value).into() }).collect()
}

#[test]
fn a_new_file_has_exactly_its_bytes() {
    let dir = tempdir().expect("tempdir");
    let dir = Dir::open(dir.path()).expect("open");
    let meta = Meta::new(0o644, 0, 0);
    let create = |text: &str, size, holes: &[Hole]| NewFile::create(&dir, &name(text), size, holes).expect("create");

    let mut short = create("short", 3, &[]);
    short.write_all(b"ab").expect("write");
    assert!(matches!(short.finish(&meta, ALL), Err(FsError::BlobLen { size: 3, .. })));
    assert!(create("long", 3, &[]).write_all(b"abcd").is_err());
    let hole = [Hole { offset: 4096, len: 4096 }];
    let mut filled = create("filled", 12_288, &hole);
    assert!(filled.write_all(&[1; 12_288]).is_err());
    let again = NewFile::create(&dir, &name("short"), 0, &[]).expect_err("exists");
    assert_eq!(again.errno(), Some(rustix::io::Errno::EXIST));
}

#[test]
fn set_id_bits_capabilities_and_times_survive_a_change_of_owner() {
    let dir = tempdir().expect("tempdir");
    let root = Dir::open(dir.path()).expect("open");
    // Everything made here inherits an access list that is not wanted.
    let inherit =
        Meta { xattrs: xattrs(&[(xattr::ACL_DEFAULT, &xattr::acl(7, &[(5, 7)], 7, 7, 7))]), ..Meta::new(0o755, 0, 0) };
    write_dir_meta(&root, &inherit, ALL).expect("default access list");
    let meta = Meta {
        mode: 0o6755,
        uid: 1000,
        gid: 4_294_967_294,
        mtime: Some(Mtime { seconds: -3, nanoseconds: 999_999_999 }),
        xattrs: xattrs(&[(xattr::CAPABILITY, &xattr::capability(1)), (b"trusted.t", b"\0\xff"), (b"user.u", b"")]),
    };
    let mut file = NewFile::create(&root, &name("file"), 5, &[]).expect("create");
    file.write_all(b"bytes").expect("write");
    file.finish(&meta, ALL).expect("finish");
    let made = make_dir(&root, &name("dir")).expect("mkdir");
    let dir_meta = Meta { xattrs: xattrs(&[(b"user.u", b"1")]), ..meta.clone() };
    write_dir_meta(&made, &dir_meta, ALL).expect("metadata");
    let link_meta = Meta { mode: 0o777, xattrs: xattrs(&[(b"trusted.t", b"1")]), ..meta.clone() };
    let link = Leaf { meta: link_meta.clone(), link: None, content: Content::Symlink { target: (*b"x").into() } };
    make_leaf(&root, &name("link"), &link, ALL).expect("symlink");
    let fifo_meta = Meta { xattrs: Vec::new(), ..meta.clone() };
    make_leaf(&root, &name("fifo"), &Leaf { meta: fifo_meta.clone(), link: None, content: Content::Fifo }, ALL)
        .expect("fifo");
    let read = |text: &str| {
        let name = name(text);
        read_meta(&root, &name, &root.stat(&name).expect("stat"), ALL).expect("metadata")
    };
    assert_eq!([read("file"), read("dir"), read("link"), read("fifo")], [meta, dir_meta, link_meta, fifo_meta]);
}

#[test]
fn metadata_in_place_is_written_only_where_it_differs() {
    let dir = tempdir().expect("tempdir");
    let root = Dir::open(dir.path()).expect("open");
    fs::write(dir.path().join("file"), "x").expect("write");
    let meta = Meta {
        mtime: Some(Mtime { seconds: 5, nanoseconds: 6 }),
        xattrs: xattrs(&[(xattr::CAPABILITY, &xattr::capability(2)), (b"user.a", b"1")]),
        ..Meta::new(0o4711, 3, 4)
    };
    let write = |meta: &Meta| write_meta_in_place(&root, &name("file"), meta, ALL).expect("metadata");
    write(&meta);
    let key = root.stat(&name("file")).expect("stat").key();
    write(&meta);
    assert_eq!(root.stat(&name("file")).expect("stat").key(), key, "nothing differed");
    let other = Meta { uid: 5, xattrs: xattrs(&[(xattr::CAPABILITY, &xattr::capability(2))]), ..meta };
    write(&other);
    let stat = root.stat(&name("file")).expect("stat");
    assert_eq!(read_meta(&root, &name("file"), &stat, ALL).expect("metadata"), other);
}

#[test]
fn what_is_not_managed_is_left_alone() {
    let dir = tempdir().expect("tempdir");
    let root = Dir::open(dir.path()).expect("open");
    let file = dir.path().join("file");
    fs::write(&file, "x").expect("write");
    rustix::fs::setxattr(&file, "user.mine", b"1", rustix::fs::XattrFlags::empty()).expect("set");
    let mtime = fs::metadata(&file).expect("stat").mtime_nsec();
    let none = Managed { mtimes: false, directory_mtimes: false, xattrs: false, holes: false };
    write_meta_in_place(&root, &name("file"), &Meta::new(0o600, 0, 0), none).expect("metadata");
    let mut value = [0; 8];
    assert_eq!(rustix::fs::getxattr(&file, "user.mine", &mut value), Ok(1));
    assert_eq!(fs::metadata(&file).expect("stat").mtime_nsec(), mtime);
    assert_eq!(fs::metadata(&file).expect("stat").permissions().mode() & 0o7777, 0o600);
}

#[test]
fn renames_replace_exchange_or_refuse() {
    let dir = tempdir().expect("tempdir");
    let root = Dir::open(dir.path()).expect("open");
    let sub = make_dir(&root, &name("sub")).expect("mkdir");
    for (at, text) in [("a", "a"), ("b", "b"), ("sub/c", "c")] {
        fs::write(dir.path().join(at), text).expect("write");
    }
    let read = |at: &str| fs::read_to_string(dir.path().join(at)).expect("read");
    root.exchange(&name("a"), &sub, &name("c")).expect("exchange");
    assert_eq!([read("a"), read("sub/c")], ["c", "a"]);
    assert!(root.rename_new(&name("a"), &root, &name("b")).is_err());
    root.rename(&name("a"), &root, &name("b")).expect("rename");
    assert_eq!(read("b"), "c");
    root.link(&name("b"), &sub, &name("linked")).expect("link");
    assert_eq!(root.stat(&name("b")).expect("stat").nlink, 2);
    root.exchange(&name("sub"), &root, &name("b")).expect("a directory and a file");
    assert_eq!(read("b/linked"), "c");
    root.sync().expect("sync");
    root.sync_file_system().expect("sync");
    assert!(root.try_stat(&name("nothing")).expect("stat").is_none());
    assert!(root.stat(&name("nothing")).expect_err("absent").is_absent());
    assert_eq!(root.open_path(&path("b")).expect("open").path(), &path("b"));
}

#[test]
fn keys_are_trusted_only_when_settled() {
    let time = |seconds| Mtime { seconds, nanoseconds: 0 };
    let key = StatKey {
        ino: 1,
        dev: dominator_store_core::Device { major: 0, minor: 0 },
        size: 0,
        mtime: time(0),
        ctime: time(100),
    };
    assert!(!key.is_settled(time(100)) && !key.is_settled(time(102)) && key.is_settled(time(103)));
}

struct Constant(&'static [u8]);

impl BlobSource for Constant {
    fn read_blob(&self, _: BlobId, _: u64, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(self.0)
    }
}

fn file(link: Option<LinkGroup>, mode: u16) -> Item {
    let content = Content::File { size: 3, blob: BlobId::of(b"abc"), holes: Vec::new() };
    Item::Leaf(Leaf { meta: Meta::new(mode, 0, 0), link, content })
}

/// Checks out a tree of these entries, whose files all contain what the source says.
fn try_checkout(dest: &std::path::Path, items: &[(&str, Item)], source: &dyn BlobSource) -> Result<(), FsError> {
    let mut all = vec![(TreePath::root(), Item::Dir(Meta::new(0o755, 0, 0)))];
    all.extend(items.iter().map(|(at, item)| (path(at), item.clone())));
    let mut objects = std::collections::BTreeMap::new();
    let root = FlatTree::new(all).encode(&mut |id, bytes| drop(objects.insert(id, bytes))).expect("tree");
    let get = |id| read_directory(id, &mut |id| objects.get(&id).cloned().ok_or(std::fmt::Error));
    checkout(dest, root, get, source, CheckoutOptions { managed: ALL, threads: threads() }, &|_, _| {}).map(drop)
}

#[test]
fn a_checkout_refuses_what_it_cannot_do_right() {
    let dir = tempdir().expect("tempdir");
    let dest = |text: &str| dir.path().join(text);
    let good = Constant(b"abc");

    fs::create_dir(dest("full")).expect("mkdir");
    fs::write(dest("full/mine"), "x").expect("write");
    assert!(matches!(try_checkout(&dest("full"), &[], &good), Err(FsError::NotEmpty { .. })));
    assert!(matches!(try_checkout(&dest("absent/below"), &[], &good), Err(FsError::Open { .. })));

    let incomplete = |error: FsError| match error {
        FsError::Incomplete { source, .. } => *source,
        other => other,
    };
    let items = [("a", file(None, 0o644))];
    for bytes in [&b"ab"[..], b"abcd"] {
        let error = incomplete(
            try_checkout(&dest(&format!("blob-{}", bytes.len())), &items, &Constant(bytes)).expect_err("blob"),
        );
        assert!(matches!(error, FsError::Blob { .. } | FsError::BlobLen { .. }), "{error}");
        assert_eq!(error.path(), Some(&path("a")));
    }
    let link = Some(LinkGroup::of(&path("a")));
    let unequal = [("a", file(link, 0o644)), ("b", file(link, 0o600))];
    assert!(matches!(try_checkout(&dest("links"), &unequal, &good), Err(FsError::LinkGroup { .. })));
    assert!(!dest("links").exists(), "found before anything was made");

    let nobody = [("a", Item::Leaf(Leaf { meta: Meta::new(0o600, u32::MAX, 0), link: None, content: Content::Fifo }))];
    let error = incomplete(try_checkout(&dest("nobody"), &nobody, &good).expect_err("owner"));
    assert!(matches!(error, FsError::Unsupported { .. }), "{error}");

    try_checkout(&dest("good"), &[("d", Item::Dir(Meta::new(0, 1, 1))), ("d/a", file(None, 0o4711))], &good)
        .expect("checkout");
    assert_eq!(fs::read(dest("good/d/a")).expect("read"), b"abc");
}

#[test]
fn a_checkout_says_when_the_tree_is_missing() {
    let dir = tempdir().expect("tempdir");
    let absent = TreeId::of(b"absent");
    let top = Directory::new(Meta::new(0o755, 0, 0), vec![Entry { name: name("sub"), node: Node::Dir(absent) }])
        .expect("directory");
    let mut objects = std::collections::BTreeMap::new();
    let root = top.encode(&mut |id, bytes| drop(objects.insert(id, bytes)));
    let get = |id| read_directory(id, &mut |id| objects.get(&id).cloned().ok_or(std::fmt::Error));
    let options = CheckoutOptions { managed: ALL, threads: threads() };
    let error = checkout(&dir.path().join("made"), root, get, &Constant(b""), options, &|_, _| {}).expect_err("absent");
    let FsError::Tree(source) = error else { panic!("{error:?}") };
    let source = source.downcast_ref::<ReadTreeError<std::fmt::Error>>().expect("the reader's own error");
    assert!(matches!(source, ReadTreeError::Source(id, _) if *id == absent));
    assert!(!dir.path().join("made").exists());
}

#[test]
fn a_checkout_over_an_empty_directory_is_allowed() {
    let (source, dest) = (tempdir().expect("tempdir"), tempdir().expect("tempdir"));
    fs::write(source.path().join("x"), "y").expect("write");
    let captured = Captured::new(source.path(), ALL);
    captured.checkout(dest.path(), ALL).expect("checkout");
    assert_eq!(Captured::new(dest.path(), ALL).root, captured.root);
}

#[test]
fn a_time_is_set_on_the_expected_inode_only() {
    let dir = tempdir().expect("tempdir");
    let root = Dir::open(dir.path()).expect("open");
    fs::write(dir.path().join("file"), "x").expect("write");
    std::os::unix::fs::symlink("file", dir.path().join("link")).expect("symlink");
    let mtime = Mtime { seconds: -7, nanoseconds: 8 };
    for entry in ["file", "link"] {
        let stat = root.stat(&name(entry)).expect("stat");
        assert!(!write_mtime(&root, &name(entry), stat.ino + 1, mtime).expect("another inode"));
        assert_eq!(root.stat(&name(entry)).expect("stat"), stat);
        assert!(write_mtime(&root, &name(entry), stat.ino, mtime).expect("time"));
        assert_eq!(root.stat(&name(entry)).expect("stat").mtime, mtime);
    }
}
