//! Extended attributes: which are managed, and reading them.
//!
//! Owns the name spaces of `spec/capture.md#xattrs`. Invariant: what is read is sorted by name and within the limits of a
//! tree, or an error.
//!
//! Writing them is `inode`, in the order that the kernel requires.

use dominator_store_core::{
    TreePath, Xattr,
    limits::{XATTR_COUNT_MAX, XATTR_NAME_LEN_MAX, XATTRS_LEN_MAX},
};
use rustix::io::Errno;

use crate::{
    FsError, Result,
    limits::{RETRY_COUNT_MAX, XATTR_LIST_LEN_MAX, XATTR_VALUE_LEN_MAX},
};

/// The attribute that a change of owner or content drops, so that it is set last.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Says whether an attribute is recorded and restored.
pub(crate) fn is_managed(name: &[u8]) -> bool {
    const ACLS: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
    // Made by the kernel of this machine for this machine.
    const LOCAL: [&[u8]; 2] = [b"security.evm", b"security.ima"];
    let within = |space: &[u8]| name.len() > space.len() && name.starts_with(space);
    let spaces = within(b"user.") || within(b"security.") || (within(b"trusted.") && !name.starts_with(OVERLAY));
    (spaces && !LOCAL.contains(&name)) || ACLS.contains(&name)
}

/// Says whether an attribute that is there but not wanted may be removed: labels of a security module may not.
pub(crate) fn is_removable(name: &[u8]) -> bool {
    is_managed(name) && name != b"security.selinux" && !name.starts_with(b"security.SMACK64")
}

const OVERLAY: &[u8] = b"trusted.overlay.";

/// The system calls on one inode; a buffer too short is `ERANGE`.
pub(crate) trait XattrSource {
    fn list(&self, buf: &mut [u8]) -> rustix::io::Result<usize>;
    fn get(&self, name: &[u8], buf: &mut [u8]) -> rustix::io::Result<usize>;
}

/// Lists the names of managed attributes, unsorted; a file system without attributes has none.
pub(crate) fn names(source: &impl XattrSource, path: &TreePath) -> Result<Vec<Box<[u8]>>> {
    let mut short = [0; 1024];
    let mut long = Vec::new();
    let list = match source.list(&mut short) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Ok(len) => short.get(..len),
        Err(Errno::RANGE) => {
            long.resize(XATTR_LIST_LEN_MAX, 0);
            let len = source.list(&mut long).map_err(|errno| match errno {
                Errno::RANGE | Errno::TOOBIG => too_many(path),
                errno => FsError::io("list attributes of", path, errno),
            })?;
            long.get(..len)
        }
        Err(errno) => return Err(FsError::io("list attributes of", path, errno)),
    };
    let names = list.unwrap_or_default().split(|byte| *byte == 0).filter(|name| is_managed(name));
    Ok(names.map(Box::from).collect())
}

/// Returns the value of an attribute, or `None` if there is no such attribute.
pub(crate) fn value(source: &impl XattrSource, name: &[u8], path: &TreePath) -> Result<Option<Box<[u8]>>> {
    let fail = |errno| FsError::io("read attribute of", path, errno);
    let mut short = [0; 256];
    match source.get(name, &mut short) {
        Ok(len) => return Ok(short.get(..len).map(Box::from)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(fail(errno)),
    }
    let mut long = vec![0; XATTR_VALUE_LEN_MAX];
    match source.get(name, &mut long) {
        Ok(len) => Ok(long.get(..len).map(Box::from)),
        Err(Errno::NODATA) => Ok(None),
        Err(Errno::RANGE | Errno::TOOBIG) => Err(too_many(path)),
        Err(errno) => Err(fail(errno)),
    }
}

/// Reads all managed attributes, sorted by name.
pub(crate) fn read(source: &impl XattrSource, path: &TreePath) -> Result<Vec<Xattr>> {
    'again: for _ in 0..RETRY_COUNT_MAX {
        let mut names = names(source, path)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        names.sort_unstable();
        let mut xattrs = Vec::with_capacity(names.len());
        let mut len = 0;
        for name in names {
            // Removed since it was listed: what else was listed may be out of date too.
            let Some(value) = value(source, &name, path)? else { continue 'again };
            len += name.len() + value.len();
            if len > XATTRS_LEN_MAX || xattrs.len() == XATTR_COUNT_MAX || name.len() > XATTR_NAME_LEN_MAX {
                return Err(too_many(path));
            }
            xattrs.push(Xattr { name, value });
        }
        return Ok(xattrs);
    }
    Err(FsError::Unstable { path: path.clone() })
}

fn too_many(path: &TreePath) -> FsError {
    FsError::Limit { path: path.clone(), what: "more extended attributes than a tree can record" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_spaces_are_those_of_the_specification() {
        let managed: [&[u8]; 6] = [
            b"user.x",
            b"trusted.x",
            CAPABILITY,
            b"security.selinux",
            b"system.posix_acl_access",
            b"system.posix_acl_default",
        ];
        let others: [&[u8]; 7] = [
            b"user.",
            b"users.x",
            b"security.ima",
            b"security.evm",
            b"trusted.overlay.opaque",
            b"system.nfs4_acl",
            b"btrfs.compression",
        ];
        assert!(managed.iter().all(|name| is_managed(name)));
        assert!(!others.iter().any(|name| is_managed(name)));
        assert!(is_removable(CAPABILITY) && !is_removable(b"security.selinux"));
    }
}
