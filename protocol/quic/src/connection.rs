//! One connection with a verified peer.
//!
//! Owns the counters, the caps and the end of a connection. Invariants: a `Connection` exists only with the identity of the
//! peer's leaf certificate; it ends when that certificate does; everything sent and received on streams is counted.
//!
//! Does not make connections (`endpoint`) and does not run calls (`call`).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use dominator_protocol_core::{DecodeError, Identity, Message, Method, Payload};
use quinn::VarInt;
use rustls_pki_types::CertificateDer;

use crate::{
    Call, CloseCode, Error, Pacer, Settings, TrustError, cert,
    error::Unusable,
    limits::{CAPPED_WINDOW_MIN, CLIENT_WINDOW, EXPIRY_CHECK_MAX, SEND_WINDOW},
};

/// A connection with a verified peer; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) shared: Arc<Shared>,
}

/// What all calls of a connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) peer: SocketAddr,
    pub(crate) call_idle_timeout: Duration,
    /// We closed because the peer's certificate is over.
    expired: AtomicBool,
    pub(crate) sent_len: AtomicU64,
    pub(crate) received_len: AtomicU64,
    /// Cap that the peer asked for.
    pub(crate) asked_rate: Pacer,
    /// Cap of our whole endpoint.
    pub(crate) send_rate: Pacer,
    /// Cap of this connection.
    pub(crate) receive_rate: Pacer,
    /// Cap of our whole endpoint.
    pub(crate) endpoint_receive_rate: Pacer,
    /// The peer was asked for a cap, so it must also be told when there is none any more.
    has_asked: AtomicBool,
}

impl Connection {
    /// Takes over a connection whose handshake is complete, and watches the end of the peer's certificate.
    pub(crate) fn new(quic: quinn::Connection, settings: &Settings) -> Result<Self, Error> {
        let peer = quic.remote_address();
        let identity = match peer_identity(&quic) {
            Ok(identity) => Arc::new(identity),
            Err(why) => {
                quic.close(CloseCode::BadIdentity.tag().into(), why.to_string().as_bytes());
                return Err(Error::Refused { peer, source: TrustError::PeerIdentity(why) });
            }
        };
        let shared = Shared {
            identity,
            peer,
            call_idle_timeout: settings.call_idle_timeout,
            expired: AtomicBool::new(false),
            sent_len: AtomicU64::new(0),
            received_len: AtomicU64::new(0),
            asked_rate: Pacer::unlimited(),
            send_rate: settings.send_rate.clone(),
            receive_rate: Pacer::unlimited(),
            endpoint_receive_rate: settings.receive_rate.clone(),
            has_asked: AtomicBool::new(false),
        };
        let connection = Self { quic, shared: Arc::new(shared) };
        tokio::spawn(close_at_expiry(connection.clone()));
        Ok(connection)
    }

    /// Opens a call.
    ///
    /// # Errors
    /// When the connection is over, with the reason; also when the peer does not accept another call for too long.
    pub async fn call(&self, method: Method) -> Result<Call, Error> {
        Call::open(self, method, None).await
    }

    /// Opens a call that the peer gives up after `deadline`.
    ///
    /// # Errors
    /// Those of `call`.
    pub async fn call_within(&self, method: Method, deadline: Duration) -> Result<Call, Error> {
        Call::open(self, method, Some(deadline)).await
    }

    /// Sends one message and returns the one that answers it.
    ///
    /// # Errors
    /// When the peer says that the call failed, answers with another message, or the connection is over.
    pub async fn ask<Q: Payload, R: Payload + TryFrom<Message, Error = DecodeError>>(
        &self,
        method: Method,
        question: &Q,
    ) -> Result<R, Error> {
        Ok(self.ask_message(method, question).await?.try_into()?)
    }

    /// Sends one message and returns the one that answers it, whichever it is.
    ///
    /// # Errors
    /// When the peer says that the call failed or does not answer, or the connection is over.
    pub async fn ask_message<Q: Payload>(&self, method: Method, question: &Q) -> Result<Message, Error> {
        let mut call = self.call(method).await?;
        call.feed(question).await?;
        call.finish().await?;
        let answer = call.recv().await?.ok_or(Error::Truncated)?;
        match call.recv().await? {
            None => Ok(answer),
            Some(more) => Err(DecodeError::UnexpectedFrame { expected: "End", found: more.tag().name() }.into()),
        }
    }

