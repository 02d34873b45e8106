//! The catalog: which image name stands for which image (`spec/store.md#catalog`).
//!
//! Owns events and the append-only, hash-chained log of them. Invariant: the log is the truth; what an image name stands
//! for is what the last event about it says, and the index only shows that faster.
//!
//! Does not decide whether a publish is allowed: `commit` does, under its lock.

mod event;
mod log;

pub(crate) use event::{Event, EventKind};
pub(crate) use log::{CatalogLog, Replay, read_log};
