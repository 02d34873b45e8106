//! What the tests share: objects in memory, and an item as the line of text that the naive reader prints.
//!
//! Owns the store in memory. Invariant: an object is kept under the id of its bytes.
//! Does not generate trees: `tools/testkit` does.

use std::{collections::BTreeMap, fmt::Write};

use dominator_store_core::{Content, Directory, FlatTree, Item, Leaf, ReadTreeError, TreeId, TreePath, read_directory};

/// An object that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Absent;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Objects(pub(crate) BTreeMap<TreeId, Vec<u8>>);

impl Objects {
    pub(crate) fn put(&mut self, id: TreeId, bytes: Vec<u8>) {
        assert_eq!(TreeId::of(&bytes), id);
        self.0.insert(id, bytes);
    }

    /// Keeps the objects of a directory and returns its id.
    pub(crate) fn put_directory(&mut self, directory: &Directory) -> TreeId {
        directory.encode(&mut |id, bytes| self.put(id, bytes))
    }

    pub(crate) fn put_tree(&mut self, tree: &FlatTree) -> TreeId {
        tree.encode(&mut |id, bytes| self.put(id, bytes)).expect("tree")
    }

    pub(crate) fn get(&self, id: TreeId) -> Result<Vec<u8>, Absent> {
        self.0.get(&id).cloned().ok_or(Absent)
    }

    pub(crate) fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<Absent>> {
        read_directory(id, &mut |id| self.get(id))
    }

    pub(crate) fn walk(&self, root: TreeId) -> Vec<(TreePath, Item)> {
        let mut items = Vec::new();
        let visit = &mut |path, item| items.push((path, item));
        dominator_store_core::walk(root, u64::MAX, &mut |id| self.directory(id), visit).expect("walk");
        items
    }

    pub(crate) fn to_json(&self, root: TreeId) -> serde_json::Value {
        let objects: BTreeMap<String, String> = self.0.iter().map(|(id, bytes)| (id.to_string(), hex(bytes))).collect();
        serde_json::json!({ "root": root.to_string(), "objects": objects })
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string");
        text
    })
}

/// Writes an item as `spec/reference/tree.py` does.
pub(crate) fn line(path: &TreePath, item: &Item) -> String {
    let dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let join = |texts: Vec<String>| dash(texts.join(","));
    let meta = item.meta();
    let mtime = meta.mtime.map(|mtime| format!("{}.{:09}", mtime.seconds, mtime.nanoseconds)).unwrap_or_default();
    let xattrs = meta.xattrs.iter().map(|xattr| format!("{}={}", hex(&xattr.name), hex(&xattr.value))).collect();
    let (word, link, content) = match item {
        Item::Dir(_) => ("dir", None, String::new()),
        Item::Leaf(Leaf { link, content, .. }) => {
            let (word, content) = match content {
                Content::File { size, blob, holes } => {
                    let holes = holes.iter().map(|hole| format!("{}+{}", hole.offset, hole.len)).collect();
                    ("file", format!("{size}:{blob}:{}", join(holes)))
                }
                Content::Symlink { target } => ("symlink", hex(target)),
                Content::Block(device) => ("block", format!("{}:{}", device.major, device.minor)),
                Content::Char(device) => ("char", format!("{}:{}", device.major, device.minor)),
                Content::Fifo => ("fifo", String::new()),
            };
            (word, *link, content)
        }
    };
    [
        dash(hex(path.as_bytes())),
        word.to_owned(),
        format!("{:o}", meta.mode),
        meta.uid.to_string(),
        meta.gid.to_string(),
        dash(mtime),
        join(xattrs),
        dash(link.map(|link| hex(link.as_bytes())).unwrap_or_default()),
        dash(content),
    ]
    .join(" ")
}
