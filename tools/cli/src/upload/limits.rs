//! Bounds on what publishing keeps in memory.
//!
//! Owns the numbers. Invariant: an offer is far smaller than the budget, so that a partly filled offer never holds all of it.
//!
//! Limits of messages are in `protocol/core`.

/// Bytes of objects that are read and not yet sent or found to be known.
pub(super) const BUDGET_LEN: u32 = 64 << 20;
/// What an object costs in memory beyond its bytes.
pub(super) const OBJECT_OVERHEAD_LEN: u32 = 256;
/// Objects of one offer.
pub(super) const OFFER_COUNT_MAX: usize = 512;
/// Bytes of the objects of one offer.
pub(super) const OFFER_LEN_MAX: usize = 2 << 20;

const _: () = assert!(OFFER_COUNT_MAX <= dominator_protocol_core::limits::IDS_MAX);
