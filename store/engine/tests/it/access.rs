//! One owner, any number of readers, and directories that are no stores.

use std::fs;

use dominator_store_engine::{Error, Progress, Store, StoreOptions};

use crate::support::{assert_is, faults, init, make_tree, name, options, publish};

#[test]
fn one_process_owns_a_store() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let path = store.dir().to_owned();
    assert!(matches!(Store::open(&path), Err(Error::InUse { .. })));
    assert!(matches!(Store::rebuild_index(&path), Err(Error::InUse { .. })));
    let clone = store.clone();
    drop(store);
    assert!(matches!(Store::open(&path), Err(Error::InUse { .. })));
    drop(clone);
    Store::open(&path).expect("open");
}

#[test]
fn readers_see_what_was_published_while_the_owner_goes_on() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    publish(&store, "one", &tree);
    let before = Store::open_read_only(store.dir()).expect("open");
    for at in 2..6 {
        publish(&store, &format!("image-{at}"), &make_tree(dir.path(), at));
    }
    assert_is(&before, "one", &tree);
    assert_eq!(before.images("", None, 10).expect("list").len(), 1);
    assert_eq!(faults(&before), [""; 0]);
    let after = Store::open_read_only(store.dir()).expect("open");
    assert_eq!(after.images("", None, 10).expect("list").len(), 5);
    assert_eq!(faults(&after), [""; 0]);
    let refused = after.publish_tree(&name("x"), &tree, &options(), &Progress::default());
    assert!(matches!(refused, Err(Error::ReadOnly)));
    assert!(matches!(after.begin_upload(), Err(Error::ReadOnly)));
    assert!(matches!(after.delete_image(&name("one")), Err(Error::ReadOnly)));
}

#[test]
fn other_directories_are_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore { .. })));
    assert!(matches!(Store::open(&dir.path().join("absent")), Err(Error::NotAStore { .. })));
    assert!(matches!(Store::open_read_only(dir.path()), Err(Error::NotAStore { .. })));
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0);
    fs::write(dir.path().join("precious"), b"data").expect("write");
    let refused = Store::init(dir.path(), StoreOptions::default());
    assert!(matches!(refused, Err(Error::AlreadyExists { .. })));
    assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    let store = init(dir.path());
    assert!(matches!(Store::init(store.dir(), StoreOptions::default()), Err(Error::AlreadyExists { .. })));
}

#[test]
fn a_damaged_or_later_format_file_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let path = init(dir.path()).dir().to_owned();
    let text = fs::read_to_string(path.join("format")).expect("read");
    fs::write(path.join("format"), text.replace("64k", "32k")).expect("write");
    assert!(matches!(Store::open(&path), Err(Error::FormatCorrupt { .. })));
    fs::write(path.join("format"), &text).expect("write");
    Store::open(&path).expect("open");
}
