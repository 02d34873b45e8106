//! Which images a machine may become, as their publishers signed them (`spec/signatures.md`).
//!
//! Owns statements, detached SSH signatures over them, trust policies, epochs and the decision. Invariants: what a policy does
//! not expressly trust is refused; a key counts once however often it signs; bytes that are not exactly what a signer would
//! write are refused; whoever carries images can delay them, but never choose them.
//!
//! Does not read files or keep floors (the agent), does not make keys (`ssh-keygen`), and signs only for tools and tests.

mod bundle;
mod decide;
mod error;
mod floors;
mod key;
pub mod limits;
mod policy;
mod signature;
mod statement;

pub use bundle::SignedStatement;
pub use decide::{Accepted, Fault, Refusal, Rejected, decide};
pub use error::Error;
pub use floors::Floors;
pub use key::{Fingerprint, PublicKey, SigningKey};
pub use policy::{PolicyDocument, RuleDocument, TrustPolicy};
pub use signature::NAMESPACE;
pub use statement::Statement;