    /// Returns who the peer is.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.shared.identity
    }

    /// Returns where the peer is.
    pub fn remote_addr(&self) -> SocketAddr {
        self.shared.peer
    }

    /// Caps what this connection receives: we read no faster, and each call from now on asks the peer to send no faster.
    pub fn set_receive_rate(&self, rate_bytes_per_s: Option<u64>) {
        self.shared.receive_rate.set_rate(rate_bytes_per_s);
        self.quic.set_receive_window(VarInt::from_u32(capped_window(rate_bytes_per_s, CLIENT_WINDOW)));
    }

    /// Does what the peer asked for in a request: 0 lifts the cap.
    pub(crate) fn set_asked_rate(&self, rate_bytes_per_s: u64) {
        let rate_bytes_per_s = (rate_bytes_per_s > 0).then_some(rate_bytes_per_s);
        self.shared.asked_rate.set_rate(rate_bytes_per_s);
        self.quic.set_send_window(u64::from(capped_window(rate_bytes_per_s, SEND_WINDOW)));
    }

    /// Returns the bytes sent on streams, frame headers included.
    pub fn sent_len(&self) -> u64 {
        self.shared.sent_len.load(Ordering::Relaxed)
    }

    /// Returns the bytes received on streams, frame headers included.
    pub fn received_len(&self) -> u64 {
        self.shared.received_len.load(Ordering::Relaxed)
    }

    /// Returns the bytes sent as UDP payload, everything included.
    pub fn udp_sent_len(&self) -> u64 {
        self.quic.stats().udp_tx.bytes
    }

    /// Returns the bytes received as UDP payload, everything included.
    pub fn udp_received_len(&self) -> u64 {
        self.quic.stats().udp_rx.bytes
    }

    /// Returns the current estimate of the round-trip time.
    pub fn rtt(&self) -> Duration {
        self.quic.rtt()
    }

    /// Tells whether calls can still be tried.
    pub fn is_open(&self) -> bool {
        self.quic.close_reason().is_none()
    }

    /// Waits for the end of the connection and returns its reason.
    pub async fn closed(&self) -> Error {
        self.error(self.quic.closed().await)
    }

    /// Ends the connection; calls that are under way fail at both sides.
    pub fn close(&self) {
        self.quic.close(CloseCode::Done.tag().into(), b"");
    }

    pub(crate) fn close_with(&self, code: CloseCode) {
        self.quic.close(code.tag().into(), b"");
    }

    pub(crate) fn error(&self, error: quinn::ConnectionError) -> Error {
        self.shared.error(error)
    }
}

impl Shared {
    /// What a request says about our cap: nothing if there never was one, 0 if it was lifted.
    pub(crate) fn asked_rate_of_peer(&self) -> Option<u64> {
        match self.receive_rate.rate() {
            Some(rate) => {
                self.has_asked.store(true, Ordering::Relaxed);
                Some(rate)
            }
            None => self.has_asked.load(Ordering::Relaxed).then_some(0),
        }
    }

    pub(crate) fn error(&self, error: quinn::ConnectionError) -> Error {
        if self.expired.load(Ordering::Relaxed) {
            return Error::Refused { peer: self.peer, source: TrustError::PeerExpired };
        }
        Error::from_connection(self.peer, error)
    }
}

/// A quarter of a second of bytes may be under way: enough for long links, too little to burst far through the cap after a
/// stall.
fn capped_window(rate_bytes_per_s: Option<u64>, window: u32) -> u32 {
    match rate_bytes_per_s {
        None => window,
        Some(rate) => u32::try_from(rate / 4).unwrap_or(window).clamp(CAPPED_WINDOW_MIN, window),
    }
}

fn peer_identity(quic: &quinn::Connection) -> Result<Identity, Unusable> {
    let chain = quic.peer_identity().and_then(|chain| chain.downcast::<Vec<CertificateDer<'static>>>().ok());
    let leaf = chain.as_ref().and_then(|chain| chain.first()).ok_or(Unusable::NotACertificate)?;
    cert::read_identity(leaf)
}

/// Closes the connection when the peer's certificate is over.
///
/// Looks at the wall clock now and then, because it can be set while we sleep.
async fn close_at_expiry(connection: Connection) {
    let Connection { quic, shared } = connection;
    loop {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let end_ms = u128::from(u64::try_from(shared.identity.not_after_s).unwrap_or(0)) * 1000;
        if now_ms > end_ms {
            shared.expired.store(true, Ordering::Relaxed);
            quic.close(CloseCode::Expired.tag().into(), b"");
            return;
        }
        let left_ms = u64::try_from(end_ms - now_ms).unwrap_or(u64::MAX).saturating_add(1);
        tokio::select! {
            _ = quic.closed() => return,
            () = tokio::time::sleep(Duration::from_millis(left_ms).min(EXPIRY_CHECK_MAX)) => {}
        }
    }
}
