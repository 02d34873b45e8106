//! Nothing that a peer says is believed.

use std::{fs, path::Path, thread};

use dominator_store_core::{
    BlobId, ChunkId, Entry, Image, ImageId, Leaf, Meta, Name, Node, ObjectId, ObjectKind, PageRef, Profile, Recipe,
    RecipeChunk, RecordEncoder, TreeBody, TreeObject,
};
use dominator_store_engine::{Error, PreparedTree, Progress, Store, StoreOptions};

use crate::support::{assert_is, faults, files, init, make_tree, name, noise, options, publish, text};

fn prepare(tree: &Path) -> PreparedTree {
    PreparedTree::new(tree, Profile::default_profile(), 3, &options(), &Progress::default()).expect("prepare")
}

fn record(kind: ObjectKind, raw: &[u8]) -> (ObjectId, Vec<u8>) {
    let mut record = Vec::new();
    let id = RecordEncoder::new(3).encode(kind, raw, &mut record).expect("record").id;
    (id, record)
}

/// A directory with a small file, one of one chunk above the limit for it, one of several chunks, and a sub-directory.
fn small_tree(dir: &Path) -> std::path::PathBuf {
    let tree = dir.join("small");
    fs::create_dir_all(tree.join("sub")).expect("mkdir");
    fs::write(tree.join("a"), b"content of a").expect("write");
    fs::write(tree.join("one-chunk"), text(5, 17_000)).expect("write");
    fs::write(tree.join("sub/several"), noise(1, 300_000)).expect("write");
    tree
}

#[test]
fn objects_in_any_order_make_the_same_image() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    let prepared = prepare(&tree);
    for reversed in [false, true] {
        let image = if reversed { "second" } else { "first" };
        let upload = store.begin_upload().expect("begin");
        let mut ids = prepared.ids().to_vec();
        if reversed {
            ids.reverse();
        }
        let missing = upload.missing(&ids).expect("missing");
        assert!(missing.iter().all(|missing| *missing != reversed), "the second upload has nothing to send");
        for (id, _) in ids.iter().zip(missing).filter(|(_, missing)| *missing) {
            assert_eq!(upload.put(&prepared.record(*id).expect("record")).expect("put"), *id);
            // A record that comes twice is no fault.
            assert_eq!(upload.put(&prepared.record(*id).expect("record")).expect("put"), *id);
            assert_eq!(upload.missing(&[*id]).expect("missing"), [false]);
        }
        assert_eq!(store.image(&name(image)).expect("read"), None);
        let published = upload.commit(&name(image), prepared.image_id()).expect("commit");
        assert_eq!((published.image, published.added), (prepared.image_id(), true));
        assert_eq!(published.new_object_count, if reversed { 0 } else { ids.len() as u64 });
        assert_is(&store, image, &tree);
    }
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn every_missing_object_is_named_and_can_be_sent_then() {
    let dir = tempfile::tempdir().expect("dir");
    let tree = small_tree(dir.path());
    let prepared = prepare(&tree);
    assert!(prepared.ids().iter().any(|id| id.kind == ObjectKind::Recipe));
    for (at, withheld) in prepared.ids().iter().enumerate() {
        let store = Store::init(&dir.path().join(format!("store-{at}")), StoreOptions::default()).expect("init");
        let upload = store.begin_upload().expect("begin");
        for id in prepared.ids().iter().filter(|id| *id != withheld) {
            upload.put(&prepared.record(*id).expect("record")).expect("put");
        }
        match upload.commit(&name("x"), prepared.image_id()) {
            Err(Error::Incomplete { image, object }) => {
                assert_eq!(image, prepared.image_id());
                // Of a recipe, only the blob is known to the image.
                assert!(object == *withheld || withheld.kind == ObjectKind::Recipe, "{object}");
            }
            other => panic!("without {withheld}: {other:?}"),
        }
        assert_eq!(store.images("", None, 10).expect("list"), []);
        assert_eq!(upload.missing(&[*withheld]).expect("missing"), [true]);
        upload.put(&prepared.record(*withheld).expect("record")).expect("put");
        upload.commit(&name("x"), prepared.image_id()).expect("commit");
        assert_is(&store, "x", &tree);
        assert_eq!(faults(&store), [""; 0]);
    }
}

#[test]
fn damaged_and_forged_records_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let upload = store.begin_upload().expect("begin");
    let (id, good) = record(ObjectKind::Chunk, &text(1, 500));
    for pos in 0..good.len() {
        let mut forged = good.clone();
        forged[pos] ^= 1;
        assert!(matches!(upload.put(&forged), Err(Error::Refused(_))), "byte {pos}");
    }
    for len in 0..good.len() {
        assert!(matches!(upload.put(&good[..len]), Err(Error::Refused(_))), "{len} bytes");
    }
    let (_, not_a_recipe) = record(ObjectKind::Recipe, b"no recipe");
    assert!(matches!(upload.put(&not_a_recipe), Err(Error::BadRecipe(_))));
    assert_eq!(upload.missing(&[id]).expect("missing"), [true]);
}

