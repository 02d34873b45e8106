//! Bounds of this crate.
//!
//! Owns the numbers and nothing else. Invariant: what a hostile directory can make us allocate or repeat is bounded here
//! or in `dominator_store_core::limits`.
//!
//! Bounds of the formats are in `store/core`.

/// Buffer for reading file content, in bytes: beyond this, larger reads no longer save time.
pub const HASH_BUF_LEN: usize = 256 * 1024;
/// Buffer for reading directory entries, in bytes.
pub(crate) const DIR_BUF_LEN: usize = 64 * 1024;
/// How often an entry that changed while it was looked at is looked at again.
pub(crate) const RETRY_COUNT_MAX: usize = 8;
/// Longest list of attribute names that Linux returns, in bytes (`XATTR_LIST_MAX`).
pub(crate) const XATTR_LIST_LEN_MAX: usize = 64 * 1024;
/// Longest attribute value of Linux, in bytes (`XATTR_SIZE_MAX`).
pub(crate) const XATTR_VALUE_LEN_MAX: usize = 64 * 1024;
/// Most paths that a checkout makes; a small set of objects can spell a tree of any size.
pub const CHECKOUT_ENTRY_COUNT_MAX: u64 = 64 * 1024 * 1024;
/// How much older than the look at it a change time must be, in seconds, to be trusted: the coarsest granularity of
/// times among file systems.
pub(crate) const SETTLED_SECONDS: i64 = 2;
/// Most bytes by which the storage of a file may exceed its data for other reasons than preallocation (extended
/// attributes, block lists).
pub(crate) const STORAGE_SLACK_LEN: u64 = 64 * 1024;
