//! Calls: one bidirectional stream each (`spec/wire.md#call`).
//!
//! Owns sending and receiving of frames with caps, counters and timeouts, and the permission check. Invariants: a service sees
//! no call and no name that the peer's certificate does not allow; a direction ends well only with `End`; no wait is longer
//! than the idle timeout; dropping a future loses no bytes and repeats none.
//!
//! Does not know what messages mean, and does not run services (`serve`).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use dominator_protocol_core::{
    CallFailure, Decision, DecodeError, End, FrameDecoder, FrameTag, Identity, Message, Method, Payload, Request,
    Scope, frame_header,
};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use tokio::time::timeout;

use crate::{Connection, Error, connection::Shared, limits::SEND_BUFFER_LEN};

/// The sending half of a call.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    written_len: usize,
    granted_len: usize,
    sent_len: u64,
    is_finished: bool,
}

/// The receiving half of a call.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    shared: Arc<Shared>,
    decoder: FrameDecoder,
    chunk: Bytes,
    unpaced_len: usize,
    received_len: u64,
    is_ended: bool,
    /// At the side that answers: the method whose scope is checked.
    gate: Option<Method>,
}

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

impl Sender {
    pub(crate) fn new(stream: SendStream, shared: Arc<Shared>) -> Self {
        Self { stream, shared, buffer: Vec::new(), written_len: 0, granted_len: 0, sent_len: 0, is_finished: false }
    }

    /// Queues a message; writes when enough is queued.
    ///
    /// # Errors
    /// When the message does not fit a frame, the peer stopped reading, or the connection is over.
    pub async fn feed<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        self.feed_frame(M::TAG, &message.encode()).await
    }

    /// Queues one stored record, as it is.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn feed_object(&mut self, record: &[u8]) -> Result<(), Error> {
        self.feed_frame(FrameTag::Object, record).await
    }

    /// Queues one encoded tree, as it is.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn feed_tree(&mut self, encoded: &[u8]) -> Result<(), Error> {
        self.feed_frame(FrameTag::TreeObject, encoded).await
    }

    /// Queues a message and writes everything queued.
    ///
    /// # Errors
    /// Those of `feed`.
    pub async fn send<M: Payload>(&mut self, message: &M) -> Result<(), Error> {
        self.push(M::TAG, &message.encode())?;
        self.flush().await
    }

    /// Writes everything queued.
    ///
    /// # Errors
    /// When the peer stopped reading, nothing moves for too long, or the connection is over.
    pub async fn flush(&mut self) -> Result<(), Error> {
        while self.written_len < self.buffer.len() {
            if self.granted_len == 0 {
                let (ours, asked) = (&self.shared.send_rate, &self.shared.asked_rate);
                let piece_len = ours.piece_len().min(asked.piece_len()).min(self.buffer.len() - self.written_len);
                ours.take(piece_len).await;
                asked.take(piece_len).await;
                self.granted_len = piece_len;
            }
            let end = self.buffer.len().min(self.written_len + self.granted_len);
            let piece = self.buffer.get(self.written_len..end).unwrap_or_default();
            let idle_timeout = self.shared.call_idle_timeout;
            let written_len = timeout(idle_timeout, self.stream.write(piece))
                .await
                .map_err(|_| Error::Idle { timeout: idle_timeout })?
                .map_err(|error| write_error(&self.shared, error))?;
            self.written_len += written_len;
            self.granted_len -= written_len;
            self.sent_len += written_len as u64;
            self.shared.sent_len.fetch_add(written_len as u64, Ordering::Relaxed);
        }
        self.buffer.clear();
        self.buffer.shrink_to(2 * SEND_BUFFER_LEN);
        self.written_len = 0;
        Ok(())
    }

    /// Says that all is said: `End`, and the end of the stream.
    ///
    /// # Errors
    /// Those of `flush`; also when the call was finished before.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.push(FrameTag::End, &End {}.encode())?;
        self.flush().await?;
        self.close()
    }

    /// Returns the bytes of this call that were written.
    pub const fn sent_len(&self) -> u64 {
        self.sent_len
    }

    /// Says that the call failed, instead of `End`.
    pub(crate) async fn fail(&mut self, failure: &CallFailure) -> Result<(), Error> {
        self.push(FrameTag::CallFailure, &failure.encode())?;
        self.flush().await?;
        self.close()
    }

    async fn feed_frame(&mut self, tag: FrameTag, payload: &[u8]) -> Result<(), Error> {
        // Flushing comes first, so that dropping the future cannot queue the frame and report that it did not.
        if self.buffer.len() >= SEND_BUFFER_LEN {
            self.flush().await?;
        }
        self.push(tag, payload)
    }

    fn push(&mut self, tag: FrameTag, payload: &[u8]) -> Result<(), Error> {
        if self.is_finished {
            return Err(Error::Finished);
        }
        let header = frame_header(tag, payload.len()).ok_or(Error::TooLarge { len: payload.len() })?;
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(payload);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Error> {
        self.is_finished = true;
        self.stream.finish().map_err(|_| Error::Finished)
    }
}

