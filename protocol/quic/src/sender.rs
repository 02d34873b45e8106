//! The sending half of a call.
//!
//! Owns queueing and writing frames under both caps, and counting. Invariants: dropping a future loses no bytes and repeats
//! none; no wait is longer than the idle timeout; nothing follows `End` or a failure.
//!
//! Does not wait for answers: that is `receiver`.

use std::sync::{Arc, atomic::Ordering};

use dominator_protocol_core::{CallFailure, End, FrameTag, Payload, frame_header};
use quinn::{SendStream, WriteError};
use tokio::time::timeout;

use crate::{
    Error,
    connection::Shared,
    limits::SEND_BUFFER_LEN,
    pace::{Share, piece_len, take},
};

/// The sending half of a call.
#[derive(Debug)]
pub struct Sender {
    stream: SendStream,
    pub(crate) shared: Arc<Shared>,
    buffer: Vec<u8>,
    written_len: usize,
    granted_len: usize,
    sent_len: u64,
    is_finished: bool,
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
        // Our endpoint's cap, and the one that the peer asked for. Only calls that are writing share them: a call that is
        // merely open must not slow others down.
        let caps: [Share; 2] = [self.shared.send_rate.share(), self.shared.asked_rate.share()];
        while self.written_len < self.buffer.len() {
            if self.granted_len == 0 {
                let piece_len = piece_len(&caps).min(self.buffer.len() - self.written_len);
                take(&caps, piece_len).await;
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

    pub(crate) fn push(&mut self, tag: FrameTag, payload: &[u8]) -> Result<(), Error> {
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

fn write_error(shared: &Shared, error: WriteError) -> Error {
    match error {
        WriteError::ConnectionLost(error) => shared.error(error),
        WriteError::Stopped(_) => Error::Stopped,
        WriteError::ClosedStream | WriteError::ZeroRttRejected => Error::Finished,
    }
}
