//! Every bound on what the agent holds, waits for or retries (`spec/control.md#limits`).
//!
//! Owns the numbers and nothing else. Invariant: each queue, buffer, retry and wait of the daemon names one of these and
//! has a defined behaviour when it is reached.
//!
//! Bounds of formats are in `store/core`, of messages and connections in `protocol`, of an apply in `apply`.

use std::time::Duration;

/// Longest configuration file, in bytes.
pub const CONFIG_LEN_MAX: u64 = 64 * 1024;
/// Shortest interval between two stat passes.
pub const SCAN_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Longest interval between two stat passes.
pub const SCAN_INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most threads that hash files at once.
pub const SCAN_THREADS_MAX: usize = 64;
/// Bytes that the deep scan reads before it looks whether something else is to be done.
pub const DEEP_PIECE_LEN: usize = 256 * 1024;
/// Time between two records of the deep scan's position.
pub const CURSOR_INTERVAL: Duration = Duration::from_secs(30);
/// Smallest limit of the chunk cache, in bytes: the objects of the largest image must fit beside those in use.
pub const CACHE_LEN_MIN: u64 = 16 * 1024 * 1024;
/// Longest state file, in bytes: two encoded images and a little more.
pub const STATE_LEN_MAX: u64 = 3 * 1024 * 1024;
/// Inputs that wait for the owner task; the sender waits when there are as many.
pub const INPUT_COUNT_MAX: usize = 256;
/// Tasks that wait for the keeper; further ones are dropped with an error in the log.
pub const TASK_COUNT_MAX: usize = 16;
/// Times that an update is planned anew because the tree changed under it.
pub const UPDATE_ATTEMPT_COUNT_MAX: usize = 4;
/// Calls in which objects are fetched at the same time.
pub const FETCH_STREAM_COUNT: usize = 4;
/// Objects asked for in one message.
pub const FETCH_BATCH_COUNT: usize = 256;
/// Bytes of received records that one call collects before they are verified and stored.
pub const FETCH_STORE_LEN: usize = 1024 * 1024;
/// Tree objects of one image that are fetched, at most.
pub const FETCH_TREE_COUNT_MAX: usize = 4 * 1024 * 1024;
/// Entries of one image's tree, at most.
pub const TREE_ENTRY_COUNT_MAX: u64 = 16 * 1024 * 1024;
/// Time that a stop waits for an update to come to its end.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// Time that a stop waits for a scan, which may be cut off at any time.
pub const STOP_SCAN_TIMEOUT: Duration = Duration::from_secs(2);
/// Time that the stop or start of one service may take.
pub const SERVICE_TIMEOUT: Duration = Duration::from_secs(120);
/// Paths named in one text for people.
pub const NAMED_PATH_COUNT_MAX: usize = 5;
