//! Deterministic CBOR (RFC 8949 §4.2) for hashed objects and messages.
//!
//! Owns the two thin wrappers around `minicbor`: `Writer`, which cannot fail, and `Reader`, which knows the bounds of
//! what it reads. Invariant: [`decode`] accepts exactly the bytes that encoding its result gives, so that every value
//! has one encoding: indefinite lengths, long integers, unknown keys, wrong order and trailing bytes are refused.
//!
//! Does not know any format: `tree`, `recipe`, `image` and `protocol/core` do.

use std::convert::Infallible;

use minicbor::{Decoder, Encoder};

/// Why bytes are not the canonical encoding of what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not CBOR, or another type than the format has there.
    #[error("malformed at byte {pos}")]
    Malformed {
        /// Where decoding stopped.
        pos: usize,
    },
    /// A length or count above its limit.
    #[error("{what} above its limit of {limit} (at byte {pos})")]
    Limit {
        /// What is too long or too many.
        what: &'static str,
        /// The largest accepted value.
        limit: u64,
        /// Where it stands.
        pos: usize,
    },
    /// A value that the format does not allow.
    #[error("invalid {what} (at byte {pos})")]
    Invalid {
        /// What is not allowed.
        what: &'static str,
        /// Where it stands.
        pos: usize,
    },
    /// Well-formed, but not the one canonical encoding.
    #[error("not in canonical form")]
    NotCanonical,
}

/// A value with one canonical encoding.
pub trait Canonical: Sized {
    /// Appends the encoding.
    fn write(&self, writer: &mut Writer);
    /// Reads what [`Canonical::write`] wrote; need not check canonicity, [`decode`] does.
    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError>;
}

/// Returns the canonical encoding of `value`.
pub fn encode<T: Canonical>(value: &T) -> Vec<u8> {
    let mut writer = Writer::new();
    value.write(&mut writer);
    writer.finish()
}

/// Decodes `bytes`, all of them, and refuses any other encoding than the canonical one.
pub fn decode<T: Canonical>(bytes: &[u8]) -> Result<T, CborError> {
    let mut reader = Reader::new(bytes);
    let value = T::read(&mut reader)?;
    if encode(&value) != bytes {
        return Err(CborError::NotCanonical);
    }
    Ok(value)
}

/// Appends CBOR to memory.
#[derive(Debug)]
pub struct Writer(Encoder<Vec<u8>>);

fn sure<T>(result: Result<T, minicbor::encode::Error<Infallible>>) {
    result.expect("writing CBOR to memory cannot fail");
}

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// Starts with no bytes.
    pub fn new() -> Self {
        Self(Encoder::new(Vec::new()))
    }

    /// Returns the bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0.into_writer()
    }

    /// Returns how many bytes were written.
    pub fn len(&self) -> usize {
        self.0.writer().len()
    }

    /// Says whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Opens a map of `count` pairs; the caller writes keys in ascending order.
    pub fn map(&mut self, count: usize) -> &mut Self {
        sure(self.0.map(count as u64));
        self
    }

    /// Opens an array of `count` items.
    pub fn array(&mut self, count: usize) -> &mut Self {
        sure(self.0.array(count as u64));
        self
    }

    /// Writes an unsigned integer, or a map key.
    pub fn uint(&mut self, value: u64) -> &mut Self {
        sure(self.0.u64(value));
        self
    }

    /// Writes a signed integer.
    pub fn int(&mut self, value: i64) -> &mut Self {
        sure(self.0.i64(value));
        self
    }

    /// Writes a byte string.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        sure(self.0.bytes(value));
        self
    }

    /// Writes a text string.
    pub fn text(&mut self, value: &str) -> &mut Self {
        sure(self.0.str(value));
        self
    }

    /// Writes a boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        sure(self.0.bool(value));
        self
    }

    /// Appends bytes that are CBOR already.
    pub fn raw(&mut self, encoded: &[u8]) -> &mut Self {
        self.0.writer_mut().extend_from_slice(encoded);
        self
    }
}

/// Reads CBOR within bounds.
#[derive(Debug)]
pub struct Reader<'b>(Decoder<'b>);

impl<'b> Reader<'b> {
    /// Starts at the first byte.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(Decoder::new(bytes))
    }

    /// Returns the position of the next byte.
    pub fn pos(&self) -> usize {
        self.0.position()
    }

    /// Makes the error for a value that the format does not allow here.
    pub fn invalid(&self, what: &'static str) -> CborError {
        CborError::Invalid { what, pos: self.pos() }
    }

    fn malformed(&self) -> CborError {
        CborError::Malformed { pos: self.pos() }
    }

    fn count(&self, found: Option<u64>, what: &'static str, limit: usize) -> Result<usize, CborError> {
        let count = found.ok_or_else(|| self.malformed())?;
        match usize::try_from(count) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(CborError::Limit { what, limit: limit as u64, pos: self.pos() }),
        }
    }

    /// Opens a map and returns its number of pairs, at most `limit`.
    pub fn map(&mut self, what: &'static str, limit: usize) -> Result<usize, CborError> {
        let found = self.0.map().map_err(|_| self.malformed())?;
        self.count(found, what, limit)
    }

    /// Opens an array and returns its number of items, at most `limit`.
    pub fn array(&mut self, what: &'static str, limit: usize) -> Result<usize, CborError> {
        let found = self.0.array().map_err(|_| self.malformed())?;
        self.count(found, what, limit)
    }

    /// Reads an unsigned integer, or a map key.
    pub fn uint(&mut self) -> Result<u64, CborError> {
        self.0.u64().map_err(|_| self.malformed())
    }

    /// Reads an unsigned integer that fits 32 bits.
    pub fn uint32(&mut self) -> Result<u32, CborError> {
        self.0.u32().map_err(|_| self.malformed())
    }

    /// Reads a signed integer.
    pub fn int(&mut self) -> Result<i64, CborError> {
        self.0.i64().map_err(|_| self.malformed())
    }

    /// Reads a byte string of at most `limit` bytes, borrowed.
    pub fn bytes(&mut self, what: &'static str, limit: usize) -> Result<&'b [u8], CborError> {
        let bytes = self.0.bytes().map_err(|_| self.malformed())?;
        if bytes.len() > limit {
            return Err(CborError::Limit { what, limit: limit as u64, pos: self.pos() });
        }
        Ok(bytes)
    }

    /// Reads a text string of at most `limit` bytes, borrowed.
    pub fn text(&mut self, what: &'static str, limit: usize) -> Result<&'b str, CborError> {
        let text = self.0.str().map_err(|_| self.malformed())?;
        if text.len() > limit {
            return Err(CborError::Limit { what, limit: limit as u64, pos: self.pos() });
        }
        Ok(text)
    }

    /// Reads a boolean.
    pub fn bool(&mut self) -> Result<bool, CborError> {
        self.0.bool().map_err(|_| self.malformed())
    }

    /// Reads a digest.
    pub fn digest(&mut self) -> Result<crate::Digest, CborError> {
        let bytes = self.bytes("digest", crate::DIGEST_LEN)?;
        crate::Digest::from_slice(bytes).ok_or_else(|| self.invalid("digest"))
    }

    /// Says whether every byte was read.
    pub fn is_at_end(&self) -> bool {
        self.0.position() == self.0.input().len()
    }
}
