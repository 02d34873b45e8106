//! A file system in memory that performs the operations of steps, one at a time, and may stop after any.
//!
//! Owns inodes, names and a supply of operations. Invariant: an operation happens whole or not at all, as a rename does on
//! a file system.
//!
//! What a real kernel does is tested in `agent/daemon`.

use std::collections::BTreeMap;

use dominator_agent_core::{BoundStep, Files, Found, Ino, Moved, Place, Plan, Slot, Source, bind};
use dominator_store_core::{Content, FlatTree, Item, Leaf, LinkGroup, Meta, Mtime, Name, TreePath};

#[derive(Debug, Clone)]
enum Kind {
    Dir(BTreeMap<Name, u64>),
    Leaf(Content),
}

#[derive(Debug, Clone)]
struct Inode {
    meta: Meta,
    kind: Kind,
}

/// The machine stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crash;

/// A managed root with its stage.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    inodes: BTreeMap<u64, Inode>,
    stage: BTreeMap<Slot, u64>,
    rollback: BTreeMap<Slot, u64>,
    exchange: bool,
    now: u32,
    /// Operations that may still happen.
    pub(crate) supply: u64,
    /// Number of operations that happened.
    pub(crate) op_count: u64,
    /// What to look at after every operation.
    pub(crate) watch: Option<Watch>,
}

/// What must hold at every moment.
#[derive(Debug, Clone)]
pub(crate) struct Watch {
    pub(crate) old: FlatTree,
    pub(crate) new: FlatTree,
}

const ROOT: u64 = 1;

