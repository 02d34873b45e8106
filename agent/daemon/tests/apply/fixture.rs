//! A root to apply plans to.
//!
//! Owns the temporary directory, scanning it, and a source of content. Invariant: a scan here is `capture`, which shares
//! nothing with the applier but the operations on single files.

use std::{
    fmt::Write as _,
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use dominator_agent_core::{Op, Plan, PlanInput, Safety, ServicePlan, Source, Swap, plan};
use dominator_agent_daemon::{
    apply::{Applied, Applier, ApplyError, ApplyOptions, Blobs, Fault, Interrupted, NoFault, Order, Point},
    service::{NoServices, ServiceManager},
};
use dominator_store_core::{BlobId, Filter, FlatTree, ImageId, Item, Managed, TreePath};
use dominator_store_fs::{Dir, StatKey, capture};

use crate::forest::{LABELS, Rng, content, pair, root_id};

pub(crate) struct Fixture {
    root: PathBuf,
    dir: Option<tempfile::TempDir>,
    pub(crate) filter: Filter,
}

impl Fixture {
    /// Makes an empty root in memory, where making things durable costs nothing.
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        match tempfile::tempdir_in(memory) {
            Ok(dir) => Self::in_dir(dir),
            Err(_) => Self::on_disk(),
        }
    }

    /// Makes an empty root on the file system for temporary files.
    pub(crate) fn on_disk() -> Self {
        Self::in_dir(tempfile::tempdir().expect("directory"))
    }

    pub(crate) fn in_dir(dir: tempfile::TempDir) -> Self {
        let fixture = Self { dir: Some(dir), ..Self::at(PathBuf::new()) };
        let root = fixture.outside().join("root");
        std::fs::create_dir(&root).expect("root");
        Self { root, ..fixture }
    }

    /// Takes a directory that exists.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root, dir: None, filter: Filter::default() }
    }

    /// Makes a root that is `tree`.
    pub(crate) fn with(tree: &FlatTree) -> Self {
        let fixture = Self::new();
        fixture.make(tree);
        fixture
    }

    pub(crate) fn outside(&self) -> &Path {
        self.dir.as_ref().expect("a directory of our own").path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    pub(crate) fn dir(&self) -> Dir {
        Dir::open(&self.root()).expect("root")
    }

    pub(crate) fn applier(&self, options: ApplyOptions) -> Applier {
        open(&self.root(), options)
    }

    pub(crate) fn scan(&self, managed: Managed) -> FlatTree {
        let threads = NonZeroUsize::new(2).expect("two");
        capture(&self.root(), &self.filter, managed, threads, &|_, _| {}).expect("capture").tree
    }

    pub(crate) fn key(&self, path: &TreePath) -> Option<StatKey> {
        self.dir().stat_path(path).ok().map(|stat| stat.key())
    }

    pub(crate) fn plan(&self, want: &FlatTree) -> Plan {
        make_plan(&self.scan(managed_of(want)), want, &self.filter)
    }

    /// Makes the root `tree`, whatever it was.
    pub(crate) fn make(&self, tree: &FlatTree) {
        let mut applier = self.applier(ApplyOptions::default());
        applier.recover(&NoServices).expect("recovered");
        let plan = self.plan(tree);
        let applied = self.apply(&mut applier, &plan).expect("applied");
        assert!(applied.drifted.is_empty() && applied.kept.is_empty(), "{applied:?}");
        assert_same(&self.scan(managed_of(tree)), tree);
    }

    pub(crate) fn apply(&self, applier: &mut Applier, plan: &Plan) -> Result<Applied, ApplyError> {
        self.apply_with(applier, plan, &TestBlobs, &ServicePlan::default(), &NoServices)
    }

    pub(crate) fn apply_with(
        &self,
        applier: &mut Applier,
        plan: &Plan,
        blobs: &dyn Blobs,
        services: &ServicePlan,
        manager: &dyn ServiceManager,
    ) -> Result<Applied, ApplyError> {
        let keys = |path: &TreePath| self.key(path);
        apply(applier, plan, blobs, services, manager, &keys)
    }

    /// Returns what the private directory holds besides the journal and the lock.
    pub(crate) fn left_over(&self) -> Vec<String> {
        let mut left = Vec::new();
        for kind in ["stage", "rollback"] {
            let Ok(entries) = std::fs::read_dir(self.path(".subd").join(kind)) else { continue };
            left.extend(entries.map(|entry| format!("{kind}/{:?}", entry.expect("entry").file_name())));
        }
        left
    }
}

/// Opens an applier. Another test may be starting a process just now, which holds copies of all our files until it has
/// begun, and with them a lock that was released.
pub(crate) fn open(root: &Path, options: ApplyOptions) -> Applier {
    let begun = Instant::now();
    loop {
        match Applier::open(Dir::open(root).expect("root"), options) {
            Err(ApplyError::Locked) if begun.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened.expect("applier"),
        }
    }
}

