//! Sizes of packs and of what is kept in memory about them (`spec/pack.md#limits`).
//!
//! Owns the numbers and nothing else. Invariant: each bound is checked before memory is allocated for what it bounds.
//!
//! Bounds of records and objects are in `store/core`.

/// Length of records after which a writer should be sealed, in bytes.
///
/// Tens of megabytes: few enough files for a store of terabytes, small enough to rewrite one while serving others.
pub const PACK_LEN_TARGET: u64 = 64 * 1024 * 1024;
/// Longest pack that is opened, in bytes: the target, one largest record, and the trailer.
pub const PACK_LEN_MAX: u64 = 256 * 1024 * 1024;
/// Most records of one pack.
pub const ROW_COUNT_MAX: u32 = 1024 * 1024;
/// Bytes that a writer collects before it writes them to the file.
pub const WRITE_BUF_LEN: usize = 512 * 1024;
/// Shortest pack of a cache, in bytes: below it, evicting one pack would free next to nothing.
pub const CACHE_PACK_LEN_MIN: u64 = 256 * 1024;
/// Packs among which a full cache spreads its bytes, so that evicting one drops a small part of it.
pub const CACHE_PACK_COUNT: u64 = 16;
