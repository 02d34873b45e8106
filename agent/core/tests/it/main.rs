//! Tests of plan, steps and journal on a model of a file system.
//!
//! Owns the one test binary of the crate. Invariant: every random case is made from a number that a failure prints.
//! Real file systems are tested in `agent/daemon`.

mod forest;
mod journal;
mod model;
mod plan;
mod steps;
