//! Deterministic CBOR for messages: maps with small integer keys in ascending order (`spec/wire.md#cbor`).
//!
//! Owns the reader, the writer, the `Value` trait with its implementations for plain types, and the `message!` table
//! macro. Invariants: what is written is RFC 8949 §4.2 deterministic; `decode_canonical` accepts exactly what `encode`
//! writes; counts and lengths are checked against a limit before anything is allocated.
//!
//! Does not know any message: those are tables in `message`, `call` and `permission`.

use dominator_store_core::{BlobId, Digest, ImageId, ObjectId, ObjectKind, TreeId};
use minicbor::{Decoder, Encoder, data::Type};

use crate::DecodeError;

/// Appends CBOR to a buffer; writing to memory cannot fail.
pub(crate) struct Writer(Encoder<Vec<u8>>);

macro_rules! written {
    ($call:expr) => {
        $call.map(drop).expect("writing to a Vec cannot fail")
    };
}

impl Writer {
    pub(crate) fn map(&mut self, count: u64) {
        written!(self.0.map(count));
    }

    pub(crate) fn array(&mut self, count: usize) {
        written!(self.0.array(count as u64));
    }

    pub(crate) fn uint(&mut self, value: u64) {
        written!(self.0.u64(value));
    }

    pub(crate) fn bool(&mut self, value: bool) {
        written!(self.0.bool(value));
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        written!(self.0.bytes(value));
    }

    pub(crate) fn text(&mut self, value: &str) {
        written!(self.0.str(value));
    }
}

/// Reads CBOR; names the message it reads in every error.
pub(crate) struct Reader<'b> {
    decoder: Decoder<'b>,
    what: &'static str,
}

impl<'b> Reader<'b> {
    pub(crate) fn what(&self) -> &'static str {
        self.what
    }

    fn malformed(&self) -> DecodeError {
        DecodeError::Malformed { what: self.what, pos: self.decoder.position() }
    }

    fn check(&self, found: u64, limit: usize) -> Result<usize, DecodeError> {
        match usize::try_from(found) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(DecodeError::Limit { what: self.what, found, limit: limit as u64 }),
        }
    }

    pub(crate) fn map(&mut self) -> Result<u64, DecodeError> {
        let count = self.decoder.map().ok().flatten();
        count.ok_or_else(|| self.malformed())
    }

    pub(crate) fn array(&mut self, limit: usize) -> Result<usize, DecodeError> {
        let count = self.decoder.array().ok().flatten().ok_or_else(|| self.malformed())?;
        self.check(count, limit)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.decoder.u64().map_err(|_| self.malformed())
    }

    pub(crate) fn bool(&mut self) -> Result<bool, DecodeError> {
        self.decoder.bool().map_err(|_| self.malformed())
    }

    pub(crate) fn bytes(&mut self, limit: usize) -> Result<&'b [u8], DecodeError> {
        let bytes = self.decoder.bytes().map_err(|_| self.malformed())?;
        self.check(bytes.len() as u64, limit)?;
        Ok(bytes)
    }

    pub(crate) fn text(&mut self, limit: usize) -> Result<&'b str, DecodeError> {
        let text = self.decoder.str().map_err(|_| self.malformed())?;
        self.check(text.len() as u64, limit)?;
        Ok(text)
    }

    /// Consumes `key` if it is the next thing in the input.
    fn key_is(&mut self, key: u8) -> bool {
        let pos = self.decoder.position();
        if matches!(self.decoder.datatype(), Ok(Type::U8)) && self.decoder.u8().is_ok_and(|found| found == key) {
            return true;
        }
        self.decoder.set_position(pos);
        false
    }
}

/// Reads the fields of one map in ascending order of their keys.
pub(crate) struct Fields(u64);

impl Fields {
    pub(crate) fn open(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.map().map(Self)
    }

    pub(crate) fn next<T: Value>(&mut self, reader: &mut Reader<'_>, key: u8, limit: usize) -> Result<T, DecodeError> {
        if self.0 > 0 && reader.key_is(key) {
            self.0 -= 1;
            return T::read(reader, limit);
        }
        T::missing().ok_or(DecodeError::Field { what: reader.what(), key })
    }

    pub(crate) fn close(&self, reader: &Reader<'_>) -> Result<(), DecodeError> {
        if self.0 == 0 { Ok(()) } else { Err(DecodeError::Field { what: reader.what(), key: 0 }) }
    }
}

/// Something that can stand in a field of a message.
pub(crate) trait Value: Sized {
    fn write(&self, writer: &mut Writer);

    /// Reads a value; `limit` bounds its length in bytes or its count of items, where it has one.
    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError>;

    /// Tells whether the field is written at all.
    fn is_present(&self) -> bool {
        true
    }

    /// The value of a field that is not there, if it may be absent.
    fn missing() -> Option<Self> {
        None
    }
}