/// Applies with what a scan has seen.
pub(crate) fn apply_keyed(
    applier: &mut Applier,
    plan: &Plan,
    keys: &(dyn Fn(&TreePath) -> Option<StatKey> + Sync),
) -> Result<Applied, ApplyError> {
    apply(applier, plan, &TestBlobs, &ServicePlan::default(), &NoServices, keys)
}

fn apply(
    applier: &mut Applier,
    plan: &Plan,
    blobs: &dyn Blobs,
    services: &ServicePlan,
    manager: &dyn ServiceManager,
    keys: &(dyn Fn(&TreePath) -> Option<StatKey> + Sync),
) -> Result<Applied, ApplyError> {
    let image = ImageId::of(b"image");
    applier.apply(&Order { plan, image, generation: 1, services, blobs, manager, keys, progress: &|_| {} })
}

/// Returns a pair of trees between which a plan has every kind of step, which is rare.
pub(crate) fn rich_pair(nth: usize) -> (FlatTree, FlatTree) {
    let (old, new) = pair(&mut Rng::new([12_687, 28_008, 28_598, 63_043, 68_285, 69_889][nth]));
    let plan = make_plan(&old, &new, &Filter::default());
    let has = |wanted: fn(&Op) -> bool| plan.steps.iter().any(|step| wanted(&step.op));
    let is_rich = plan.staged.iter().any(|staged| matches!(staged.source, Source::Link(_)))
        && has(|op| matches!(op, Op::Create { .. }))
        && has(|op| matches!(op, Op::Replace { swap: Swap::Leaf, .. }))
        && has(|op| matches!(op, Op::Replace { swap: Swap::Grow, .. }))
        && has(|op| matches!(op, Op::Replace { swap: Swap::Shrink { .. }, .. }))
        && has(|op| matches!(op, Op::Remove { .. }))
        && has(|op| matches!(op, Op::RemoveDir { .. }))
        && has(|op| matches!(op, Op::SetMeta { .. }))
        && has(|op| matches!(op, Op::SetMtime { .. }));
    assert!(is_rich, "the generator has changed: look for other seeds");
    (old, new)
}

pub(crate) fn managed_of(tree: &FlatTree) -> Managed {
    let directory_mtimes = tree.items.first().is_some_and(|(_, item)| item.meta().mtime.is_some());
    Managed { directory_mtimes, ..Managed::default() }
}

pub(crate) fn make_plan(have: &FlatTree, want: &FlatTree, filter: &Filter) -> Plan {
    let (from, to) = (root_id(have), root_id(want));
    let managed = managed_of(want);
    let safety = Safety::Forced;
    plan(&PlanInput { have, from, want, to, filter, managed, unmanaged: &[], safety }).expect("plan")
}

/// Compares two trees and shows where they differ.
#[track_caller]
pub(crate) fn assert_same(found: &FlatTree, expected: &FlatTree) {
    let differences = differences(found, expected);
    assert!(differences.is_empty(), "found (-) is not expected (+):\n{differences}");
}

pub(crate) fn differences(found: &FlatTree, expected: &FlatTree) -> String {
    let mut text = String::new();
    let lookup =
        |tree: &FlatTree| -> std::collections::BTreeMap<TreePath, Item> { tree.items.iter().cloned().collect() };
    let (found, expected) = (lookup(found), lookup(expected));
    for (path, item) in &found {
        if expected.get(path) != Some(item) {
            writeln!(text, "- {path} {item:?}").expect("text");
        }
    }
    for (path, item) in &expected {
        if found.get(path) != Some(item) {
            writeln!(text, "+ {path} {item:?}").expect("text");
        }
    }
    text
}

/// The content that random trees are made of.
pub(crate) struct TestBlobs;

impl Blobs for TestBlobs {
    fn write_blob(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        let bytes = LABELS.map(content).find(|bytes| BlobId::of(bytes) == blob).ok_or(io::ErrorKind::NotFound)?;
        assert_eq!(bytes.len() as u64, size);
        out.write_all(&bytes)
    }
}

/// Stops, or kills the process, when the given number of points was passed.
pub(crate) struct StopAfter {
    left: AtomicU64,
    kill: bool,
}

impl StopAfter {
    pub(crate) fn points(count: u64) -> Box<dyn Fault> {
        Box::new(Self { left: AtomicU64::new(count), kill: false })
    }

    pub(crate) fn kill_after(count: u64) -> Box<dyn Fault> {
        Box::new(Self { left: AtomicU64::new(count), kill: true })
    }

    pub(crate) fn never() -> Box<dyn Fault> {
        Box::new(NoFault)
    }
}

impl Fault for StopAfter {
    fn reach(&self, _: Point) -> Result<(), Interrupted> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Ok(());
        }
        if self.kill {
            let me = rustix::process::getpid();
            rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("killed");
        }
        Err(Interrupted)
    }
}
