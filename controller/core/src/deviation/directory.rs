//! Comparison of one directory on two sides, page by page.
//!
//! Owns the state of one comparison: for each side a list of pieces in the order of names, each an entry that was read or a
//! page that was not. Invariants: pages with equal ids on both sides are dropped unread; entries are compared only below
//! the first page that was not read, so that both sides are complete there; every page is checked against its reference.
//!
//! Does not decide which directory comes next: that is `descent`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dominator_store_core::{
    Difference, Entry, Item, Leaf, Meta, Name, Node, PageRef, TreeBody, TreeId, TreeObject, TreePath,
    limits::PAGE_DEPTH_MAX,
};

use super::DescentError;

/// Which tree an object belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Machine,
    Image,
}

/// What one side has at the path.
#[derive(Debug, Clone)]
pub(super) enum Standing {
    Nothing,
    Leaf(Leaf),
    Directory(TreeId),
}

/// One directory that is being compared.
#[derive(Debug)]
pub(super) struct Comparison {
    path: TreePath,
    machine: Half,
    image: Half,
    is_told: bool,
}

/// What a comparison found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) differences: Vec<Difference>,
    pub(super) children: Vec<Comparison>,
    /// The directory is the root, empty on the machine and not in the image.
    pub(super) is_first_fill: bool,
}

#[derive(Debug)]
struct Half {
    leaf: Option<Leaf>,
    unread: Option<TreeId>,
    meta: Option<Meta>,
    pieces: VecDeque<Piece>,
}

/// A piece of a directory, in the order of names.
#[derive(Debug)]
enum Piece {
    Entry(Box<Entry>),
    Page(Page),
}

#[derive(Debug)]
struct Page {
    reference: PageRef,
    /// Name before which the page ends; the last page of a directory has no end.
    end: Option<Name>,
    depth: usize,
}

impl Comparison {
    pub(super) fn new(path: TreePath, machine: Standing, image: Standing) -> Self {
        Self { path, machine: Half::new(machine), image: Half::new(image), is_told: false }
    }

    pub(super) fn path(&self) -> &TreePath {
        &self.path
    }

    /// Says whether everything is read and compared.
    pub(super) fn is_done(&self) -> bool {
        let done = |half: &Half| half.unread.is_none() && half.pieces.is_empty();
        done(&self.machine) && done(&self.image)
    }

    /// Returns the objects that must be read next, in the order of names.
    pub(super) fn wanted(&self) -> Vec<(Side, TreeId)> {
        let tops = [(Side::Machine, self.machine.unread), (Side::Image, self.image.unread)];
        let tops: Vec<_> = tops.into_iter().filter_map(|(side, id)| Some((side, id?))).collect();
        if !tops.is_empty() {
            return tops;
        }
        let (machine, image) = (self.machine.pages(), self.image.pages());
        let wanted = |side, ours: &[&Page], others: &[&Page]| -> Vec<(Side, TreeId)> {
            let due = ours.iter().filter(|page| page.is_due(others));
            due.map(|page| (side, page.reference.page)).collect()
        };
        let mut all = wanted(Side::Machine, &machine, &image);
        let others = wanted(Side::Image, &image, &machine);
        // Taken in turn, so that a cut anywhere leaves both sides equally far.
        let mut mixed = Vec::with_capacity(all.len() + others.len());
        let mut others = others.into_iter();
        for ours in all.drain(..) {
            mixed.push(ours);
            mixed.extend(others.next());
        }
        mixed.extend(others);
        mixed
    }

