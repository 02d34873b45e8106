//! What can be compared: an image by name, or a directory on this machine.
//!
//! Owns reading both into one shape. Invariants: a directory is captured under the filter and the managed metadata of the
//! image that it is compared with; sub-trees that both sides share are not read from a server.
//!
//! Comparing them is `store/core`; telling the result is `compare`.

use std::{
    collections::HashMap,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Result};
use dominator_store_core::{
    Difference, Directory, Filter, Image, ImageName, ImageNameError, Managed, ReadTreeError, TreeId, TreePath, diff,
};
use dominator_store_fs::{Skipped, capture};

use crate::{images::Images, progress::Progress};

/// One side of a comparison, as named on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Operand {
    /// An image.
    Image(ImageName),
    /// A directory: anything that begins with `/` or `.`, which no image name does.
    Directory(PathBuf),
}

impl FromStr for Operand {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        match text.starts_with(['/', '.']) {
            true => Ok(Self::Directory(text.into())),
            false => text.parse().map(Self::Image),
        }
    }
}

/// A captured directory in memory.
pub(super) struct Captured {
    root: TreeId,
    directories: HashMap<TreeId, Directory>,
    /// What it holds that no image can.
    pub(super) skipped: Vec<(TreePath, Skipped)>,
}

impl Captured {
    /// Captures a directory as `image` would have it, or with everything managed.
    pub(super) fn read(path: &Path, image: Option<&Image>, threads: NonZeroUsize) -> Result<Self> {
        let progress = Progress::start("capture", "entries");
        let on = |_: &TreePath, len| {
            progress.meter().add_count(1);
            progress.meter().add_len(len);
        };
        let everything = Filter::default();
        let (filter, managed) = image.map_or((&everything, Managed::default()), |image| (&image.filter, image.managed));
        let captured = capture(path, filter, managed, threads, &on)
            .with_context(|| format!("cannot capture {}", path.display()))?;
        let mut directories = HashMap::new();
        let root = captured.tree.encode_directories(&mut |_, directory| {
            let id = directory.id();
            directories.insert(id, directory);
            id
        })?;
        Ok(Self { root, directories, skipped: captured.skipped })
    }
}

/// One side of a comparison, read.
pub(super) enum Side<'a> {
    /// The tree of an image.
    Image(&'a Images, TreeId),
    /// A directory.
    Captured(&'a Captured),
}

impl Side<'_> {
    fn root(&self) -> TreeId {
        match self {
            Self::Image(_, root) => *root,
            Self::Captured(captured) => captured.root,
        }
    }

    /// Returns the directory, if it is of this side.
    fn directory(&self, id: TreeId) -> Option<Result<Directory, ReadTreeError<crate::images::SourceError>>> {
        match self {
            Self::Captured(captured) => captured.directories.get(&id).cloned().map(Ok),
            Self::Image(images, _) => Some(images.directory(id)),
        }
    }
}

/// Returns every path at which the two sides differ, in the order of a walk.
pub(super) fn differences(old: &Side<'_>, new: &Side<'_>) -> Result<Vec<Difference>> {
    match (old, new) {
        (Side::Image(images, a), Side::Image(_, b)) => images.prefetch_trees(&[*a, *b])?,
        // Against a directory, what is equal is known to be so without the server; what differs is asked for as it comes.
        (Side::Image(images, root), Side::Captured(captured))
        | (Side::Captured(captured), Side::Image(images, root)) => {
            if captured.root != *root {
                images.prefetch_trees(&[*root])?;
            }
        }
        (Side::Captured(_), Side::Captured(_)) => {}
    }
    let mut differences = Vec::new();
    // Directories in memory first: an id names the same directory on either side.
    let sides = match old {
        Side::Captured(_) => [old, new],
        Side::Image(..) => [new, old],
    };
    let mut get = |id: TreeId| {
        let found = sides.iter().find_map(|side| side.directory(id));
        found.unwrap_or(Err(ReadTreeError::Source(id, crate::images::SourceError::Absent(id.into()))))
    };
    diff(Some(old.root()), Some(new.root()), &mut get, &mut |difference| differences.push(difference))
        .context("cannot compare the trees")?;
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_from_a_name_by_its_first_character() {
        assert_eq!("/srv/tree".parse(), Ok(Operand::Directory("/srv/tree".into())));
        assert_eq!("./tree".parse(), Ok(Operand::Directory("./tree".into())));
        assert_eq!("debian/v1".parse(), Ok(Operand::Image("debian/v1".parse().unwrap())));
        assert!("no such:::name!".parse::<Operand>().is_err());
    }
}
