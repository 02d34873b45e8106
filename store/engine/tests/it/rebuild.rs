//! The index is a view: whatever happens to it, packs and catalog log make it again.

use std::{fs, path::Path};

use dominator_store_engine::{Error, Store};

use crate::support::{answers, assert_is, faults, files, init, make_tree, name, publish};

#[test]
fn a_deleted_index_is_made_again_with_identical_answers() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let trees: Vec<_> = (0..3).map(|at| make_tree(dir.path(), at)).collect();
    for (at, tree) in trees.iter().enumerate() {
        publish(&store, &format!("image-{at}"), tree);
    }
    store.delete_image(&name("image-1")).expect("delete");
    let (path, before) = (store.dir().to_owned(), answers(&store));
    drop(store);
    fs::remove_dir_all(path.join("index")).expect("remove");
    let store = Store::open(&path).expect("open");
    assert_eq!(answers(&store), before);
    assert_eq!(faults(&store), [""; 0]);
    // Names stay used, and what is stored is not stored again.
    assert!(matches!(store.delete_image(&name("image-1")), Err(Error::NoSuchImage { .. })));
    let again = publish(&store, "again", &trees[1]);
    assert_eq!(again.new_object_count, 0);
    drop(store);
    let store = Store::rebuild_index(&path).expect("rebuild");
    assert_is(&store, "again", &trees[1]);
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn an_old_index_is_brought_up_to_date() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 0));
    publish(&store, "image-0", &tree);
    let path = store.dir().to_owned();
    drop(store);
    let copy = dir.path().join("index-copy");
    copy_dir(&path.join("index"), &copy);
    let store = Store::open(&path).expect("open");
    publish(&store, "image-1", &make_tree(dir.path(), 1));
    store.delete_image(&name("image-0")).expect("delete");
    let before = answers(&store);
    drop(store);
    fs::remove_dir_all(path.join("index")).expect("remove");
    fs::rename(copy, path.join("index")).expect("rename");
    let store = Store::open(&path).expect("open");
    assert_eq!(answers(&store), before);
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn a_damaged_trailer_costs_no_record() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 0));
    publish(&store, "image-0", &tree);
    let (path, before) = (store.dir().to_owned(), answers(&store));
    drop(store);
    for pack in files(&path.join("packs"), "pack") {
        let mut bytes = fs::read(&pack).expect("read");
        let len = bytes.len();
        bytes[len - 70] ^= 1;
        fs::write(&pack, &bytes).expect("write");
    }
    let store = Store::open(&path).expect("open");
    assert!(!faults(&store).is_empty());
    assert!(store.image(&name("image-0")).is_err(), "damage is an error, not absence");
    drop(store);
    let store = Store::rebuild_index(&path).expect("rebuild");
    assert_eq!(answers(&store), before);
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn what_a_lost_pack_held_is_stored_again_by_the_next_publish() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 0));
    publish(&store, "image-0", &tree);
    let (path, whole) = (store.dir().to_owned(), dir.path().join("whole"));
    drop(store);
    fs::rename(&path, &whole).expect("rename");
    for lost in 0..files(&whole.join("packs"), "pack").len() {
        for rebuild in [false, true] {
            copy_dir(&whole, &path);
            fs::remove_file(&files(&path.join("packs"), "pack")[lost]).expect("remove");
            let store = if rebuild { Store::rebuild_index(&path) } else { Store::open(&path) }.expect("open");
            assert!(!faults(&store).is_empty());
            let again = publish(&store, "image-0", &tree);
            assert!(again.new_object_count > 0 && !again.added);
            assert_is(&store, "image-0", &tree);
            assert_eq!(faults(&store), [""; 0], "lost pack {lost}");
            drop(store);
            fs::remove_dir_all(&path).expect("remove");
        }
    }
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir(to).expect("mkdir");
    for entry in fs::read_dir(from).expect("list") {
        let entry = entry.expect("entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copy");
        }
    }
}
