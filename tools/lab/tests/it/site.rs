//! A site for tests: a lab with small generated trees instead of Debian images.
//!
//! Owns the trees. Invariant: they hold every kind of entry and peculiarity, and enough ordinary files that an update is
//! neither empty nor unsafe.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use dominator_lab::{Lab, LabOptions, Programs, Watch, compare, wait_until};
use dominator_testkit::{Rng, hostile_tree};
use tempfile::TempDir;

pub(crate) const V1: &str = "test/v1";
pub(crate) const V2: &str = "test/v2";
pub(crate) const STEP_TIME_MAX: Duration = Duration::from_secs(90);
const PLAIN_COUNT: u64 = 240;

pub(crate) struct Site {
    pub(crate) lab: Lab,
    trees: PathBuf,
    _dir: TempDir,
}

impl Site {
    /// Makes a lab with both images published and the machines known to the database as v1; no agent or controller runs.
    pub(crate) fn new(hosts: &[&str]) -> Result<Self> {
        Self::with_options(hosts, LabOptions::default())
    }

    pub(crate) fn with_options(hosts: &[&str], options: LabOptions) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("lab-").tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let trees = dir.path().join("trees");
        for (version, tree) in [(1, "v1"), (2, "v2")] {
            make_tree(&trees.join(tree), version)?;
        }
        let mut lab = Lab::create(&dir.path().join("lab"), Programs::find()?, options)?;
        lab.publish(V1, &trees.join("v1"))?;
        lab.publish(V2, &trees.join("v2"))?;
        for host in hosts {
            lab.add_machine(host)?;
            lab.require(host, V1)?;
        }
        Ok(Self { lab, trees, _dir: dir })
    }

    /// Starts the controller and every agent.
    pub(crate) fn start_all(&mut self) -> Result<()> {
        self.lab.start_dominator()?;
        for machine in self.lab.machines.values_mut() {
            machine.subd.start()?;
        }
        Ok(())
    }

    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        self.trees.join(name)
    }

    pub(crate) fn wait(&self, wanted: &[(&str, &str)]) -> Result<()> {
        self.lab.wait_converged(wanted, STEP_TIME_MAX, &mut Watch::silent())?;
        Ok(())
    }

    /// Waits until the machine's root equals the tree, by rsync, and the controller says so too.
    pub(crate) fn wait_equal(&self, host: &str, tree: &str) -> Result<()> {
        let root = &self.lab.machines.get(host).context("no such machine")?.root;
        let mut last = Vec::new();
        wait_until(STEP_TIME_MAX, || {
            let converged = self
                .lab
                .statuses()
                .is_ok_and(|statuses| statuses.iter().any(|status| status.host == host && status.converged));
            if !converged {
                return Ok(None);
            }
            last = compare(&self.tree(tree), root)?.lines;
            Ok(last.is_empty().then_some(()))
        })
        .with_context(|| {
            let log = self.lab.machines.get(host).map(|machine| machine.subd.log_text()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            format!("{host} does not become {tree}: {last:?}\n{}\n{}", self.status_text(host), tail.join("\n"))
        })
    }

    pub(crate) fn status_text(&self, host: &str) -> String {
        match self.lab.detail(host) {
            Ok(detail) => format!("{:?}", detail.machine),
            Err(error) => error.to_string(),
        }
    }
}

fn make_tree(dir: &Path, version: u64) -> Result<()> {
    let plain = dir.join("plain");
    fs::create_dir_all(plain.join("sub/deeper"))?;
    let mut rng = Rng::new(7);
    for at in 0..PLAIN_COUNT {
        let mut bytes = rng.bytes(plain_len(at));
        let is_changed = at % 5 == 0;
        if version == 2 && is_changed {
            let middle = bytes.len() / 2;
            bytes.splice(middle..middle, b"changed in version 2".iter().copied());
        }
        let place = [&plain, &plain.join("sub"), &plain.join("sub/deeper")][usize::try_from(at % 3)?]
            .join(format!("file-{at:03}"));
        let is_there = match version {
            1 => at % 17 != 3,
            _ => at % 19 != 4,
        };
        if is_there {
            fs::write(&place, bytes)?;
        }
    }
    symlink("sub/deeper", plain.join("link"))?;
    symlink(format!("version-{version}"), plain.join("current"))?;
    fs::write(plain.join("linked"), format!("one file, two names, version {version}"))?;
    fs::hard_link(plain.join("linked"), plain.join("sub/linked too"))?;
    fs::create_dir(dir.join("victim"))?;
    fs::write(dir.join("victim/inside"), "a directory that a test replaces")?;
    // Half of what is hostile stays, or replacing all of it would be refused as unsafe.
    for (name, seed) in [("hostile", version), ("hostile and kept", 9)] {
        let hostile = dir.join(name);
        fs::create_dir(&hostile)?;
        hostile_tree(&hostile, seed)?;
    }
    Ok(())
}

/// Returns the length of a plain file: many are small, some have several chunks.
fn plain_len(at: u64) -> usize {
    match at % 40 {
        0 => 700_000,
        20 => 120_000,
        rest => 1 + usize::try_from(rest * 317).unwrap_or(0),
    }
}