impl Model {
    pub(crate) fn new(tree: &FlatTree, exchange: bool) -> Self {
        let mut model = Self {
            inodes: BTreeMap::new(),
            stage: BTreeMap::new(),
            rollback: BTreeMap::new(),
            exchange,
            now: 0,
            supply: u64::MAX,
            op_count: 0,
            watch: None,
        };
        let mut groups: BTreeMap<LinkGroup, u64> = BTreeMap::new();
        for (path, item) in &tree.items {
            let group = match item {
                Item::Leaf(leaf) => leaf.link,
                Item::Dir(_) => None,
            };
            let ino = match group.and_then(|group| groups.get(&group)) {
                Some(ino) => *ino,
                None => model.inode(item),
            };
            groups.extend(group.map(|group| (group, ino)));
            if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
                let dir = model.resolve(&parent).expect("parents come first");
                model.entries_mut(dir).insert(name, ino);
            }
        }
        model
    }

    fn inode(&mut self, item: &Item) -> u64 {
        let ino = ROOT + self.inodes.len() as u64;
        let kind = match item {
            Item::Dir(_) => Kind::Dir(BTreeMap::new()),
            Item::Leaf(leaf) => Kind::Leaf(leaf.content.clone()),
        };
        let mut meta = item.meta().clone();
        meta.mtime.get_or_insert(Mtime { seconds: 5, nanoseconds: 5 });
        self.inodes.insert(ino, Inode { meta, kind });
        ino
    }

    /// Stages everything a plan needs and binds its steps.
    pub(crate) fn stage(&mut self, plan: &Plan) -> Vec<BoundStep> {
        let mut inos: Vec<u64> = Vec::new();
        for staged in &plan.staged {
            let ino = match staged.source {
                Source::Link(primary) => inos[primary],
                Source::None | Source::Blob { .. } => self.inode(&staged.item),
            };
            inos.push(ino);
            match (staged.below.parent(), staged.below.name()) {
                (Some(parent), Some(name)) => {
                    let top = self.stage[&staged.slot];
                    let dir = parent.components().fold(top, |dir, name| self.entries(dir).expect("directory")[name]);
                    self.entries_mut(dir).insert(name, ino);
                }
                _ => _ = self.stage.insert(staged.slot, ino),
            }
        }
        let binding = bind(&plan.steps, self).expect("no crash");
        assert_eq!(binding.drifted, []);
        binding.steps
    }

    fn entries(&self, ino: u64) -> Option<&BTreeMap<Name, u64>> {
        match &self.inodes[&ino].kind {
            Kind::Dir(entries) => Some(entries),
            Kind::Leaf(_) => None,
        }
    }

    fn entries_mut(&mut self, ino: u64) -> &mut BTreeMap<Name, u64> {
        match &mut self.inodes.get_mut(&ino).expect("inode").kind {
            Kind::Dir(entries) => entries,
            Kind::Leaf(_) => panic!("not a directory"),
        }
    }

    fn resolve(&self, path: &TreePath) -> Option<u64> {
        path.components().try_fold(ROOT, |dir, name| self.entries(dir)?.get(name).copied())
    }

    fn lookup(&self, at: Place<'_>) -> Option<u64> {
        match at {
            Place::Root(path) => self.resolve(path),
            Place::Stage(slot) => self.stage.get(&slot).copied(),
            Place::Rollback(slot) => self.rollback.get(&slot).copied(),
        }
    }

    /// Sets what stands at a name; says whether its parent is there.
    fn put(&mut self, at: Place<'_>, ino: Option<u64>) -> bool {
        match at {
            Place::Root(path) => {
                let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return false };
                let Some(dir) = self.resolve(&parent).filter(|dir| self.entries(*dir).is_some()) else { return false };
                self.now += 1;
                let now = Mtime { seconds: 9, nanoseconds: self.now };
                self.inodes.get_mut(&dir).expect("inode").meta.mtime = Some(now);
                match ino {
                    Some(ino) => _ = self.entries_mut(dir).insert(name, ino),
                    None => _ = self.entries_mut(dir).remove(&name),
                }
            }
            Place::Stage(slot) => set(&mut self.stage, slot, ino),
            Place::Rollback(slot) => set(&mut self.rollback, slot, ino),
        }
        true
    }

    fn spend(&mut self) -> Result<(), Crash> {
        self.supply = self.supply.checked_sub(1).ok_or(Crash)?;
        self.op_count += 1;
        Ok(())
    }

    /// Returns the tree as a scan would; `like` says whether times of directories are managed.
    pub(crate) fn tree(&self, like: &FlatTree) -> FlatTree {
        let dir_mtimes = like.items.first().is_some_and(|(_, item)| item.meta().mtime.is_some());
        let mut names: BTreeMap<u64, Vec<TreePath>> = BTreeMap::new();
        let mut found: Vec<(TreePath, u64)> = Vec::new();
        let mut pending = vec![(TreePath::root(), ROOT)];
        while let Some((path, ino)) = pending.pop() {
            for (name, ino) in self.entries(ino).into_iter().flatten() {
                pending.push((path.join(name), *ino));
            }
            names.entry(ino).or_default().push(path.clone());
            found.push((path, ino));
        }
        let item = |ino: u64| {
            let inode = &self.inodes[&ino];
            match &inode.kind {
                Kind::Dir(_) => {
                    Item::Dir(Meta { mtime: inode.meta.mtime.filter(|_| dir_mtimes), ..inode.meta.clone() })
                }
                Kind::Leaf(content) => {
                    let names = &names[&ino];
                    let link = (names.len() > 1).then(|| LinkGroup::of(names.iter().min().expect("a name")));
                    Item::Leaf(Leaf { meta: inode.meta.clone(), link, content: content.clone() })
                }
            }
        };
        FlatTree::new(found.into_iter().map(|(path, ino)| (path, item(ino))).collect())
    }

    /// Checks what must hold at every moment.
    fn look(&self) {
        let Some(watch) = &self.watch else { return };
        let side = |tree: &FlatTree| -> BTreeMap<TreePath, Item> {
            tree.items.iter().map(|(path, item)| (path.clone(), alone(item))).collect()
        };
        let (old, new, now) = (side(&watch.old), side(&watch.new), side(&self.tree(&watch.old)));
        for path in old.keys().filter(|path| new.contains_key(path)) {
            assert!(now.contains_key(path) || !self.exchange, "{path} is absent");
        }
        for (path, item) in &now {
            assert!(
                old.get(path) == Some(item) || new.get(path) == Some(item),
                "{path} is neither old nor new: {item:?}"
            );
        }
    }

    fn moved(&self) -> Result<Moved, Crash> {
        self.look();
        Ok(Moved::Done)
    }
}

