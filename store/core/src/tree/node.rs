//! Entries of a directory and what they are.
//!
//! Owns the model and the encoding of one entry (`spec/tree.md#entry`). Invariant: a value read from bytes is complete and
//! allowed: a directory has no metadata here (its own object has it), a symlink's mode is 0777, a file without bytes has
//! the digest of no bytes, and holes are canonical.
//!
//! Order and uniqueness of entries are `directory`'s.

use super::{
    hole::{Hole, read_holes, write_holes},
    link::LinkGroup,
    meta::{Meta, PartialMeta},
};
use crate::{
    BlobId, Name, TreeId,
    cbor::{CborError, Reader, Writer},
    limits::{BLOB_LEN_MAX, NAME_LEN_MAX, SYMLINK_LEN_MAX},
};

/// A device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// What a leaf holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Content {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Its content.
        blob: BlobId,
        /// Ranges without storage, canonical.
        holes: Vec<Hole>,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, raw.
        target: Box<[u8]>,
    },
    /// A block device.
    Block(Device),
    /// A character device.
    Char(Device),
    /// A named pipe.
    Fifo,
}

/// Everything of an entry that is not a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Leaf {
    /// Metadata.
    pub meta: Meta,
    /// The hard-link group, if the entry is one of several names of the same file.
    pub link: Option<LinkGroup>,
    /// What it holds.
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A directory, whose object holds its metadata and entries.
    Dir(TreeId),
    /// Anything else.
    Leaf(Leaf),
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The name.
    pub name: Name,
    /// What it is.
    pub node: Node,
}

/// What stands at a path, seen alone: a directory by its own metadata, without its entries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Item {
    /// A directory.
    Dir(Meta),
    /// Anything else.
    Leaf(Leaf),
}

impl Item {
    /// Returns the metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Dir(meta) => meta,
            Self::Leaf(leaf) => &leaf.meta,
        }
    }

    /// Says whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Self::Dir(_))
    }

    /// Returns the word for the type, as used in tables and messages.
    pub fn type_word(&self) -> &'static str {
        match self {
            Self::Dir(_) => "directory",
            Self::Leaf(leaf) => leaf.content.type_word(),
        }
    }

    /// Returns blob and size of a regular file.
    pub fn blob(&self) -> Option<(BlobId, u64)> {
        match self {
            Self::Leaf(Leaf { content: Content::File { size, blob, .. }, .. }) => Some((*blob, *size)),
            _ => None,
        }
    }
}

impl Content {
    /// Returns the word for the type, as used in tables and messages.
    pub fn type_word(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Symlink { .. } => "symlink",
            Self::Block(_) => "block device",
            Self::Char(_) => "character device",
            Self::Fifo => "fifo",
        }
    }

    const fn tag(&self) -> u64 {
        match self {
            Self::File { .. } => TYPE_FILE,
            Self::Symlink { .. } => TYPE_SYMLINK,
            Self::Block(_) => TYPE_BLOCK,
            Self::Char(_) => TYPE_CHAR,
            Self::Fifo => TYPE_FIFO,
        }
    }
}

const TYPE_DIR: u64 = 1;
const TYPE_FILE: u64 = 2;
const TYPE_SYMLINK: u64 = 3;
const TYPE_BLOCK: u64 = 4;
const TYPE_CHAR: u64 = 5;
const TYPE_FIFO: u64 = 6;

const KEY_NAME: u64 = 0;
const KEY_TYPE: u64 = 1;
const KEY_TREE: u64 = 2;
const KEY_LINK: u64 = 9;
const KEY_SIZE: u64 = 10;
const KEY_BLOB: u64 = 11;
const KEY_HOLES: u64 = 12;
const KEY_TARGET: u64 = 13;
const KEY_MAJOR: u64 = 14;
const KEY_MINOR: u64 = 15;
const PAIR_COUNT_MAX: usize = 16;

