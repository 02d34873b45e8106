//! Metadata of entries, read and written in place.
//!
//! Owns what of an inode becomes a `Meta` under what an image manages. Invariant: reading what was written gives the
//! same, for everything managed.
//!
//! New entries get theirs before they are visible (`new_file`, `leaf`).

use std::os::fd::AsFd;

use dominator_store_core::{Managed, Meta, Mtime, Name, TreePath};

use crate::{
    Dir, FileType, Result, Stat,
    inode::{Inode, proc_path},
    xattr::{self, XattrSource},
};

/// Reads the metadata of `name`, of which `stat` is known; a link is not followed.
///
/// # Errors
/// `Limit` if it has more extended attributes than a tree can record.
pub fn read_meta(dir: &Dir, name: &Name, stat: &Stat, managed: Managed) -> Result<Meta> {
    read(&NameIn::new(dir, name), &|| dir.path().join(name), stat, managed)
}

/// Reads the metadata of the directory itself, of which `stat` is known.
///
/// # Errors
/// As [`read_meta`].
pub fn read_meta_self(dir: &Dir, stat: &Stat, managed: Managed) -> Result<Meta> {
    read(&Inode::Open(dir.fd()), &|| dir.path().clone(), stat, managed)
}

/// Gives a held directory the metadata `meta`, as far as it is managed; writes only what differs.
pub fn write_dir_meta(dir: &Dir, meta: &Meta, managed: Managed) -> Result<()> {
    Inode::Open(dir.fd()).write_meta(meta, managed, dir.path())
}

/// Gives the entry `name`, of any type, the metadata `meta`, as far as it is managed; writes only what differs.
///
/// The change is not atomic: a reader may see a part of it.
pub fn write_meta_in_place(dir: &Dir, name: &Name, meta: &Meta, managed: Managed) -> Result<()> {
    Inode::Pinned(dir.pin(name)?).write_meta(meta, managed, &dir.path().join(name))
}

/// Gives the entry `name`, of any type, the modification time `mtime`, provided that it is the inode `ino`; says whether
/// it was. The change is atomic.
pub fn write_mtime(dir: &Dir, name: &Name, ino: u64, mtime: Mtime) -> Result<bool> {
    let path = dir.path().join(name);
    let inode = Inode::Pinned(dir.pin(name)?);
    let is_expected = inode.stat(&path)?.ino == ino;
    if is_expected {
        inode.write_mtime(mtime, &path)?;
    }
    Ok(is_expected)
}

/// Makes the metadata of `stat` with no extended attributes.
pub(crate) fn plain(stat: &Stat, managed: Managed) -> Meta {
    let mtimes = if stat.kind == FileType::Dir { managed.directory_mtimes } else { managed.mtimes };
    Meta {
        // Linux ignores the mode of symbolic links, and so do trees.
        mode: if stat.kind == FileType::Symlink { 0o777 } else { stat.mode },
        uid: stat.uid,
        gid: stat.gid,
        mtime: mtimes.then_some(stat.mtime),
        xattrs: Vec::new(),
    }
}

fn read(source: &impl XattrSource, path: &dyn Fn() -> TreePath, stat: &Stat, managed: Managed) -> Result<Meta> {
    let mut meta = plain(stat, managed);
    if managed.xattrs {
        meta.xattrs = xattr::read(source, &path())?;
    }
    Ok(meta)
}

/// A name in a held directory, reached through the directory's magic link; the name itself is never followed.
struct NameIn(Vec<u8>);

impl NameIn {
    fn new(dir: &Dir, name: &Name) -> Self {
        let mut path = proc_path(dir.fd().as_fd()).into_bytes();
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
        Self(path)
    }
}

impl XattrSource for NameIn {
    fn list(&self, buf: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::llistxattr(&*self.0, buf)
    }

    fn get(&self, name: &[u8], buf: &mut [u8]) -> rustix::io::Result<usize> {
        rustix::fs::lgetxattr(&*self.0, name, buf)
    }
}
