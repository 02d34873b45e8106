//! The digest of a file's content.
//!
//! Owns reading a file from start to end. Invariant: a blob id is returned only if size and times were the same before
//! and after, so that it is the id of content that the file really had; a change through a memory map may show late.
//!
//! Cutting content into chunks is `store/engine`.

use std::fs::File;

use dominator_store_core::{BlobHasher, BlobId, TreePath};
use rustix::{
    fs::{AtFlags, StatxFlags, statx},
    io::{Errno, pread, retry_on_intr},
};

use crate::{FsError, Result, Stat, error::At};

/// Hashes a whole file with reads of at most `buf.len()` bytes; returns its id and size.
///
/// # Errors
/// `Unstable` if it changed meanwhile. Errors name no path: [`FsError::located`] does.
pub fn hash_file(file: &File, buf: &mut [u8]) -> Result<(BlobId, u64)> {
    hash_file_at(file, &TreePath::root(), buf).map(|(blob, stat)| (blob, stat.size))
}

/// Hashes a whole file; returns its id and what the kernel says about it.
pub(crate) fn hash_file_at(file: &File, path: &TreePath, buf: &mut [u8]) -> Result<(BlobId, Stat)> {
    if buf.is_empty() {
        return Err(FsError::io("read", path, Errno::INVAL));
    }
    let before = stat(file, path)?;
    let mut hasher = BlobHasher::new();
    let mut offset = 0;
    // One read beyond the size shows that the file ends there.
    while offset <= before.size {
        let len = retry_on_intr(|| pread(file, &mut *buf, offset)).at("read", path)?;
        if len == 0 {
            break;
        }
        hasher.update(buf.get(..len).unwrap_or_default());
        offset += len as u64;
    }
    let after = stat(file, path)?;
    if offset != before.size || before.key() != after.key() {
        return Err(FsError::Unstable { path: path.clone() });
    }
    Ok((hasher.finish(), after))
}

fn stat(file: &File, path: &TreePath) -> Result<Stat> {
    Ok(Stat::new(&statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).at("look at", path)?))
}
