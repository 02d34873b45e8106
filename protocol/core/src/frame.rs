//! Frames: the unit in which everything travels on a stream (`spec/wire.md#frame`).
//!
//! Owns the five bytes in front of a payload and the incremental decoder. Invariants: no payload above `FRAME_MAX` (for
//! records, where they may come, `RECORD_LEN_MAX`) is accepted; memory grows with bytes that arrived, never with a length
//! that was announced.
//!
//! Does not look into payloads (`message`) and does not read streams (`protocol/quic`).

use crate::{
    DecodeError, FrameTag,
    limits::{FRAME_HEADER_LEN, FRAME_MAX, RECORD_LEN_MAX},
};

/// One frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub tag: FrameTag,
    /// The bytes behind the header.
    pub payload: Vec<u8>,
}

/// Which frames a stream may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FrameRule {
    /// Messages of at most `FRAME_MAX`.
    #[default]
    Messages,
    /// Messages, and records of at most `RECORD_LEN_MAX`.
    Records,
}

impl FrameRule {
    const fn payload_max(self, tag: FrameTag) -> usize {
        match (self, tag) {
            (Self::Records, FrameTag::Object) => RECORD_LEN_MAX,
            _ => FRAME_MAX,
        }
    }
}

/// Returns the header of a frame, or `None` for a payload above the limit of its tag.
pub fn frame_header(tag: FrameTag, payload_len: usize) -> Option<[u8; FRAME_HEADER_LEN]> {
    if payload_len > FrameRule::Records.payload_max(tag) {
        return None;
    }
    let [a, b, c, d] = u32::try_from(payload_len).ok()?.to_le_bytes();
    Some([a, b, c, d, tag.tag()])
}

/// Returns the tag and the payload length that a header announces.
///
/// # Errors
/// When the tag is not known or the length is above its limit.
pub fn read_frame_header(header: [u8; FRAME_HEADER_LEN], rule: FrameRule) -> Result<(FrameTag, usize), DecodeError> {
    let [a, b, c, d, tag] = header;
    let tag = FrameTag::from_tag(tag).ok_or(DecodeError::UnknownFrame { tag })?;
    let len = u32::from_le_bytes([a, b, c, d]);
    match usize::try_from(len) {
        Ok(payload_len) if payload_len <= rule.payload_max(tag) => Ok((tag, payload_len)),
        _ => Err(DecodeError::FrameTooLong { len: u64::from(len), limit: rule.payload_max(tag) as u64 }),
    }
}

/// Appends a whole frame to `out`; `None`, and nothing written, for a payload above the limit of its tag.
pub fn encode_frame(tag: FrameTag, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let header = frame_header(tag, payload.len())?;
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
    Some(())
}

/// Cuts a stream of bytes into frames.
///
/// Call `decode` until it returns `None` with `input` empty, then come back with more input. After an error the stream
/// is lost: there is no way to find the next frame.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    rule: FrameRule,
    header: [u8; FRAME_HEADER_LEN],
    header_len: usize,
    open: Option<(FrameTag, usize)>,
    payload: Vec<u8>,
}

impl FrameDecoder {
    /// Starts at the beginning of a stream.
    pub fn new(rule: FrameRule) -> Self {
        Self { rule, ..Self::default() }
    }

    /// Changes which frames may come from now on.
    pub const fn set_rule(&mut self, rule: FrameRule) {
        self.rule = rule;
    }

    /// Consumes bytes from the front of `input` until a frame is complete or the input is used up.
    ///
    /// # Errors
    /// When a header announces too long a payload or an unknown tag.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, DecodeError> {
        while self.open.is_none() {
            let Some((byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            if let Some(place) = self.header.get_mut(self.header_len) {
                *place = *byte;
                self.header_len += 1;
            }
            if self.header_len == FRAME_HEADER_LEN {
                self.open = Some(read_frame_header(self.header, self.rule)?);
            }
        }
        let Some((tag, payload_len)) = self.open else { return Ok(None) };
        let lacking = payload_len.saturating_sub(self.payload.len());
        let (taken, rest) = input.split_at(lacking.min(input.len()));
        self.payload.extend_from_slice(taken);
        *input = rest;
        if self.payload.len() < payload_len {
            return Ok(None);
        }
        self.open = None;
        self.header_len = 0;
        Ok(Some(Frame { tag, payload: std::mem::take(&mut self.payload) }))
    }

    /// Tells whether the bytes so far end exactly at the end of a frame.
    pub fn is_between_frames(&self) -> bool {
        self.header_len == 0
    }
}
