//! Keys of publishers.
//!
//! Owns their text forms. Invariants: keys are equal when their key material is, whatever comment stands beside them; only kinds
//! whose signatures we check are read; a private key shows itself to nobody.
//!
//! Does not check signatures: that is `signature`.

use std::{fmt, str::FromStr};

use ssh_key::{
    Algorithm, EcdsaCurve, HashAlg, LineEnding, PrivateKey,
    private::{Ed25519Keypair, KeypairData},
    public::KeyData,
};

use crate::{
    Error, Statement,
    error::{check_limit, clip},
    limits::KEY_LEN_MAX,
    signature::NAMESPACE,
};

/// The public key of a publisher.
#[derive(Clone)]
pub struct PublicKey {
    data: KeyData,
    comment: String,
}

/// SHA-256 of a public key, as `ssh-keygen -l` prints it: `SHA256:...`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

/// The private key of a publisher, for tools and tests.
pub struct SigningKey(PrivateKey);

impl PublicKey {
    /// Returns what people compare.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.data)
    }

    /// Returns what stands beside the key.
    pub fn comment(&self) -> &str {
        &self.comment
    }

    pub(crate) const fn data(&self) -> &KeyData {
        &self.data
    }
}

impl Fingerprint {
    pub(crate) fn of(data: &KeyData) -> Self {
        let digest = data.fingerprint(HashAlg::Sha256).sha256();
        Self(digest.expect("SHA-256 was asked for"))
    }
}

impl SigningKey {
    /// Reads an unencrypted private key as `ssh-keygen` writes it.
    ///
    /// # Errors
    /// When it is something else, encrypted, or of a kind that is not accepted.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let key =
            PrivateKey::from_openssh(text).map_err(|_| Error::PrivateKey("it is not one as OpenSSH writes them"))?;
        if key.is_encrypted() {
            return Err(Error::PrivateKey("it is encrypted; sign with ssh-keygen -Y sign"));
        }
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => Ok(Self(key)),
            _ => Err(Error::PrivateKey("only ssh-ed25519 and ecdsa-sha2-nistp256 keys sign here")),
        }
    }

    /// Makes the Ed25519 key that belongs to a seed, which must come from a good source of randomness.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
        Self(PrivateKey::new(pair, "").expect("a pair is a private key"))
    }

    /// Returns the public half.
    pub fn public_key(&self) -> PublicKey {
        let key = self.0.public_key();
        PublicKey { data: key.key_data().clone(), comment: key.comment().to_owned() }
    }

    /// Signs a statement; the result is what `ssh-keygen -Y sign` writes.
    ///
    /// # Errors
    /// When the key cannot sign.
    pub fn sign(&self, statement: &Statement) -> Result<Vec<u8>, Error> {
        self.sign_bytes(NAMESPACE, &statement.encode())
    }

    pub(crate) fn sign_bytes(&self, namespace: &str, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.0.sign(namespace, HashAlg::Sha512, message);
        let pem = signature.and_then(|signature| signature.to_pem(LineEnding::LF));
        Ok(pem.map_err(|_| Error::PrivateKey("it cannot sign"))?.into_bytes())
    }
}

/// A line of `authorized_keys` without options: `KIND BASE64 [COMMENT]`.
impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        check_limit("bytes of a public key", text.len(), KEY_LEN_MAX)?;
        let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(|_| Error::Key { text: clip(text) })?;
        match key.algorithm() {
            Algorithm::Ed25519 | Algorithm::SkEd25519 | Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 } => {}
            other => {
                let fingerprint = Fingerprint::of(key.key_data()).to_string();
                return Err(Error::KeyKind { fingerprint, kind: other.to_string() });
            }
        }
        Ok(Self { data: key.key_data().clone(), comment: key.comment().to_owned() })
    }
}

/// The line without the comment.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = ssh_key::PublicKey::new(self.data.clone(), "").to_openssh().map_err(|_| fmt::Error)?;
        f.write_str(text.trim_end())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.data == other.data
    }
}

impl Eq for PublicKey {}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let fingerprint: Option<ssh_key::Fingerprint> = text.parse().ok();
        let digest = fingerprint.and_then(ssh_key::Fingerprint::sha256);
        digest.map(Self).ok_or_else(|| Error::Fingerprint { text: clip(text) })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        ssh_key::Fingerprint::Sha256(self.0).fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Keys stay out of logs.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public_key().fingerprint()).finish()
    }
}
