//! Tests of the protocol's formats and rules as a user of the crate sees them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod codec;
mod frames;
mod naive;
mod pacing;
mod permissions;
mod samples;
mod vectors;
