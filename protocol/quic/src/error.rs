//! What can go wrong with certificates, connections and calls.
//!
//! Owns `Error`, and turns the errors of the libraries below into it. Invariants: an error says which side's which thing is
//! wrong; text from a peer is cut, cleaned and marked as the peer's; a failure that the peer told is kept whole.
//!
//! Does not judge certificates: that is `trust`.

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use dominator_protocol_core::{CallFailure, DecodeError, ErrorCode, Method};

use crate::{TrustError, limits::REASON_LEN_MAX};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file would have been replaced.
    #[error("{} exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A certificate or key is not usable.
    #[error("{what} is not usable: {why}")]
    Unusable {
        /// The file or the role of the certificate or key.
        what: String,
        /// What is wrong with it.
        why: Unusable,
    },
    /// The local address cannot be used.
    #[error("cannot use UDP address {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A host name has no address.
    #[error("cannot find an address of {host}")]
    Resolve {
        /// Host and port.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// A connection cannot even be tried.
    #[error("cannot connect to {peer}")]
    Connect {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        source: quinn::ConnectError,
    },
    /// One side does not trust the other.
    #[error("connection with {peer} refused")]
    Refused {
        /// The peer.
        peer: SocketAddr,
        /// Who does not trust whom, and why.
        source: TrustError,
    },
    /// The peer does not answer.
    #[error("{peer} does not answer")]
    Unreachable {
        /// The peer.
        peer: SocketAddr,
    },
    /// The connection ended under the call.
    #[error("connection with {peer} lost")]
    Lost {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        source: quinn::ConnectionError,
    },
    /// One side closed the connection.
    #[error("connection with {peer} closed: {code}{}", Reason(reason))]
    Closed {
        /// The peer.
        peer: SocketAddr,
        /// Why.
        code: CloseCode,
        /// Text of the peer, if it gave one.
        reason: String,
    },
    /// The peer says that the call failed.
    #[error(transparent)]
    Failed(#[from] CallFailure),
    /// The peer sends what the protocol does not allow.
    #[error("peer breaks the protocol")]
    Protocol(#[from] DecodeError),
    /// The stream ended before the call did.
    #[error("call ended early")]
    Truncated,
    /// The peer no longer reads what we send; the reason is on the receiving side.
    #[error("peer stopped reading the call")]
    Stopped,
    /// The call was finished before.
    #[error("call is finished already")]
    Finished,
    /// Nothing moved for too long.
    #[error("call made no progress for {} s", timeout.as_secs())]
    Idle {
        /// The time.
        timeout: Duration,
    },
    /// A message does not fit a frame.
    #[error("message of {len} bytes does not fit a frame")]
    TooLarge {
        /// Its length.
        len: usize,
    },
}

/// What is wrong with a certificate or key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The file holds no such PEM section.
    #[error("no {0} in PEM form")]
    NoPem(&'static str),
    /// The bytes are not a certificate.
    #[error("not an X.509 certificate")]
    NotACertificate,
    /// The certificate has no URI `dominator://NAME`.
    #[error("it names no one: the URI dominator://NAME is lacking")]
    NoName,
    /// The name has characters that names may not have.
    #[error("{0:?} is not a name: use letters, digits, '.', '-' and '_'")]
    BadName(String),
    /// A DNS name that cannot stand in a certificate.
    #[error("{0:?} is not a DNS name")]
    BadDnsName(String),
    /// The grant extension is malformed.
    #[error("its permissions cannot be read: {0}")]
    BadGrant(DecodeError),
    /// No method of this version matches the permission.
    #[error("permission {0} matches no method")]
    UnknownPermission(String),
    /// The key does not belong to the certificate.
    #[error("the key does not belong to the certificate")]
    WrongKey,
    /// The bytes are not a revocation list.
    #[error("not an X.509 revocation list")]
    NotAList,
    /// None of our authorities signed the revocation list.
    #[error("the revocation list of {issuer:?} is not signed by our certificate authority")]
    ForeignList {
        /// The authority that it names.
        issuer: String,
    },
    /// Two revocation lists of one authority.
    #[error("there are two revocation lists of {issuer:?}")]
    TwoLists {
        /// The authority.
        issuer: String,
    },
    /// The revocation list is older than the one in use.
    #[error("revocation list {found} of {issuer:?} is older than {used}, which is in use")]
    OldList {
        /// The authority.
        issuer: String,
        /// Number of the list.
        found: u64,
        /// Number of the list in use.
        used: u64,
    },
    /// The revocation list that was in use is gone.
    #[error("the revocation list of {issuer:?}, which is in use, is lacking")]
    ListGone {
        /// The authority.
        issuer: String,
    },
    /// The certificate is for another holder than the one in use.
    #[error("it is for {found}, not for {expected}")]
    OtherHolder {
        /// The holder in use.
        expected: String,
        /// The holder of the certificate.
        found: String,
    },
    /// The certificate would not be believed by those who have the same authorities.
    #[error("it is not good under our own certificate authority: {0}")]
    Unbelieved(String),
    /// No certificate of that name is known.
    #[error("no certificate of that name is registered or lies here")]
    NeverIssued,
    /// Text that should be a serial number.
    #[error("{0:?} is not a serial number: use hexadecimal digits")]
    BadSerial(String),
    /// The register of issued certificates has a line that cannot be read.
    #[error("line {line} of the register cannot be read")]
    BadRegister {
        /// The line, from 1.
        line: usize,
    },
    /// The certificate is not one of an authority.
    #[error("it is not the certificate of an authority")]
    NotAnAuthority,
    /// The file is too long to be read.
    #[error("the file is longer than any certificate or key")]
    TooLong,
    /// The TLS library refuses it.
    #[error("{0}")]
    Tls(String),
}

/// Why a connection was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseCode {
    /// All is said.
    Done,
    /// The certificate of one side expired while the connection was open.
    Expired,
    /// The certificate names no one, or its permissions cannot be read.
    BadIdentity,
    /// Too many connections.
    Busy,
    /// The certificate of one side was revoked while the connection was open.
    Revoked,
    /// The certificate of one side is no longer trusted: authorities changed, or the revocation list is overdue.
    Untrusted,
    /// A code of another version.
    Other(u64),
}

impl CloseCode {
    pub(crate) const fn tag(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Expired => 1,
            Self::BadIdentity => 2,
            Self::Busy => 3,
            Self::Revoked => 4,
            Self::Untrusted => 5,
            Self::Other(_) => 255,
        }
    }

    pub(crate) const fn from_tag(tag: u64) -> Self {
        match tag {
            0 => Self::Done,
            1 => Self::Expired,
            2 => Self::BadIdentity,
            3 => Self::Busy,
            4 => Self::Revoked,
            5 => Self::Untrusted,
            other => Self::Other(other),
        }
    }
}

