//! Reading the content of files, several at a time.
//!
//! Owns the choice of threads and the check that a file is still the listed one after it was read. Invariant: a result
//! belongs to the listed key: a file that was replaced or written meanwhile is an error, not a content.
//!
//! Does not remember anything (`known`).

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use dominator_store_core::{BlobId, Hole};
use dominator_store_fs::{Dir, FsError, Listed, hash_file, limits::HASH_BUF_LEN, read_holes};

/// The content of one file.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) blob: BlobId,
    pub(super) size: u64,
    pub(super) holes: Vec<Hole>,
}

/// Reads every listed file and returns the results in their order.
pub(super) fn hash_all<'l>(
    root: &Dir,
    files: &[&'l Listed],
    threads: NonZeroUsize,
) -> Vec<(&'l Listed, Result<Hashed, FsError>)> {
    let next = AtomicUsize::new(0);
    let work = || {
        let (mut buf, mut done) = (vec![0; HASH_BUF_LEN], Vec::new());
        loop {
            let pos = next.fetch_add(1, Ordering::Relaxed);
            let Some(listed) = files.get(pos) else { return done };
            done.push((pos, hash_one(root, listed, &mut buf)));
        }
    };
    let mut results = match threads.get().min(files.len()) {
        0 | 1 => work(),
        count => thread::scope(|scope| {
            let helpers: Vec<_> = (1..count).map(|_| scope.spawn(work)).collect();
            let mut results = work();
            for helper in helpers {
                results.extend(helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            }
            results
        }),
    };
    results.sort_by_key(|(pos, _)| *pos);
    results.into_iter().filter_map(|(pos, result)| Some((*files.get(pos)?, result))).collect()
}

fn hash_one(root: &Dir, listed: &Listed, buf: &mut [u8]) -> Result<Hashed, FsError> {
    let file = root.open_file_path(&listed.path)?;
    let (blob, size) = hash_file(&file, buf)?;
    let holes = read_holes(&file, size)?;
    // The path still stands for the file that was listed, so what was read is what was listed.
    if root.stat_path(&listed.path)?.key() != listed.stat.key() {
        return Err(FsError::Unstable { path: listed.path.clone() });
    }
    Ok(Hashed { blob, size, holes })
}
