//! What the agent decides, without touching anything: plan, step semantics, journal, services.
//!
//! Owns the planner (two trees in, an ordered list of steps out), what performing and undoing one step means on an
//! abstract [`Files`], the journal's records and the decision that a journal implies after a crash, and the choice of
//! services. Invariants: a plan is complete data, with no choice left to who executes it; performing or undoing a step
//! twice is the same as once; the journal alone decides what a restart does.
//!
//! Does not open files, run commands or know the time: `agent/daemon` implements [`Files`] on a real root.

mod execute;
mod files;
pub mod journal;
pub mod limits;
mod plan;
mod services;
mod step;

pub use execute::{Binding, Report, bind, roll_back, roll_forward};
pub use files::{Files, Found, Ino, Moved, Place};
pub use plan::{Plan, PlanError, PlanId, PlanInput, Safety, Source, Staged, plan};
pub use services::{AGENT_SERVICE, ServicePlan, select_services};
pub use step::{BoundStep, Class, Op, Phase, Slot, Step, Swap};
