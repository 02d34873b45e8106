//! Tests of applying plans to real roots on a real file system; root is needed.
//!
//! Owns the one test binary for `apply`. Invariant: whatever is done to an apply, the root ends as exactly the old or the
//! new tree, and nothing outside of it changes.
//!
//! The meaning of steps is tested on a model in `agent/core`.

mod basic;
mod crash;
mod drift;
mod fixture;
#[path = "../../../core/tests/it/forest.rs"]
mod forest;
mod kill;
mod power;
mod race;
mod random;
mod real;
mod services;
mod space;
