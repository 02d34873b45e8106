//! Limits of the daemon (`spec/controller.md#limits`).
//!
//! Owns the numbers. Invariant: what files, machines and operators can make the daemon hold or wait for is bounded by these
//! and by the limits of `controller/core` and `protocol/core`.
//!
//! Does not enforce them: the modules that name them do.

use std::time::Duration;

/// Shortest interval between two polls of a machine where nothing is under way.
pub const POLL_INTERVAL_MIN: Duration = Duration::from_millis(200);
/// Longest such interval.
pub const POLL_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Shortest interval between two polls of a machine where something is under way.
pub const ACTIVE_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// A machine that does not answer a poll for so long is gone.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// A machine that does not answer a directive for so long is gone.
pub const DIRECTIVE_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection that does not come about in this time is given up.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which no packet arrives for so long is gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(6);
/// Interval of packets that keep a connection alive where polls are rarer.
pub const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// A search for deviations that takes longer is given up.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Time over which the first connections of a fleet are spread, per machine.
pub const START_SPREAD: Duration = Duration::from_micros(200);
/// Connections that are being made at once, unless configured.
pub const CONNECTS_DEFAULT: usize = 512;
/// Searches for deviations that run at once, unless configured.
pub const SEARCHES_DEFAULT: usize = 8;

/// Interval at which the machine database is looked at.
pub const MDB_CHECK_INTERVAL: Duration = Duration::from_millis(250);
/// Longest configuration file, in bytes.
pub const CONFIG_LEN_MAX: u64 = 1 << 20;

/// First delay before the image server is asked again for an image that it does not have.
pub const IMAGE_DELAY_MIN: Duration = Duration::from_millis(500);
/// Longest such delay.
pub const IMAGE_DELAY_MAX: Duration = Duration::from_secs(5);
/// Calls to the image server that are under way at once.
pub const IMAGE_CALLS_MAX: usize = 16;
/// An image server that does not answer for so long is given up for now.
pub const IMAGE_TIMEOUT: Duration = Duration::from_secs(15);
/// Encoded tree objects of images that are kept in memory, in bytes.
pub const TREE_CACHE_LEN_MAX: usize = 128 << 20;

/// Longest ledger that is read, in bytes.
pub const LEDGER_LEN_MAX: u64 = 1 << 30;
/// A ledger below this length is not rewritten, in bytes.
pub const LEDGER_REWRITE_LEN_MIN: usize = 4 << 20;
/// Directives that wait for one write of the ledger.
pub const LEDGER_BATCH_MAX: usize = 1024;

/// Lines of history that are kept for one machine.
pub const HISTORY_COUNT_MAX: usize = 100;
/// Deviations of one search that are written to the log.
pub const LOGGED_DEVIATION_COUNT: usize = 20;
/// Time that peers get to notice the end of the daemon.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);
