//! Whom a machine trusts with which images.
//!
//! Owns `TrustPolicy` and the document it is read from. Invariants: what no rule names is refused; of two rules the one for
//! the deeper directory decides alone; a threshold can be met when it is read, unless keys were revoked: then nothing passes.
//!
//! Does not judge images: that is `decide`.

use std::collections::{BTreeMap, BTreeSet};

use dominator_store_core::ImageName;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Fingerprint, PublicKey,
    error::{check_limit, clip},
    limits::{KEYS_MAX, REVOKED_MAX, RULES_MAX},
};

/// Rules for directories of images, and keys that are trusted no more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrustPolicy {
    rules: BTreeMap<String, Rule>,
    revoked: BTreeSet<Fingerprint>,
}

/// Who must have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// So many of these keys.
    Signed { threshold: usize, keys: Vec<PublicKey> },
    /// Nobody.
    Anything,
}

/// A trust policy as it stands in a file, in any format that serde reads.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDocument {
    /// Rules; the order does not matter.
    #[serde(default, rename = "image")]
    pub rules: Vec<RuleDocument>,
    /// Keys, or fingerprints of keys, whose signatures no longer count anywhere.
    #[serde(default)]
    pub revoked: Vec<String>,
}

/// A rule as it stands in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleDocument {
    /// Images whose names begin with this directory; empty for all images.
    pub directory: String,
    /// How many different keys must sign; 1 if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<usize>,
    /// Public keys, as lines of `authorized_keys`.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Images need no signature.
    #[serde(default)]
    pub unsigned: bool,
}

impl TrustPolicy {
    /// Returns the rule for an image, and its directory.
    pub(crate) fn rule(&self, name: &ImageName) -> Option<(&str, &Rule)> {
        let mut directory = name.directory();
        loop {
            if let Some((directory, rule)) = self.rules.get_key_value(directory) {
                return Some((directory, rule));
            }
            if directory.is_empty() {
                return None;
            }
            directory = directory.rsplit_once('/').map_or("", |(above, _)| above);
        }
    }

    pub(crate) fn is_revoked(&self, key: Fingerprint) -> bool {
        self.revoked.contains(&key)
    }

    /// Returns the directory whose rule decides about an image; `None` if the image is refused in any case.
    pub fn directory_of(&self, name: &ImageName) -> Option<&str> {
        self.rule(name).map(|(directory, _)| directory)
    }

    /// Returns the directories that have a rule.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        self.rules.keys().map(String::as_str)
    }
}

impl TryFrom<&PolicyDocument> for TrustPolicy {
    type Error = Error;

    fn try_from(document: &PolicyDocument) -> Result<Self, Error> {
        check_limit("rules", document.rules.len(), RULES_MAX)?;
        check_limit("revoked keys", document.revoked.len(), REVOKED_MAX)?;
        let mut rules = BTreeMap::new();
        for rule in &document.rules {
            let directory = rule.directory.clone();
            if !directory.is_empty() && directory.parse::<ImageName>().is_err() {
                return Err(Error::Directory { directory: clip(&directory) });
            }
            if rules.insert(directory.clone(), Rule::try_from(rule)?).is_some() {
                return Err(Error::TwoRules { directory });
            }
        }
        let revoked = document.revoked.iter().map(|text| {
            let as_key = || text.parse::<PublicKey>().map(|key| key.fingerprint());
            text.trim().parse::<Fingerprint>().or_else(|error| as_key().map_err(|_| error))
        });
        Ok(Self { rules, revoked: revoked.collect::<Result<_, _>>()? })
    }
}

impl TryFrom<&RuleDocument> for Rule {
    type Error = Error;

    fn try_from(rule: &RuleDocument) -> Result<Self, Error> {
        let directory = || rule.directory.clone();
        check_limit("keys of a rule", rule.keys.len(), KEYS_MAX)?;
        if rule.unsigned {
            return match (rule.keys.is_empty(), rule.threshold) {
                (true, None) => Ok(Self::Anything),
                _ => Err(Error::KeysOfUnsigned { directory: directory() }),
            };
        }
        let mut keys: Vec<PublicKey> = Vec::new();
        for text in &rule.keys {
            let key: PublicKey = text.parse()?;
            if keys.contains(&key) {
                return Err(Error::TwiceTheKey { directory: directory(), fingerprint: key.fingerprint().to_string() });
            }
            keys.push(key);
        }
        let threshold = rule.threshold.unwrap_or(1);
        if threshold == 0 || threshold > keys.len() {
            return Err(Error::Threshold { directory: directory(), threshold, key_count: keys.len() });
        }
        Ok(Self::Signed { threshold, keys })
    }
}
