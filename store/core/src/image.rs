//! Images: what a machine is required to be (`spec/image.md`).
//!
//! Owns the image object and image names. Invariants: an image is immutable and its id is the digest of its canonical
//! encoding; an image name is a relative path of plain components, so that directories of names can have owners.
//!
//! Signatures are detached and not part of it; which name stands for which image is the store's catalog.

use std::{collections::BTreeMap, fmt, str::FromStr};

use crate::{
    Filter, ImageId, TreeId, Trigger,
    cbor::{self, Canonical, CborError, Reader, Writer},
    limits::{IMAGE_LEN_MAX, IMAGE_NAME_LEN_MAX, TAG_COUNT_MAX, TEXT_LEN_MAX, TRIGGER_COUNT_MAX},
};

/// Which metadata an image manages, beyond content, type, mode and owner, which it always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Managed {
    /// Modification times of everything but directories.
    pub mtimes: bool,
    /// Modification times of directories.
    pub directory_mtimes: bool,
    /// Extended attributes, access lists and capabilities.
    pub xattrs: bool,
    /// Holes of sparse files.
    pub holes: bool,
}

impl Default for Managed {
    fn default() -> Self {
        Self { mtimes: true, directory_mtimes: false, xattrs: true, holes: true }
    }
}

/// What a machine is required to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The tree.
    pub root: TreeId,
    /// Which metadata it manages.
    pub managed: Managed,
    /// Which paths it manages.
    pub filter: Filter,
    /// What to do with services when paths change.
    pub triggers: Vec<Trigger>,
    /// Number of paths in the tree, the root included.
    pub entry_count: u64,
    /// Sum of the sizes of its files, in bytes, a group of hard links counted once.
    pub content_len: u64,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// Who made it.
    pub created_by: String,
    /// Free key and value pairs, such as a build commit.
    pub tags: BTreeMap<String, String>,
}

const KEY_VERSION: u64 = 0;
const KEY_ROOT: u64 = 1;
const KEY_MANAGED: u64 = 2;
const KEY_FILTER: u64 = 3;
const KEY_TRIGGERS: u64 = 4;
const KEY_ENTRY_COUNT: u64 = 5;
const KEY_CONTENT_LEN: u64 = 6;
const KEY_CREATED_MS: u64 = 7;
const KEY_CREATED_BY: u64 = 8;
const KEY_TAGS: u64 = 9;
const PAIR_COUNT: usize = 10;

const VERSION: u64 = 1;
const MANAGED_MTIMES: u64 = 1;
const MANAGED_DIRECTORY_MTIMES: u64 = 2;
const MANAGED_XATTRS: u64 = 4;
const MANAGED_HOLES: u64 = 8;

impl Image {
    /// Encodes the image.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Decodes a whole image.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > IMAGE_LEN_MAX {
            return Err(CborError::Limit { what: "image", limit: IMAGE_LEN_MAX as u64, pos: 0 });
        }
        cbor::decode(bytes)
    }

    /// Computes the id.
    pub fn id(&self) -> ImageId {
        ImageId::of(&self.encode())
    }
}

impl Canonical for Image {
    fn write(&self, writer: &mut Writer) {
        writer.map(PAIR_COUNT);
        writer.uint(KEY_VERSION).uint(VERSION);
        writer.uint(KEY_ROOT).bytes(self.root.as_bytes());
        writer.uint(KEY_MANAGED).uint(self.managed.bits());
        writer.uint(KEY_FILTER);
        self.filter.write(writer);
        writer.uint(KEY_TRIGGERS).array(self.triggers.len());
        self.triggers.iter().for_each(|trigger| trigger.write(writer));
        writer.uint(KEY_ENTRY_COUNT).uint(self.entry_count);
        writer.uint(KEY_CONTENT_LEN).uint(self.content_len);
        writer.uint(KEY_CREATED_MS).uint(self.created_ms);
        writer.uint(KEY_CREATED_BY).text(&self.created_by);
        writer.uint(KEY_TAGS).array(self.tags.len());
        for (key, value) in &self.tags {
            writer.array(2).text(key).text(value);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.map("image", PAIR_COUNT)? != PAIR_COUNT {
            return Err(reader.invalid("image"));
        }
        let field = |reader: &mut Reader<'_>, key| match reader.uint()? {
            found if found == key => Ok(()),
            _ => Err(reader.invalid("key")),
        };
        field(reader, KEY_VERSION)?;
        if reader.uint()? != VERSION {
            return Err(reader.invalid("version of image"));
        }
        field(reader, KEY_ROOT)?;
        let root = TreeId::new(reader.digest()?);
        field(reader, KEY_MANAGED)?;
        let managed = Managed::from_bits(reader.uint()?).ok_or_else(|| reader.invalid("managed metadata"))?;
        field(reader, KEY_FILTER)?;
        let filter = Filter::read(reader)?;
        field(reader, KEY_TRIGGERS)?;
        let count = reader.array("triggers", TRIGGER_COUNT_MAX)?;
        let triggers = (0..count).map(|_| Trigger::read(reader)).collect::<Result<_, _>>()?;
        field(reader, KEY_ENTRY_COUNT)?;
        let entry_count = reader.uint()?;
        field(reader, KEY_CONTENT_LEN)?;
        let content_len = reader.uint()?;
        field(reader, KEY_CREATED_MS)?;
        let created_ms = reader.uint()?;
        field(reader, KEY_CREATED_BY)?;
        let created_by = reader.text("creator", TEXT_LEN_MAX)?.to_owned();
        field(reader, KEY_TAGS)?;
        let mut tags = BTreeMap::new();
        for _ in 0..reader.array("tags", TAG_COUNT_MAX)? {
            if reader.array("tag", 2)? != 2 {
                return Err(reader.invalid("tag"));
            }
            let key = reader.text("tag", TEXT_LEN_MAX)?.to_owned();
            tags.insert(key, reader.text("value of a tag", TEXT_LEN_MAX)?.to_owned());
        }
        Ok(Self { root, managed, filter, triggers, entry_count, content_len, created_ms, created_by, tags })
    }
}

