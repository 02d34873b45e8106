//! Detached signatures in the format of OpenSSH (SSHSIG).
//!
//! Owns reading and checking one signature. Invariants: only the bytes that an encoder would write are read; version,
//! namespace, kind of key and, for hardware keys, the touch of a person are checked besides the signature itself.
//!
//! Does not know who is trusted: that is `decide`.

use ssh_key::{Algorithm, HashAlg, LineEnding, SshSig};

use crate::{Fault, Fingerprint, PublicKey, limits::SIGNATURE_LEN_MAX};

/// What signatures are made for; `ssh-keygen -Y sign -n` must be given the same.
pub const NAMESPACE: &str = "dominator-image@v1";

/// Flag of a hardware key: somebody touched it.
const USER_PRESENT: u8 = 1;
/// Bytes behind a hardware key's signature: flags and a counter.
const HARDWARE_TRAILER_LEN: usize = 5;

/// A signature that was read, and not yet checked.
pub(crate) struct Signature(SshSig);

impl Signature {
    pub(crate) fn parse(armoured: &[u8]) -> Result<Self, Fault> {
        if armoured.len() > SIGNATURE_LEN_MAX {
            return Err(Fault::Malformed);
        }
        let signature = SshSig::from_pem(armoured).map_err(|_| Fault::Malformed)?;
        // The version is not covered by the signature, and neither is how the armour is written.
        let written = signature.to_pem(LineEnding::LF).map_err(|_| Fault::Malformed)?;
        if signature.version() != SshSig::VERSION || written.as_bytes() != armoured || !signature.reserved().is_empty()
        {
            return Err(Fault::Malformed);
        }
        Ok(Self(signature))
    }

    /// Returns the key that the signature says it is by.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(self.0.public_key())
    }

    /// Checks that `key` signed `message` for our purpose.
    pub(crate) fn verify(&self, key: &PublicKey, message: &[u8]) -> Result<(), Fault> {
        let Self(signature) = self;
        if signature.namespace() != NAMESPACE {
            return Err(Fault::WrongNamespace);
        }
        if signature.algorithm() != key.data().algorithm()
            || !matches!(signature.hash_alg(), HashAlg::Sha256 | HashAlg::Sha512)
        {
            return Err(Fault::BadSignature);
        }
        if signature.algorithm() == Algorithm::SkEd25519 {
            let bytes = signature.signature_bytes();
            let flags = bytes.len().checked_sub(HARDWARE_TRAILER_LEN).and_then(|pos| bytes.get(pos));
            if flags.is_none_or(|flags| flags & USER_PRESENT == 0) {
                return Err(Fault::NobodyPresent);
            }
        }
        let key = ssh_key::PublicKey::new(key.data().clone(), "");
        key.verify(NAMESPACE, message, signature).map_err(|_| Fault::BadSignature)
    }
}
