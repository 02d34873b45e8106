//! Watching over the certificate of a connection's peer.
//!
//! Owns who the peer is and the task that ends the connection. Invariant: a connection lives only as long as its peer would
//! be let in anew: not past the end of its certificate, not past its revocation, not past the authority that vouches for it.
//!
//! Does not judge: that is `anchors`.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dominator_protocol_core::Identity;
use rustls_pki_types::{CertificateDer, UnixTime};
use tokio::sync::watch;

use crate::{
    CloseCode, Connection, Credentials, TrustError,
    anchors::{Authorities, PeerRole},
    cert::{self, CertificateId},
    error::Unusable,
    limits::EXPIRY_CHECK_MAX,
};

/// Who is at the other end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) identity: Arc<Identity>,
    role: PeerRole,
    chain: Vec<CertificateDer<'static>>,
    /// What lists call the certificates of the chain.
    ids: Vec<CertificateId>,
}

impl Peer {
    pub(crate) fn of(quic: &quinn::Connection, role: &PeerRole) -> Result<Self, Unusable> {
        let chain = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
        let chain = *chain.ok_or(Unusable::NotACertificate)?;
        let identity = cert::read_identity(chain.first().ok_or(Unusable::NotACertificate)?)?;
        let ids = chain.iter().map(CertificateId::of).collect::<Result<_, _>>()?;
        Ok(Self { identity: Arc::new(identity), role: role.clone(), chain, ids })
    }

    /// How long the certificate is good, in ms; `None` when it is over.
    fn left_ms(&self) -> Option<u64> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let end_ms = u128::from(u64::try_from(self.identity.not_after_s).unwrap_or(0)) * 1000;
        let left_ms = end_ms.checked_sub(now_ms)?;
        Some(u64::try_from(left_ms).unwrap_or(u64::MAX).saturating_add(1))
    }

    fn judge(&self, credentials: &Credentials, before: &Authorities) -> Result<(), TrustError> {
        credentials.anchors().judge(&self.chain, &self.ids, &self.role, before, UnixTime::now())
    }
}

/// Closes the connection when the peer's certificate is over, revoked, or no longer vouched for.
///
/// Judges whenever the credentials change or the clock is set, and at the latest after `EXPIRY_CHECK_MAX`.
pub(crate) async fn close_when_disbelieved(
    connection: Connection,
    peer: Peer,
    before: Authorities,
    mut watch: watch::Receiver<Credentials>,
) {
    let Connection { quic, shared } = connection;
    loop {
        // Cloned, because nobody could change the credentials while this holds them.
        let credentials = watch.borrow_and_update().clone();
        let left_ms = peer.left_ms();
        let verdict = match left_ms {
            None => Err(TrustError::PeerExpired),
            Some(_) => peer.judge(&credentials, &before),
        };
        drop(credentials);
        if let Err(disbelief) = verdict {
            tracing::warn!(peer = %peer.identity.name, address = %shared.peer, reason = %disbelief, "connection ended");
            let code = match disbelief {
                TrustError::PeerExpired => CloseCode::Expired,
                TrustError::PeerRevoked => CloseCode::Revoked,
                _ => CloseCode::Untrusted,
            };
            // Said before closing: whoever sees the end also sees the reason.
            let _ = shared.disbelief.set(disbelief);
            quic.close(code.tag().into(), b"");
            return;
        }
        let left = Duration::from_millis(left_ms.unwrap_or(0)).min(EXPIRY_CHECK_MAX);
        tokio::select! {
            _ = quic.closed() => return,
            () = tokio::time::sleep(left) => {}
            changed = watch.changed() => if changed.is_err() {
                // Nobody can change the credentials any more; only time can.
                tokio::select! {
                    _ = quic.closed() => return,
                    () = tokio::time::sleep(left) => {}
                }
            }
        }
    }
}