impl Managed {
    fn bits(self) -> u64 {
        let bit = |on, bit| if on { bit } else { 0 };
        bit(self.mtimes, MANAGED_MTIMES)
            | bit(self.directory_mtimes, MANAGED_DIRECTORY_MTIMES)
            | bit(self.xattrs, MANAGED_XATTRS)
            | bit(self.holes, MANAGED_HOLES)
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let all = MANAGED_MTIMES | MANAGED_DIRECTORY_MTIMES | MANAGED_XATTRS | MANAGED_HOLES;
        let managed = Self {
            mtimes: bits & MANAGED_MTIMES != 0,
            directory_mtimes: bits & MANAGED_DIRECTORY_MTIMES != 0,
            xattrs: bits & MANAGED_XATTRS != 0,
            holes: bits & MANAGED_HOLES != 0,
        };
        (bits & !all == 0).then_some(managed)
    }
}

/// The name of an image: components of letters, digits, `.`, `_`, `-`, `+`, `~`, `:` joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageName(String);

/// Text that is not an image name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an image name: expected components of letters, digits and . _ - + ~ : joined by '/', none beginning with '.', at most {IMAGE_NAME_LEN_MAX} bytes"
)]
pub struct ImageNameError;

impl ImageName {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the directory part, empty for a name of one component.
    pub fn directory(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(directory, _)| directory)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        let plain = |char: char| char.is_ascii_alphanumeric() || "._-+~:".contains(char);
        let component = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.chars().all(plain);
        if text.len() <= IMAGE_NAME_LEN_MAX && text.split('/').all(component) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ImageNameError)
        }
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pattern, PatternKind, TriggerAction};

    fn sample() -> Image {
        Image {
            root: TreeId::of(b"root"),
            managed: Managed::default(),
            filter: Filter::parse("exclude tree /var/log\n").expect("filter"),
            triggers: vec![Trigger {
                patterns: vec![Pattern::new(PatternKind::Glob, "/etc/ssh/*").expect("pattern")],
                service: "ssh".to_owned(),
                action: TriggerAction::Restart,
                order: 10,
                high_impact: false,
            }],
            entry_count: 7,
            content_len: 1 << 40,
            created_ms: 1_700_000_000_000,
            created_by: "ci".to_owned(),
            tags: BTreeMap::from([("commit".to_owned(), "abc".to_owned())]),
        }
    }

    #[test]
    fn images_round_trip_and_every_prefix_is_refused() {
        let image = sample();
        let bytes = image.encode();
        assert_eq!(Image::decode(&bytes), Ok(image));
        for len in 0..bytes.len() {
            assert!(Image::decode(bytes.get(..len).expect("prefix")).is_err());
        }
        assert!(Image::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_flipped_bit_is_refused_or_another_image() {
        let bytes = sample().encode();
        for pos in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                flipped[pos] ^= 1 << bit;
                if let Ok(image) = Image::decode(&flipped) {
                    assert_ne!(image.id(), sample().id());
                    assert_eq!(image.encode(), flipped);
                }
            }
        }
    }

    #[test]
    fn image_names_are_plain_paths() {
        for good in ["base", "prod/web/2026-11-22:10", "a.b_c+d~e"] {
            assert!(good.parse::<ImageName>().is_ok(), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", "../a", ".a", "a b", "a\n", "-x", "ä"] {
            assert!(bad.parse::<ImageName>().is_err(), "{bad}");
        }
        assert_eq!("prod/web/1".parse::<ImageName>().expect("name").directory(), "prod/web");
    }
}
