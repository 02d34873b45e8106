//! Who a peer is, as its certificate states.
//!
//! Owns `Identity`. Invariant: an `Identity` is made only from a leaf certificate whose chain was verified; `protocol/quic`
//! keeps it.
//!
//! Does not verify anything itself.

use crate::{Decision, Grant, Method, Scope};

/// Name, permissions and end of validity of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the peer: `NAME` of the URI `dominator://NAME` in its certificate.
    pub name: String,
    /// What the peer may do.
    pub grant: Grant,
    /// End of the certificate's validity, in seconds since 1970.
    pub not_after_s: i64,
}

impl Identity {
    /// Tells whether the peer may call `method` on `scope`.
    pub fn allows(&self, method: Method, scope: Option<&str>) -> bool {
        self.grant.allows(method, scope)
    }

    /// Decides like `allows` and says which permission decided.
    pub fn decide(&self, method: Method, scope: Scope<'_>) -> Decision {
        self.grant.decide(method, scope)
    }
}
