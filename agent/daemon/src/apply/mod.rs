//! Applying a plan to a real root, and finishing or undoing one after a crash (`spec/apply.md`).
//!
//! Owns the agent's private directory, the stage, the journal's file, the window, and what follows it. Invariants: a name
//! that old and new tree both have is never absent; nothing is visible that is neither old nor new; whatever happens,
//! the journal says how to go on, and a service that was stopped is started.
//!
//! Which steps a plan has and what each means is `agent/core`; where content comes from is the caller's [`Blobs`].

mod applier;
mod blobs;
mod check;
mod error;
mod fault;
mod journal;
mod limits;
mod private;
mod reserve;
mod root;
mod run;
mod stage;

pub use applier::{Applied, Applier, ApplyOptions, ExchangeUse, Keep, LastApply, Order, Progress, Recovered};
pub use blobs::Blobs;
pub use error::ApplyError;
pub use fault::{Fault, Interrupted, NoFault, Point};
pub use private::PrivateDir;
