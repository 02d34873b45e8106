//! Plans: everything an apply does, decided before it begins (`spec/apply.md#plan`).
//!
//! Owns the plan as data and its checks. Invariants: a plan is a pure function of its input; the plan from a tree to
//! itself has no steps; a path that the image's filter excludes is in no step; a plan that would remove most of a
//! machine is refused unless forced.
//!
//! Does not perform anything (`execute`) and does not know what is in the chunk cache: [`Plan::needs`] says what is.

mod build;
mod check;
mod display;
mod links;

use std::collections::BTreeMap;

use dominator_store_core::{BlobId, Digest, Filter, FlatTree, Item, Managed, TreeId, TreePath};

use crate::step::{Phase, Slot, Step};

/// Names one plan: a digest of its ends and its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlanId(pub Digest);

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// What the machine has, as scanned under the filter and the managed metadata of the required image.
    pub have: &'a FlatTree,
    /// The root id of `have`.
    pub from: TreeId,
    /// What the machine must have.
    pub want: &'a FlatTree,
    /// The root id of `want`.
    pub to: TreeId,
    /// Which paths the required image manages.
    pub filter: &'a Filter,
    /// Which metadata the required image manages.
    pub managed: Managed,
    /// What the scan met in managed directories without managing it: excluded paths, sockets, mount points.
    pub unmanaged: &'a [TreePath],
    /// Whether the rules against removing most of a machine hold.
    pub safety: Safety,
}

/// Whether a plan may remove most of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Safety {
    /// It may not.
    Guarded,
    /// An operator said that it may.
    Forced,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// More than half of what is managed would be removed.
    #[error("the plan would remove {removed_count} of {have_count} entries")]
    RemovesMost {
        /// Entries to be removed.
        removed_count: u64,
        /// Entries that are managed now.
        have_count: u64,
    },
    /// The required tree has less than half the entries of the machine.
    #[error("the required tree has {want_count} entries, the machine has {have_count}")]
    ShrinksMost {
        /// Entries that are required.
        want_count: u64,
        /// Entries that are managed now.
        have_count: u64,
    },
    /// The required tree has a path that its own filter excludes.
    #[error("the required tree has {0}, which its filter excludes")]
    Excluded(TreePath),
    /// The names of a group of hard links disagree, or there is only one.
    #[error("the group of hard links of {0} is not consistent")]
    LinkGroup(TreePath),
    /// A list of paths is not a tree.
    #[error("{0} does not follow its directory")]
    NotATree(TreePath),
    /// More steps than a plan may have.
    #[error("the plan has {0} steps")]
    TooLarge(usize),
}

/// Where the content of a staged entry comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// There is none: a directory, a symlink, a device, a fifo, an empty file.
    None,
    /// A blob; `local` is a path of the machine that has it, as of the scan.
    Blob {
        /// Which.
        blob: BlobId,
        /// Where the machine has it.
        local: Option<TreePath>,
    },
    /// Another staged entry, by its position in [`Plan::staged`], of which this is a further name.
    Link(usize),
}

/// One entry that is made complete before anything changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// The slot that it is, or that it is below.
    pub slot: Slot,
    /// Its path below the slot; empty for what stands in the slot itself.
    pub below: TreePath,
    /// Where it will be in the root.
    pub path: TreePath,
    /// What it is.
    pub item: Item,
    /// Where its content comes from.
    pub source: Source,
}

/// Everything an apply does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Names the plan.
    pub id: PlanId,
    /// The root id it begins with.
    pub from: TreeId,
    /// The root id it ends with.
    pub to: TreeId,
    /// Which metadata it manages.
    pub managed: Managed,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// What must be staged before the first step, directories before what is in them.
    pub staged: Vec<Staged>,
    /// Directories that should go but stay, because something is in them that is not managed.
    pub kept: Vec<TreePath>,
    /// Required paths that cannot be made, because something that is not managed is in the way.
    pub blocked: Vec<TreePath>,
    /// Number of slots, in the stage and the rollback directory together.
    pub slot_count: u32,
}

/// Makes the plan that turns what a machine has into what it must have.
///
/// # Errors
/// If the input is not two trees, or if the plan is refused for safety.
pub fn plan(input: &PlanInput<'_>) -> Result<Plan, PlanError> {
    check::trees(input)?;
    let pairs = build::pair(input);
    check::safety(input, &pairs)?;
    let fates = links::fates(input, &pairs)?;
    build::build(input, &pairs, &fates)
}

impl Plan {
    /// Says whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns every blob to be staged, each once, with its size.
    pub fn blobs(&self) -> Vec<(BlobId, u64)> {
        self.blobs_where(|_| true)
    }

    /// Returns the blobs to be staged that the machine did not have anywhere, each once, with its size.
    pub fn needs(&self) -> Vec<(BlobId, u64)> {
        self.blobs_where(|source| matches!(source, Source::Blob { local: None, .. }))
    }

    fn blobs_where(&self, wanted: impl Fn(&Source) -> bool) -> Vec<(BlobId, u64)> {
        let blobs =
            self.staged.iter().filter(|staged| wanted(&staged.source)).filter_map(|staged| match staged.source {
                Source::Blob { blob, .. } => staged.item.blob().map(|(_, size)| (blob, size)),
                Source::None | Source::Link(_) => None,
            });
        blobs.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Returns the bytes of file content to be staged.
    pub fn staged_len(&self) -> u64 {
        self.staged
            .iter()
            .filter(|staged| matches!(staged.source, Source::Blob { .. }))
            .filter_map(|staged| staged.item.blob())
            .fold(0, |sum, (_, size)| sum.saturating_add(size))
    }

    /// Returns every path that changes, what comes with a new directory included; times of directories are not counted.
    pub fn changed(&self) -> impl Iterator<Item = &TreePath> {
        let steps = self.steps.iter().filter(|step| step.phase != Phase::DirTimes).map(|step| &step.path);
        steps.chain(self.staged.iter().filter(|staged| !staged.below.is_root()).map(|staged| &staged.path))
    }
}
