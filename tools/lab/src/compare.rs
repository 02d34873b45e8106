//! Comparing a managed root with its source by an independent tool.
//!
//! Owns the call of `rsync`, which knows nothing of us: content, owners, modes, times, links, ACLs and attributes, and
//! what is there and should not be. Invariant: equal means that it has nothing to do.
//!
//! rsync looks at whole seconds unless told otherwise and does not see a hard link that should be two files, so that link
//! counts are compared here.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// One line per difference; none if the trees are equal.
    pub lines: Vec<String>,
}

impl Compared {
    /// Says whether the trees are equal.
    pub fn is_equal(&self) -> bool {
        self.lines.is_empty()
    }
}

/// Compares the managed root `root` with the tree `source` that its image was made of.
///
/// # Errors
/// If `rsync` cannot be run or does not end well.
pub fn compare(source: &Path, root: &Path) -> Result<Compared> {
    let slash = |path: &Path| {
        let mut text = path.as_os_str().to_owned();
        text.push("/");
        text
    };
    let output = Command::new("rsync")
        .args(["-aHAXni", "--delete", "--checksum", "--omit-dir-times", "--modify-window=-1", "--exclude=/.subd"])
        .arg(slash(source))
        .arg(slash(root))
        .output()
        .context("cannot run rsync")?;
    if !output.status.success() {
        bail!("rsync failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let (expected, found) = (link_counts(source)?, link_counts(root)?);
    for (path, count) in &expected {
        match found.get(path) {
            Some(other) if other != count => lines.push(format!("link count {other}, expected {count}: {path}")),
            _ => {}
        }
    }
    Ok(Compared { lines })
}

/// Returns the number of names of every file with more than one, and of every file that has one in neither tree's way.
fn link_counts(root: &Path) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            let relative = path.strip_prefix(root)?;
            if relative == Path::new(".subd") {
                continue;
            }
            let meta = std::fs::symlink_metadata(&path)?;
            if meta.is_dir() {
                pending.push(path);
            } else {
                counts.insert(format!("{relative:?}"), meta.nlink());
            }
        }
    }
    Ok(counts)
}
