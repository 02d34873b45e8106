//! Limits of connections and calls (`spec/wire.md#limits`).
//!
//! Owns the numbers. Invariant: what one peer can make us hold or wait for is bounded by these.
//!
//! Does not bound messages: those limits are in `protocol/core`.

use std::time::Duration;

/// A call in which nothing is sent or received for so long is ended.
pub const CALL_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection on which no packet arrives for so long is gone.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// A handshake that takes longer is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that one stream may have in flight or unread; more makes the reassembly of lossy streams fragile.
pub const STREAM_WINDOW: u32 = 2 << 20;
/// Bytes that all streams of a connection may have in flight or unread, at the side that asks.
pub const CLIENT_WINDOW: u32 = 32 << 20;
/// The same at the side that answers.
pub const SERVER_WINDOW: u32 = 16 << 20;
/// Bytes that a connection keeps until the peer has acknowledged them.
pub const SEND_WINDOW: u32 = 8 << 20;
/// Bytes that a connection sends before anything is acknowledged: 32 packets, which saves a long link two round trips.
pub const INITIAL_WINDOW: u64 = 32 * 1200;
/// Smallest connection window, in either direction, under a cap.
pub const CAPPED_WINDOW_MIN: u32 = 256 << 10;
/// Calls that a peer may have open at once on one connection.
pub const CALLS_MAX: u32 = 64;
/// Handshakes that a server has under way at once.
pub const HANDSHAKES_MAX: usize = 1024;
/// Handshakes under way above which a client must first prove its address.
pub const HANDSHAKES_UNPROVEN_MAX: usize = 64;
/// Bytes kept for one peer before its handshake begins.
pub const INCOMING_BUFFER_LEN: u64 = 64 << 10;
/// Bytes kept for all peers before their handshakes begin.
pub const INCOMING_BUFFER_TOTAL_LEN: u64 = 16 << 20;
/// Connections that a server has open at once.
pub const CONNECTIONS_MAX: usize = 16_384;
/// Connections of a pool.
pub const POOL_CONNECTIONS_MAX: usize = 32;
/// Bytes per second below which a connection of a capped pool is not worth having.
pub const POOL_RATE_MIN: u64 = 256 << 10;
/// Socket buffer that is asked of the kernel, which may give less.
pub const SOCKET_BUFFER_LEN: usize = 4 << 20;
/// Bytes of frames that are collected before they are written.
pub const SEND_BUFFER_LEN: usize = 32 << 10;
/// Longest wait between two looks at the wall clock for an expired certificate.
pub const EXPIRY_CHECK_MAX: Duration = Duration::from_secs(600);
/// Largest PEM file that is read.
pub const PEM_LEN_MAX: u64 = 1 << 20;
/// Largest file of revocation lists that is read: about 400,000 revoked certificates.
pub const LIST_LEN_MAX: u64 = 16 << 20;
/// Revocation lists in a file: one for each authority.
pub const LISTS_MAX: usize = 64;
/// Largest register of issued certificates that is read.
pub const REGISTER_LEN_MAX: u64 = 64 << 20;
/// Time between two looks at whether the files of a watched certificate changed.
pub const CREDENTIALS_CHECK: Duration = Duration::from_secs(2);
/// A file that was written less than this ago may change once more without looking different.
pub const FILE_SETTLE: Duration = Duration::from_secs(2);
/// Time between two comparisons of the wall clock with the clock that only runs.
pub const CLOCK_CHECK: Duration = Duration::from_secs(2);
/// Difference of the two clocks' steps that counts as a jump.
pub const CLOCK_JUMP: Duration = Duration::from_millis(500);
/// Longest text that is kept of a peer's reason for closing.
pub const REASON_LEN_MAX: usize = 256;
