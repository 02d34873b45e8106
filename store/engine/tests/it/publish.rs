//! What is published is read back, once each, whoever publishes how often.

use std::{fs, num::NonZeroUsize, path::Path, thread};

use dominator_store_core::{Filter, ObjectId, Profile};
use dominator_store_engine::{Error, PreparedTree, Progress, PublishOptions, Store, StoreOptions};
use dominator_store_fs::{CheckoutOptions, checkout};

use crate::support::{
    answers, assert_is, captured, faults, files, init, make_tree, name, noise, options, publish, read_tree,
};

#[test]
fn a_published_directory_is_read_back_exactly() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    let progress = Progress::default();
    let published = store.publish_tree(&name("a/b"), &tree, &options(), &progress).expect("publish");
    assert!(published.added && published.skipped.is_empty());
    assert_eq!((progress.file_count(), progress.content_len()), (progress.file_total(), published.content_len));
    assert_is(&store, "a/b", &tree);
    assert_eq!(faults(&store), [""; 0]);
    let stored = store.image(&name("a/b")).expect("read").expect("there");
    assert_eq!(store.image_by_id(published.image).expect("read"), Some(stored.clone()));
    assert_eq!((stored.image.entry_count, stored.image.content_len), (published.entry_count, published.content_len));
    drop(store);
    let store = Store::open(&dir.path().join("store")).expect("open");
    assert_is(&store, "a/b", &tree);
}

#[test]
fn a_checkout_is_the_directory_again() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), dir.path().join("hostile"));
    fs::create_dir(&tree).expect("mkdir");
    dominator_testkit::hostile_tree(&tree, 3).expect("tree");
    let options = PublishOptions { managed: dominator_store_core::Managed::default(), ..options() };
    let published = store.publish_tree(&name("hostile"), &tree, &options, &Progress::default()).expect("publish");
    let dest = dir.path().join("dest");
    let how = CheckoutOptions { managed: options.managed, threads: NonZeroUsize::MIN };
    checkout(&dest, published.root, |id| store.directory(id), &store, how, &|_, _| ()).expect("checkout");
    let again = captured(&dest, &Filter::default(), options.managed);
    assert_eq!(again, captured(&tree, &Filter::default(), options.managed));
    assert_eq!(again.encode(&mut |_, _| ()).expect("encode"), published.root);
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn what_two_images_share_is_stored_once() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let (one, two) = (make_tree(dir.path(), 1), make_tree(dir.path(), 2));
    let first = publish(&store, "one", &one);
    let second = publish(&store, "two", &two);
    // Two files and the directories above them differ: one chunk of the long file, its recipe, trees and the image.
    assert!(second.new_object_count < 15, "{second:?}");
    assert!(second.new_stored_len < 600_000 && first.new_stored_len > 6_000_000);
    let third = publish(&store, "three", &two);
    assert_eq!((third.new_object_count, third.added, third.image), (0, true, second.image));
    for (image, tree) in [("one", &one), ("two", &two), ("three", &two)] {
        assert_is(&store, image, tree);
    }
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn names_are_immutable() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let (one, two) = (make_tree(dir.path(), 1), make_tree(dir.path(), 2));
    let first = publish(&store, "x", &one);
    assert!(!publish(&store, "x", &one).added);
    // Without a time of its own, an equal image is the same image, whenever it is published.
    let untimed = PublishOptions { created_ms: None, ..options() };
    let again = store.publish_tree(&name("x"), &one, &untimed, &Progress::default()).expect("again");
    assert_eq!((again.image, again.added), (first.image, false));
    let conflict = store.publish_tree(&name("x"), &two, &options(), &Progress::default());
    assert!(matches!(conflict, Err(Error::Conflict { existing, .. }) if existing == first.image));
    assert_is(&store, "x", &one);
    store.delete_image(&name("x")).expect("delete");
    assert_eq!(store.image(&name("x")).expect("read"), None);
    assert_eq!(store.images("", None, 10).expect("list"), []);
    assert!(matches!(store.delete_image(&name("x")), Err(Error::NoSuchImage { .. })));
    let used = store.publish_tree(&name("x"), &two, &options(), &Progress::default());
    assert!(matches!(used, Err(Error::NameUsed { .. })));
    assert!(publish(&store, "x", &one).added);
    assert_is(&store, "x", &one);
}

#[test]
fn images_are_listed_by_name_in_pages() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), dir.path().join("small"));
    fs::create_dir(&tree).expect("mkdir");
    fs::write(tree.join("file"), b"content").expect("write");
    let names = ["a", "a/1", "a/2", "a/3", "ab", "b/1"];
    for image in names.iter().rev() {
        publish(&store, image, &tree);
    }
    let list = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let after = after.map(name);
        let images = store.images(prefix, after.as_ref(), limit).expect("list");
        images.into_iter().map(|image| image.name.to_string()).collect()
    };
    assert_eq!(list("", None, 100), names);
    assert_eq!(list("a/", None, 100), ["a/1", "a/2", "a/3"]);
    assert_eq!(list("a/", Some("a/1"), 1), ["a/2"]);
    assert_eq!(list("", Some("ab"), 100), ["b/1"]);
    assert_eq!(list("a", Some("0"), 2), ["a", "a/1"]);
    assert_eq!(list("", None, 0), [""; 0]);
    assert_eq!(list("c", None, 9), [""; 0]);
}