#[test]
fn a_recipe_that_makes_another_blob_is_refused_and_poisons_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), small_tree(dir.path()));
    let prepared = prepare(&tree);
    let content = fs::read(tree.join("sub/several")).expect("read");
    // The right chunks of the right lengths in the wrong order.
    let mut chunks: Vec<RecipeChunk> = Profile::default_profile()
        .chunks(&content)
        .map(|chunk| RecipeChunk { id: ChunkId::of(chunk), len: chunk.len() as u32 })
        .collect();
    chunks.reverse();
    let forged = Recipe::new(BlobId::of(&content), &Profile::default_profile(), chunks).expect("recipe");
    let upload = store.begin_upload().expect("begin");
    for id in prepared.ids().iter().filter(|id| id.kind != ObjectKind::Recipe) {
        upload.put(&prepared.record(*id).expect("record")).expect("put");
    }
    upload.put(&record(ObjectKind::Recipe, &forged.encode()).1).expect("a recipe cannot be judged alone");
    let refused = upload.commit(&name("x"), prepared.image_id());
    assert!(matches!(refused, Err(Error::WrongRecipe { .. })), "{refused:?}");
    drop(upload);
    let path = store.dir().to_owned();
    drop(store);
    let store = Store::rebuild_index(&path).expect("open");
    assert_eq!(store.images("", None, 10).expect("list"), []);
    publish(&store, "x", &tree);
    assert_is(&store, "x", &tree);
    assert_eq!(faults(&store), [""; 0]);
}

/// Uploads an image object and other objects, and returns what commit says.
fn commit(store: &Store, image: &Image, others: &[Vec<u8>]) -> Result<(), Error> {
    let upload = store.begin_upload()?;
    for record in others {
        upload.put(record)?;
    }
    let (id, bytes) = record(ObjectKind::Image, &image.encode());
    upload.put(&bytes)?;
    upload.commit(&name("x"), ImageId::new(id.digest)).map(drop)
}

#[test]
fn images_that_lie_about_their_tree_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), small_tree(dir.path()));
    let prepared = prepare(&tree);
    let records: Vec<_> = prepared.ids().iter().map(|id| prepared.record(*id).expect("record")).collect();
    let image = prepared.image().clone();
    let with = |change: &dyn Fn(&mut Image)| {
        let mut image = image.clone();
        change(&mut image);
        commit(&store, &image, &records)
    };
    for delta in [-1i64, 1] {
        let entries = with(&|image| image.entry_count = image.entry_count.saturating_add_signed(delta));
        assert!(matches!(entries, Err(Error::ImageCounts { what: "entries", .. })), "{entries:?}");
        let bytes = with(&|image| image.content_len = image.content_len.saturating_add_signed(delta));
        assert!(matches!(bytes, Err(Error::ImageCounts { what: "bytes", .. })), "{bytes:?}");
    }
    assert!(matches!(with(&|image| image.entry_count = u64::MAX), Err(Error::Limit { .. })));
    assert_eq!(store.images("", None, 10).expect("list"), []);
    with(&|_| ()).expect("the true image");
    // An image id that stands for other bytes.
    let upload = store.begin_upload().expect("begin");
    let (id, bytes) = record(ObjectKind::Image, b"no image");
    upload.put(&bytes).expect("put");
    assert!(matches!(upload.commit(&name("y"), ImageId::new(id.digest)), Err(Error::BadImage { .. })));
}

fn file_entry(text: &str, size: u64, content: &[u8]) -> Entry {
    let content = dominator_store_core::Content::File { size, blob: BlobId::of(content), holes: Vec::new() };
    let leaf = Leaf { meta: Meta::new(0o644, 0, 0), link: None, content };
    Entry { name: Name::new(text.as_bytes()).expect("name"), node: Node::Leaf(leaf) }
}

fn image_of(top: &TreeObject, entry_count: u64, content_len: u64) -> (Image, Vec<u8>) {
    let (id, bytes) = record(ObjectKind::Tree, &top.encode());
    let mut image = Image { entry_count, content_len, ..sample_image() };
    image.root = dominator_store_core::TreeId::new(id.digest);
    (image, bytes)
}

fn sample_image() -> Image {
    Image {
        root: dominator_store_core::TreeId::of(b""),
        managed: options().managed,
        filter: options().filter,
        triggers: Vec::new(),
        entry_count: 0,
        content_len: 0,
        created_ms: 0,
        created_by: String::new(),
        tags: std::collections::BTreeMap::new(),
    }
}

