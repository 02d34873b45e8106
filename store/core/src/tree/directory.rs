//! One whole directory, cut into pages by a rule that does not depend on history (`spec/tree.md#pages`).
//!
//! Owns the cut and its inverse. Entries are cut into pages after every name whose digest has three zero bits (one in
//! eight), or when a page is full; pages are listed by pages cut by the next three bits, until one object is left. So
//! one changed entry changes about one page per level, and the pages are a function of the set of entries alone.
//!
//! Invariant: [`read_directory`] returns only directories that [`Directory::encode`] gives back with the same id.
//! Does not know where objects are kept.

use super::{
    meta::Meta,
    node::Entry,
    object::{PageRef, TreeBody, TreeObject},
};
use crate::{
    Digest, Name, TreeId,
    cbor::{CborError, Writer},
    limits::{DIRECTORY_ENTRY_COUNT_MAX, PAGE_DEPTH_MAX, PAGE_ENTRY_COUNT_MAX, PAGE_LEN_CUT},
};

/// A directory: its own metadata and its entries, sorted by raw name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    meta: Meta,
    entries: Vec<Entry>,
}

/// Why entries are not a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryError {
    /// Two entries have the same name.
    #[error("name {0} occurs twice in one directory")]
    Duplicate(Name),
    /// More entries than the limit.
    #[error("more than {DIRECTORY_ENTRY_COUNT_MAX} entries in one directory")]
    TooMany,
}

