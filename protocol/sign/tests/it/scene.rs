//! Keys, policies and signatures, in the ways that other tests bend.
//!
//! Owns set-up. Invariant: everything is made from numbers, so that every run is the same.
//!
//! Does not assert.

use dominator_protocol_sign::{
    Accepted, Floors, NAMESPACE, PolicyDocument, PublicKey, Refusal, RuleDocument, SignedStatement, SigningKey,
    Statement, TrustPolicy, decide,
};
use dominator_store_core::{Digest, ImageId, ImageName};
use ssh_key::{
    Algorithm, HashAlg, LineEnding, PrivateKey, Signature, SshSig,
    private::Ed25519Keypair,
    public::{KeyData, SkEd25519},
};

fn seed(number: u64) -> [u8; 32] {
    *Digest::of(format!("signature key {number}").as_bytes()).as_bytes()
}

pub(crate) fn key(number: u64) -> SigningKey {
    SigningKey::from_seed(seed(number))
}

pub(crate) fn public(number: u64) -> PublicKey {
    key(number).public_key()
}

pub(crate) fn image() -> ImageId {
    ImageId::of(b"image")
}

pub(crate) fn name() -> ImageName {
    "debian/stable/v1".parse().unwrap()
}

pub(crate) fn statement(epoch: u64) -> Statement {
    Statement { image: image(), name: name(), epoch }
}

pub(crate) fn signed_by(statement: &Statement, keys: &[u64]) -> SignedStatement {
    let mut signed = SignedStatement::new(statement);
    for number in keys {
        signed.sign(&key(*number)).unwrap();
    }
    signed
}

pub(crate) fn rule(directory: &str, threshold: usize, keys: &[PublicKey]) -> RuleDocument {
    RuleDocument {
        directory: directory.into(),
        threshold: Some(threshold),
        keys: keys.iter().map(ToString::to_string).collect(),
        unsigned: false,
    }
}

pub(crate) fn policy(rules: Vec<RuleDocument>, revoked: &[PublicKey]) -> TrustPolicy {
    let revoked = revoked.iter().map(|key| key.fingerprint().to_string()).collect();
    TrustPolicy::try_from(&PolicyDocument { rules, revoked }).unwrap()
}

/// Two of the keys 1, 2, 3 for everything below `debian`; key 9 is revoked.
pub(crate) fn two_of_three() -> TrustPolicy {
    policy(vec![rule("debian", 2, &[public(1), public(2), public(3)])], &[public(9)])
}

pub(crate) fn judge(policy: &TrustPolicy, signed: &SignedStatement) -> Result<Accepted, Refusal> {
    decide(policy, &Floors::default(), &name(), image(), Some(signed))
}

fn private(number: u64) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&seed(number)))
}

/// Signs for any purpose, as another program with the same key would.
pub(crate) fn sign_for(number: u64, namespace: &str, hash: HashAlg, message: &[u8]) -> Vec<u8> {
    SshSig::sign(&private(number), namespace, hash, message).unwrap().to_pem(LineEnding::LF).unwrap().into_bytes()
}

/// A hardware key, and what it makes of a message when it has these flags.
pub(crate) fn hardware(number: u64, flags: u8, message: &[u8]) -> (PublicKey, Vec<u8>) {
    fn sign_raw<K: ssh_key::SigningKey>(key: &K, message: &[u8]) -> Signature {
        key.sign(message)
    }
    let private = private(number);
    let pair = Ed25519Keypair::from_seed(&seed(number));
    let data = KeyData::SkEd25519(SkEd25519::new(pair.public, "ssh:"));
    let signed = SshSig::signed_data(NAMESPACE, HashAlg::Sha512, message).unwrap();
    let trailer = [flags, 0, 0, 0, 7];
    let raw = [&HashAlg::Sha256.digest(b"ssh:")[..], &trailer, &HashAlg::Sha256.digest(&signed)].concat();
    let signature = [sign_raw(&private, &raw).as_bytes(), &trailer].concat();
    let signature = Signature::new(Algorithm::SkEd25519, signature).unwrap();
    let signature = SshSig::new(data.clone(), NAMESPACE, HashAlg::Sha512, signature).unwrap();
    let key = ssh_key::PublicKey::new(data, "token").to_openssh().unwrap();
    (key.parse().unwrap(), signature.to_pem(LineEnding::LF).unwrap().into_bytes())
}
