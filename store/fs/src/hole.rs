//! Holes of sparse files.
//!
//! Owns asking the kernel for them. Invariant: the map is canonical, and does not depend on what the page cache holds
//! for a file that is preallocated as a whole.
//!
//! Making holes is `new_file`.

use std::fs::File;

use dominator_store_core::{Hole, TreePath, coarsen_holes};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use crate::{FsError, Result, limits::STORAGE_SLACK_LEN};

/// Returns the holes of a file of `size` bytes, canonical. Moves the file's position.
///
/// Best asked for after reading the content: storage that was reserved but never written counts as a hole until it has
/// been read once. Errors name no path: [`FsError::located`] does.
pub fn read_holes(file: &File, size: u64) -> Result<Vec<Hole>> {
    let fail = |errno| FsError::io("find holes of", &TreePath::root(), errno);
    let mut reported = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match seek(file, SeekFrom::Hole(at)) {
            Ok(start) if start < size => start,
            // The file system knows no holes, or the file was cut meanwhile.
            Ok(_) | Err(Errno::NXIO | Errno::INVAL | Errno::OPNOTSUPP) => break,
            Err(errno) => return Err(fail(errno)),
        };
        let end = match seek(file, SeekFrom::Data(start)) {
            Ok(end) => end.min(size),
            Err(Errno::NXIO) => size,
            Err(errno) => return Err(fail(errno)),
        };
        if end > start {
            reported.push(Hole { offset: start, len: end - start });
        }
        at = end.max(start + 1);
    }
    if reported.is_empty() {
        return Ok(reported);
    }
    let hole_len: u64 = reported.iter().map(|hole| hole.len).sum();
    let allocated = rustix::fs::fstat(file).map_err(fail)?.st_blocks;
    let allocated = u64::try_from(allocated).unwrap_or(0).saturating_mul(512);
    // All storage is there, so what looks like a hole is storage that was never written.
    if allocated >= size && hole_len > STORAGE_SLACK_LEN {
        return Ok(Vec::new());
    }
    Ok(coarsen_holes(size, &reported))
}
