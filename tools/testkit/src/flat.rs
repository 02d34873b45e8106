//! Made-up trees in memory.
//!
//! Owns their shape. Invariant: the tree is one that a capture could give: canonical holes, groups of at least two equal
//! members, content for every blob.
//!
//! Does not write them to disk.

use std::collections::BTreeMap;

use dominator_store_core::{
    BlobId, Content, Device, FlatTree, Hole, Item, Leaf, LinkGroup, Meta, Mtime, Name, TreePath, Xattr, coarsen_holes,
};

use crate::Rng;

/// A made-up tree and the content of its files.
#[derive(Debug, Clone)]
pub struct GeneratedTree {
    /// The tree.
    pub tree: FlatTree,
    /// The content of every blob in it but the empty one.
    pub blobs: BTreeMap<BlobId, Vec<u8>>,
}

/// Makes a tree of about `entry_count` paths from `seed`.
pub fn flat_tree(seed: u64, entry_count: usize) -> GeneratedTree {
    let mut rng = Rng::new(seed);
    let mut blobs = BTreeMap::new();
    let mut items = BTreeMap::from([(TreePath::root(), Item::Dir(meta(&mut rng, false)))]);
    let mut dirs = vec![TreePath::root()];
    while items.len() < entry_count {
        let dir = rng.pick(&dirs).clone();
        let path = dir.join(&name(&mut rng));
        if items.contains_key(&path) {
            continue;
        }
        if rng.one_in(6) && path.depth() < 20 && path.as_bytes().len() < 2000 {
            items.insert(path.clone(), Item::Dir(meta(&mut rng, false)));
            dirs.push(path);
        } else {
            items.insert(path, Item::Leaf(leaf(&mut rng, &mut blobs)));
        }
    }
    link(&mut rng, &mut items, &dirs);
    GeneratedTree { tree: FlatTree::new(items.into_iter().collect()), blobs }
}

/// Makes a name of one to 255 bytes, any that are allowed.
pub fn name(rng: &mut Rng) -> Name {
    loop {
        let len = if rng.one_in(10) { 1 + rng.pos(255) } else { 1 + rng.pos(12) };
        let mut bytes = rng.bytes(len);
        if !rng.one_in(3) {
            bytes.iter_mut().for_each(|byte| *byte = b'a' + *byte % 26);
        }
        if let Ok(name) = Name::new(&bytes) {
            return name;
        }
    }
}

fn meta(rng: &mut Rng, symlink: bool) -> Meta {
    let mode = if symlink { 0o777 } else { u16::try_from(rng.below(0o10000)).expect("below 2^16") };
    let id = |rng: &mut Rng| *rng.pick(&[0, 1, 33, 1000, 65_534, 4_294_967_294]);
    let mut meta = Meta::new(mode, id(rng), id(rng));
    if rng.one_in(2) {
        let seconds = i64::from(u32::try_from(rng.below(1 << 32)).expect("below 2^32")) - (1 << 31);
        let nanoseconds = u32::try_from(rng.below(1_000_000_000)).expect("below 2^32");
        meta.mtime = Some(Mtime { seconds, nanoseconds });
    }
    if rng.one_in(5) {
        let mut xattrs = BTreeMap::new();
        for _ in 0..1 + rng.below(3) {
            let len = rng.pos(60);
            xattrs.insert(format!("user.{:x}", rng.below(64)), rng.bytes(len));
        }
        let xattr = |(name, value): (String, Vec<u8>)| Xattr { name: name.into_bytes().into(), value: value.into() };
        meta.xattrs = xattrs.into_iter().map(xattr).collect();
    }
    meta
}

fn leaf(rng: &mut Rng, blobs: &mut BTreeMap<BlobId, Vec<u8>>) -> Leaf {
    let kind = rng.below(20);
    let content = match kind {
        0 | 1 => {
            let len = 1 + rng.pos(40);
            let mut target = rng.bytes(len);
            target.iter_mut().for_each(|byte| *byte = (*byte).max(1));
            Content::Symlink { target: target.into() }
        }
        2 => Content::Fifo,
        3 => Content::Char(device(rng)),
        4 => Content::Block(device(rng)),
        5 => sparse(rng, blobs),
        _ => {
            let len = *rng.pick(&[0, 0, 1, 10, 100, 1000, 5000, 20_000]);
            let bytes = rng.bytes(len);
            file(bytes, Vec::new(), blobs)
        }
    };
    Leaf { meta: meta(rng, kind < 2), link: None, content }
}

fn device(rng: &mut Rng) -> Device {
    let mut number = |end| u32::try_from(rng.below(end)).expect("below 2^32");
    Device { major: number(1 << 12), minor: number(1 << 20) }
}

fn sparse(rng: &mut Rng, blobs: &mut BTreeMap<BlobId, Vec<u8>>) -> Content {
    let len = 4096 + rng.pos(60_000);
    let mut bytes = rng.bytes(len);
    let mut reported = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let end = bytes.len().min(at + 1 + rng.pos(20_000));
        if rng.one_in(2) {
            reported.push(Hole { offset: at as u64, len: (end - at) as u64 });
        }
        at = end;
    }
    let holes = coarsen_holes(len as u64, &reported);
    for hole in &holes {
        let range = |value: u64| usize::try_from(value).expect("within the file");
        bytes.get_mut(range(hole.offset)..range(hole.end())).expect("within the file").fill(0);
    }
    file(bytes, holes, blobs)
}

fn file(bytes: Vec<u8>, holes: Vec<Hole>, blobs: &mut BTreeMap<BlobId, Vec<u8>>) -> Content {
    let (size, blob) = (bytes.len() as u64, BlobId::of(&bytes));
    if size > 0 {
        blobs.insert(blob, bytes);
    }
    Content::File { size, blob, holes }
}

/// Gives some leaves further names.
fn link(rng: &mut Rng, items: &mut BTreeMap<TreePath, Item>, dirs: &[TreePath]) {
    let leaves: Vec<TreePath> = items.iter().filter(|(_, item)| !item.is_dir()).map(|(path, _)| path.clone()).collect();
    for original in leaves.iter().step_by(17) {
        let mut group = vec![original.clone()];
        for _ in 0..1 + rng.below(3) {
            let path = rng.pick(dirs).join(&name(rng));
            if !items.contains_key(&path) && !group.contains(&path) {
                group.push(path);
            }
        }
        let Some(Item::Leaf(mut leaf)) = items.get(original).cloned() else { continue };
        if group.len() > 1 {
            leaf.link = group.iter().min().map(LinkGroup::of);
            items.extend(group.into_iter().map(|path| (path, Item::Leaf(leaf.clone()))));
        }
    }
}
