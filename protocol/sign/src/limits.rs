//! Limits of statements, signatures and policies (`spec/signatures.md#limits`).
//!
//! Owns the numbers. Invariant: judging one image costs at most `SIGNATURES_MAX` signature checks.
//!
//! Does not bound image names: that is `store/core`.

/// Bytes of a statement.
pub const STATEMENT_LEN_MAX: usize = 1024;
/// Bytes of one signature in its armour.
pub const SIGNATURE_LEN_MAX: usize = 4096;
/// Signatures of one statement.
pub const SIGNATURES_MAX: usize = 32;
/// Bytes of a statement with its signatures.
pub const SIGNED_LEN_MAX: usize = STATEMENT_LEN_MAX + SIGNATURES_MAX * (SIGNATURE_LEN_MAX + 8) + 64;
/// Rules of a policy.
pub const RULES_MAX: usize = 1024;
/// Keys of a rule.
pub const KEYS_MAX: usize = 256;
/// Revoked keys of a policy.
pub const REVOKED_MAX: usize = 4096;
/// Bytes of a public key in text form.
pub const KEY_LEN_MAX: usize = 4096;
/// Directories with a floor.
pub const FLOORS_MAX: usize = 4096;
