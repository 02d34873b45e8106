//! Records: one object as it is stored in a pack and sent over the wire (`spec/pack.md#record`).
//!
//! Owns the header layout, the checksum and the codec. Invariants: a record is sent as it is stored; the checksum covers
//! header and stored bytes, so damage is found without decompressing; an object leaves [`RecordDecoder::open`] only if
//! its bytes have its digest; decompression never makes more bytes than the header says, nor more than the kind's limit.
//!
//! Where records lie is `store/pack`.

use zstd::bulk::{Compressor, Decompressor};

use crate::{DIGEST_LEN, Digest, ObjectId, ObjectKind, limits::object_len_max};

/// Length of a record's header in bytes.
pub const RECORD_HEADER_LEN: usize = 52;

/// How the bytes of a record are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    Raw,
    /// One zstd frame (RFC 8878) without dictionary.
    Zstd,
}

impl Codec {
    const fn tag(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Zstd => 1,
        }
    }

    const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            0 => Some(Self::Raw),
            1 => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Which object it is.
    pub id: ObjectId,
    /// How its bytes are stored.
    pub codec: Codec,
    /// Length of the object in bytes.
    pub raw_len: u32,
    /// Length of the stored bytes after the header.
    pub stored_len: u32,
    /// First eight bytes of the BLAKE3 digest of the other header bytes and the stored bytes.
    pub checksum: u64,
}

/// Why bytes are not a record, or not the object they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Not a record header.
    #[error("malformed record header")]
    Malformed,
    /// The bytes end before the record does, or go on after it.
    #[error("record of {expected} bytes in {found} bytes")]
    Length {
        /// Length that the header states.
        expected: usize,
        /// Length of what is there.
        found: usize,
    },
    /// The object is longer than its kind allows.
    #[error("{id} of {len} bytes is above the limit of its kind")]
    TooLong {
        /// The object.
        id: ObjectId,
        /// Its stated length.
        len: usize,
    },
    /// Header or stored bytes are damaged.
    #[error("checksum of {id} is {found:016x}, expected {expected:016x}")]
    Checksum {
        /// The object that the header names.
        id: ObjectId,
        /// What the header says.
        expected: u64,
        /// What the bytes give.
        found: u64,
    },
    /// The stored bytes do not decompress to the stated length.
    #[error("{id} does not decompress to its stated length")]
    Codec {
        /// The object.
        id: ObjectId,
    },
    /// The object's bytes do not have its digest.
    #[error("{id} has digest {found}")]
    Digest {
        /// The object that the header names.
        id: ObjectId,
        /// The digest of its bytes.
        found: Digest,
    },
}

impl RecordHeader {
    /// Returns the length of the whole record in bytes.
    pub const fn record_len(&self) -> usize {
        RECORD_HEADER_LEN + self.stored_len as usize
    }

    /// Encodes the header.
    pub fn encode(&self) -> [u8; RECORD_HEADER_LEN] {
        let mut bytes = [0; RECORD_HEADER_LEN];
        bytes[0] = self.id.kind.tag();
        bytes[1] = self.codec.tag();
        bytes[4..8].copy_from_slice(&self.raw_len.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.stored_len.to_le_bytes());
        bytes[12..12 + DIGEST_LEN].copy_from_slice(self.id.digest.as_bytes());
        bytes[CHECKSUM_POS..].copy_from_slice(&self.checksum.to_le_bytes());
        bytes
    }

    /// Decodes a header and checks its lengths against the limits of its kind; does not check the checksum.
    pub fn decode(bytes: &[u8; RECORD_HEADER_LEN]) -> Result<Self, RecordError> {
        let [kind, codec, 0, 0, rest @ ..] = bytes else { return Err(RecordError::Malformed) };
        let kind = ObjectKind::from_tag(*kind).ok_or(RecordError::Malformed)?;
        let codec = Codec::from_tag(*codec).ok_or(RecordError::Malformed)?;
        let (raw_len, rest) = rest.split_first_chunk().ok_or(RecordError::Malformed)?;
        let (stored_len, rest) = rest.split_first_chunk().ok_or(RecordError::Malformed)?;
        let (digest, rest) = rest.split_first_chunk().ok_or(RecordError::Malformed)?;
        let (checksum, _) = rest.split_first_chunk().ok_or(RecordError::Malformed)?;
        let header = Self {
            id: ObjectId { kind, digest: Digest::new(*digest) },
            codec,
            raw_len: u32::from_le_bytes(*raw_len),
            stored_len: u32::from_le_bytes(*stored_len),
            checksum: u64::from_le_bytes(*checksum),
        };
        if header.raw_len as usize > object_len_max(kind) {
            return Err(RecordError::TooLong { id: header.id, len: header.raw_len as usize });
        }
        // What compression does not shrink is stored raw, so stored bytes never outnumber raw ones.
        let fits = match codec {
            Codec::Raw => header.stored_len == header.raw_len,
            Codec::Zstd => header.stored_len < header.raw_len,
        };
        if !fits {
            return Err(RecordError::Malformed);
        }
        Ok(header)
    }

