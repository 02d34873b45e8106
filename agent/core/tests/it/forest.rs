//! Random trees that are likely to differ in every way a tree can.
//!
//! Owns the generator, shared with the tests of `agent/daemon`. Invariants: the same seed gives the same trees; a tree can
//! be made on any Linux file system by root.
//!
//! Whole systems are tested on real trees by the demonstration.

use std::collections::BTreeMap;

use dominator_store_core::{
    BlobId, Content, Device, FlatTree, Hole, Item, Leaf, LinkGroup, Meta, Mtime, Name, TreeId, TreePath, Xattr,
};

/// A generator of numbers (splitmix64).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub(crate) fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }
}

/// Bytes of the blob with this label.
pub(crate) fn content(label: u8) -> Vec<u8> {
    let len = [0, 1, 100, 4096, 20_000, 70_000][usize::from(label) % 6];
    let mut bytes = vec![label; len];
    if label == 11 {
        // Holes for a sparse file.
        bytes[4096..65_536].fill(0);
    }
    bytes
}

pub(crate) const LABELS: std::ops::Range<u8> = 0..12;

#[derive(Debug, Clone)]
enum Node {
    Dir(Meta),
    /// Position in `leaves`: names with the same position are hard links.
    Leaf(usize),
}

/// A tree to be changed.
#[derive(Debug, Clone)]
pub(crate) struct Forest {
    nodes: BTreeMap<TreePath, Node>,
    leaves: Vec<Leaf>,
    dir_mtimes: bool,
}

const NAMES: [&str; 9] = ["a", "b", "c", "bin", "etc", "libz.so.1", "libz.so", "passwd", "n\n\\x"];
const DEPTH_MAX: usize = 4;

impl Forest {
    pub(crate) fn empty(dir_mtimes: bool) -> Self {
        let mut forest = Self { nodes: BTreeMap::new(), leaves: Vec::new(), dir_mtimes };
        let meta = forest.fixed(Meta::new(0o755, 0, 0));
        forest.nodes.insert(TreePath::root(), Node::Dir(meta));
        forest
    }

    pub(crate) fn random(rng: &mut Rng, dir_mtimes: bool) -> Self {
        let mut forest = Self::empty(dir_mtimes);
        forest.fill(rng, &TreePath::root());
        forest
    }

    /// Returns a tree that differs from this one in up to `count` ways.
    pub(crate) fn changed(&self, rng: &mut Rng, count: usize) -> Self {
        let mut forest = self.clone();
        // Every name gets a leaf of its own, but names that share one still do.
        for _ in 0..=rng.below(count) {
            forest.change(rng);
        }
        forest
    }

    fn fixed(&self, meta: Meta) -> Meta {
        match self.dir_mtimes {
            true => Meta { mtime: Some(Mtime { seconds: 1_000_000_000, nanoseconds: 7 }), ..meta },
            false => meta,
        }
    }

    fn dir_meta(&self, rng: &mut Rng) -> Meta {
        let mut meta = meta(rng);
        meta.mode |= 0o700;
        Meta { mtime: self.dir_mtimes.then_some(mtime(rng)), ..meta }
    }

    fn fill(&mut self, rng: &mut Rng, dir: &TreePath) {
        for _ in 0..rng.below(5) {
            let path = dir.join(&Name::new(NAMES[rng.below(NAMES.len())].as_bytes()).expect("name"));
            if !self.nodes.contains_key(&path) {
                self.plant(rng, path);
            }
        }
    }

    fn plant(&mut self, rng: &mut Rng, path: TreePath) {
        match rng.below(10) {
            0..4 if path.depth() < DEPTH_MAX => {
                let meta = self.dir_meta(rng);
                self.nodes.insert(path.clone(), Node::Dir(meta));
                self.fill(rng, &path);
            }
            4 if !self.leaves.is_empty() => {
                // Another name of a file, or of a file that is gone.
                let leaf = rng.below(self.leaves.len());
                self.nodes.insert(path, Node::Leaf(leaf));
            }
            _ => {
                let leaf = leaf(rng);
                self.nodes.insert(path, Node::Leaf(self.leaves.len()));
                self.leaves.push(leaf);
            }
        }
    }

    fn uproot(&mut self, path: &TreePath) {
        self.nodes.retain(|at, _| !at.starts_with(path));
    }

    fn pick(&self, rng: &mut Rng) -> TreePath {
        self.nodes.keys().nth(rng.below(self.nodes.len())).cloned().expect("there is a root")
    }

