//! Events of the catalog: one change of what one image name stands for.
//!
//! Owns their canonical CBOR (`spec/store.md#event`). Invariant: an event holds all that the catalog's view shows of an
//! image, so that the view is made again from the log alone.
//!
//! Does not order events: the log does.

use dominator_store_core::{
    ImageId, ImageName,
    cbor::{self, Canonical, CborError, Reader, Writer},
    limits::IMAGE_NAME_LEN_MAX,
};

use crate::limits::EVENT_LEN_MAX;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// The name stands for the image from now on.
    Published,
    /// The name stands for nothing, and never for another image.
    Deleted,
}

/// One change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) kind: EventKind,
    /// When, in milliseconds since 1970-01-01 UTC, by the clock of the store's machine.
    pub(crate) at_ms: u64,
    pub(crate) name: ImageName,
    pub(crate) image: ImageId,
    /// From the image: when it was made.
    pub(crate) created_ms: u64,
    /// From the image: number of paths.
    pub(crate) entry_count: u64,
    /// From the image: sum of the sizes of its files.
    pub(crate) content_len: u64,
}

const KEY_KIND: u64 = 0;
const KEY_AT_MS: u64 = 1;
const KEY_NAME: u64 = 2;
const KEY_IMAGE: u64 = 3;
const KEY_CREATED_MS: u64 = 4;
const KEY_ENTRY_COUNT: u64 = 5;
const KEY_CONTENT_LEN: u64 = 6;
const PAIR_COUNT: usize = 7;

impl Event {
    pub(crate) fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > EVENT_LEN_MAX {
            return Err(CborError::Limit { what: "catalog event", limit: EVENT_LEN_MAX as u64, pos: 0 });
        }
        cbor::decode(bytes)
    }

    /// Decodes the value of a catalog row.
    pub(crate) fn decode_row(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }
}

impl Canonical for Event {
    fn write(&self, writer: &mut Writer) {
        let kind = match self.kind {
            EventKind::Published => 1,
            EventKind::Deleted => 2,
        };
        writer.map(PAIR_COUNT);
        writer.uint(KEY_KIND).uint(kind);
        writer.uint(KEY_AT_MS).uint(self.at_ms);
        writer.uint(KEY_NAME).text(self.name.as_str());
        writer.uint(KEY_IMAGE).bytes(self.image.as_bytes());
        writer.uint(KEY_CREATED_MS).uint(self.created_ms);
        writer.uint(KEY_ENTRY_COUNT).uint(self.entry_count);
        writer.uint(KEY_CONTENT_LEN).uint(self.content_len);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.map("catalog event", PAIR_COUNT)? != PAIR_COUNT {
            return Err(reader.invalid("catalog event"));
        }
        let field = |reader: &mut Reader<'_>, key| match reader.uint()? {
            found if found == key => Ok(()),
            _ => Err(reader.invalid("key")),
        };
        field(reader, KEY_KIND)?;
        let kind = match reader.uint()? {
            1 => EventKind::Published,
            2 => EventKind::Deleted,
            _ => return Err(reader.invalid("kind of event")),
        };
        field(reader, KEY_AT_MS)?;
        let at_ms = reader.uint()?;
        field(reader, KEY_NAME)?;
        let name = reader.text("image name", IMAGE_NAME_LEN_MAX)?.parse();
        let name = name.map_err(|_| reader.invalid("image name"))?;
        field(reader, KEY_IMAGE)?;
        let image = ImageId::new(reader.digest()?);
        field(reader, KEY_CREATED_MS)?;
        let created_ms = reader.uint()?;
        field(reader, KEY_ENTRY_COUNT)?;
        let entry_count = reader.uint()?;
        field(reader, KEY_CONTENT_LEN)?;
        let content_len = reader.uint()?;
        Ok(Self { kind, at_ms, name, image, created_ms, entry_count, content_len })
    }
}
