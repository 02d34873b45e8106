//! The receiving half of a call.
//!
//! Owns reading frames under both caps, counting, and the check of names against permissions. Invariants: a service sees no
//! name that the peer's certificate does not allow; a direction ends well only with `End`; no wait is longer than the idle
//! timeout; dropping a future loses no bytes.
//!
//! Does not decide which message may come when: that is the user's.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use dominator_protocol_core::{
    CallFailure, Decision, DecodeError, FrameDecoder, FrameRule, Message, Method, Payload, Scope,
};
use quinn::{ReadError, RecvStream};
use tokio::time::timeout;

use crate::{
    Error,
    connection::{OpenCall, Shared},
    pace::{Share, piece_len, take},
};

/// The receiving half of a call.
#[derive(Debug)]
pub struct Receiver {
    stream: RecvStream,
    shared: Arc<Shared>,
    /// Our endpoint's cap, and that of the connection.
    caps: [Share; 2],
    decoder: FrameDecoder,
    chunk: Bytes,
    unpaced_len: usize,
    received_len: u64,
    is_ended: bool,
    /// At the side that answers: the method whose scope is checked.
    gate: Option<Method>,
    _open: OpenCall,
}

impl Receiver {
    pub(crate) fn new(stream: RecvStream, shared: Arc<Shared>, rule: FrameRule) -> Self {
        Self {
            stream,
            _open: OpenCall::new(&shared),
            caps: [shared.endpoint_receive_rate.share(), shared.receive_rate.share()],
            shared,
            decoder: FrameDecoder::new(rule),
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

    /// From now on names are checked against the peer's permissions for `method`, and records may come if they are due.
    pub(crate) const fn guard(&mut self, method: Method) {
        self.gate = Some(method);
        self.decoder.set_rule(method.request_rule());
    }

    fn check_scope(&self, message: &Message) -> Result<(), Error> {
        let (Some(method), scope) = (self.gate, message.scope()) else { return Ok(()) };
        if scope == Scope::Nothing {
            return Ok(());
        }
        check(self.shared.identity.decide(method, scope), method, &self.shared.identity.name).map_err(Error::Failed)
    }

    pub(crate) async fn recv_message(&mut self) -> Result<Message, Error> {
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
        if self.unpaced_len > 0 {
            take(&self.caps, self.unpaced_len).await;
            self.unpaced_len = 0;
        }
        let piece_len = piece_len(&self.caps);
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

/// Turns a decision into a failure, and leaves a trace of it.
pub(crate) fn check(decision: Decision, method: Method, name: &str) -> Result<(), CallFailure> {
    match decision {
        Decision::Allowed(permission) => {
            tracing::trace!(peer = name, %method, %permission, "permission granted");
            Ok(())
        }
        Decision::Denied { needed } => {
            tracing::warn!(peer = name, %method, needed, "permission denied");
            Err(Error::denied(method, name, &needed))
        }
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
