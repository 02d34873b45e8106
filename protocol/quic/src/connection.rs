//! One connection with a verified peer.
//!
//! Owns the counters, the caps and the end of a connection. Invariants: a `Connection` exists only with the identity of the
//! peer's leaf certificate; everything sent and received on streams is counted.
//!
//! Does not make connections (`endpoint`), run calls (`call`), or watch over the peer's certificate (`peer`).

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use dominator_protocol_core::{DecodeError, Identity, Message, Method, Payload};
use quinn::VarInt;
use rustls::sign::CertifiedKey;

use crate::{
    Call, CloseCode, Credentials, CredentialsWatch, Error, Pacer, Settings, TrustError,
    anchors::PeerRole,
    clock::ClockKeeper,
    limits::{CAPPED_WINDOW_MIN, CLIENT_WINDOW, SEND_WINDOW},
    peer::{self, Peer},
};

/// A connection with a verified peer; clones are the same connection.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(crate) quic: quinn::Connection,
    pub(crate) shared: Arc<Shared>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) watch: &'a CredentialsWatch,
    /// What was in use when the handshake began.
    pub(crate) credentials: &'a Credentials,
    pub(crate) clock: &'a Arc<ClockKeeper>,
    pub(crate) role: &'a PeerRole,
}

/// What all calls of a connection share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) identity: Arc<Identity>,
    pub(crate) peer: SocketAddr,
    pub(crate) call_idle_timeout: Duration,
    /// Why we closed, if it was because the peer is no longer believed.
    pub(crate) disbelief: OnceLock<TrustError>,
    credentials: CredentialsWatch,
    /// What we showed.
    own: Arc<CertifiedKey>,
    /// Tells us when the wall clock is set.
    _clock: Arc<ClockKeeper>,
    pub(crate) sent_len: AtomicU64,
    pub(crate) received_len: AtomicU64,
    /// Calls that somebody still holds.
    call_count: AtomicUsize,
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
    /// Takes over a connection whose handshake is complete, and watches over the peer's certificate.
    pub(crate) fn new(quic: quinn::Connection, origin: Origin<'_>) -> Result<Self, Error> {
        let remote = quic.remote_address();
        let peer = match Peer::of(&quic, origin.role) {
            Ok(peer) => peer,
            Err(why) => {
                quic.close(CloseCode::BadIdentity.tag().into(), why.to_string().as_bytes());
                return Err(Error::Refused { peer: remote, source: TrustError::PeerIdentity(why) });
            }
        };
        let shared = Shared {
            identity: Arc::clone(&peer.identity),
            peer: remote,
            call_idle_timeout: origin.settings.call_idle_timeout,
            disbelief: OnceLock::new(),
            credentials: origin.watch.clone(),
            own: Arc::clone(origin.credentials.key()),
            _clock: Arc::clone(origin.clock),
            sent_len: AtomicU64::new(0),
            received_len: AtomicU64::new(0),
            call_count: AtomicUsize::new(0),
            asked_rate: Pacer::unlimited(),
            send_rate: origin.settings.send_rate.clone(),
            receive_rate: Pacer::unlimited(),
            endpoint_receive_rate: origin.settings.receive_rate.clone(),
            has_asked: AtomicBool::new(false),
        };
        let connection = Self { quic, shared: Arc::new(shared) };
        let before = Arc::clone(origin.credentials.anchors().authorities());
        tokio::spawn(peer::close_when_disbelieved(connection.clone(), peer, before, origin.watch.subscribe()));
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

    /// Returns how many calls are under way, in both directions.
    pub fn call_count(&self) -> usize {
        self.shared.call_count.load(Ordering::Relaxed)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
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

/// Counts a call as long as it is held.
#[derive(Debug)]
pub(crate) struct OpenCall(Arc<Shared>);

impl OpenCall {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.call_count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(shared))
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.0.call_count.fetch_sub(1, Ordering::Relaxed);
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
        if let Some(disbelief) = self.disbelief.get() {
            return Error::Refused { peer: self.peer, source: disbelief.clone() };
        }
        let code = match &error {
            quinn::ConnectionError::ApplicationClosed(close) => CloseCode::from_tag(close.error_code.into_inner()),
            _ => CloseCode::Done,
        };
        let is_ours = matches!(code, CloseCode::Expired | CloseCode::Revoked | CloseCode::Untrusted);
        // The certificate that the peer no longer believes is not the one that we would show now: this can be tried again.
        if is_ours && !Arc::ptr_eq(&self.own, self.credentials.current().key()) {
            return Error::Closed { peer: self.peer, code, reason: String::new() };
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
