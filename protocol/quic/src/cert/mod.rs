//! Certificates: an authority, what it issues, and what a certificate says (`spec/permissions.md#certificates`).
//!
//! Owns names, the grant extension and where files lie: `ca.pem`, `ca.key`, `ca.crl` and `ca.issued`, `NAME.pem` and
//! `NAME.key`. Invariants: keys are Ed25519; a certificate that we issue names its holder once, in the URI `dominator://NAME`;
//! permissions are read from the leaf only.
//!
//! Does not verify chains: rustls does, with the configurations of `credentials`.

mod authority;
mod files;
mod info;
mod list;
mod register;
mod revoke;

pub use authority::{Authority, IssueRequest, Issued, Validity};
pub use files::Replace;
pub use info::CertificateInfo;
pub use list::{RevocationList, Revoked};
pub use register::{Issue, issues};
pub use revoke::Revoke;

pub(crate) use files::read_pem_file;
pub(crate) use info::read_identity;
pub(crate) use list::{CertificateId, SignedList, read_list_file};

use crate::{Error, error::Unusable};

/// Extension that holds the grant: an arc of the UUID space, cut to 63 bits because common tools cannot read longer arcs.
const GRANT_OID: [u64; 3] = [2, 25, 1_573_289_359_199_719_048];
/// Scheme of the URI that names the holder.
const NAME_SCHEME: &str = "dominator://";
/// Longest name of a holder.
const NAME_LEN_MAX: usize = 255;

/// Checks that `name` can stand in a certificate and in a file name.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    if is_name(name) {
        return Ok(());
    }
    Err(Error::Unusable { what: "the name".into(), why: Unusable::BadName(name.chars().take(80).collect()) })
}

fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.starts_with('.') && name.bytes().all(is_allowed)
}
