//! Sizes and counts of the store (`spec/store.md#limits`).
//!
//! Owns the numbers and nothing else. Invariant: every buffer, queue and retry of this crate is bounded by one of them.
//!
//! Bounds of formats are in `store/core`, those of packs in `store/pack`.

use std::time::Duration;

/// Blobs up to this length are read into memory as a whole; longer ones pass through a window of this length.
pub const WINDOW_LEN: usize = 4 * 1024 * 1024;
/// Files at least this long are read first, so that none of them is left to one thread at the end.
pub const LONG_FILE_LEN: u64 = 8 * 1024 * 1024;
/// Times that a file is read again because it changed meanwhile.
pub const RETRY_COUNT_MAX: usize = 3;
/// Full packs that wait for being sealed before writers wait too.
pub const SEAL_QUEUE_LEN: usize = 2;
/// Most threads of one publish.
pub const THREAD_COUNT_MAX: usize = 64;
/// Encoded recipes that a session keeps until its chunks are durable, in bytes.
pub const RECIPES_LEN_MAX: usize = 256 * 1024 * 1024;
/// Shortest unsealed pack that is kept when a session is dropped or the store was not closed, in bytes.
pub const SALVAGE_LEN_MIN: u64 = 1024 * 1024;
/// Longest payload of one catalog log entry, in bytes.
pub const EVENT_LEN_MAX: usize = 64 * 1024;
/// Most images that one call lists.
pub const LIST_COUNT_MAX: usize = 10_000;
/// Longest format file, in bytes.
pub const FORMAT_LEN_MAX: u64 = 4096;
/// Most entries of an image that is uploaded.
pub const ENTRY_COUNT_MAX: u64 = 64 * 1024 * 1024;
/// Row changes after which a long index update is written in parts.
pub const BATCH_ROW_COUNT: usize = 64 * 1024;

/// Blocks of the index kept in memory, in bytes.
pub const BLOCK_CACHE_LEN: usize = 64 * 1024 * 1024;
/// New rows of the index kept in memory, over all column families, in bytes.
pub const WRITE_BUFFER_LEN: usize = 64 * 1024 * 1024;
/// Length of one table file of the index, in bytes.
pub const TABLE_LEN: u64 = 64 * 1024 * 1024;
/// Most files that the index keeps open.
pub const INDEX_OPEN_FILES_MAX: i32 = 512;
/// Times that a read-only open is tried while the owner replaces files under it.
pub const READ_ONLY_RETRY_COUNT: usize = 5;
/// How long an owner waits for the lock of one that has just ended.
pub const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// Time between two tries to take the lock.
pub const LOCK_RETRY_INTERVAL: Duration = Duration::from_millis(20);
