//! Tree objects: the stored pieces of a directory (`spec/tree.md#object`).
//!
//! Owns the encoding of one object: the top object of a directory, which has the directory's metadata, or a page below
//! it, which has none; each lists either entries or further pages. Invariant: names ascend strictly within an object.
//!
//! How a directory is cut into objects, and that it was cut so, is `directory`.

use super::{
    meta::{Meta, PartialMeta},
    node::Entry,
};
use crate::{
    Name, TreeId,
    cbor::{self, Canonical, CborError, Reader, Writer},
    limits::{DIRECTORY_ENTRY_COUNT_MAX, NAME_LEN_MAX, PAGE_ENTRY_COUNT_MAX, TREE_LEN_MAX},
};

/// Names one page and says what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRef {
    /// The first name in the page or below it.
    pub first: Name,
    /// The page.
    pub page: TreeId,
    /// Number of entries in the page and below it.
    pub entry_count: u64,
}

/// What a tree object lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TreeBody {
    /// Entries.
    Entries(Vec<Entry>),
    /// Pages, at least two.
    Pages(Vec<PageRef>),
}

/// One stored piece of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeObject {
    /// The directory's metadata, in its top object only.
    pub meta: Option<Meta>,
    /// What it lists.
    pub body: TreeBody,
}

const KEY_META: u64 = 0;
const KEY_ENTRIES: u64 = 1;
const KEY_PAGES: u64 = 2;

impl TreeObject {
    /// Decodes a whole object.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        if bytes.len() > TREE_LEN_MAX {
            return Err(CborError::Limit { what: "tree object", limit: TREE_LEN_MAX as u64, pos: 0 });
        }
        cbor::decode(bytes)
    }

    /// Encodes the object.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Returns the objects that this one refers to: pages and sub-directories.
    pub fn children(&self) -> impl Iterator<Item = TreeId> {
        let (entries, pages): (&[Entry], &[PageRef]) = match &self.body {
            TreeBody::Entries(entries) => (entries, &[]),
            TreeBody::Pages(pages) => (&[], pages),
        };
        let dirs = entries.iter().filter_map(|entry| match &entry.node {
            super::Node::Dir(tree) => Some(*tree),
            super::Node::Leaf(_) => None,
        });
        dirs.chain(pages.iter().map(|page| page.page))
    }
}

impl Canonical for TreeObject {
    fn write(&self, writer: &mut Writer) {
        writer.map(1 + usize::from(self.meta.is_some()));
        if let Some(meta) = &self.meta {
            writer.uint(KEY_META).map(meta.pair_count());
            meta.write_pairs(writer);
        }
        match &self.body {
            TreeBody::Entries(entries) => {
                writer.uint(KEY_ENTRIES).array(entries.len());
                for entry in entries {
                    entry.write(writer);
                }
            }
            TreeBody::Pages(pages) => {
                writer.uint(KEY_PAGES).array(pages.len());
                for page in pages {
                    writer.array(3).bytes(page.first.as_bytes()).bytes(page.page.as_bytes()).uint(page.entry_count);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let mut meta = None;
        let mut body = None;
        for _ in 0..reader.map("tree object", 2)? {
            match reader.uint()? {
                KEY_META => meta = Some(read_meta(reader)?),
                KEY_ENTRIES => body = Some(TreeBody::Entries(read_entries(reader)?)),
                KEY_PAGES => body = Some(TreeBody::Pages(read_pages(reader)?)),
                _ => return Err(reader.invalid("key")),
            }
        }
        Ok(Self { meta, body: body.ok_or_else(|| reader.invalid("tree object"))? })
    }
}

fn read_meta(reader: &mut Reader<'_>) -> Result<Meta, CborError> {
    let mut partial = PartialMeta::default();
    for _ in 0..reader.map("metadata", 6)? {
        let key = reader.uint()?;
        if !partial.read_pair(key, reader)? {
            return Err(reader.invalid("key"));
        }
    }
    partial.finish(reader)?.ok_or_else(|| reader.invalid("metadata"))
}

fn read_entries(reader: &mut Reader<'_>) -> Result<Vec<Entry>, CborError> {
    let count = reader.array("entries", PAGE_ENTRY_COUNT_MAX)?;
    let mut entries: Vec<Entry> = Vec::with_capacity(count);
    for _ in 0..count {
        let entry = Entry::read(reader)?;
        if entries.last().is_some_and(|last| last.name >= entry.name) {
            return Err(reader.invalid("order of names"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn read_pages(reader: &mut Reader<'_>) -> Result<Vec<PageRef>, CborError> {
    let count = reader.array("pages", PAGE_ENTRY_COUNT_MAX)?;
    let mut pages: Vec<PageRef> = Vec::with_capacity(count);
    for _ in 0..count {
        if reader.array("page", 3)? != 3 {
            return Err(reader.invalid("page"));
        }
        let first = Name::new(reader.bytes("name", NAME_LEN_MAX)?).map_err(|_| reader.invalid("name"))?;
        let page = TreeId::new(reader.digest()?);
        let entry_count = reader.uint()?;
        let ascending = pages.last().is_none_or(|last| last.first < first);
        if !ascending || entry_count == 0 || entry_count > DIRECTORY_ENTRY_COUNT_MAX {
            return Err(reader.invalid("page"));
        }
        pages.push(PageRef { first, page, entry_count });
    }
    if pages.len() < 2 {
        return Err(reader.invalid("single page"));
    }
    Ok(pages)
}
