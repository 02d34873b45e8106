//! Tests of signed images as an agent and a publisher see them.

#![expect(clippy::unwrap_used, reason = "tests")]

mod decisions;
mod encodings;
mod mutations;
mod openssh;
mod policies;
mod scene;
mod vectors;
