//! Directories to publish, and what a store must say about them.
//!
//! Owns small trees made by number, and the comparison of a store with a directory. Invariant: the same number makes the
//! same content, and trees of close numbers share most of it.
//!
//! Does not keep stores: every test has a temporary directory.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use dominator_store_core::{Digest, Filter, FlatTree, ImageName, Item, Managed, TreeId, walk};
use dominator_store_engine::{Progress, PublishOptions, Published, Store, StoreOptions};
use dominator_store_fs::{BlobSource, capture};

/// Metadata times of generated files differ between runs, so they are not managed here; the tests of `store/fs` have them.
pub(crate) fn managed() -> Managed {
    Managed { mtimes: false, ..Managed::default() }
}

pub(crate) fn options() -> PublishOptions {
    PublishOptions {
        managed: managed(),
        created_by: "test".to_owned(),
        created_ms: Some(1_700_000_000_000),
        ..PublishOptions::default()
    }
}

pub(crate) fn name(text: &str) -> ImageName {
    text.parse().expect("name")
}

pub(crate) fn init(dir: &Path) -> Store {
    Store::init(&dir.join("store"), StoreOptions::default()).expect("init")
}

pub(crate) fn publish(store: &Store, image: &str, tree: &Path) -> Published {
    store.publish_tree(&name(image), tree, &options(), &Progress::default()).expect("publish")
}

/// Makes `len` bytes that do not compress.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for at in 0u64.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(Digest::of(&[seed.to_le_bytes(), at.to_le_bytes()].concat()).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Makes `len` bytes that compress well.
pub(crate) fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 64);
    for line in 0.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(format!("line {line} of text {seed}: some words that repeat\n").as_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Makes a directory: files of every length class, a hard link, a symlink; tree `at + 1` differs in two files.
pub(crate) fn make_tree(parent: &Path, at: u64) -> PathBuf {
    let root = parent.join(format!("tree-{at}"));
    fs::create_dir_all(root.join("usr/lib")).expect("mkdir");
    fs::create_dir_all(root.join("etc/empty")).expect("mkdir");
    let write = |path: &str, bytes: &[u8]| fs::write(root.join(path), bytes).expect("write");
    write("etc/empty-file", b"");
    write("etc/version", format!("{at}\n").as_bytes());
    for file in 0..40 {
        write(&format!("etc/file-{file}"), &text(file, 100 * file as usize + 1));
    }
    for (at, len) in [16 * 1024, 16 * 1024 + 1, 40_000, 300_000, 1_000_000].into_iter().enumerate() {
        write(&format!("usr/lib/noise-{at}"), &noise(at as u64, len));
        write(&format!("usr/lib/text-{at}"), &text(at as u64, len));
    }
    // Longer than the window of a reader, and changed in the middle from tree to tree.
    let mut long = noise(99, 5_000_000);
    long[2_500_000..2_500_008].copy_from_slice(&at.to_le_bytes());
    write("usr/lib/long", &long);
    fs::set_permissions(root.join("usr/lib/long"), fs::Permissions::from_mode(0o4755)).expect("chmod");
    fs::hard_link(root.join("etc/file-7"), root.join("etc/file-7-too")).expect("link");
    std::os::unix::fs::symlink("../usr/lib/long", root.join("etc/symlink")).expect("symlink");
    root
}

pub(crate) fn captured(tree: &Path, filter: &Filter, managed: Managed) -> FlatTree {
    capture(tree, filter, managed, NonZeroUsize::MIN, &|_, _| ()).expect("capture").tree
}

/// Reads a whole tree back, content included, from the store alone.
pub(crate) fn read_tree(store: &Store, root: TreeId) -> FlatTree {
    let mut tree = FlatTree::default();
    walk(root, 1_000_000, &mut |id| store.directory(id), &mut |path, item| tree.items.push((path, item)))
        .expect("walk");
    for (path, item) in &tree.items {
        if let Some((blob, size)) = item.blob() {
            let mut content = Vec::new();
            store.read_blob(blob, size, &mut content).unwrap_or_else(|error| panic!("{path}: {error:?}"));
            assert_eq!(dominator_store_core::BlobId::of(&content), blob);
            assert_eq!(content.len() as u64, size);
        }
    }
    tree
}

/// Checks that an image of the store is exactly the directory.
pub(crate) fn assert_is(store: &Store, image: &str, tree: &Path) {
    let stored = store.image(&name(image)).expect("read").unwrap_or_else(|| panic!("no image {image}"));
    let expected = captured(tree, &stored.image.filter, stored.image.managed);
    let found = read_tree(store, stored.image.root);
    assert_eq!(found.items.len() as u64, stored.image.entry_count);
    assert!(found.items.iter().any(|(_, item)| matches!(item, Item::Leaf(_))));
    assert_eq!(found, expected);
    assert_eq!(expected.encode(&mut |_, _| ()).expect("encode"), stored.image.root);
}

/// Verifies the whole store and returns what is wrong with it.
pub(crate) fn faults(store: &Store) -> Vec<String> {
    let mut faults = Vec::new();
    let report = store.verify(&mut |fault| faults.push(describe(fault))).expect("verify");
    assert_eq!(report.fault_count, faults.len() as u64);
    faults
}

pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Returns every answer that does not depend on where things lie: images, and all of their content.
pub(crate) fn answers(store: &Store) -> BTreeMap<String, FlatTree> {
    let images = store.images("", None, 1000).expect("images");
    let answer = |image: dominator_store_engine::ImageSummary| {
        let stored = store.image(&image.name).expect("read").expect("listed");
        assert_eq!((stored.id, stored.image.created_ms), (image.image, image.created_ms));
        (format!("{} {} {}", image.name, image.image, image.published_ms), read_tree(store, stored.image.root))
    };
    images.into_iter().map(answer).collect()
}

pub(crate) fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.extension() == Some(extension.as_ref())).collect();
    files.sort();
    files
}
