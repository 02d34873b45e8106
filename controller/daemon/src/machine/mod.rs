//! One machine: its task, its connection, and what operators see of it.
//!
//! Owns the loop that carries out the planner's actions. Invariants: one task directs a machine; a directive is sent only
//! after it is in the ledger; whatever goes wrong ends in a status, never in the end of the task.
//!
//! Does not decide: `controller/core` does.

mod link;
mod news;
mod search;
mod task;
mod view;

pub(crate) use news::Assignment;
pub(crate) use task::{Context, MachineTask};
pub(crate) use view::View;
