//! The controller of a fleet: what `dominator` runs.
//!
//! Owns the daemon around the planner: configuration, the watched machine database, the images that are required, the
//! ledger, one task per machine with its connection, and the answers to operators. Invariants: a directive is in the ledger
//! before it is sent; a machine is directed by one task only; every queue, cache and number of attempts is bounded.
//!
//! Does not decide what a machine is told: `controller/core` does. Does not encrypt or check certificates: `protocol/quic`.

mod clock;
mod config;
mod daemon;
mod error;
mod fleet;
mod images;
mod ledger;
pub mod limits;
mod machine;
mod mdb;
mod service;

pub use config::{Certificates, Config, FetchSettings, ImageServer, Limits, PollSettings};
pub use daemon::Daemon;
pub use error::Error;
