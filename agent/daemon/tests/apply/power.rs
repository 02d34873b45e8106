//! Losing power: what had not reached the disk is gone.
//!
//! Owns an ext4 file system in a file, mounted so that it holds back as much as it may. The file is copied while the file
//! system is in use, which is what a disk would have after a power cut. Invariant: the same cut without the calls that
//! wait for the disk leaves a root that is neither tree; otherwise the test would show nothing.
//!
//! Stops of the process alone, after which everything written is still there, are in `crash` and `kill`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use dominator_store_core::FlatTree;
use rustix::mount::UnmountFlags;

use crate::{
    crash::check_recovery,
    fixture::{Fixture, differences, managed_of, rich_pair},
    forest::Rng,
    kill::{NTH, run_child},
};

/// A file system in a file.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn make(image: &Path) -> bool {
        let file = std::fs::File::create(image).expect("file");
        file.set_len(64 << 20).expect("size");
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))
    }

    fn mount(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("directory");
        let mounted = run(Command::new("mount").args(["-o", "loop,noauto_da_alloc,commit=1"]).arg(image).arg(at));
        mounted.then(|| Self { at: at.to_owned() })
    }

    fn root(&self) -> PathBuf {
        self.at.join("root")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.at, UnmountFlags::empty());
    }
}

fn run(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Makes a disk whose root is `tree`, applies on it in a child, waits, and cuts the power; returns the disk after it, and whether
/// the apply had ended.
fn cut(dir: &Path, tree: &FlatTree, points: Option<u64>, wrap: &[&str], wait: Duration) -> Option<(Disk, bool)> {
    let (image, copy) = (dir.join("image"), dir.join("copy"));
    if !Disk::make(&image) {
        return None;
    }
    let disk = Disk::mount(&image, &dir.join("mnt"))?;
    std::fs::create_dir(disk.root()).expect("root");
    Fixture::at(disk.root()).make(tree);
    let status = run_child(&disk.root(), points, wrap);
    std::thread::sleep(wait);
    assert!(run(Command::new("cp").arg("--sparse=always").arg(&image).arg(&copy)), "copied");
    drop(disk);
    Some((Disk::mount(&copy, &dir.join("after"))?, status.success()))
}

#[test]
fn a_power_cut_at_any_point_ends_as_one_of_the_trees() {
    let (old, new) = rich_pair(NTH);
    let mut rng = Rng::new(4);
    let mut ended_count = 0;
    for count in (0..66).step_by(3) {
        let dir = tempfile::tempdir().expect("directory");
        // Now and then what is not waited for reaches the disk, too.
        let wait = Duration::from_millis(if rng.one_in(3) { 1200 } else { 0 });
        let Some((disk, ended)) = cut(dir.path(), &old, Some(count), &[], wait) else {
            eprintln!("SKIPPED: no file system in a file can be made and mounted here");
            return;
        };
        let (fixture, case) = (Fixture::at(disk.root()), format!("cut after {count}, {wait:?}"));
        if ended {
            let lost = differences(&fixture.scan(managed_of(&new)), &new);
            assert!(lost.is_empty(), "{case}: an apply that had ended is lost:\n{lost}");
            ended_count += 1;
        }
        check_recovery(&fixture, &old, &new, &case);
    }
    assert!(ended_count > 0, "no apply had ended");
}

#[test]
fn without_waiting_for_the_disk_a_power_cut_ends_as_neither() {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: strace is not installed");
        return;
    }
    let (old, new) = rich_pair(NTH);
    let dir = tempfile::tempdir().expect("directory");
    // The calls say that they have waited.
    let calls = "syncfs,fsync,fdatasync";
    let (trace, inject) = (format!("trace={calls}"), format!("inject={calls}:retval=0"));
    let wrap = ["strace", "-qq", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let Some((disk, true)) = cut(dir.path(), &old, None, &wrap, Duration::from_millis(2500)) else {
        eprintln!("SKIPPED: no file system in a file can be made and mounted here");
        return;
    };
    let found = Fixture::at(disk.root()).scan(managed_of(&old));
    let is = |tree| differences(&found, tree).is_empty();
    assert!(!is(&old) && !is(&new), "the test of power cuts tests nothing");
}
