//! File systems with no room.
//!
//! Owns mounts of small file systems. Invariant: an apply that finds no room changes nothing and leaves nothing behind.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use dominator_agent_core::ServicePlan;
use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions, Blobs},
    service::NoServices,
};
use dominator_store_core::{BlobId, FlatTree, Managed};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::{
    fixture::{Fixture, assert_same},
    forest::content,
};

/// A mounted file system in memory.
pub(crate) struct Tmpfs(PathBuf);

impl Tmpfs {
    pub(crate) fn mount(at: &Path, options: &str) -> Self {
        let options = std::ffi::CString::new(options).expect("options");
        rustix::mount::mount("tmpfs", at, "tmpfs", MountFlags::empty(), options.as_c_str()).expect("mounted");
        Self(at.to_owned())
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A root on a small file system, and a tree with `count` files of 70,000 bytes, all different.
fn small(options: &str, count: u8) -> (tempfile::TempDir, Tmpfs, Fixture, FlatTree, FlatTree) {
    let dir = tempfile::tempdir().expect("directory");
    let mount = Tmpfs::mount(dir.path(), options);
    let fixture = Fixture::in_dir(tempfile::tempdir_in(dir.path()).expect("directory"));
    std::fs::write(fixture.path("a"), content(2)).expect("written");
    let other = Fixture::new();
    for at in 0..count {
        std::fs::create_dir_all(other.path("d")).expect("directory");
        std::fs::write(other.path("d").join(at.to_string()), [&content(5)[..], &[at]].concat()).expect("written");
    }
    let (old, new) = (fixture.scan(Managed::default()), other.scan(Managed::default()));
    (dir, mount, fixture, old, new)
}

struct Numbered;

impl Blobs for Numbered {
    fn write_blob(&self, blob: BlobId, _: u64, out: &mut dyn Write) -> io::Result<()> {
        let bytes = (0..=u8::MAX).map(|at| [&content(5)[..], &[at]].concat()).find(|bytes| BlobId::of(bytes) == blob);
        out.write_all(&bytes.expect("a known blob"))
    }
}

fn check_unchanged(fixture: &Fixture, old: &FlatTree) {
    assert_same(&fixture.scan(Managed::default()), old);
    assert_eq!(fixture.left_over(), [""; 0]);
}

#[test]
fn a_plan_without_room_is_refused_before_it_begins() {
    for options in ["size=2M", "size=64M,nr_inodes=60"] {
        let (_dir, _mount, fixture, old, new) = small(options, 60);
        let mut applier = fixture.applier(ApplyOptions::default());
        let plan = fixture.plan(&new);
        let failed = fixture.apply_with(&mut applier, &plan, &Numbered, &ServicePlan::default(), &NoServices);
        assert!(matches!(failed, Err(ApplyError::NoSpace { .. })), "{failed:?}");
        check_unchanged(&fixture, &old);
    }
}

/// Fills the file system as soon as staging begins.
struct Filler<'a>(&'a Path);

impl Blobs for Filler<'_> {
    fn write_blob(&self, blob: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        if !self.0.exists() {
            let _full = std::fs::write(self.0, vec![1; 64 << 20]);
        }
        Numbered.write_blob(blob, size, out)
    }
}

#[test]
fn running_out_of_room_while_staging_changes_nothing() {
    let (dir, _mount, fixture, old, new) = small("size=4M", 30);
    let mut applier = fixture.applier(ApplyOptions::default());
    let plan = fixture.plan(&new);
    let ballast = dir.path().join("ballast");
    let failed = fixture.apply_with(&mut applier, &plan, &Filler(&ballast), &ServicePlan::default(), &NoServices);
    assert!(matches!(failed, Err(ApplyError::Io { .. } | ApplyError::Fs(_))), "{failed:?}");
    check_unchanged(&fixture, &old);
    std::fs::remove_file(ballast).expect("removed");
    fixture.apply_with(&mut applier, &plan, &Numbered, &ServicePlan::default(), &NoServices).expect("applied");
    assert_same(&fixture.scan(Managed::default()), &new);
}