    /// Takes in what was read, and compares as far as both sides are known.
    pub(super) fn advance(&mut self, objects: &BTreeMap<TreeId, TreeObject>) -> Result<Findings, DescentError> {
        let mut findings = Findings::default();
        self.machine.take_in(objects)?;
        self.image.take_in(objects)?;
        if self.machine.unread.is_some() || self.image.unread.is_some() {
            return Ok(findings);
        }
        if !self.is_told {
            self.is_told = true;
            if self.path.is_root() && self.machine.pieces.is_empty() && !self.image.pieces.is_empty() {
                findings.is_first_fill = true;
                return Ok(findings);
            }
            let (old, new) = (self.machine.item(), self.image.item());
            if old != new {
                findings.differences.push(Difference { path: self.path.clone(), old, new });
            }
        }
        self.drop_equal_pages();
        self.compare_entries(&mut findings);
        Ok(findings)
    }

    fn drop_equal_pages(&mut self) {
        let ids = |half: &Half| -> BTreeSet<TreeId> { half.pages().iter().map(|page| page.reference.page).collect() };
        let equal: BTreeSet<TreeId> = ids(&self.machine).intersection(&ids(&self.image)).copied().collect();
        if !equal.is_empty() {
            for half in [&mut self.machine, &mut self.image] {
                half.pieces.retain(|piece| !matches!(piece, Piece::Page(page) if equal.contains(&page.reference.page)));
            }
        }
    }

    fn compare_entries(&mut self, findings: &mut Findings) {
        let first_page = |half: &Half| half.pages().first().map(|page| page.reference.first.clone());
        let limit = match (first_page(&self.machine), first_page(&self.image)) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        loop {
            let (old, new) = match (self.machine.next_name(limit.as_ref()), self.image.next_name(limit.as_ref())) {
                (None, None) => return,
                (Some(_), None) => (self.machine.take_entry(), None),
                (None, Some(_)) => (None, self.image.take_entry()),
                (Some(a), Some(b)) => match a.cmp(b) {
                    std::cmp::Ordering::Less => (self.machine.take_entry(), None),
                    std::cmp::Ordering::Greater => (None, self.image.take_entry()),
                    std::cmp::Ordering::Equal => (self.machine.take_entry(), self.image.take_entry()),
                },
            };
            if let Some(name) = old.as_ref().or(new.as_ref()).map(|entry| &entry.name)
                && old != new
            {
                let path = self.path.join(name);
                compare_nodes(path, old.map(|entry| entry.node), new.map(|entry| entry.node), findings);
            }
        }
    }
}

fn compare_nodes(path: TreePath, old: Option<Node>, new: Option<Node>, findings: &mut Findings) {
    let is_dir = |node: &Option<Node>| matches!(node, Some(Node::Dir(_)));
    if is_dir(&old) || is_dir(&new) {
        findings.children.push(Comparison::new(path, Standing::from(old), Standing::from(new)));
        return;
    }
    let item = |node| match node {
        Some(Node::Leaf(leaf)) => Some(Item::Leaf(leaf)),
        Some(Node::Dir(_)) | None => None,
    };
    findings.differences.push(Difference { path, old: item(old), new: item(new) });
}

impl From<Option<Node>> for Standing {
    fn from(node: Option<Node>) -> Self {
        match node {
            None => Self::Nothing,
            Some(Node::Leaf(leaf)) => Self::Leaf(leaf),
            Some(Node::Dir(tree)) => Self::Directory(tree),
        }
    }
}

impl Half {
    fn new(standing: Standing) -> Self {
        let (leaf, unread) = match standing {
            Standing::Nothing => (None, None),
            Standing::Leaf(leaf) => (Some(leaf), None),
            Standing::Directory(tree) => (None, Some(tree)),
        };
        Self { leaf, unread, meta: None, pieces: VecDeque::new() }
    }

    fn item(&self) -> Option<Item> {
        self.meta.clone().map(Item::Dir).or_else(|| self.leaf.clone().map(Item::Leaf))
    }

