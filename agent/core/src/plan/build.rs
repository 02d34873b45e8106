//! The steps of a plan and what they need staged.
//!
//! Owns the walk over both trees and the order of steps (`spec/apply.md#order`). Invariants: a directory that is new
//! comes with all that is in it, in one step; what is in a directory that becomes a leaf goes before it does; a
//! directory goes after what is in it.
//!
//! Which names keep their inode is `links`; what is refused is `check`.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use dominator_store_core::{BlobId, Content, Digest, Item, LinkGroup, Meta, TreePath, cbor::Writer};

use super::{
    Plan, PlanError, PlanId, PlanInput, Source, Staged,
    check::{is_leaf, is_private},
    links::Fate,
};
use crate::{
    journal::write_step,
    limits::STEP_COUNT_MAX,
    step::{Class, Op, Phase, Slot, Step, Swap, is_account_file},
};

/// A path of either tree with what both have there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) path: &'a TreePath,
    pub(super) old: Option<&'a Item>,
    pub(super) new: Option<&'a Item>,
}

/// Joins both trees by path. The agent's own directory is left out, should a scan have listed it.
pub(super) fn pair<'a>(input: &PlanInput<'a>) -> Vec<Pair<'a>> {
    let mut have = input.have.items.iter().filter(|(path, _)| !is_private(path)).peekable();
    let mut want = input.want.items.iter().peekable();
    let mut pairs = Vec::with_capacity(input.have.items.len().max(input.want.items.len()));
    loop {
        let order = match (have.peek(), want.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = if order == Ordering::Greater { None } else { have.next() };
        let new = if order == Ordering::Less { None } else { want.next() };
        if let Some((path, _)) = old.or(new) {
            pairs.push(Pair { path, old: old.map(|(_, item)| item), new: new.map(|(_, item)| item) });
        }
    }
}

pub(super) fn build(input: &PlanInput<'_>, pairs: &[Pair<'_>], fates: &[Fate]) -> Result<Plan, PlanError> {
    let mut builder = Builder::new(input, pairs, fates);
    for (pair, fate) in pairs.iter().zip(fates) {
        builder.add(*pair, *fate);
    }
    builder.finish(input)
}

/// A directory that becomes a leaf: what must go from it, and the step that follows.
struct Shrink<'a> {
    path: &'a TreePath,
    removals: Vec<Step>,
    dir_removals: Vec<Step>,
    replace: Step,
}

struct Builder<'a> {
    /// Where the machine has the content of a file that is to be staged.
    local: BTreeMap<BlobId, Option<&'a TreePath>>,
    /// Paths that are not managed and every directory above them.
    holding: BTreeSet<TreePath>,
    unmanaged: BTreeSet<&'a TreePath>,
    steps: Vec<Step>,
    type_changes: Vec<Step>,
    staged: Vec<Staged>,
    /// The staged entry of every group of hard links that has the content.
    primaries: BTreeMap<LinkGroup, usize>,
    kept: Vec<TreePath>,
    blocked: Vec<TreePath>,
    slot_count: u32,
    /// The new directory that is being collected.
    growing: Option<(&'a TreePath, Slot)>,
    /// The required directory that cannot be made.
    obstructed: Option<&'a TreePath>,
    shrinking: Option<Shrink<'a>>,
    /// Directories that stay, and whether their entries change.
    dirs: BTreeMap<&'a TreePath, DirTime<'a>>,
}

struct DirTime<'a> {
    old: &'a Meta,
    new: &'a Meta,
    is_disturbed: bool,
}