#[test]
fn every_profile_and_level_reads_back() {
    let dir = tempfile::tempdir().expect("dir");
    let tree = make_tree(dir.path(), 1);
    for (id, zstd_level) in [(1, 1), (2, 3), (3, 9)] {
        let profile = Profile::from_id(id).expect("profile");
        let path = dir.path().join(format!("store-{id}"));
        Store::init(&path, StoreOptions { profile, zstd_level }).expect("init");
        let store = Store::open(&path).expect("open");
        assert_eq!((store.profile(), store.zstd_level()), (profile, zstd_level));
        publish(&store, "x", &tree);
        assert_is(&store, "x", &tree);
    }
}

#[test]
fn concurrent_publishes_are_all_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let trees: Vec<_> = (0..4).map(|at| make_tree(dir.path(), at)).collect();
    thread::scope(|scope| {
        for (at, tree) in trees.iter().enumerate() {
            // The same name and tree from two publishers at once: one adds it, both are right.
            for _ in 0..2 {
                let store = store.clone();
                scope.spawn(move || publish(&store, &format!("image-{at}"), tree));
            }
        }
    });
    for (at, tree) in trees.iter().enumerate() {
        assert_is(&store, &format!("image-{at}"), tree);
    }
    assert_eq!(faults(&store), [""; 0]);
    assert_eq!(answers(&store).len(), 4);
}

#[test]
fn what_the_filter_excludes_and_the_private_directory_are_left_out() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    fs::create_dir(tree.join(".subd")).expect("mkdir");
    fs::write(tree.join(".subd/secret"), b"private").expect("write");
    let filter = Filter::parse("exclude tree /usr\n").expect("filter");
    let options = PublishOptions { filter, ..options() };
    let published = store.publish_tree(&name("x"), &tree, &options, &Progress::default()).expect("publish");
    let found = read_tree(&store, published.root);
    assert!(
        found.items.iter().all(|(path, _)| !path.to_string().contains("usr") && !path.to_string().contains(".subd"))
    );
    assert_is(&store, "x", &tree);
}

#[test]
fn a_file_that_keeps_changing_is_refused_and_nothing_is_visible() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), dir.path().join("busy"));
    fs::create_dir(&tree).expect("mkdir");
    let path = tree.join("log");
    fs::write(&path, noise(1, 20_000_000)).expect("write");
    let stop = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let file = fs::File::options().write(true).open(&path).expect("open");
            for at in 0u64.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                std::os::unix::fs::FileExt::write_all_at(&file, &at.to_le_bytes(), at % 20_000_000).expect("write");
            }
        });
        let refused = store.publish_tree(&name("x"), &tree, &options(), &Progress::default());
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let refused = refused.expect_err("it changes all the time").to_string();
        assert!(refused.contains("log") && refused.contains("changes"), "{refused}");
    });
    assert_eq!(store.image(&name("x")).expect("read"), None);
    publish(&store, "x", &tree);
    assert_is(&store, "x", &tree);
}

#[test]
fn a_prepared_tree_makes_the_same_image_as_a_publish() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    let prepared = PreparedTree::new(&tree, store.profile(), store.zstd_level(), &options(), &Progress::default())
        .expect("prepare");
    let published = publish(&store, "x", &tree);
    assert_eq!(prepared.image_id(), published.image);
    assert_eq!(prepared.ids().len() as u64, published.new_object_count);
    for id in prepared.ids() {
        assert_eq!(prepared.record(*id).expect("record"), store.record(*id).expect("read").expect("there"), "{id}");
    }
    // A file that changed since gives no wrong object, only an error.
    let changed: ObjectId = dominator_store_core::BlobId::of(b"1\n").single_chunk().into();
    fs::write(tree.join("etc/version"), b"2\n").expect("write");
    assert!(matches!(prepared.record(changed), Err(Error::Fs(_))));
}

#[test]
fn memory_of_packs_is_bounded_by_sealing_them_on_the_way() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), dir.path().join("large"));
    fs::create_dir(&tree).expect("mkdir");
    for at in 0..20 {
        fs::write(tree.join(format!("{at}")), noise(at, 10_000_000)).expect("write");
    }
    publish(&store, "x", &tree);
    let packs = files(&dir.path().join("store/packs"), "pack");
    assert!((4..=7).contains(&packs.len()), "{packs:?}");
    assert!(files(&dir.path().join("store/packs"), "part").is_empty());
    assert_is(&store, "x", &tree);
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let missing = store.publish_tree(&name("x"), Path::new("/does/not/exist"), &options(), &Progress::default());
    assert!(matches!(missing, Err(Error::Fs(_))));
}
