//! Frames of a journal (`spec/journal.md#frame`).
//!
//! Owns length, digest and header. Invariant: a record is returned only if its frame is whole and its digest matches;
//! decoding stops at the first frame that is not, since a crash can only have torn the last one.
//!
//! What records say is `record`.

use dominator_store_core::{
    DIGEST_LEN, Digest,
    cbor::{self, CborError},
};

use super::record::Record;
use crate::limits::{RECORD_COUNT_MAX, RECORD_LEN_MAX};

/// The first bytes of a journal: what it is, and the version of its format.
pub const HEADER: &[u8; 8] = b"DOMJNL\x00\x01";

const LEN_LEN: usize = 4;
const FRAME_CONTEXT: &str = "dominator 2026-11 journal v1";

/// Why bytes are not a journal that this program can follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Another file, or another version of the format.
    #[error("not a journal of a known version")]
    Header,
    /// A whole frame whose record is not known, as of another version of the agent.
    #[error("record at byte {pos} is not known")]
    Record {
        /// Where its frame begins.
        pos: usize,
        /// What is wrong with it.
        #[source]
        source: CborError,
    },
    /// More records than one apply writes.
    #[error("more than {RECORD_COUNT_MAX} records")]
    TooMany,
}

/// What a journal holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Its records, in order.
    pub records: Vec<Record>,
    /// Length of its whole frames with the header; what follows is to be cut off before appending.
    pub valid_len: usize,
}

/// Returns the frame of a record.
pub fn encode_frame(record: &Record) -> Vec<u8> {
    let payload = cbor::encode(record);
    let len = u32::try_from(payload.len()).ok().filter(|len| *len as usize <= RECORD_LEN_MAX);
    let len = len.expect("a plan is bounded so that its record is");
    let mut frame = Vec::with_capacity(LEN_LEN + DIGEST_LEN + payload.len());
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(Digest::derive(FRAME_CONTEXT, &payload).as_bytes());
    frame.extend_from_slice(&payload);
    frame
}

/// Decodes a journal. No bytes at all are a journal without records.
///
/// # Errors
/// If it is another file, or was written by another version.
pub fn decode(bytes: &[u8]) -> Result<Decoded, JournalError> {
    if bytes.is_empty() {
        return Ok(Decoded { records: Vec::new(), valid_len: 0 });
    }
    let mut rest = bytes.strip_prefix(HEADER).ok_or(JournalError::Header)?;
    let mut records = Vec::new();
    let mut valid_len = HEADER.len();
    while let Some((payload, after)) = split_frame(rest) {
        if records.len() >= RECORD_COUNT_MAX {
            return Err(JournalError::TooMany);
        }
        records.push(cbor::decode(payload).map_err(|source| JournalError::Record { pos: valid_len, source })?);
        valid_len += rest.len() - after.len();
        rest = after;
    }
    Ok(Decoded { records, valid_len })
}

/// Splits a whole and undamaged frame off `bytes`: its payload and what follows.
fn split_frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<LEN_LEN>()?;
    let (digest, rest) = rest.split_first_chunk::<DIGEST_LEN>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok().filter(|len| *len <= RECORD_LEN_MAX)?;
    let (payload, rest) = rest.split_at_checked(len)?;
    (Digest::derive(FRAME_CONTEXT, payload) == Digest::new(*digest)).then_some((payload, rest))
}
