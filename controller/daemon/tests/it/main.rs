//! Integration tests of `dominator`: real QUIC and real certificates against agents and an image server made for the test.
//!
//! Owns one binary for all of them. Invariant: what is asserted was seen by an operator, through `Fleet.List` and
//! `Fleet.Show`, or by an agent.
//! Does not test real agents: the test of the main flow does.

mod daemon;
mod flow;
mod mdb;
mod support;
mod trust;
