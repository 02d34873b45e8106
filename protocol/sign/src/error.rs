//! What can be wrong with things that are read.
//!
//! Owns `Error`. Invariant: an error names what is wrong in the words of the file that it is in.
//!
//! Does not say why an image is refused: that is `Refusal`.

use dominator_store_core::cbor::CborError;

/// Something that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Bytes that are not a statement.
    #[error("not a statement about an image: {0}")]
    Statement(&'static str),
    /// Text that is not a public key.
    #[error("{text:?} is not a public key as OpenSSH writes them")]
    Key {
        /// The beginning of the text.
        text: String,
    },
    /// A key of a kind that is not accepted.
    #[error(
        "key {fingerprint} is of the kind {kind}; accepted are ssh-ed25519, sk-ssh-ed25519 and ecdsa-sha2-nistp256"
    )]
    KeyKind {
        /// Which key.
        fingerprint: String,
        /// Its kind.
        kind: String,
    },
    /// Text that is not the fingerprint of a key.
    #[error("{text:?} is neither a public key nor a fingerprint SHA256:...")]
    Fingerprint {
        /// The beginning of the text.
        text: String,
    },
    /// A private key that cannot be used.
    #[error("the private key cannot be used: {0}")]
    PrivateKey(&'static str),
    /// A directory that no image can be in.
    #[error("{directory:?} is not a directory of images")]
    Directory {
        /// What stands there.
        directory: String,
    },
    /// Two rules for one directory.
    #[error("there are two rules for the directory {directory:?}")]
    TwoRules {
        /// The directory.
        directory: String,
    },
    /// A key that stands twice in a rule.
    #[error("the rule for {directory:?} has the key {fingerprint} twice")]
    TwiceTheKey {
        /// The directory of the rule.
        directory: String,
        /// The key.
        fingerprint: String,
    },
    /// A threshold that cannot be met, or means nothing.
    #[error("the rule for {directory:?} wants {threshold} of {key_count} keys")]
    Threshold {
        /// The directory of the rule.
        directory: String,
        /// How many keys must sign.
        threshold: usize,
        /// How many there are.
        key_count: usize,
    },
    /// A rule that trusts keys and takes what is unsigned.
    #[error("the rule for {directory:?} has keys and takes what is unsigned")]
    KeysOfUnsigned {
        /// The directory of the rule.
        directory: String,
    },
    /// Too many of something.
    #[error("{found} {what} where at most {limit} are allowed")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many, or how long.
        found: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Bytes that are not the canonical encoding of what is expected.
    #[error("cannot be decoded")]
    Encoding(#[from] CborError),
}

/// The beginning of a text, for an error.
pub(crate) fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Checks a count or a length.
pub(crate) const fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<(), Error> {
    if found > limit { Err(Error::Limit { what, found, limit }) } else { Ok(()) }
}