    fn checksum_of(&self, stored: &[u8]) -> u64 {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.encode()[..CHECKSUM_POS]);
        hasher.update(stored);
        let digest = hasher.finalize();
        let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has more than eight bytes");
        u64::from_le_bytes(*first)
    }
}

const CHECKSUM_POS: usize = RECORD_HEADER_LEN - 8;

/// A whole record in memory: header and stored bytes.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    header: RecordHeader,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// Takes `bytes` as one record, exactly; the checksum is not looked at yet.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (header, _) = bytes.split_first_chunk().ok_or(RecordError::Malformed)?;
        let header = RecordHeader::decode(header)?;
        if header.record_len() != bytes.len() {
            return Err(RecordError::Length { expected: header.record_len(), found: bytes.len() });
        }
        Ok(Self { header, bytes })
    }

    /// Returns the header.
    pub const fn header(&self) -> &RecordHeader {
        &self.header
    }

    /// Returns the whole record, as it is stored and sent.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the stored bytes.
    pub fn stored(&self) -> &'a [u8] {
        self.bytes.get(RECORD_HEADER_LEN..).unwrap_or_default()
    }

    /// Checks header and stored bytes against the checksum, without decompressing.
    pub fn verify_checksum(&self) -> Result<(), RecordError> {
        let found = self.header.checksum_of(self.stored());
        if found != self.header.checksum {
            return Err(RecordError::Checksum { id: self.header.id, expected: self.header.checksum, found });
        }
        Ok(())
    }
}

/// Compresses objects into records; one per thread.
pub struct RecordEncoder {
    compressor: Compressor<'static>,
    scratch: Vec<u8>,
}

impl RecordEncoder {
    /// Makes an encoder with zstd level `level`.
    ///
    /// # Panics
    /// If zstd cannot allocate its context.
    pub fn new(level: i32) -> Self {
        let compressor = Compressor::new(level).expect("zstd context can be allocated");
        Self { compressor, scratch: Vec::new() }
    }

    /// Appends the record of the object `raw` of `kind` to `out` and returns its header.
    ///
    /// # Errors
    /// `TooLong` if the object is above the limit of its kind.
    pub fn encode(&mut self, kind: ObjectKind, raw: &[u8], out: &mut Vec<u8>) -> Result<RecordHeader, RecordError> {
        self.encode_known(ObjectId::of(kind, raw), raw, out)
    }

    /// Like [`RecordEncoder::encode`] for an object whose id the caller has computed from `raw` already.
    ///
    /// # Errors
    /// `TooLong` if the object is above the limit of its kind.
    pub fn encode_known(&mut self, id: ObjectId, raw: &[u8], out: &mut Vec<u8>) -> Result<RecordHeader, RecordError> {
        let raw_len = match u32::try_from(raw.len()) {
            Ok(len) if raw.len() <= object_len_max(id.kind) => len,
            _ => return Err(RecordError::TooLong { id, len: raw.len() }),
        };
        // Below this gain the reader's time is worth more than the bytes.
        let worth = raw.len() - raw.len() / 32;
        self.scratch.clear();
        self.scratch.reserve(worth);
        let compressed = raw.len() > RAW_LEN_MIN
            && self.compressor.compress_to_buffer(raw, &mut self.scratch).is_ok_and(|len| len < worth);
        let (codec, stored): (Codec, &[u8]) = if compressed { (Codec::Zstd, &self.scratch) } else { (Codec::Raw, raw) };
        let stored_len = u32::try_from(stored.len()).map_err(|_| RecordError::TooLong { id, len: raw.len() })?;
        let mut header = RecordHeader { id, codec, raw_len, stored_len, checksum: 0 };
        header.checksum = header.checksum_of(stored);
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(stored);
        Ok(header)
    }
}

impl std::fmt::Debug for RecordEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordEncoder")
    }
}

