//! What the controller knows and decides, without any IO.
//!
//! Owns the machine database, the planner of directives for one machine, the statuses that people see, the search for
//! deviations in two trees, and the lines of the ledger. Invariants: every decision is a function of what was handed in;
//! time is an argument; directives that arrive late or twice are harmless, because each has a generation of its own.
//!
//! Does not read files, connect or wait: `controller/daemon` does. What a machine makes of a directive is `agent/core`.

mod backoff;
mod deviation;
mod host;
mod ledger;
pub mod limits;
mod mdb;
mod planner;
mod status;

pub use backoff::Backoff;
pub use deviation::{Descent, DescentError, Deviations, Wanted, describe};
pub use host::{DEFAULT_PORT, Host, HostError};
pub use ledger::{DirectiveKind, LedgerEntry, LedgerError, LedgerLog};
pub use mdb::{Machine, Mdb, MdbError, Shrunk, WantedImage};
pub use planner::{
    Action, DescentOrder, DescentSummary, Directive, ImageKnowledge, KnownImage, LinkFailure, Pace, Planner, Purpose,
    Safety, Target, Updates,
};
pub use status::{Report, Status};
