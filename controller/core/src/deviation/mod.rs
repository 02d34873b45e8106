//! Deviations: where a machine's tree differs from its required image's, and how.
//!
//! Owns the search through two trees that are kept elsewhere, and the words for what it finds. Invariants: only objects
//! that differ are asked for; what is asked for and held is bounded; a search ends, whatever a machine answers.
//!
//! Does not fetch objects (`controller/daemon`) and does not repair (`agent/core`).

mod descent;
mod describe;
mod directory;

pub use descent::{Descent, Deviations, Wanted};
pub use describe::describe;

use dominator_store_core::{TreeId, cbor::CborError};

/// Why a search cannot go on; each is the fault of who sent the object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescentError {
    /// The object was not asked for.
    #[error("tree object {0} was not asked for")]
    Unwanted(TreeId),
    /// The bytes are another object.
    #[error("tree object {expected} has digest {found}")]
    Digest {
        /// What was asked for.
        expected: TreeId,
        /// What came.
        found: TreeId,
    },
    /// The bytes are no tree object.
    #[error("tree object {0} is corrupt")]
    Corrupt(TreeId, #[source] CborError),
    /// The object contradicts the one that names it.
    #[error("tree object {0} is not the page or directory that it stands for")]
    Misplaced(TreeId),
}