/// An item as one name sees it: without its links, and without the time of a directory, which entries disturb.
fn alone(item: &Item) -> Item {
    match item {
        Item::Dir(meta) => Item::Dir(Meta { mtime: None, ..meta.clone() }),
        Item::Leaf(leaf) => Item::Leaf(Leaf { link: None, ..leaf.clone() }),
    }
}

fn set(names: &mut BTreeMap<Slot, u64>, slot: Slot, ino: Option<u64>) {
    match ino {
        Some(ino) => _ = names.insert(slot, ino),
        None => _ = names.remove(&slot),
    }
}

impl Files for Model {
    type Error = Crash;

    fn can_exchange(&self) -> bool {
        self.exchange
    }

    fn find(&mut self, at: Place<'_>) -> Result<Option<Found>, Crash> {
        Ok(self.lookup(at).map(|ino| Found { ino: Some(Ino(ino)), is_dir: self.entries(ino).is_some() }))
    }

    fn is_empty_dir(&mut self, at: Place<'_>) -> Result<bool, Crash> {
        Ok(self.lookup(at).and_then(|ino| self.entries(ino)).is_some_and(BTreeMap::is_empty))
    }

    fn rename_new(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Crash> {
        self.spend()?;
        let Some(ino) = self.lookup(from) else { return Ok(Moved::Refused) };
        if self.lookup(to).is_some() || !self.put(to, Some(ino)) {
            return Ok(Moved::Refused);
        }
        self.put(from, None);
        self.moved()
    }

    fn rename_over(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Crash> {
        self.spend()?;
        let Some(ino) = self.lookup(from) else { return Ok(Moved::Refused) };
        let replaces_dir = self.lookup(to).is_some_and(|ino| self.entries(ino).is_some());
        assert!(!replaces_dir && self.entries(ino).is_none(), "only leaves are renamed over leaves");
        if self.lookup(to) == Some(ino) {
            return self.moved();
        }
        if !self.put(to, Some(ino)) {
            return Ok(Moved::Refused);
        }
        self.put(from, None);
        self.moved()
    }

    fn exchange(&mut self, one: Place<'_>, other: Place<'_>) -> Result<Moved, Crash> {
        assert!(self.exchange);
        self.spend()?;
        let (Some(a), Some(b)) = (self.lookup(one), self.lookup(other)) else { return Ok(Moved::Refused) };
        self.put(one, Some(b));
        self.put(other, Some(a));
        self.moved()
    }

    fn link(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Crash> {
        self.spend()?;
        let Some(ino) = self.lookup(from) else { return Ok(Moved::Refused) };
        assert!(self.entries(ino).is_none(), "directories have no further names");
        if self.lookup(to).is_some() || !self.put(to, Some(ino)) {
            return Ok(Moved::Refused);
        }
        self.moved()
    }

    fn remove_dir(&mut self, at: Place<'_>) -> Result<Moved, Crash> {
        self.spend()?;
        if !self.is_empty_dir(at)? {
            return Ok(Moved::Refused);
        }
        self.put(at, None);
        self.moved()
    }

    fn make_dir(&mut self, at: Place<'_>, meta: &Meta) -> Result<Moved, Crash> {
        self.spend()?;
        let ino = match self.lookup(at) {
            Some(ino) => ino,
            None => self.inode(&Item::Dir(meta.clone())),
        };
        self.put(at, Some(ino));
        self.moved()
    }

    fn write_meta(&mut self, at: Place<'_>, ino: Ino, meta: &Meta) -> Result<Moved, Crash> {
        self.spend()?;
        if self.lookup(at) != Some(ino.0) {
            return Ok(Moved::Refused);
        }
        let inode = self.inodes.get_mut(&ino.0).expect("inode");
        inode.meta = Meta { mtime: inode.meta.mtime, ..meta.clone() };
        self.moved()
    }

    fn write_mtime(&mut self, at: Place<'_>, ino: Ino, mtime: Mtime) -> Result<Moved, Crash> {
        self.spend()?;
        if self.lookup(at) != Some(ino.0) {
            return Ok(Moved::Refused);
        }
        self.inodes.get_mut(&ino.0).expect("inode").meta.mtime = Some(mtime);
        self.moved()
    }
}
