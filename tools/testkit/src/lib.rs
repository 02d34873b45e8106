//! Generators for tests.
//!
//! Owns made-up trees: on disk ([`hostile_tree`]) and in memory ([`flat_tree`]). Invariants: a seed gives the same tree
//! on every machine; what the machine does not allow to be made is said, not passed over in silence.
//!
//! Does not use the code that it helps to test, other than the types of `store/core`, and is never a dependency of
//! anything that ships.

mod flat;
mod hostile;
mod rng;
pub mod xattr;

pub use flat::{GeneratedTree, flat_tree, name};
pub use hostile::{HostileTree, hostile_tree};
pub use rng::Rng;
