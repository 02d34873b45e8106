//! Limits of the image server: policy of the server, not part of the protocol.
//!
//! Owns the numbers. Invariant: each bounds something that a peer could otherwise make grow.
//!
//! Limits of messages, calls and connections are in `protocol/core` and `protocol/quic`.

use std::time::Duration;

/// Publishes under way at once, over all peers, unless the configuration says otherwise.
pub const PUBLISHES_MAX: usize = 16;
/// Publishes under way at once on one connection.
pub const PUBLISHES_PER_CONNECTION_MAX: usize = 2;
/// Calls under way at once, over all peers, unless the configuration says otherwise.
pub const CALLS_MAX: usize = 4096;
/// Objects that a publish was asked for and has not yet sent.
pub const OUTSTANDING_COUNT_MAX: usize = 1 << 18;
/// Records that are verified and stored in one piece of work.
pub const PUT_COUNT_MAX: usize = 256;
/// Bytes of records that are verified and stored in one piece of work.
pub const PUT_LEN_MAX: usize = 1 << 20;
/// Such pieces under way at once for one publish.
pub const PUTS_MAX: usize = 4;
/// Records that are read in one piece of work.
pub const READ_COUNT_MAX: usize = 256;
/// Bytes of records after which such a piece ends.
pub const READ_LEN_MAX: usize = 1 << 20;
/// Threads for store work.
pub const BLOCKING_THREADS_MAX: usize = 64;
/// How long calls may go on after the order to stop.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
