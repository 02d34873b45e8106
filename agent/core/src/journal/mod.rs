//! The journal of one apply (`spec/journal.md`).
//!
//! Owns its records, their frames and what they imply after a crash. Invariants: a record is durable before what it
//! announces begins; what follows the last whole frame is ignored; [`recover`] is a pure function of the records, so a
//! restart needs nothing but the journal.
//!
//! Does not write files: `agent/daemon` does.

mod codec;
mod frame;
mod record;
mod recovery;

pub(crate) use codec::write_step;
pub use frame::{Decoded, HEADER, JournalError, decode, encode_frame};
pub use record::{Outcome, Prepared, Record};
pub use recovery::{OrderError, Recovery, recover};
