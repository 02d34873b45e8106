//! Why one side does not trust the other.
//!
//! Owns `TrustError` and the reading of TLS alerts. Invariant: an explanation says whose certificate is meant.
//!
//! Does not verify (`anchors`, `verifier`) and does not decide on permissions: that is `Grant`.

use rustls::CertificateError;

/// Who does not trust whom, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// The peer's certificate comes from another authority.
    #[error("the peer's certificate is not signed by our certificate authority")]
    PeerUntrusted,
    /// The peer's certificate is over.
    #[error("the peer's certificate expired")]
    PeerExpired,
    /// The peer's certificate is not yet valid.
    #[error("the peer's certificate is not valid yet; compare the clocks of both machines")]
    PeerNotYetValid,
    /// The peer is somebody else.
    #[error("the peer's certificate is not for the name {expected}")]
    PeerName {
        /// The name that was asked for.
        expected: String,
    },
    /// The peer's certificate is not one for this side of a connection.
    #[error("the peer's certificate is not issued for a server")]
    PeerPurpose,
    /// The peer's certificate is revoked.
    #[error("the peer's certificate is revoked")]
    PeerRevoked,
    /// The list that could revoke the peer's certificate is older than we accept.
    #[error("the revocation list of the peer's certificate authority is overdue")]
    PeerListOverdue,
    /// There is no list that could revoke the peer's certificate, and we want one.
    #[error("there is no revocation list of the peer's certificate authority")]
    PeerListMissing,
    /// The peer's certificate names no one, or its permissions cannot be read.
    #[error("the peer's certificate has no usable identity: {0}")]
    PeerIdentity(crate::error::Unusable),
    /// The peer's certificate is refused for a rarer reason.
    #[error("the peer's certificate is refused: {0}")]
    PeerOther(String),
    /// Our certificate comes from another authority than the peer's.
    #[error("the peer does not trust our certificate: it is not signed by the peer's certificate authority")]
    OursUntrusted,
    /// Our certificate is over.
    #[error("the peer does not accept our certificate: it expired")]
    OursExpired,
    /// Our certificate is not yet valid by the peer's clock.
    #[error("the peer does not accept our certificate: it is not valid yet; compare the clocks of both machines")]
    OursNotYetValid,
    /// We showed no certificate.
    #[error("the peer wants a certificate and got none")]
    OursMissing,
    /// Our certificate is not one for this side of a connection.
    #[error("the peer does not accept our certificate: it is not issued for a client")]
    OursPurpose,
    /// Our certificate is revoked.
    #[error("the peer does not accept our certificate: it is revoked")]
    OursRevoked,
    /// The peer has no revocation list, or an old one, and wants a new one.
    #[error("the peer accepts nobody: its revocation list is lacking or overdue")]
    OursUnchecked,
    /// Our certificate names no one, or its permissions cannot be read.
    #[error("the peer does not accept our certificate: {0}")]
    OursIdentity(String),
    /// The peer speaks another version of the protocol, or another protocol.
    #[error("the peer does not speak this version of the protocol")]
    Version,
    /// The peer refuses us for a rarer reason.
    #[error("the peer refuses the connection with TLS alert {alert}: {text}")]
    OursOther {
        /// Number of the alert.
        alert: u8,
        /// Text of the peer.
        text: String,
    },
}

impl TrustError {
    /// Reads the code with which a peer closed; `None` if it is not a TLS alert.
    pub(crate) fn from_alert(code: u64, text: &str) -> Option<Self> {
        let alert = u8::try_from(code.checked_sub(0x100)?).ok()?;
        Some(match alert {
            45 if text.contains("not valid yet") => Self::OursNotYetValid,
            45 => Self::OursExpired,
            48 if text.to_ascii_lowercase().contains("revocation") => Self::OursUnchecked,
            // A certificate of another authority with the same name fails at the signature.
            48 | 51 => Self::OursUntrusted,
            43 => Self::OursPurpose,
            44 => Self::OursRevoked,
            116 => Self::OursMissing,
            120 => Self::Version,
            alert => Self::OursOther { alert, text: text.to_owned() },
        })
    }

    /// Explains why our verifier refused the certificate of a server.
    pub(crate) fn from_verdict(verdict: &rustls::Error, expected: &str) -> Self {
        match verdict {
            rustls::Error::InvalidCertificate(error) => match error {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::PeerUntrusted,
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::PeerExpired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::PeerNotYetValid,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::PeerName { expected: expected.to_owned() }
                }
                CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::PeerPurpose,
                CertificateError::Revoked => Self::PeerRevoked,
                CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                    Self::PeerListOverdue
                }
                CertificateError::UnknownRevocationStatus => Self::PeerListMissing,
                other => Self::PeerOther(other.to_string()),
            },
            other => Self::PeerOther(other.to_string()),
        }
    }
}