/// Objects of at most this many bytes are stored raw: a zstd frame would not be shorter.
const RAW_LEN_MIN: usize = 32;

/// Turns records back into objects; one per thread.
pub struct RecordDecoder(Decompressor<'static>);

impl RecordDecoder {
    /// Makes a decoder.
    ///
    /// # Panics
    /// If zstd cannot allocate its context.
    pub fn new() -> Self {
        Self(Decompressor::new().expect("zstd context can be allocated"))
    }

    /// Decompresses the record and returns the object's bytes, which have the digest that the header names.
    ///
    /// # Errors
    /// `Codec` if the bytes do not decompress to the stated length, `Digest` if they are another object.
    pub fn open(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        let raw = self.open_unverified(record)?;
        let found = record.header.id.kind.digest_of(&raw);
        if found != record.header.id.digest {
            return Err(RecordError::Digest { id: record.header.id, found });
        }
        Ok(raw)
    }

    /// Decompresses the record, but leaves the check of the digest to the caller, who hashes the bytes anyway.
    ///
    /// # Errors
    /// `Codec` if the bytes do not decompress to the stated length.
    pub fn open_unverified(&mut self, record: &Record<'_>) -> Result<Vec<u8>, RecordError> {
        let (id, raw_len) = (record.header.id, record.header.raw_len as usize);
        match record.header.codec {
            Codec::Raw => Ok(record.stored().to_vec()),
            Codec::Zstd => {
                // The capacity bounds the output, whatever the frame claims about itself.
                let mut raw = Vec::with_capacity(raw_len);
                match self.0.decompress_to_buffer(record.stored(), &mut raw) {
                    Ok(len) if len == raw_len && raw.len() == raw_len => Ok(raw),
                    _ => Err(RecordError::Codec { id }),
                }
            }
        }
    }
}

impl Default for RecordDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecordDecoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordDecoder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: ObjectKind, raw: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        RecordEncoder::new(3).encode(kind, raw, &mut out).expect("record");
        out
    }

    #[test]
    fn records_round_trip() {
        for raw in [&b""[..], b"short", &[7; 100_000], &crate::testing::painted(100_000)] {
            let bytes = record(ObjectKind::Chunk, raw);
            let record = Record::parse(&bytes).expect("parse");
            record.verify_checksum().expect("checksum");
            assert_eq!(RecordDecoder::new().open(&record).expect("open"), raw);
            assert!(bytes.len() <= RECORD_HEADER_LEN + raw.len());
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = record(ObjectKind::Tree, &b"a tree object, or so it says ".repeat(8));
        for pos in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[pos] ^= 1 << bit;
                let found = Record::parse(&flipped).and_then(|record| record.verify_checksum());
                assert!(found.is_err(), "byte {pos} bit {bit}");
            }
        }
    }

    #[test]
    fn a_record_of_other_bytes_is_refused_even_with_a_good_checksum() {
        let mut header =
            RecordHeader::decode(record(ObjectKind::Chunk, b"one").first_chunk().expect("header")).expect("header");
        header.checksum = header.checksum_of(b"two");
        let forged = [&header.encode()[..], b"two"].concat();
        let forged = Record::parse(&forged).expect("parse");
        forged.verify_checksum().expect("the checksum is no defence against a forger");
        assert!(matches!(RecordDecoder::new().open(&forged), Err(RecordError::Digest { .. })));
    }

    #[test]
    fn a_bomb_makes_no_more_bytes_than_it_states() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 3).expect("compress");
        let id = ObjectId::of(ObjectKind::Chunk, b"");
        let mut header = RecordHeader {
            id,
            codec: Codec::Zstd,
            raw_len: u32::try_from(bomb.len()).expect("len") + 1,
            stored_len: u32::try_from(bomb.len()).expect("len"),
            checksum: 0,
        };
        header.checksum = header.checksum_of(&bomb);
        let bytes = [&header.encode()[..], &bomb].concat();
        let record = Record::parse(&bytes).expect("parse");
        assert_eq!(RecordDecoder::new().open(&record), Err(RecordError::Codec { id }));
    }

    #[test]
    fn objects_above_their_limit_are_neither_made_nor_read() {
        let raw = vec![0; crate::limits::CHUNK_LEN_MAX + 1];
        let made = RecordEncoder::new(1).encode(ObjectKind::Chunk, &raw, &mut Vec::new());
        assert!(matches!(made, Err(RecordError::TooLong { .. })));
    }
}
