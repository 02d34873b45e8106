//! Entries that are neither directory nor regular file.
//!
//! Owns reading and making symbolic links, devices and pipes. Invariant: a made entry has its whole metadata when the
//! call returns.
//!
//! Does not make it visible atomically: callers make it under a private name and rename it.

use dominator_store_core::{Content, Device, Leaf, Managed, Name, limits::SYMLINK_LEN_MAX};
use rustix::fs::{Dev, Mode};

use crate::{Dir, FileType, FsError, Result, Stat, error::At, inode::Inode, meta::read_meta};

/// Reads the symbolic link, device or pipe `name`; anything else is `None`. The link group is not known here.
pub fn read_leaf(dir: &Dir, name: &Name, managed: Managed) -> Result<Option<Leaf>> {
    let stat = dir.stat(name)?;
    read_leaf_of(dir, name, &stat, managed)
}

pub(crate) fn read_leaf_of(dir: &Dir, name: &Name, stat: &Stat, managed: Managed) -> Result<Option<Leaf>> {
    let content = match stat.kind {
        FileType::Symlink => {
            let target = dir.read_link(name)?;
            if target.is_empty() || target.len() > SYMLINK_LEN_MAX {
                return Err(FsError::Limit { path: dir.path().join(name), what: "symlink target too long" });
            }
            Content::Symlink { target: target.into() }
        }
        FileType::Block => Content::Block(stat.rdev),
        FileType::Char => Content::Char(stat.rdev),
        FileType::Fifo => Content::Fifo,
        FileType::Dir | FileType::File | FileType::Socket => return Ok(None),
    };
    let meta = read_meta(dir, name, stat, managed)?;
    Ok(Some(Leaf { meta, link: None, content }))
}

/// Makes the symbolic link, device or pipe `leaf` as `name`, which must not exist.
///
/// # Errors
/// `Unsupported` for a regular file: [`crate::NewFile`] makes those.
pub fn make_leaf(dir: &Dir, name: &Name, leaf: &Leaf, managed: Managed) -> Result<()> {
    let path = dir.path().join(name);
    let mode = Mode::RUSR | Mode::WUSR;
    let node = |kind, dev| rustix::fs::mknodat(dir.fd(), name.as_bytes(), kind, mode, dev);
    let made = match &leaf.content {
        Content::Symlink { target } => rustix::fs::symlinkat(&**target, dir.fd(), name.as_bytes()),
        Content::Block(device) => node(rustix::fs::FileType::BlockDevice, number(*device)),
        Content::Char(device) => node(rustix::fs::FileType::CharacterDevice, number(*device)),
        Content::Fifo => node(rustix::fs::FileType::Fifo, 0),
        Content::File { .. } => {
            return Err(FsError::Unsupported { path, what: "a regular file without content" });
        }
    };
    made.at("make", &path)?;
    Inode::Pinned(dir.pin(name)?).write_meta(&leaf.meta, managed, &path)
}

fn number(device: Device) -> Dev {
    rustix::fs::makedev(device.major, device.minor)
}