#[test]
fn trees_that_are_not_canonical_or_lie_about_sizes_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let meta = Some(Meta::new(0o755, 0, 0));
    let chunk = record(ObjectKind::Chunk, b"content").1;
    // Two pages where one object would do.
    let page = |text: &str| {
        let body = TreeBody::Entries(vec![file_entry(text, 7, b"content")]);
        record(ObjectKind::Tree, &TreeObject { meta: None, body }.encode())
    };
    let ((a, page_a), (b, page_b)) = (page("a"), page("b"));
    let reference = |text: &str, id: ObjectId| PageRef {
        first: Name::new(text.as_bytes()).expect("name"),
        page: dominator_store_core::TreeId::new(id.digest),
        entry_count: 1,
    };
    let top = TreeObject { meta: meta.clone(), body: TreeBody::Pages(vec![reference("a", a), reference("b", b)]) };
    let (image, tree) = image_of(&top, 3, 14);
    let refused = commit(&store, &image, &[tree, page_a, page_b, chunk.clone()]);
    assert!(matches!(refused, Err(Error::BadTree { .. })), "{refused:?}");
    // A size that the chunk does not have.
    for size in [6, 8, 16 * 1024 + 1] {
        let body = TreeBody::Entries(vec![file_entry("a", size, b"content")]);
        let (image, tree) = image_of(&TreeObject { meta: meta.clone(), body }, 2, size);
        let refused = commit(&store, &image, &[tree, chunk.clone()]);
        assert!(matches!(refused, Err(Error::BlobSize { .. })), "{refused:?}");
    }
    // Hard links that are not one file, or under the wrong group.
    for (path, size) in [("a", 0), ("b", 7)] {
        let group =
            dominator_store_core::LinkGroup::of(&dominator_store_core::TreePath::parse(path.as_bytes()).expect("path"));
        let mut entries = vec![file_entry("a", 7, b"content"), file_entry("b", size, &b"content"[..size as usize])];
        for entry in &mut entries {
            if let Node::Leaf(leaf) = &mut entry.node {
                leaf.link = Some(group);
            }
        }
        let (image, tree) = image_of(&TreeObject { meta: meta.clone(), body: TreeBody::Entries(entries) }, 3, 7);
        let refused = commit(&store, &image, &[tree, chunk.clone()]);
        assert!(matches!(refused, Err(Error::BadLinkGroup { .. })), "{refused:?}");
    }
    assert_eq!(store.images("", None, 10).expect("list"), []);
}

#[test]
fn a_dropped_upload_shows_nothing_and_what_it_sent_need_not_be_sent_again() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, tree) = (init(dir.path()), make_tree(dir.path(), 1));
    let prepared = prepare(&tree);
    let upload = store.begin_upload().expect("begin");
    for id in prepared.ids() {
        upload.put(&prepared.record(*id).expect("record")).expect("put");
    }
    drop(upload);
    assert_eq!(store.images("", None, 10).expect("list"), []);
    assert!(files(&store.dir().join("packs"), "part").is_empty());
    let path = store.dir().to_owned();
    drop(store);
    let store = Store::open(&path).expect("open");
    let upload = store.begin_upload().expect("begin");
    let missing = upload.missing(prepared.ids()).expect("missing");
    let again: Vec<_> = prepared.ids().iter().zip(missing).filter(|(_, missing)| *missing).collect();
    assert!(again.iter().all(|(id, _)| id.kind == ObjectKind::Recipe), "recipes wait for the commit");
    for (id, _) in again {
        upload.put(&prepared.record(*id).expect("record")).expect("put");
    }
    upload.commit(&name("x"), prepared.image_id()).expect("commit");
    assert_is(&store, "x", &tree);
    // A little is not worth a pack.
    let upload = store.begin_upload().expect("begin");
    upload.put(&record(ObjectKind::Chunk, b"little").1).expect("put");
    drop(upload);
    assert!(files(&store.dir().join("packs"), "part").is_empty());
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn uploads_of_overlapping_images_at_once_are_all_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let trees: Vec<_> = (0..4).map(|at| make_tree(dir.path(), at)).collect();
    thread::scope(|scope| {
        for (at, tree) in trees.iter().enumerate() {
            let store = &store;
            scope.spawn(move || {
                let prepared = prepare(tree);
                let upload = store.begin_upload().expect("begin");
                // Two streams of one upload, and one uploader that gives up half-way.
                thread::scope(|scope| {
                    for half in 0..2 {
                        let (upload, prepared) = (&upload, &prepared);
                        scope.spawn(move || {
                            for id in prepared.ids().iter().skip(half).step_by(2) {
                                if upload.missing(&[*id]).expect("missing")[0] {
                                    upload.put(&prepared.record(*id).expect("record")).expect("put");
                                }
                                if at == 3 && half == 1 {
                                    break;
                                }
                            }
                        });
                    }
                });
                let committed = upload.commit(&name(&format!("image-{at}")), prepared.image_id());
                assert!(committed.is_ok() || at == 3, "{committed:?}");
            });
        }
    });
    for (at, tree) in trees.iter().enumerate().take(3) {
        assert_is(&store, &format!("image-{at}"), tree);
    }
    assert_eq!(faults(&store), [""; 0]);
}

#[test]
fn a_taken_name_is_refused_at_commit() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    publish(&store, "x", &make_tree(dir.path(), 1));
    let prepared = prepare(&make_tree(dir.path(), 2));
    let upload = store.begin_upload().expect("begin");
    for id in prepared.ids() {
        upload.put(&prepared.record(*id).expect("record")).expect("put");
    }
    assert!(matches!(upload.commit(&name("x"), prepared.image_id()), Err(Error::Conflict { .. })));
    upload.commit(&name("y"), prepared.image_id()).expect("another name");
}
