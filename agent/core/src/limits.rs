//! Every bound on what a journal may say and what a plan may do unasked (`spec/journal.md#limits`).
//!
//! Owns the numbers and nothing else. Invariant: the journal's decoder checks its bound before it allocates.
//! Bounds of trees, names and images are in `store/core`.

/// Longest record of a journal, in bytes: a plan of a few million steps.
pub const RECORD_LEN_MAX: usize = 1 << 30;
/// Most records of one journal; an apply writes at most eight.
pub const RECORD_COUNT_MAX: usize = 16;
/// Most steps of one plan.
pub const STEP_COUNT_MAX: usize = 8 * 1024 * 1024;
/// Most services of one list of a plan.
pub const SERVICE_COUNT_MAX: usize = 8192;
/// Longest name of a service, in bytes.
pub const SERVICE_LEN_MAX: usize = 4096;
/// Trees of fewer entries than this are exempt from the safety rule about halves.
pub const SAFETY_ENTRY_COUNT_MIN: u64 = 20;