/// Why a directory could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadTreeError<E> {
    /// The source has no such object, or failed.
    #[error("tree object {0} cannot be read")]
    Source(TreeId, #[source] E),
    /// An object is not a tree object.
    #[error("tree object {0} is corrupt")]
    Corrupt(TreeId, #[source] CborError),
    /// The objects are well-formed, but not the canonical pages of a directory.
    #[error("directory {0} is not in canonical pages")]
    NotCanonical(TreeId),
    /// Directories are nested deeper than a path can be.
    #[error("directory {0} is nested too deep")]
    TooDeep(TreeId),
    /// The tree has more entries than its reader accepts.
    #[error("tree has more than {0} entries")]
    TooLarge(u64),
}

impl Directory {
    /// Makes a directory, sorting `entries`.
    pub fn new(meta: Meta, mut entries: Vec<Entry>) -> Result<Self, DirectoryError> {
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        for pair in entries.windows(2) {
            if let [a, b] = pair
                && a.name == b.name
            {
                return Err(DirectoryError::Duplicate(a.name.clone()));
            }
        }
        if entries.len() as u64 > DIRECTORY_ENTRY_COUNT_MAX {
            return Err(DirectoryError::TooMany);
        }
        Ok(Self { meta, entries })
    }

    /// Returns the directory's own metadata.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the entries, sorted by raw name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Finds the entry of `name`.
    pub fn entry(&self, name: &[u8]) -> Option<&Entry> {
        let pos = self.entries.binary_search_by(|entry| entry.name.as_bytes().cmp(name)).ok()?;
        self.entries.get(pos)
    }

    /// Takes the directory apart.
    pub fn into_parts(self) -> (Meta, Vec<Entry>) {
        (self.meta, self.entries)
    }

    /// Encodes the directory: calls `emit` with every object, pages before the objects that list them, and returns
    /// the id of the top object, which is emitted last.
    pub fn encode(&self, emit: &mut impl FnMut(TreeId, Vec<u8>)) -> TreeId {
        let mut level: Vec<PageRef> = Vec::new();
        let runs = cut_entries(&self.entries);
        if let [] | [_] = runs.as_slice() {
            return emit_object(Some(&self.meta), TreeBody::Entries(self.entries.clone()), emit);
        }
        let mut last_names = Vec::with_capacity(runs.len());
        for run in runs {
            if let (Some(first), Some(last)) = (run.first(), run.last()) {
                let page = emit_object(None, TreeBody::Entries(run.to_vec()), emit);
                level.push(PageRef { first: first.name.clone(), page, entry_count: run.len() as u64 });
                last_names.push(last.name.clone());
            }
        }
        let mut depth = 1;
        loop {
            let lens = cut_pages(&last_names, depth);
            if lens.len() <= 1 {
                return emit_object(Some(&self.meta), TreeBody::Pages(level), emit);
            }
            let mut pages = level.into_iter();
            let mut names = last_names.into_iter();
            (level, last_names) = (Vec::with_capacity(lens.len()), Vec::with_capacity(lens.len()));
            for len in lens {
                let run: Vec<PageRef> = pages.by_ref().take(len).collect();
                let entry_count = run.iter().map(|page| page.entry_count).sum();
                if let (Some(first), Some(last)) =
                    (run.first().map(|page| page.first.clone()), names.by_ref().take(len).last())
                {
                    let page = emit_object(None, TreeBody::Pages(run), emit);
                    level.push(PageRef { first, page, entry_count });
                    last_names.push(last);
                }
            }
            depth += 1;
        }
    }

    /// Returns the id, without keeping the objects.
    pub fn id(&self) -> TreeId {
        self.encode(&mut |_, _| {})
    }
}

/// Reads the directory whose top object is `id`; `get` returns the encoded object of an id.
///
/// The bytes that `get` returns must match the id asked for: checking digests is the source's duty.
///
/// # Errors
/// `Corrupt` for bytes that are not a tree object, `NotCanonical` for pages that are not the canonical ones.
pub fn read_directory<E>(
    id: TreeId,
    get: &mut impl FnMut(TreeId) -> Result<Vec<u8>, E>,
) -> Result<Directory, ReadTreeError<E>> {
    let top = read_object(id, get)?;
    let meta = top.meta.ok_or(ReadTreeError::NotCanonical(id))?;
    let paged = matches!(top.body, TreeBody::Pages(_));
    let mut entries = Vec::new();
    collect_entries(id, top.body, 0, get, &mut entries)?;
    let directory = Directory { meta, entries };
    let sorted = directory.entries.windows(2).all(|pair| matches!(pair, [a, b] if a.name < b.name));
    // A single object is canonical already, unless it should have been cut; pages are compared as a whole.
    let canonical = sorted && if paged { directory.id() == id } else { cut_entries(&directory.entries).len() <= 1 };
    if !canonical {
        return Err(ReadTreeError::NotCanonical(id));
    }
    Ok(directory)
}

fn read_object<E>(
    id: TreeId,
    get: &mut impl FnMut(TreeId) -> Result<Vec<u8>, E>,
) -> Result<TreeObject, ReadTreeError<E>> {
    let bytes = get(id).map_err(|error| ReadTreeError::Source(id, error))?;
    TreeObject::decode(&bytes).map_err(|error| ReadTreeError::Corrupt(id, error))
}

fn collect_entries<E>(
    id: TreeId,
    body: TreeBody,
    depth: usize,
    get: &mut impl FnMut(TreeId) -> Result<Vec<u8>, E>,
    entries: &mut Vec<Entry>,
) -> Result<(), ReadTreeError<E>> {
    let pages = match body {
        TreeBody::Entries(mut page) => {
            entries.append(&mut page);
            return Ok(());
        }
        TreeBody::Pages(pages) => pages,
    };
    if depth >= PAGE_DEPTH_MAX || entries.len() as u64 > DIRECTORY_ENTRY_COUNT_MAX {
        return Err(ReadTreeError::NotCanonical(id));
    }
    for page in pages {
        let start = entries.len();
        let object = read_object(page.page, get)?;
        if object.meta.is_some() {
            return Err(ReadTreeError::NotCanonical(id));
        }
        collect_entries(page.page, object.body, depth + 1, get, entries)?;
        let found = entries.get(start..).unwrap_or_default();
        // Checked page by page, so that a small lie cannot make a large amount of reading.
        if found.len() as u64 != page.entry_count || found.first().is_none_or(|entry| entry.name != page.first) {
            return Err(ReadTreeError::NotCanonical(id));
        }
    }
    Ok(())
}

fn emit_object(meta: Option<&Meta>, body: TreeBody, emit: &mut impl FnMut(TreeId, Vec<u8>)) -> TreeId {
    let bytes = TreeObject { meta: meta.cloned(), body }.encode();
    let id = TreeId::of(&bytes);
    emit(id, bytes);
    id
}

/// Bits of a name's digest that decide about one level: small pages make a change cheap, and more levels cost little.
const BOUNDARY_BITS: u32 = 3;
/// The last level with bits of its own; there are 64.
const BOUNDARY_LEVEL_MAX: u32 = 20;

/// Says whether a page of the given level ends after `name`.
fn is_boundary(name: &Name, level: u32) -> bool {
    let digest = Digest::of(name.as_bytes());
    let (first, _) = digest.as_bytes().split_first_chunk().expect("a digest has more than eight bytes");
    let bits = u64::from_le_bytes(*first) >> (BOUNDARY_BITS * level.min(BOUNDARY_LEVEL_MAX));
    bits & ((1 << BOUNDARY_BITS) - 1) == 0
}

fn cut_entries(entries: &[Entry]) -> Vec<&[Entry]> {
    let mut runs = Vec::new();
    let (mut start, mut len) = (0, 0);
    for (pos, entry) in entries.iter().enumerate() {
        let mut writer = Writer::new();
        entry.write(&mut writer);
        len += writer.len();
        let full = pos + 1 - start == PAGE_ENTRY_COUNT_MAX || len >= PAGE_LEN_CUT;
        if full || is_boundary(&entry.name, 0) {
            runs.extend(entries.get(start..=pos));
            (start, len) = (pos + 1, 0);
        }
    }
    runs.extend(entries.get(start..).filter(|rest| !rest.is_empty()));
    runs
}

/// Returns the lengths of the runs of pages; a run has at least two pages, so that every level is at most half as long.
fn cut_pages(last_names: &[Name], level: u32) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut len = 0;
    for name in last_names {
        len += 1;
        if len == PAGE_ENTRY_COUNT_MAX || (len >= 2 && is_boundary(name, level)) {
            lens.push(len);
            len = 0;
        }
    }
    match (len, lens.last_mut()) {
        (0, _) => {}
        // A single page left over joins the run before it; if that is full, it takes the last page of that run along.
        (1, Some(last)) if *last < PAGE_ENTRY_COUNT_MAX => *last += 1,
        (1, Some(last)) => {
            *last -= 1;
            lens.push(2);
        }
        _ => lens.push(len),
    }
    lens
}
