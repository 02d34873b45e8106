//! Every bound on what an apply takes (`spec/apply.md#limits`).
//!
//! Owns the numbers and nothing else. Invariant: none of them can make an apply do half of something: they end it before
//! the window or do not concern it.
//!
//! Bounds of journals are in `agent/core`.

use std::time::Duration;

/// Most directories of the root held open at a time.
pub(super) const OPEN_DIR_COUNT_MAX: usize = 256;
/// Bytes read and written at a time while staging.
pub(super) const COPY_BUF_LEN: usize = 256 * 1024;
/// Storage that every staged entry is taken to need beyond its content, in bytes.
pub(super) const ENTRY_LEN: u64 = 256;
/// Storage that every staged directory is taken to need, in bytes, and the unit in which content is counted.
pub(super) const BLOCK_LEN: u64 = 4096;
/// Storage to be left free beyond what is staged, in bytes: for the journal and the directories of the window.
pub(super) const SPACE_SLACK_LEN: u64 = 256 * 1024;
/// Inodes to be left free beyond what is staged.
pub(super) const INODE_SLACK_COUNT: u64 = 16;
/// Storage allocated for the records that follow the plan in a journal, so that they cannot fail for want of it, in
/// bytes.
pub(super) const JOURNAL_SLACK_LEN: u64 = 4096;
/// Longest journal that is read, in bytes.
pub(super) const JOURNAL_LEN_MAX: u64 = 2 << 30;
/// Up to this many directories are made durable one by one; above it, the whole file system at once.
pub(super) const SYNC_DIR_COUNT_MAX: usize = 64;
/// Most paths that an error or a result lists.
pub(super) const LISTED_PATH_COUNT_MAX: usize = 1000;
/// How long an agent waits for the lock of one that has just ended.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two tries to take the lock.
pub(super) const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);
