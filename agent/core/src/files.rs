//! The few operations on names that an apply consists of.
//!
//! Owns the interface between what a step means (`execute`) and what carries it out: a real root in `agent/daemon`, a
//! model in tests. Invariant: no operation of it follows a symbolic link, leaves the managed root, or replaces a name
//! unless its own name says so.
//!
//! Does not say in which order they are called, or what a refusal means for the plan.

use std::fmt;

use dominator_store_core::{Meta, Mtime, TreePath};

use crate::step::Slot;

/// The number of an inode on the file system of the managed root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

/// Where a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In the managed root.
    Root(&'a TreePath),
    /// In the stage of the plan.
    Stage(Slot),
    /// Among what the plan took out of the managed root.
    Rollback(Slot),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path) => write!(f, "{path}"),
            Self::Stage(slot) => write!(f, "stage {slot}"),
            Self::Rollback(slot) => write!(f, "rollback {slot}"),
        }
    }
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Its inode, unless it belongs to another file system (a mount point).
    pub ino: Option<Ino>,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Whether an operation took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a refused operation has not happened"]
pub enum Moved {
    /// It took place.
    Done,
    /// It did not: a name exists that should not or the reverse, a directory is not empty or is a mount point, the
    /// inode is another one, or a parent cannot be reached without leaving the root.
    Refused,
}

/// A managed root with its stage, as far as steps need it.
///
/// An `Err` of any operation means that the world is broken (an IO error), not that it is different than expected.
pub trait Files {
    /// Why an operation failed.
    type Error;

    /// Says whether [`Files::exchange`] is supported.
    fn can_exchange(&self) -> bool;

    /// Finds what stands at a name; nothing if its parent cannot be reached.
    fn find(&mut self, at: Place<'_>) -> Result<Option<Found>, Self::Error>;

    /// Says whether the directory at `at` has no entries.
    fn is_empty_dir(&mut self, at: Place<'_>) -> Result<bool, Self::Error>;

    /// Renames, unless the new name exists.
    fn rename_new(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Self::Error>;

    /// Renames, replacing what is no directory by what is no directory.
    fn rename_over(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Self::Error>;

    /// Exchanges two names atomically, of whatever type.
    fn exchange(&mut self, one: Place<'_>, other: Place<'_>) -> Result<Moved, Self::Error>;

    /// Gives what is no directory another name, unless that name exists.
    fn link(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, Self::Error>;

    /// Removes a directory that is empty.
    fn remove_dir(&mut self, at: Place<'_>) -> Result<Moved, Self::Error>;

    /// Makes an empty directory with this metadata, or gives it to the one that is there.
    fn make_dir(&mut self, at: Place<'_>, meta: &Meta) -> Result<Moved, Self::Error>;

    /// Gives the directory with this inode its metadata, except the modification time.
    fn write_meta(&mut self, at: Place<'_>, ino: Ino, meta: &Meta) -> Result<Moved, Self::Error>;

    /// Gives the inode its modification time.
    fn write_mtime(&mut self, at: Place<'_>, ino: Ino, mtime: Mtime) -> Result<Moved, Self::Error>;
}
