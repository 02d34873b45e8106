//! Calls: one bidirectional stream each (`spec/wire.md#call`).
//!
//! Owns both halves of a call and its beginning and end. Invariants: a service sees no call that the peer's certificate does
//! not allow; what is queued is written before anything is waited for; when the peer gave up, its reason is what the caller
//! gets.
//!
//! Does not read or write streams (`sender`, `receiver`) and does not run services (`serve`).

use std::{net::SocketAddr, sync::Arc, time::Duration};

use dominator_protocol_core::{
    CallFailure, DecodeError, FrameRule, FrameTag, Identity, Message, Method, Payload, Request,
};
use quinn::{RecvStream, SendStream};
use tokio::time::timeout;

use crate::{Connection, Error, Receiver, Sender, receiver::check};

/// A call to the peer.
#[derive(Debug)]
pub struct Call {
    sender: Sender,
    receiver: Receiver,
}

/// A call of the peer, already allowed for its method.
#[derive(Debug)]
pub struct IncomingCall {
    request: Request,
    sender: Sender,
    receiver: Receiver,
}

impl Call {
    pub(crate) async fn open(
        connection: &Connection,
        method: Method,
        deadline: Option<Duration>,
    ) -> Result<Self, Error> {
        let shared = &connection.shared;
        let (send, recv) = timeout(shared.call_idle_timeout, connection.quic.open_bi())
            .await
            .map_err(|_| Error::Idle { timeout: shared.call_idle_timeout })?
            .map_err(|error| connection.error(error))?;
        let mut sender = Sender::new(send, Arc::clone(shared));
        let request = Request {
            method,
            deadline_ms: deadline.map(|deadline| u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX)),
            rate_bytes_per_s: shared.asked_rate_of_peer(),
        };
        sender.push(FrameTag::Request, &request.encode())?;
        Ok(Self { sender, receiver: Receiver::new(recv, Arc::clone(shared), method.reply_rule()) })
    }

    /// Queues a message; writes when enough is queued, and before anything is received.
    ///
    /// # Errors
    /// When the peer says that the call failed, the message does not fit a frame, or the connection is over.
    pub async fn feed<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        let result = self.sender.feed(message).await;
        self.explain(result).await
    }

    /// Queues one stored record, as it is.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn feed_object(&mut self, record: &[u8]) -> Result<(), Error> {
        let result = self.sender.feed_object(record).await;
        self.explain(result).await
    }

    /// Queues a message and writes everything queued.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn send<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        let result = self.sender.send(message).await;
        self.explain(result).await
    }

    /// Writes everything queued.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let result = self.sender.flush().await;
        self.explain(result).await
    }

    /// Says that all is said; the answer can still be received.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn finish(&mut self) -> Result<(), Error> {
        let result = self.sender.finish().await;
        self.explain(result).await
    }

    /// Receives the next message; `None` when the peer has said all.
    ///
    /// # Errors
    /// Those of `Receiver::recv`.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        self.flush().await?;
        self.receiver.recv().await
    }

    /// Receives the next message, which must be an `M`.
    ///
    /// # Errors
    /// Those of `Receiver::expect`.
    pub async fn expect<M: Payload + TryFrom<Message, Error = DecodeError>>(&mut self) -> Result<M, Error> {
        self.flush().await?;
        self.receiver.expect().await
    }

    /// Lends both halves, for working in both directions at once; the caller flushes.
    pub const fn halves(&mut self) -> (&mut Sender, &mut Receiver) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Gives up both halves, for two tasks; the caller flushes.
    pub fn split(self) -> (Sender, Receiver) {
        (self.sender, self.receiver)
    }

    /// Returns the bytes of this call that were written.
    pub const fn sent_len(&self) -> u64 {
        self.sender.sent_len()
    }

    /// Returns the bytes of this call that were read.
    pub const fn received_len(&self) -> u64 {
        self.receiver.received_len()
    }

    /// When the peer stopped reading, its reason is among what we have not yet received.
    async fn explain(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        match result {
            Err(Error::Stopped) => {
                while self.receiver.recv().await?.is_some() {}
                Err(Error::Stopped)
            }
            result => result,
        }
    }
}

