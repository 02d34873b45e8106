//! The agent's parts that touch the machine.
//!
//! Owns the modules of `subd`. Invariant: nothing here decides what a machine should be: the plan, the meaning of its
//! steps and what a journal implies are `agent/core`.
//!
//! Does not link the index of a store: the agent keeps packs only.

pub mod agent;
pub mod apply;
pub mod chain;
pub mod config;
pub mod daemon;
pub mod fetch;
pub mod keeper;
pub mod limits;
pub mod link;
pub mod machine;
pub mod notify;
pub mod scan;
pub mod service;
pub mod state;