    fn change(&mut self, rng: &mut Rng) {
        let path = self.pick(rng);
        match (self.nodes.get(&path).cloned().expect("picked"), rng.below(10)) {
            (Node::Dir(_), 0) => {
                let meta = self.dir_meta(rng);
                self.nodes.insert(path, Node::Dir(meta));
            }
            (Node::Dir(_), 1..5) => self.fill(rng, &path),
            (Node::Leaf(leaf), 0..3) => {
                // Only the time, for every name of it.
                if let Some(leaf) = self.leaves.get_mut(leaf) {
                    leaf.meta.mtime = Some(mtime(rng));
                }
            }
            (Node::Leaf(leaf), 3) => {
                if let Some(leaf) = self.leaves.get_mut(leaf) {
                    let link = matches!(leaf.content, Content::Symlink { .. });
                    leaf.meta = Meta { mode: if link { 0o777 } else { 0o600 }, mtime: leaf.meta.mtime, ..meta(rng) };
                }
            }
            (Node::Leaf(leaf), 4) => {
                // The same, but no longer the same file.
                self.leaves.push(self.leaves[leaf].clone());
                self.nodes.insert(path, Node::Leaf(self.leaves.len() - 1));
            }
            _ if path.is_root() => self.fill(rng, &path),
            (_, 5 | 6) => self.uproot(&path),
            _ => {
                self.uproot(&path);
                self.plant(rng, path);
            }
        }
    }

    pub(crate) fn tree(&self) -> FlatTree {
        let mut names: BTreeMap<usize, Vec<&TreePath>> = BTreeMap::new();
        for (path, node) in &self.nodes {
            if let Node::Leaf(leaf) = node {
                names.entry(*leaf).or_default().push(path);
            }
        }
        let item = |node: &Node| match node {
            Node::Dir(meta) => Item::Dir(meta.clone()),
            Node::Leaf(at) => {
                let mut leaf = self.leaves[*at].clone();
                leaf.link = match names.get(at).map(Vec::as_slice) {
                    Some([least, _, ..]) => Some(LinkGroup::of(least)),
                    _ => None,
                };
                Item::Leaf(leaf)
            }
        };
        FlatTree { items: self.nodes.iter().map(|(path, node)| (path.clone(), item(node))).collect() }
    }
}

/// Two trees to plan between: sometimes related, sometimes not, sometimes the first is empty.
pub(crate) fn pair(rng: &mut Rng) -> (FlatTree, FlatTree) {
    let dir_mtimes = rng.one_in(2);
    let old = match rng.below(8) {
        0 => Forest::empty(dir_mtimes),
        _ => Forest::random(rng, dir_mtimes),
    };
    let new = match rng.below(4) {
        0 => Forest::random(rng, dir_mtimes),
        _ => old.changed(rng, 8),
    };
    (old.tree(), new.tree())
}

pub(crate) fn root_id(tree: &FlatTree) -> TreeId {
    tree.encode(&mut |_, _| {}).expect("tree")
}

fn mtime(rng: &mut Rng) -> Mtime {
    Mtime { seconds: 1_000_000_000 + rng.below(3) as i64, nanoseconds: 5 }
}

fn meta(rng: &mut Rng) -> Meta {
    let mode = [0o755, 0o644, 0o4755, 0o1777, 0o600][rng.below(5)];
    let owner = [0, 0, 1000][rng.below(3)];
    let value = [&b""[..], b"v", b"\0\xff"][rng.below(3)];
    let xattrs = match rng.one_in(4) {
        true => vec![Xattr { name: b"trusted.note".as_slice().into(), value: value.into() }],
        false => Vec::new(),
    };
    Meta { mode, uid: owner, gid: owner, mtime: Some(mtime(rng)), xattrs }
}

fn leaf(rng: &mut Rng) -> Leaf {
    let mut meta = meta(rng);
    let content = match rng.below(12) {
        0 | 1 => {
            meta.mode = 0o777;
            Content::Symlink { target: [&b"a"[..], b"../b", b"libz.so.1"][rng.below(3)].into() }
        }
        2 => Content::Fifo,
        3 => Content::Char(Device { major: 1, minor: [3, 5][rng.below(2)] }),
        _ => {
            let label = LABELS.start + rng.below(LABELS.len()) as u8;
            let bytes = content(label);
            let holes = match label {
                11 => vec![Hole { offset: 4096, len: 61_440 }],
                _ => Vec::new(),
            };
            Content::File { size: bytes.len() as u64, blob: BlobId::of(&bytes), holes }
        }
    };
    Leaf { meta, link: None, content }
}
