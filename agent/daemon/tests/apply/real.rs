//! Two real Debian trees, as the demonstration bakes them.
//!
//! Owns the measure of the window on them. Invariant: what is measured is also compared, entry by entry.
//!
//! The way over the network is tested by the demonstration.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use dominator_agent_core::ServicePlan;
use dominator_agent_daemon::{
    apply::{ApplyOptions, Blobs},
    service::NoServices,
};
use dominator_store_core::{BlobId, Filter, FlatTree, Managed};
use dominator_store_fs::capture;

use crate::fixture::{Fixture, assert_same};

/// Gives the files of directories as blobs.
#[derive(Default)]
struct Files(BTreeMap<BlobId, PathBuf>);

impl Files {
    fn add(&mut self, root: &Path) -> FlatTree {
        let threads = NonZeroUsize::new(2).expect("two");
        let captured = capture(root, &Filter::default(), Managed::default(), threads, &|_, _| {}).expect("capture");
        for (path, item) in &captured.tree.items {
            if let Some((blob, _)) = item.blob() {
                let path: &std::ffi::OsStr = std::os::unix::ffi::OsStrExt::from_bytes(path.as_bytes());
                self.0.insert(blob, root.join(path));
            }
        }
        captured.tree
    }
}

impl Blobs for Files {
    fn write_blob(&self, blob: BlobId, _: u64, mut out: &mut dyn Write) -> io::Result<()> {
        let path = self.0.get(&blob).ok_or(io::ErrorKind::NotFound)?;
        io::copy(&mut std::fs::File::open(path)?, &mut out).map(|_| ())
    }
}

#[test]
fn real_trees_are_applied_exactly_and_within_the_window() {
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let images = target.join("demo-images");
    if !images.join("v2").is_dir() {
        eprintln!("SKIPPED: the demonstration's trees are not baked");
        return;
    }
    let mut files = Files::default();
    let (v1, v2) = (files.add(&images.join("v1")), files.add(&images.join("v2")));
    let fixture = Fixture::new();
    let options = ApplyOptions { threads: NonZeroUsize::new(2).expect("two"), ..ApplyOptions::default() };
    let mut applier = fixture.applier(options);
    for (name, want) in [("empty to v1", &v1), ("v1 to v2", &v2), ("v2 to v1", &v1)] {
        let plan = fixture.plan(want);
        let services = ServicePlan::default();
        let applied = fixture.apply_with(&mut applier, &plan, &files, &services, &NoServices).expect("applied");
        assert_same(&fixture.scan(Managed::default()), want);
        assert!(applied.drifted.is_empty() && applied.kept.is_empty(), "{applied:?}");
        eprintln!(
            "{name}: {} steps in a window of {} us, {} entries staged, {} bytes of which {} not found locally",
            applied.step_count,
            applied.window_us,
            applied.staged_count,
            applied.staged_len,
            plan.needs().iter().map(|(_, size)| size).sum::<u64>()
        );
        assert!(applied.window_us < 1_000_000, "a window of {} us", applied.window_us);
    }
}
