//! Steps: the elements of a plan.
//!
//! Owns what a step can be and the order of kinds of steps within a plan (`spec/apply.md#order`). Invariant: a step
//! names everything it needs: path, operation, slot, and what it expects to find.
//!
//! Which steps a plan has is `plan`; what performing one means is `execute`.

use std::fmt;

use dominator_store_core::{Content, Difference, Item, Leaf, Meta, Mtime, TreePath};

use crate::files::Ino;

/// A numbered place in the stage and in the rollback directory of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a path is replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// No directory by no directory.
    Leaf,
    /// No directory by a directory, which comes with all that is in it.
    Grow,
    /// A directory, emptied by earlier steps, by no directory.
    Shrink {
        /// Metadata of the directory, to make it again.
        meta: Meta,
    },
}

/// What a step does to its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts what is staged at a name that is free.
    Create {
        /// Where it is staged.
        slot: Slot,
    },
    /// Puts what is staged in the place of what is there.
    Replace {
        /// Where it is staged.
        slot: Slot,
        /// Of which types.
        swap: Swap,
    },
    /// Takes away what is no directory.
    Remove {
        /// Where it is kept until the plan is done.
        slot: Slot,
    },
    /// Takes away a directory, unless something is left in it.
    RemoveDir {
        /// Where it is made again if the plan is undone.
        slot: Slot,
        /// Its metadata, to make it again.
        meta: Meta,
    },
    /// Changes mode, owner and attributes of a directory in place.
    SetMeta {
        /// What they were.
        old: Meta,
        /// What they become.
        new: Meta,
    },
    /// Changes the modification time in place.
    SetMtime {
        /// What it was, where known.
        old: Option<Mtime>,
        /// What it becomes.
        new: Mtime,
    },
}

impl Op {
    /// Returns the word used in tables and messages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Replace { .. } => "replace",
            Self::Remove { .. } => "remove",
            Self::RemoveDir { .. } => "remove directory",
            Self::SetMeta { .. } => "set metadata",
            Self::SetMtime { .. } => "set time",
        }
    }
}

/// What a leaf is for, in the order in which such leaves are put in place: what others need comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A shared library.
    Library,
    /// A symbolic link to a shared library.
    LibraryLink,
    /// Anything not below.
    Data,
    /// A program.
    Binary,
    /// Configuration or a service's unit.
    Config,
    /// Another symbolic link.
    Link,
    /// Of the boot loader or a kernel.
    Boot,
}

impl Class {
    /// Returns the class of a leaf.
    pub fn of(path: &TreePath, leaf: &Leaf) -> Self {
        let mut components = path.components().peekable();
        let first = components.peek().copied().unwrap_or_default();
        let name = path.components().last().unwrap_or_default();
        let is_link = matches!(leaf.content, Content::Symlink { .. });
        let is_library = name.ends_with(b".so") || name.windows(4).any(|window| window == b".so.");
        match () {
            () if first == b"boot" || first == b"efi" => Self::Boot,
            () if is_library && is_link => Self::LibraryLink,
            () if is_library => Self::Library,
            () if is_link => Self::Link,
            () if first == b"etc" || is_unit(path) => Self::Config,
            () if leaf.meta.mode & 0o111 != 0 => Self::Binary,
            () if components.any(|part| matches!(part, b"bin" | b"sbin" | b"libexec")) => Self::Binary,
            () => Self::Data,
        }
    }
}

/// Says whether the path is in a directory of systemd units.
fn is_unit(path: &TreePath) -> bool {
    let parts: Vec<&[u8]> = path.components().collect();
    parts.windows(2).any(|pair| matches!(pair, [b"systemd", b"system" | b"user"]))
}

/// Says whether the path is part of the user database, which must know an owner before his files appear.
pub(crate) fn is_account_file(path: &TreePath) -> bool {
    let files: [&[u8]; 6] = [b"etc/passwd", b"etc/group", b"etc/shadow", b"etc/gshadow", b"etc/subuid", b"etc/subgid"];
    files.contains(&path.as_bytes())
}

/// The kinds of steps, in the order in which they are performed (`spec/apply.md#order`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The user database.
    Accounts,
    /// New directories, each with everything in it.
    NewDirs,
    /// New names in directories that exist.
    NewLeaves(Class),
    /// Other content for names that exist.
    Replacements(Class),
    /// Names that change between directory, file, symlink and so on.
    TypeChanges,
    /// Names of which only metadata changes.
    Metadata,
    /// Names to take away.
    Removals,
    /// Directories to take away, inner ones first.
    DirRemovals,
    /// Modification times of directories, which the steps before have disturbed.
    DirTimes,
}

/// One element of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its place in the order.
    pub phase: Phase,
    /// What it is about.
    pub path: TreePath,
    /// What it does.
    pub op: Op,
    /// What it expects to find.
    pub old: Option<Item>,
    /// What it leaves.
    pub new: Option<Item>,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.word(), self.path)?;
        if let (Some(old), Some(new)) = (&self.old, &self.new) {
            let difference = Difference { path: self.path.clone(), old: Some(old.clone()), new: Some(new.clone()) };
            let words: Vec<&str> = difference.aspects().into_iter().map(|aspect| aspect.word()).collect();
            write!(f, " ({})", words.join(", "))?;
        }
        Ok(())
    }
}

/// A step bound to the inodes it is about, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundStep {
    /// What it is about.
    pub path: TreePath,
    /// What it does.
    pub op: Op,
    /// What stands there before.
    pub old: Option<Ino>,
    /// What stands there after.
    pub new: Option<Ino>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, mode: u16, target: Option<&[u8]>, expected: Class) {
        let content = match target {
            Some(target) => Content::Symlink { target: target.into() },
            None => Content::File { size: 0, blob: dominator_store_core::BlobId::of(&[]), holes: Vec::new() },
        };
        let leaf = Leaf { meta: Meta::new(mode, 0, 0), link: None, content };
        assert_eq!(Class::of(&TreePath::parse(path.as_bytes()).expect(path), &leaf), expected, "{path}");
    }

    #[test]
    fn what_others_need_comes_first() {
        check("usr/lib/libc.so.6", 0o755, None, Class::Library);
        check("usr/lib/libz.so.1", 0o777, Some(b"libz.so.1.2"), Class::LibraryLink);
        check("usr/share/doc/x", 0o644, None, Class::Data);
        check("usr/bin/ls", 0o755, None, Class::Binary);
        check("usr/sbin/odd", 0o600, None, Class::Binary);
        check("etc/ssh/run.sh", 0o755, None, Class::Config);
        check("usr/lib/systemd/system/ssh.service", 0o644, None, Class::Config);
        check("lib", 0o777, Some(b"usr/lib"), Class::Link);
        check("boot/vmlinuz", 0o644, None, Class::Boot);
        assert!(Class::Library < Class::LibraryLink && Class::Binary < Class::Config && Class::Link < Class::Boot);
    }
}
