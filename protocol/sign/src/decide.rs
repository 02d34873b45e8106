//! The decision whether a machine may become an image.
//!
//! Owns `decide` and its outcomes. Invariants: the answer depends on the arguments alone; every way to fail is a refusal with a
//! reason of its own; of all signatures by one key, at most one counts; signatures that do not count harm nothing.
//!
//! Does not remember what it accepted: the caller raises its `Floors`, and writes them down, before it acts.

use std::{collections::BTreeSet, fmt};

use dominator_store_core::{ImageId, ImageName};

use crate::{
    Error, Fingerprint, Floors, SignedStatement, Statement, TrustPolicy, error::check_limit, limits::SIGNATURES_MAX,
    policy::Rule, signature::Signature,
};

/// An image that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Directory whose rule decided.
    pub directory: String,
    /// Floor of that directory from now on.
    pub new_floor: u64,
    /// Keys that counted.
    pub signers: Vec<Fingerprint>,
}

/// Why an image may not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No rule of the policy is for this image.
    #[error("the trust policy has no rule for {name}")]
    NoRule {
        /// The image.
        name: ImageName,
    },
    /// There is no signature at all.
    #[error("{name} is not signed; the rule for {directory:?} wants {needed} signatures")]
    Unsigned {
        /// The image.
        name: ImageName,
        /// Directory of the rule.
        directory: String,
        /// How many keys must sign.
        needed: usize,
    },
    /// What was signed is not a statement, or there are too many signatures.
    #[error("what is signed cannot be read")]
    Malformed(#[from] Error),
    /// The statement is about another image.
    #[error("the signatures are for image {found}, not for {expected}")]
    WrongImage {
        /// The image in question.
        expected: ImageId,
        /// The image of the statement.
        found: ImageId,
    },
    /// The statement is about another name.
    #[error("the signatures are for the name {found}, not for {expected}")]
    WrongName {
        /// The name in question.
        expected: ImageName,
        /// The name of the statement.
        found: ImageName,
    },
    /// The statement is older than what was accepted before.
    #[error("epoch {epoch} is over: {floor} has begun in {directory:?}")]
    RolledBack {
        /// Directory of the rule.
        directory: String,
        /// Epoch of the statement.
        epoch: u64,
        /// Epoch that was accepted before.
        floor: u64,
    },
    /// Too few of the trusted keys signed.
    #[error("{have} of {needed} signatures of trusted keys{}", List(rejected))]
    UnderSigned {
        /// How many keys counted.
        have: usize,
        /// How many must.
        needed: usize,
        /// Signatures that did not count.
        rejected: Vec<Rejected>,
    },
}

/// A signature that did not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// Its position among the signatures.
    pub pos: usize,
    /// The key that it says it is by, if it can be read.
    pub key: Option<Fingerprint>,
    /// Why it did not count.
    pub fault: Fault,
}

/// Why a signature does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not a signature as OpenSSH writes them.
    #[error("malformed")]
    Malformed,
    /// It was made for another purpose.
    #[error("made for another purpose than {}", crate::NAMESPACE)]
    WrongNamespace,
    /// The rule does not name its key.
    #[error("by a key that is not trusted here")]
    UnknownKey,
    /// Its key is trusted no more.
    #[error("by a revoked key")]
    RevokedKey,
    /// Another signature by the same key has counted.
    #[error("by a key that has signed already")]
    Duplicate,
    /// The key did not sign these bytes.
    #[error("wrong")]
    BadSignature,
    /// A hardware key signed without being touched.
    #[error("by a hardware key that nobody touched")]
    NobodyPresent,
}

/// Decides whether `image` may be used under `name`.
///
/// # Errors
/// A refusal, for every image that the policy does not let pass.
pub fn decide(
    policy: &TrustPolicy,
    floors: &Floors,
    name: &ImageName,
    image: ImageId,
    signed: Option<&SignedStatement>,
) -> Result<Accepted, Refusal> {
    let (directory, rule) = policy.rule(name).ok_or_else(|| Refusal::NoRule { name: name.clone() })?;
    let directory = directory.to_owned();
    let floor = floors.get(&directory);
    let (threshold, keys) = match rule {
        Rule::Anything => return Ok(Accepted { directory, new_floor: floor, signers: Vec::new() }),
        Rule::Signed { threshold, keys } => (*threshold, keys),
    };
    let Some(signed) = signed.filter(|signed| !signed.signatures.is_empty()) else {
        return Err(Refusal::Unsigned { name: name.clone(), directory, needed: threshold });
    };
    check_limit("signatures", signed.signatures.len(), SIGNATURES_MAX)?;
    let statement = Statement::decode(&signed.statement)?;
    if statement.name != *name {
        return Err(Refusal::WrongName { expected: name.clone(), found: statement.name });
    }
    if statement.image != image {
        return Err(Refusal::WrongImage { expected: image, found: statement.image });
    }
    if statement.epoch < floor {
        return Err(Refusal::RolledBack { directory, epoch: statement.epoch, floor });
    }

    let (mut counted, mut rejected) = (BTreeSet::new(), Vec::new());
    for (pos, armoured) in signed.signatures.iter().enumerate() {
        let signature = match Signature::parse(armoured) {
            Ok(signature) => signature,
            Err(fault) => {
                rejected.push(Rejected { pos, key: None, fault });
                continue;
            }
        };
        let fingerprint = signature.fingerprint();
        let verdict = match keys.iter().find(|key| key.fingerprint() == fingerprint) {
            _ if policy.is_revoked(fingerprint) => Err(Fault::RevokedKey),
            None => Err(Fault::UnknownKey),
            Some(_) if counted.contains(&fingerprint) => Err(Fault::Duplicate),
            Some(key) => signature.verify(key, &signed.statement),
        };
        match verdict {
            Ok(()) => {
                counted.insert(fingerprint);
            }
            Err(fault) => rejected.push(Rejected { pos, key: Some(fingerprint), fault }),
        }
    }
    if counted.len() < threshold {
        return Err(Refusal::UnderSigned { have: counted.len(), needed: threshold, rejected });
    }
    Ok(Accepted { directory, new_floor: statement.epoch.max(floor), signers: counted.into_iter().collect() })
}

struct List<'a>(&'a [Rejected]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Rejected { pos, key, fault } in self.0 {
            write!(f, "; signature {} does not count: {fault}", pos + 1)?;
            if let Some(key) = key {
                write!(f, " ({key})")?;
            }
        }
        Ok(())
    }
}