impl IncomingCall {
    /// Reads the request of a stream that the peer opened, and checks the permission for its method.
    ///
    /// # Errors
    /// The failure that the peer was told.
    pub(crate) async fn accept(
        connection: &Connection,
        (send, recv): (SendStream, RecvStream),
    ) -> Result<Self, CallFailure> {
        let shared = &connection.shared;
        let mut sender = Sender::new(send, Arc::clone(shared));
        let mut receiver = Receiver::new(recv, Arc::clone(shared), FrameRule::Messages);
        let allowed = async {
            let request: Request = receiver.recv_message().await?.try_into()?;
            let decision = shared.identity.grant.decide_begin(request.method);
            check(decision, request.method, &shared.identity.name)?;
            Ok::<_, Error>(request)
        };
        match allowed.await {
            Ok(request) => {
                receiver.guard(request.method);
                if let Some(rate_bytes_per_s) = request.rate_bytes_per_s {
                    connection.set_asked_rate(rate_bytes_per_s);
                }
                Ok(Self { request, sender, receiver })
            }
            Err(error) => {
                let failure = CallFailure::from(error);
                // Best effort: if the peer does not even read, the end of the stream tells it enough.
                let _ = sender.fail(&failure).await;
                Err(failure)
            }
        }
    }

    /// Returns what is asked.
    pub const fn method(&self) -> Method {
        self.request.method
    }

    /// Returns the time after which the caller no longer waits.
    pub fn deadline(&self) -> Option<Duration> {
        self.request.deadline_ms.map(Duration::from_millis)
    }

    /// Returns who asks.
    pub fn identity(&self) -> &Arc<Identity> {
        &self.sender.shared.identity
    }

    /// Returns where the caller is.
    pub fn remote_addr(&self) -> SocketAddr {
        self.sender.shared.peer
    }

    /// Queues a message; writes when enough is queued, and before anything is received.
    ///
    /// # Errors
    /// Those of `Sender::feed`.
    pub async fn feed<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        self.sender.feed(message).await
    }

    /// Queues one stored record, as it is.
    ///
    /// # Errors
    /// Those of `Sender::feed`.
    pub async fn feed_object(&mut self, record: &[u8]) -> Result<(), Error> {
        self.sender.feed_object(record).await
    }

    /// Queues one encoded tree, as it is.
    ///
    /// # Errors
    /// Those of `Sender::feed`.
    pub async fn feed_tree(&mut self, encoded: &[u8]) -> Result<(), Error> {
        self.sender.feed_tree(encoded).await
    }

    /// Queues a message and writes everything queued.
    ///
    /// # Errors
    /// Those of `Sender::feed`.
    pub async fn send<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        self.sender.send(message).await
    }

    /// Writes everything queued.
    ///
    /// # Errors
    /// Those of `Sender::flush`.
    pub async fn flush(&mut self) -> Result<(), Error> {
        self.sender.flush().await
    }

    /// Receives the next message; `None` when the caller has said all.
    ///
    /// # Errors
    /// Those of `Receiver::recv`.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        self.sender.flush().await?;
        self.receiver.recv().await
    }

    /// Receives the next message, which must be an `M`.
    ///
    /// # Errors
    /// Those of `Receiver::expect`.
    pub async fn expect<M: Payload + TryFrom<Message, Error = DecodeError>>(&mut self) -> Result<M, Error> {
        self.sender.flush().await?;
        self.receiver.expect().await
    }

    /// Lends both halves, for working in both directions at once; the service flushes.
    pub const fn halves(&mut self) -> (&mut Sender, &mut Receiver) {
        (&mut self.sender, &mut self.receiver)
    }

    /// Returns the bytes of this call that were written.
    pub const fn sent_len(&self) -> u64 {
        self.sender.sent_len()
    }

    /// Returns the bytes of this call that were read.
    pub const fn received_len(&self) -> u64 {
        self.receiver.received_len()
    }

    pub(crate) async fn conclude(&mut self, result: &Result<(), CallFailure>) -> Result<(), Error> {
        match result {
            Ok(()) => self.sender.finish().await,
            Err(failure) => self.sender.fail(failure).await,
        }
    }
}