impl Entry {
    pub(super) fn write(&self, writer: &mut Writer) {
        match &self.node {
            Node::Dir(tree) => {
                writer.map(3);
                writer.uint(KEY_NAME).bytes(self.name.as_bytes());
                writer.uint(KEY_TYPE).uint(TYPE_DIR);
                writer.uint(KEY_TREE).bytes(tree.as_bytes());
            }
            Node::Leaf(leaf) => {
                writer.map(2 + leaf.pair_count());
                writer.uint(KEY_NAME).bytes(self.name.as_bytes());
                leaf.write_pairs(writer);
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.map("entry", PAIR_COUNT_MAX)?;
        let mut partial = PartialEntry::default();
        for _ in 0..count {
            let key = reader.uint()?;
            partial.read_pair(key, reader)?;
        }
        partial.finish(reader)
    }
}

impl Leaf {
    fn pair_count(&self) -> usize {
        let content = match &self.content {
            Content::File { size, holes, .. } => 1 + usize::from(*size > 0) + usize::from(!holes.is_empty()),
            Content::Symlink { .. } => 1,
            Content::Block(_) | Content::Char(_) => 2,
            Content::Fifo => 0,
        };
        self.meta.pair_count() + usize::from(self.link.is_some()) + content
    }

    fn write_pairs(&self, writer: &mut Writer) {
        writer.uint(KEY_TYPE).uint(self.content.tag());
        self.meta.write_pairs(writer);
        if let Some(link) = self.link {
            writer.uint(KEY_LINK).bytes(link.as_bytes());
        }
        match &self.content {
            Content::File { size, blob, holes } => {
                writer.uint(KEY_SIZE).uint(*size);
                if *size > 0 {
                    writer.uint(KEY_BLOB).bytes(blob.as_bytes());
                }
                if !holes.is_empty() {
                    writer.uint(KEY_HOLES);
                    write_holes(holes, writer);
                }
            }
            Content::Symlink { target } => {
                writer.uint(KEY_TARGET).bytes(target);
            }
            Content::Block(device) | Content::Char(device) => {
                writer.uint(KEY_MAJOR).uint(device.major.into());
                writer.uint(KEY_MINOR).uint(device.minor.into());
            }
            Content::Fifo => {}
        }
    }
}

/// An entry while its map pairs arrive. Keys out of place are caught by the comparison with the canonical encoding.
#[derive(Debug, Default)]
struct PartialEntry<'b> {
    name: Option<Name>,
    kind: Option<u64>,
    tree: Option<TreeId>,
    meta: PartialMeta,
    link: Option<LinkGroup>,
    size: Option<u64>,
    blob: Option<BlobId>,
    holes: Vec<Hole>,
    target: Option<&'b [u8]>,
    major: Option<u32>,
    minor: Option<u32>,
}

impl<'b> PartialEntry<'b> {
    fn read_pair(&mut self, key: u64, reader: &mut Reader<'b>) -> Result<(), CborError> {
        match key {
            KEY_NAME => {
                let name = Name::new(reader.bytes("name", NAME_LEN_MAX)?);
                self.name = Some(name.map_err(|_| reader.invalid("name"))?);
            }
            KEY_TYPE => self.kind = Some(reader.uint()?),
            KEY_TREE => self.tree = Some(TreeId::new(reader.digest()?)),
            KEY_LINK => {
                let link = LinkGroup::from_slice(reader.bytes("link group", LinkGroup::LEN)?);
                self.link = Some(link.ok_or_else(|| reader.invalid("link group"))?);
            }
            KEY_SIZE => self.size = Some(reader.uint()?),
            KEY_BLOB => self.blob = Some(BlobId::new(reader.digest()?)),
            KEY_HOLES => self.holes = read_holes(self.size.unwrap_or(0), reader)?,
            KEY_TARGET => self.target = Some(reader.bytes("symlink target", SYMLINK_LEN_MAX)?),
            KEY_MAJOR => self.major = Some(reader.uint32()?),
            KEY_MINOR => self.minor = Some(reader.uint32()?),
            _ if self.meta.read_pair(key, reader)? => {}
            _ => return Err(reader.invalid("key")),
        }
        Ok(())
    }

    fn finish(self, reader: &Reader<'_>) -> Result<Entry, CborError> {
        let name = self.name.ok_or_else(|| reader.invalid("entry without a name"))?;
        let device = match (self.major, self.minor) {
            (Some(major), Some(minor)) => Some(Device { major, minor }),
            _ => None,
        };
        let meta = self.meta.finish(reader)?;
        let content = match self.kind {
            Some(TYPE_DIR) => {
                let tree = self.tree.ok_or_else(|| reader.invalid("directory"))?;
                return Ok(Entry { name, node: Node::Dir(tree) });
            }
            Some(TYPE_FILE) => {
                let size = self.size.filter(|size| *size <= BLOB_LEN_MAX).ok_or_else(|| reader.invalid("size"))?;
                let blob = match self.blob {
                    Some(blob) => blob,
                    None if size == 0 => BlobId::of(&[]),
                    None => return Err(reader.invalid("file without a blob")),
                };
                Content::File { size, blob, holes: self.holes }
            }
            Some(TYPE_SYMLINK) => match self.target {
                Some(target) if !target.is_empty() && !target.contains(&0) => {
                    Content::Symlink { target: target.into() }
                }
                _ => return Err(reader.invalid("symlink target")),
            },
            Some(TYPE_BLOCK) => Content::Block(device.ok_or_else(|| reader.invalid("device"))?),
            Some(TYPE_CHAR) => Content::Char(device.ok_or_else(|| reader.invalid("device"))?),
            Some(TYPE_FIFO) => Content::Fifo,
            _ => return Err(reader.invalid("type")),
        };
        let meta = meta.ok_or_else(|| reader.invalid("entry without metadata"))?;
        if matches!(content, Content::Symlink { .. }) && meta.mode != 0o777 {
            return Err(reader.invalid("symlink mode"));
        }
        Ok(Entry { name, node: Node::Leaf(Leaf { meta, link: self.link, content }) })
    }
}