    fn pages(&self) -> Vec<&Page> {
        let pages = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Page(page) => Some(page),
            Piece::Entry(_) => None,
        });
        pages.collect()
    }

    /// Returns the name of the first piece, if it is an entry before `limit`.
    fn next_name(&self, limit: Option<&Name>) -> Option<&Name> {
        match self.pieces.front() {
            Some(Piece::Entry(entry)) if limit.is_none_or(|limit| entry.name < *limit) => Some(&entry.name),
            _ => None,
        }
    }

    fn take_entry(&mut self) -> Option<Entry> {
        match self.pieces.pop_front() {
            Some(Piece::Entry(entry)) => Some(*entry),
            Some(page) => {
                self.pieces.push_front(page);
                None
            }
            None => None,
        }
    }

    fn take_in(&mut self, objects: &BTreeMap<TreeId, TreeObject>) -> Result<(), DescentError> {
        if let Some(id) = self.unread {
            let Some(object) = objects.get(&id) else { return Ok(()) };
            self.meta = Some(object.meta.clone().ok_or(DescentError::Misplaced(id))?);
            self.unread = None;
            self.pieces = pieces(object.body.clone(), None, 0).into();
        }
        if !self.pages().iter().any(|page| objects.contains_key(&page.reference.page)) {
            return Ok(());
        }
        let mut taken = VecDeque::with_capacity(self.pieces.len());
        for piece in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Page(page) => match objects.get(&page.reference.page) {
                    Some(object) => taken.extend(page.open(object)?),
                    None => taken.push_back(Piece::Page(page)),
                },
                entry => taken.push_back(entry),
            }
        }
        self.pieces = taken;
        Ok(())
    }
}

impl Page {
    /// Says whether the page should be read now: a page that covers much less than one on the other side waits, because the
    /// other one may turn out to list this very page.
    fn is_due(&self, others: &[&Self]) -> bool {
        let start = others.partition_point(|other| other.end.as_ref().is_some_and(|end| *end <= self.reference.first));
        let overlapping = others.get(start..).unwrap_or_default().iter();
        let largest = overlapping
            .take_while(|other| self.end.as_ref().is_none_or(|end| other.reference.first < *end))
            .map(|other| other.reference.entry_count)
            .max();
        largest.is_none_or(|largest| self.reference.entry_count.saturating_mul(PAGE_RATIO) >= largest)
    }

    /// Replaces the page by what it lists, after a check against its reference.
    fn open(self, object: &TreeObject) -> Result<Vec<Piece>, DescentError> {
        let misplaced = Err(DescentError::Misplaced(self.reference.page));
        let (first, last, entry_count) = match &object.body {
            TreeBody::Entries(entries) => {
                let name = |entry: Option<&Entry>| entry.map(|entry| entry.name.clone());
                (name(entries.first()), name(entries.last()), Some(entries.len() as u64))
            }
            TreeBody::Pages(pages) => {
                let name = |page: Option<&PageRef>| page.map(|page| page.first.clone());
                let count = pages.iter().try_fold(0u64, |sum, page| sum.checked_add(page.entry_count));
                (name(pages.first()), name(pages.last()), count)
            }
        };
        let fits = object.meta.is_none()
            && self.depth < PAGE_DEPTH_MAX
            && entry_count == Some(self.reference.entry_count)
            && first.is_some_and(|first| first == self.reference.first)
            && last.is_some_and(|last| self.end.as_ref().is_none_or(|end| last < *end));
        if fits { Ok(pieces(object.body.clone(), self.end, self.depth + 1)) } else { misplaced }
    }
}

/// Pages of one level differ in size by less than this, pages of different levels mostly by more.
const PAGE_RATIO: u64 = 4;

fn pieces(body: TreeBody, end: Option<Name>, depth: usize) -> Vec<Piece> {
    match body {
        TreeBody::Entries(entries) => entries.into_iter().map(|entry| Piece::Entry(Box::new(entry))).collect(),
        TreeBody::Pages(references) => {
            let ends: Vec<Option<Name>> =
                references.iter().skip(1).map(|next| Some(next.first.clone())).chain([end]).collect();
            let pages = references.into_iter().zip(ends);
            pages.map(|(reference, end)| Piece::Page(Page { reference, end, depth })).collect()
        }
    }
}
