//! Limits of the controller (`spec/controller.md#limits`).
//!
//! Owns the numbers. Invariant: what a file, a machine or an image server can make the controller hold or repeat is
//! bounded by one of these.
//!
//! Limits of messages are in `protocol/core`.

use std::time::Duration;

/// Longest machine database, in bytes.
pub const MDB_LEN_MAX: usize = 256 << 20;
/// Most machines in a machine database.
pub const MACHINE_COUNT_MAX: usize = 200_000;
/// Longest host name, in bytes (RFC 1035), without the port.
pub const HOST_NAME_LEN_MAX: usize = 253;
/// A machine database with fewer machines than this may shrink by any amount.
pub const SHRINK_MACHINE_COUNT_MIN: usize = 10;
/// Lost machines that are named when a machine database is held.
pub const SHRINK_EXAMPLE_COUNT: usize = 5;

/// Most deviations that one search lists.
pub const DEVIATION_COUNT_MAX: usize = dominator_protocol_core::limits::DEVIATIONS_MAX;
/// Most tree objects that a search asks of one side at once.
pub const DESCENT_BATCH_COUNT_MAX: usize = 512;
/// Encoded tree objects that a search holds at once, in bytes.
pub const DESCENT_BATCH_LEN_MAX: usize = 32 << 20;
/// Encoded tree objects that one search reads, in bytes.
pub const DESCENT_LEN_MAX: u64 = 64 << 20;
/// Most tree objects that one search reads.
pub const DESCENT_OBJECT_COUNT_MAX: usize = 50_000;
/// Most directories that wait for their turn in one search.
pub const DESCENT_PENDING_COUNT_MAX: usize = 20_000;
/// Longest time for which an update waits for the search for deviations; the agent serves the tree a little longer.
pub const DESCENT_WAIT_MAX: Duration = Duration::from_millis(250);
/// Shortest time between two searches on one machine, for machines whose root changes all the time.
pub const DESCENT_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// First delay after a directive failed.
pub const RETRY_DELAY_MIN: Duration = Duration::from_millis(500);
/// Longest delay after a directive failed.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(60);
/// First delay after the agent was busy.
pub const BUSY_DELAY_MIN: Duration = Duration::from_millis(200);
/// Longest delay after the agent was busy.
pub const BUSY_DELAY_MAX: Duration = Duration::from_secs(10);
/// First delay after a connection failed.
pub const CONNECT_DELAY_MIN: Duration = Duration::from_millis(250);
/// Longest delay after a connection failed.
pub const CONNECT_DELAY_MAX: Duration = Duration::from_secs(10);
/// Longest delay after a certificate or a permission was refused, which only a person can change.
pub const TRUST_DELAY_MAX: Duration = Duration::from_secs(60);
/// For so long after an update was accepted, an idle machine with its old root counts as not yet started.
pub const UPDATE_SETTLE_TIME: Duration = Duration::from_secs(2);

/// Longest line of the ledger, in bytes.
pub const LEDGER_LINE_LEN_MAX: usize = 1024;
