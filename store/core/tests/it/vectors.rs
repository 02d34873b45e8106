//! The golden vectors of trees in `spec/vectors/tree.json`: made by formula, never changed.
//!
//! A change of the format shows here. If it is meant, `UPDATE_VECTORS=1 cargo test` writes the new file.

use std::path::Path;

use dominator_store_core::{
    BlobId, Content, Device, FlatTree, Hole, Item, Leaf, LinkGroup, Meta, Mtime, TreePath, Xattr,
};
use serde_json::{Value, json};

use crate::support::{Objects, line};

#[expect(clippy::disallowed_methods, reason = "the test writes the vectors; what must be pure is the library")]
fn check(file: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file);
    let found = format!("{found:#}\n");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &found).expect("write");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is not what the code makes: see `UPDATE_VECTORS`");
}

fn path(text: &[u8]) -> TreePath {
    TreePath::parse(text).expect("path")
}

fn leaf(meta: Meta, content: Content) -> Item {
    Item::Leaf(Leaf { meta, link: None, content })
}

fn file(bytes: &[u8]) -> Content {
    Content::File { size: bytes.len() as u64, blob: BlobId::of(bytes), holes: Vec::new() }
}

fn dir() -> Item {
    Item::Dir(Meta::new(0o755, 0, 0))
}

/// One entry of every type, with every kind of metadata.
fn kinds() -> FlatTree {
    let xattr = |name: &[u8], value: &[u8]| Xattr { name: name.into(), value: value.into() };
    let full = Meta {
        mode: 0o7777,
        uid: 4_294_967_294,
        gid: 1000,
        mtime: Some(Mtime { seconds: -1, nanoseconds: 999_999_999 }),
        xattrs: vec![xattr(b"security.capability", &[1, 0, 0, 2]), xattr(b"user.\xff", b"")],
    };
    let plain = || Meta::new(0o644, 0, 0);
    let sparse = Content::File {
        size: 20_000,
        blob: BlobId::of(&[0; 20_000]),
        holes: vec![Hole { offset: 0, len: 4096 }, Hole { offset: 8192, len: 11_808 }],
    };
    let link = Some(LinkGroup::of(&path(b"dir/linked")));
    let linked = || Item::Leaf(Leaf { meta: plain(), link, content: file(b"linked") });
    FlatTree::new(vec![
        (path(b""), Item::Dir(full.clone())),
        (path(b"block"), leaf(plain(), Content::Block(Device { major: 7, minor: 0 }))),
        (path(b"char"), leaf(plain(), Content::Char(Device { major: 4095, minor: 1_048_575 }))),
        (path(b"dir"), Item::Dir(Meta { xattrs: Vec::new(), ..full.clone() })),
        (path(b"dir/linked"), linked()),
        (path(b"dir-after"), dir()),
        (path(b"empty"), leaf(plain(), file(b""))),
        (path(b"fifo"), leaf(plain(), Content::Fifo)),
        (path(b"file"), leaf(full, file(b"content"))),
        (path(b"linked"), linked()),
        (path(b"new\nline"), leaf(plain(), file(b"x"))),
        (path(b"sparse"), leaf(plain(), sparse)),
        (path(b"symlink"), leaf(Meta::new(0o777, 0, 0), Content::Symlink { target: (*b"../target").into() })),
        (path(b"\xff"), leaf(plain(), file(b"not text"))),
    ])
}

/// `count` files named by their number, with that name as content.
fn numbered(count: usize) -> FlatTree {
    let mut items = vec![(path(b""), dir())];
    for at in 0..count {
        let name = at.to_string().into_bytes();
        items.push((path(&name), leaf(Meta::new(0o644, 0, 0), file(&name))));
    }
    FlatTree::new(items)
}

#[test]
fn trees_are_encoded_as_the_vectors_say() {
    let cases = [
        ("empty", numbered(0), true),
        ("kinds", kinds(), true),
        ("numbered", numbered(1), true),
        ("numbered", numbered(20), true),
        ("numbered", numbered(16), false),
        ("numbered", numbered(17), false),
        ("numbered", numbered(100), false),
        ("numbered", numbered(1000), false),
        ("numbered", numbered(20_000), false),
    ];
    let vectors: Value = cases
        .into_iter()
        .map(|(formula, tree, whole)| {
            let mut objects = Objects::default();
            let root = objects.put_tree(&tree);
            let mut vector = json!({
                "formula": formula,
                "entry_count": tree.items.len(),
                "root": root.to_string(),
                "object_count": objects.0.len(),
                "objects_len": objects.0.values().map(Vec::len).sum::<usize>(),
            });
            // Small ones in full; of large ones, the root covers everything.
            if whole && let Some(vector) = vector.as_object_mut() {
                vector.insert("objects".to_owned(), objects.to_json(root)["objects"].clone());
                let lines: Vec<String> = objects.walk(root).iter().map(|(path, item)| line(path, item)).collect();
                vector.insert("lines".to_owned(), json!(lines));
            }
            vector
        })
        .collect();
    check("tree.json", &vectors);
}