impl std::fmt::Display for CloseCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Expired => f.write_str("certificate expired"),
            Self::BadIdentity => f.write_str("certificate without a usable identity"),
            Self::Busy => f.write_str("too many connections"),
            Self::Revoked => f.write_str("certificate revoked"),
            Self::Untrusted => f.write_str("certificate no longer trusted"),
            Self::Other(code) => write!(f, "code {code}"),
        }
    }
}

struct Reason<'a>(&'a str);

impl std::fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, " (peer says: {})", self.0) }
    }
}

impl Error {
    /// Returns the failure that the peer told, if that is what went wrong.
    pub const fn failure(&self) -> Option<&CallFailure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }

    /// Tells whether the same may work later without anybody's help: the peer is away, slow, or busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Unreachable { .. }
            | Self::Lost { .. }
            | Self::Truncated
            | Self::Idle { .. }
            | Self::Stopped => true,
            // The last three are errors of this kind only if our certificate was replaced meanwhile; otherwise they are
            // `Refused`.
            Self::Closed { code, .. } => matches!(
                code,
                CloseCode::Done | CloseCode::Busy | CloseCode::Expired | CloseCode::Revoked | CloseCode::Untrusted
            ),
            Self::Failed(failure) => {
                matches!(failure.code, ErrorCode::Busy | ErrorCode::Unavailable | ErrorCode::Timeout)
            }
            _ => false,
        }
    }

    /// Makes an error of the end of a connection.
    pub(crate) fn from_connection(peer: SocketAddr, error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::TimedOut => Self::Unreachable { peer },
            quinn::ConnectionError::LocallyClosed => {
                Self::Closed { peer, code: CloseCode::Done, reason: String::new() }
            }
            quinn::ConnectionError::ApplicationClosed(close) => {
                match CloseCode::from_tag(close.error_code.into_inner()) {
                    CloseCode::Expired => Self::Refused { peer, source: TrustError::OursExpired },
                    CloseCode::Revoked => Self::Refused { peer, source: TrustError::OursRevoked },
                    CloseCode::Untrusted => Self::Refused { peer, source: TrustError::OursUntrusted },
                    CloseCode::BadIdentity => {
                        Self::Refused { peer, source: TrustError::OursIdentity(clean(&close.reason)) }
                    }
                    code => Self::Closed { peer, code, reason: clean(&close.reason) },
                }
            }
            quinn::ConnectionError::ConnectionClosed(ref close) => {
                match TrustError::from_alert(u64::from(close.error_code), &clean(&close.reason)) {
                    Some(source) => Self::Refused { peer, source },
                    None => Self::Lost { peer, source: error },
                }
            }
            source => Self::Lost { peer, source },
        }
    }

    /// The failure of a call for which the caller has no permission.
    pub(crate) fn denied(method: Method, name: &str, needed: &str) -> CallFailure {
        CallFailure::new(ErrorCode::Denied, format!("{method} is not allowed for {name}"))
            .with_hint(format!("a certificate with the permission {needed} is needed"))
    }
}

/// Makes text of a peer fit for a terminal and a log.
pub(crate) fn clean(reason: &[u8]) -> String {
    String::from_utf8_lossy(reason)
        .chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(REASON_LEN_MAX)
        .collect()
}

/// What a service tells its caller when the link of the call itself fails.
impl From<Error> for CallFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::Failed(failure) => failure,
            Error::Protocol(error) => error.into(),
            Error::Idle { .. } => Self::new(ErrorCode::Timeout, error.to_string()),
            Error::TooLarge { .. } => Self::new(ErrorCode::TooLarge, error.to_string()),
            Error::Truncated | Error::Stopped | Error::Finished => Self::bad_request(error.to_string()),
            error => Self::new(ErrorCode::Unavailable, error.to_string()),
        }
    }
}