impl<'a> Builder<'a> {
    fn new(input: &PlanInput<'a>, pairs: &[Pair<'a>], fates: &[Fate]) -> Self {
        let mut local = BTreeMap::new();
        for (pair, fate) in pairs.iter().zip(fates) {
            if let (Some((blob, size)), Fate::Stage) = (pair.new.and_then(Item::blob), fate)
                && size > 0
            {
                local.insert(blob, None);
            }
        }
        for pair in pairs {
            if let Some((blob, _)) = pair.old.and_then(Item::blob)
                && let Some(place) = local.get_mut(&blob)
            {
                place.get_or_insert(pair.path);
            }
        }
        let mut holding = BTreeSet::new();
        for path in input.unmanaged {
            let mut at = Some(path.clone());
            while let Some(path) = at {
                at = path.parent();
                if !holding.insert(path) {
                    break;
                }
            }
        }
        Self {
            local,
            holding,
            unmanaged: input.unmanaged.iter().collect(),
            steps: Vec::new(),
            type_changes: Vec::new(),
            staged: Vec::new(),
            primaries: BTreeMap::new(),
            kept: Vec::new(),
            blocked: Vec::new(),
            slot_count: 0,
            growing: None,
            obstructed: None,
            shrinking: None,
            dirs: BTreeMap::new(),
        }
    }

    fn add(&mut self, pair: Pair<'a>, fate: Fate) {
        let Pair { path, old, new } = pair;
        self.leave(path);
        if let Some(top) = self.obstructed {
            if new.is_some() && old != new && self.blocked.last() != Some(top) {
                self.blocked.push(top.clone());
            }
            return;
        }
        if let (Some((top, slot)), Some(item)) = (self.growing, new) {
            self.stage(slot, below(top, path), path, item);
            return;
        }
        if self.unmanaged.contains(path) {
            // A mount point, say: neither it nor what is below it is ours to change.
            match new {
                None => self.kept.push(path.clone()),
                Some(_) if old != new => self.blocked.push(path.clone()),
                Some(_) => {}
            }
            self.obstructed = Some(path);
            return;
        }
        match (old, new) {
            (None, None) => {}
            (None, Some(item)) => self.create(path, item),
            (Some(old), None) => self.remove(path, old),
            (Some(Item::Dir(old)), Some(Item::Dir(new))) => self.set_meta(path, old, new),
            (Some(old @ Item::Dir(meta)), Some(item)) => self.shrink(path, old, meta, item),
            (Some(old), Some(item @ Item::Dir(_))) => self.grow(path, old, item),
            (Some(old), Some(item)) => match fate {
                Fate::Keep => {}
                Fate::Touch => self.touch(path, old, item),
                Fate::Stage => self.replace(path, old, item),
            },
        }
    }

    /// Ends what was collected for a directory that `path` is not below.
    fn leave(&mut self, path: &TreePath) {
        if self.growing.is_some_and(|(top, _)| !path.starts_with(top)) {
            self.growing = None;
        }
        if self.obstructed.is_some_and(|top| !path.starts_with(top)) {
            self.obstructed = None;
        }
        if let Some(shrink) = self.shrinking.take_if(|shrink| !path.starts_with(shrink.path)) {
            self.type_changes.extend(shrink.removals);
            self.type_changes.extend(shrink.dir_removals.into_iter().rev());
            self.type_changes.push(shrink.replace);
        }
    }

    fn slot(&mut self) -> Slot {
        let slot = Slot(self.slot_count);
        self.slot_count += 1;
        slot
    }

    fn stage(&mut self, slot: Slot, below: TreePath, path: &TreePath, item: &Item) {
        let primary = match item {
            Item::Leaf(leaf) => leaf.link,
            Item::Dir(_) => None,
        };
        let source = match (primary.and_then(|group| self.primaries.get(&group)), item.blob()) {
            (Some(primary), _) => Source::Link(*primary),
            (None, Some((blob, size))) if size > 0 => {
                Source::Blob { blob, local: self.local.get(&blob).copied().flatten().cloned() }
            }
            (None, _) => Source::None,
        };
        if let (Some(group), false) = (primary, matches!(source, Source::Link(_))) {
            self.primaries.insert(group, self.staged.len());
        }
        self.staged.push(Staged { slot, below, path: path.clone(), item: item.clone(), source });
    }

    /// Stages what comes to stand at a name of a directory that exists.
    fn stage_top(&mut self, path: &'a TreePath, item: &'a Item) -> Slot {
        let slot = self.slot();
        self.stage(slot, TreePath::root(), path, item);
        if item.is_dir() {
            self.growing = Some((path, slot));
        }
        self.disturb(path);
        slot
    }

    /// Notes that the time of the directory that holds `path` changes.
    fn disturb(&mut self, path: &TreePath) {
        if let Some(dir) = path.parent().and_then(|parent| self.dirs.get_mut(&parent)) {
            dir.is_disturbed = true;
        }
    }

    fn push(&mut self, phase: Phase, path: &TreePath, op: Op, old: Option<&Item>, new: Option<&Item>) {
        let phase = if is_account_file(path) && is_leaf(new) { Phase::Accounts } else { phase };
        self.steps.push(Step { phase, path: path.clone(), op, old: old.cloned(), new: new.cloned() });
    }

    fn create(&mut self, path: &'a TreePath, item: &'a Item) {
        let slot = self.stage_top(path, item);
        let phase = match item {
            Item::Dir(_) => Phase::NewDirs,
            Item::Leaf(leaf) => Phase::NewLeaves(Class::of(path, leaf)),
        };
        self.push(phase, path, Op::Create { slot }, None, Some(item));
    }

    fn replace(&mut self, path: &'a TreePath, old: &'a Item, new: &'a Item) {
        let slot = self.stage_top(path, new);
        let phase = match (old, new) {
            (Item::Leaf(a), Item::Leaf(b)) if a.content.type_word() != b.content.type_word() => Phase::TypeChanges,
            (Item::Leaf(a), Item::Leaf(b)) if same_content(&a.content, &b.content) => Phase::Metadata,
            (_, Item::Leaf(leaf)) => Phase::Replacements(Class::of(path, leaf)),
            (_, Item::Dir(_)) => Phase::TypeChanges,
        };
        self.push(phase, path, Op::Replace { slot, swap: Swap::Leaf }, Some(old), Some(new));
    }

    fn grow(&mut self, path: &'a TreePath, old: &'a Item, new: &'a Item) {
        let slot = self.stage_top(path, new);
        self.push(Phase::TypeChanges, path, Op::Replace { slot, swap: Swap::Grow }, Some(old), Some(new));
    }

    fn shrink(&mut self, path: &'a TreePath, old: &'a Item, meta: &'a Meta, new: &'a Item) {
        if self.holding.contains(path) {
            // Something in it is not ours: the directory stays, as if it were to be removed.
            self.blocked.push(path.clone());
            return;
        }
        let slot = self.stage_top(path, new);
        let op = Op::Replace { slot, swap: Swap::Shrink { meta: meta.clone() } };
        let replace =
            Step { phase: Phase::TypeChanges, path: path.clone(), op, old: Some(old.clone()), new: Some(new.clone()) };
        self.shrinking = Some(Shrink { path, removals: Vec::new(), dir_removals: Vec::new(), replace });
    }

    fn remove(&mut self, path: &'a TreePath, old: &'a Item) {
        if old.is_dir() && self.holding.contains(path) {
            self.kept.push(path.clone());
            return;
        }
        let slot = self.slot();
        let (phase, op) = match old {
            Item::Dir(meta) => (Phase::DirRemovals, Op::RemoveDir { slot, meta: meta.clone() }),
            Item::Leaf(_) => (Phase::Removals, Op::Remove { slot }),
        };
        self.disturb(path);
        let Some(shrink) = &mut self.shrinking else { return self.push(phase, path, op, Some(old), None) };
        let step = Step { phase: Phase::TypeChanges, path: path.clone(), op, old: Some(old.clone()), new: None };
        match old {
            Item::Dir(_) => shrink.dir_removals.push(step),
            Item::Leaf(_) => shrink.removals.push(step),
        }
    }

    fn set_meta(&mut self, path: &'a TreePath, old: &'a Meta, new: &'a Meta) {
        self.dirs.insert(path, DirTime { old, new, is_disturbed: false });
        let without_mtime = |meta: &Meta| Meta { mtime: None, ..meta.clone() };
        let (a, b) = (without_mtime(old), without_mtime(new));
        if a != b {
            let (old, new) = (Item::Dir(a.clone()), Item::Dir(b.clone()));
            self.push(Phase::Metadata, path, Op::SetMeta { old: a, new: b }, Some(&old), Some(&new));
        }
    }

    fn touch(&mut self, path: &'a TreePath, old: &'a Item, new: &'a Item) {
        if let Some(mtime) = new.meta().mtime {
            let op = Op::SetMtime { old: old.meta().mtime, new: mtime };
            self.push(Phase::Metadata, path, op, Some(old), Some(new));
        }
    }

    fn finish(mut self, input: &PlanInput<'_>) -> Result<Plan, PlanError> {
        // No path is outside the root, so nothing would end what is still open.
        if let Some(shrink) = self.shrinking.take() {
            self.type_changes.extend(shrink.removals);
            self.type_changes.extend(shrink.dir_removals.into_iter().rev());
            self.type_changes.push(shrink.replace);
        }
        let dirs = std::mem::take(&mut self.dirs);
        for (path, dir) in dirs {
            let Some(new) = dir.new.mtime else { continue };
            if dir.is_disturbed || dir.old.mtime != Some(new) {
                let op = Op::SetMtime { old: dir.old.mtime, new };
                let item = |meta: &Meta| Item::Dir(meta.clone());
                self.push(Phase::DirTimes, path, op, Some(&item(dir.old)), Some(&item(dir.new)));
            }
        }
        let mut steps = self.steps;
        // What must go from a directory before it changes its type is in order already; stable sorting keeps it.
        steps.extend(self.type_changes);
        steps.sort_by(|a, b| match a.phase.cmp(&b.phase) {
            Ordering::Equal if a.phase == Phase::DirRemovals => b.path.cmp(&a.path),
            order => order,
        });
        if steps.len() > STEP_COUNT_MAX {
            return Err(PlanError::TooLarge(steps.len()));
        }
        Ok(Plan {
            id: plan_id(input, &steps),
            from: input.from,
            to: input.to,
            managed: input.managed,
            steps,
            staged: self.staged,
            kept: self.kept,
            blocked: self.blocked,
            slot_count: self.slot_count,
        })
    }
}

fn plan_id(input: &PlanInput<'_>, steps: &[Step]) -> PlanId {
    let mut writer = Writer::new();
    writer.array(3).bytes(input.from.as_bytes()).bytes(input.to.as_bytes()).array(steps.len());
    for step in steps {
        write_step(&step.path, &step.op, &mut writer);
    }
    PlanId(Digest::derive(PLAN_CONTEXT, &writer.finish()))
}

const PLAN_CONTEXT: &str = "dominator 2026-11 plan v1";

fn same_content(old: &Content, new: &Content) -> bool {
    match (old, new) {
        (Content::File { blob: a, .. }, Content::File { blob: b, .. }) => a == b,
        (a, b) => a == b,
    }
}

/// Returns the path of `path` below `top`.
fn below(top: &TreePath, path: &TreePath) -> TreePath {
    let rest = path.as_bytes().strip_prefix(top.as_bytes()).unwrap_or_default();
    // Both are paths already, so what is left after the separator is one.
    TreePath::parse(rest).unwrap_or_default()
}