/// Encodes one value on its own.
pub(crate) fn encode<T: Value>(value: &T) -> Vec<u8> {
    let mut writer = Writer(Encoder::new(Vec::new()));
    value.write(&mut writer);
    writer.0.into_writer()
}

/// Decodes one value, which must fill `bytes` and be in canonical encoding.
pub(crate) fn decode_canonical<T: Value>(what: &'static str, bytes: &[u8], limit: usize) -> Result<T, DecodeError> {
    let mut reader = Reader { decoder: Decoder::new(bytes), what };
    let value = T::read(&mut reader, limit)?;
    let len = bytes.len().saturating_sub(reader.decoder.position());
    if len > 0 {
        return Err(DecodeError::Trailing { what, len });
    }
    if encode(&value) != bytes {
        return Err(DecodeError::NotCanonical { what });
    }
    Ok(value)
}

/// Writes a message as a table of fields and derives its encoding from exactly that table.
///
/// Each row is `key name: Type = limit`; rows stand in ascending order of their keys.
macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $( $(#[$field_doc:meta])* $key:literal $field:ident : $ty:ty = $limit:expr ),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_doc])* pub $field: $ty, )* }

        impl $crate::cbor::Value for $name {
            fn write(&self, writer: &mut $crate::cbor::Writer) {
                writer.map(0 $( + u64::from($crate::cbor::Value::is_present(&self.$field)) )*);
                $(
                    if $crate::cbor::Value::is_present(&self.$field) {
                        writer.uint($key);
                        $crate::cbor::Value::write(&self.$field, writer);
                    }
                )*
            }

            fn read(reader: &mut $crate::cbor::Reader<'_>, _limit: usize) -> Result<Self, $crate::DecodeError> {
                let fields = &mut $crate::cbor::Fields::open(reader)?;
                let value = Self { $( $field: fields.next(reader, $key, $limit)?, )* };
                fields.close(reader)?;
                Ok(value)
            }
        }
    };
}
pub(crate) use message;

impl Value for u64 {
    fn write(&self, writer: &mut Writer) {
        writer.uint(*self);
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        reader.uint()
    }
}

impl Value for bool {
    fn write(&self, writer: &mut Writer) {
        writer.bool(*self);
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        reader.bool()
    }
}

impl Value for String {
    fn write(&self, writer: &mut Writer) {
        writer.text(self);
    }

    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        reader.text(limit).map(str::to_owned)
    }
}

impl Value for Vec<u8> {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self);
    }

    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        reader.bytes(limit).map(<[u8]>::to_vec)
    }
}

impl<T: Value> Value for Vec<T> {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.len());
        for item in self {
            item.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        let count = reader.array(limit)?;
        // Grows with what is there, not with what is promised: an item may be far larger in memory than on the wire.
        let mut items = Self::new();
        for _ in 0..count {
            items.push(T::read(reader, limit)?);
        }
        Ok(items)
    }
}

impl<T: Value> Value for Option<T> {
    fn write(&self, writer: &mut Writer) {
        if let Some(value) = self {
            value.write(writer);
        }
    }

    fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
        T::read(reader, limit).map(Some)
    }

    fn is_present(&self) -> bool {
        self.is_some()
    }

    fn missing() -> Option<Self> {
        Some(None)
    }
}

impl Value for Digest {
    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.as_bytes());
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(dominator_store_core::DIGEST_LEN)?;
        Self::from_slice(bytes).ok_or_else(|| reader.malformed())
    }
}

macro_rules! id_value {
    ($($id:ident),*) => {$(
        impl Value for $id {
            fn write(&self, writer: &mut Writer) {
                self.digest().write(writer);
            }

            fn read(reader: &mut Reader<'_>, limit: usize) -> Result<Self, DecodeError> {
                Digest::read(reader, limit).map(Self::new)
            }
        }
    )*};
}
id_value!(BlobId, ImageId, TreeId);

/// An object id is one byte string of 33 bytes: the tag of its kind and its digest.
impl Value for ObjectId {
    fn write(&self, writer: &mut Writer) {
        let mut bytes = [self.kind.tag(); 1 + dominator_store_core::DIGEST_LEN];
        bytes[1..].copy_from_slice(self.digest.as_bytes());
        writer.bytes(&bytes);
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let bytes = reader.bytes(1 + dominator_store_core::DIGEST_LEN)?;
        let (tag, digest) = bytes.split_first().ok_or_else(|| reader.malformed())?;
        let kind =
            ObjectKind::from_tag(*tag).ok_or(DecodeError::UnknownTag { what: "object kind", tag: u64::from(*tag) })?;
        let digest = Digest::from_slice(digest).ok_or_else(|| reader.malformed())?;
        Ok(Self { kind, digest })
    }
}
