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
    hash_with(file, path, buf, &mut |buf, offset| retry_on_intr(|| pread(file, &mut *buf, offset)))
}

fn hash_with(
    file: &File,
    path: &TreePath,
    buf: &mut [u8],
    read: &mut impl FnMut(&mut [u8], u64) -> rustix::io::Result<usize>,
) -> Result<(BlobId, Stat)> {
    if buf.is_empty() {
        return Err(FsError::io("read", path, Errno::INVAL));
    }
    let before = stat(file, path)?;
    let mut hasher = BlobHasher::new();
    let mut offset = 0;
    // One read beyond the size shows that the file ends there.
    while offset <= before.size {
        let len = read(&mut *buf, offset).at("read", path)?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Timespec, Timestamps};

    use super::*;

    const LEN: u64 = 100_000;

    /// Hashes a file that `change` changes after the first piece was read.
    fn check(change: impl Fn(&File), is_stable: bool) {
        let file = tempfile::tempfile().expect("temporary file");
        file.write_all_at(&vec![7; 100_000], 0).expect("write");
        // Long ago, so that a change within the same tick of the clock shows.
        let old = Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = Timestamps { last_access: old, last_modification: old };
        rustix::fs::futimens(&file, &times).expect("set times");
        let mut read = |buf: &mut [u8], offset| {
            let len = pread(&file, buf, offset)?;
            if offset == 0 {
                change(&file);
            }
            Ok(len)
        };
        let hashed = hash_with(&file, &TreePath::root(), &mut vec![0; 4096], &mut read);
        match hashed {
            Ok((blob, stat)) => {
                assert!(is_stable);
                assert_eq!((blob, stat.size), (BlobId::of(&vec![7; 100_000]), LEN));
            }
            Err(error) => assert!(!is_stable && matches!(error, FsError::Unstable { .. }), "{error}"),
        }
    }

    #[test]
    fn a_change_while_reading_is_reported() {
        check(|_| {}, true);
        check(|file| file.write_all_at(b"x", LEN - 1).expect("overwrite"), false);
        check(|file| file.write_all_at(b"x", 0).expect("overwrite what was read"), false);
        check(|file| file.write_all_at(b"x", LEN).expect("append"), false);
        check(|file| file.set_len(LEN - 1).expect("cut"), false);
        check(|file| file.set_len(0).expect("empty"), false);
        check(|file| file.set_len(LEN + 1).expect("lengthen"), false);
    }
}