impl Receiver {
    pub(crate) fn new(stream: RecvStream, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            shared,
            decoder: FrameDecoder::new(),
            chunk: Bytes::new(),
            unpaced_len: 0,
            received_len: 0,
            is_ended: false,
            gate: None,
        }
    }

    /// Receives the next message; `None` when the peer has said all.
    ///
    /// # Errors
    /// When the peer says that the call failed, breaks the protocol, names something that it has no permission for, sends
    /// nothing for too long, or the connection is over.
    pub async fn recv(&mut self) -> Result<Option<Message>, Error> {
        if self.is_ended {
            return Ok(None);
        }
        match self.recv_message().await? {
            Message::End(_) => {
                self.is_ended = true;
                Ok(None)
            }
            Message::CallFailure(failure) => {
                self.is_ended = true;
                Err(failure.into())
            }
            message => {
                self.check_scope(&message)?;
                Ok(Some(message))
            }
        }
    }

    /// Receives the next message, which must be an `M`.
    ///
    /// # Errors
    /// Those of `recv`; also when another message comes, or none.
    pub async fn expect<M: Payload + TryFrom<Message, Error = DecodeError>>(&mut self) -> Result<M, Error> {
        match self.recv().await? {
            Some(message) => Ok(message.try_into()?),
            None => Err(DecodeError::UnexpectedFrame { expected: M::TAG.name(), found: "End" }.into()),
        }
    }

    /// Returns the bytes of this call that were read.
    pub const fn received_len(&self) -> u64 {
        self.received_len
    }

    fn check_scope(&self, message: &Message) -> Result<(), Error> {
        let (Some(method), scope) = (self.gate, message.scope()) else { return Ok(()) };
        if scope == Scope::Nothing {
            return Ok(());
        }
        check(self.shared.identity.decide(method, scope), method, &self.shared.identity.name).map_err(Error::Failed)
    }

    async fn recv_message(&mut self) -> Result<Message, Error> {
        loop {
            let mut input = self.chunk.as_ref();
            let frame = self.decoder.decode(&mut input)?;
            let used_len = self.chunk.len() - input.len();
            let _ = self.chunk.split_to(used_len);
            if let Some(frame) = frame {
                return Ok(Message::from_frame(frame)?);
            }
            self.read_chunk().await?;
        }
    }

    async fn read_chunk(&mut self) -> Result<(), Error> {
        let (ours, endpoint) = (&self.shared.receive_rate, &self.shared.endpoint_receive_rate);
        if self.unpaced_len > 0 {
            ours.take(self.unpaced_len).await;
            endpoint.take(self.unpaced_len).await;
            self.unpaced_len = 0;
        }
        let piece_len = ours.piece_len().min(endpoint.piece_len());
        let idle_timeout = self.shared.call_idle_timeout;
        let chunk = timeout(idle_timeout, self.stream.read_chunk(piece_len, true))
            .await
            .map_err(|_| Error::Idle { timeout: idle_timeout })?
            .map_err(|error| read_error(&self.shared, error))?
            .ok_or(Error::Truncated)?;
        self.chunk = chunk.bytes;
        self.unpaced_len = self.chunk.len();
        self.received_len += self.chunk.len() as u64;
        self.shared.received_len.fetch_add(self.chunk.len() as u64, Ordering::Relaxed);
        Ok(())
    }
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
            rate_bytes_per_s: shared.receive_rate.rate(),
        };
        sender.push(FrameTag::Request, &request.encode())?;
        Ok(Self { sender, receiver: Receiver::new(recv, Arc::clone(shared)) })
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
        self.sender.sent_len
    }

    /// Returns the bytes of this call that were read.
    pub const fn received_len(&self) -> u64 {
        self.receiver.received_len
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
        shared: &Arc<Shared>,
        (send, recv): (SendStream, RecvStream),
    ) -> Result<Self, CallFailure> {
        let mut sender = Sender::new(send, Arc::clone(shared));
        let mut receiver = Receiver::new(recv, Arc::clone(shared));
        let allowed = async {
            let request: Request = receiver.recv_message().await?.try_into()?;
            let decision = shared.identity.grant.decide_begin(request.method);
            check(decision, request.method, &shared.identity.name)?;
            Ok::<_, Error>(request)
        };
        match allowed.await {
            Ok(request) => {
                receiver.gate = Some(request.method);
                if request.rate_bytes_per_s.is_some() {
                    shared.asked_rate.set_rate(request.rate_bytes_per_s);
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
    pub fn remote_addr(&self) -> std::net::SocketAddr {
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
        self.sender.sent_len
    }

    /// Returns the bytes of this call that were read.
    pub const fn received_len(&self) -> u64 {
        self.receiver.received_len
    }

    pub(crate) async fn conclude(&mut self, result: &Result<(), CallFailure>) -> Result<(), Error> {
        match result {
            Ok(()) => self.sender.finish().await,
            Err(failure) => self.sender.fail(failure).await,
        }
    }
}

fn check(decision: Decision, method: Method, name: &str) -> Result<(), CallFailure> {
    match decision {
        Decision::Allowed(_) => Ok(()),
        Decision::Denied { needed } => Err(Error::denied(method, name, &needed)),
    }
}

fn write_error(shared: &Shared, error: WriteError) -> Error {
    match error {
        WriteError::ConnectionLost(error) => shared.error(error),
        WriteError::Stopped(_) => Error::Stopped,
        WriteError::ClosedStream | WriteError::ZeroRttRejected => Error::Finished,
    }
}

fn read_error(shared: &Shared, error: ReadError) -> Error {
    match error {
        ReadError::ConnectionLost(error) => shared.error(error),
        ReadError::Reset(_) | ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            Error::Truncated
        }
    }
}
