//! Inputs for tests, made by a formula so that vectors need no files.
//!
//! Owns `painted`. Invariant: the same length gives the same bytes on every machine.
//! Does not generate trees: `tools/testkit` does.

use crate::Digest;

/// Returns `len` incompressible bytes: the BLAKE3 digests of 0, 1, 2, … as 64-bit little-endian numbers.
pub(crate) fn painted(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for at in 0u64.. {
        if bytes.len() >= len {
            break;
        }
        bytes.extend_from_slice(Digest::of(&at.to_le_bytes()).as_bytes());
    }
    bytes.truncate(len);
    bytes
}
