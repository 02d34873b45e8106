//! Metadata of an entry: mode, owner, time and extended attributes.
//!
//! Owns the canonical form: xattrs sorted by name and unique, nanoseconds below one second, mode within 07777.
//! ACLs, file capabilities and security labels are xattrs here, byte for byte as the kernel gives them.
//!
//! Which xattrs are read and written is `store/fs`.

use crate::{
    cbor::{CborError, Reader, Writer},
    limits::{XATTR_COUNT_MAX, XATTR_NAME_LEN_MAX, XATTRS_LEN_MAX},
};

/// A modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Seconds since 1970-01-01 UTC, negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

/// One extended attribute.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Xattr {
    /// Full name with its name space, such as `security.capability`.
    pub name: Box<[u8]>,
    /// Raw value.
    pub value: Box<[u8]>,
}

/// What is managed of an entry besides its content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Meta {
    /// Permission bits, set-id bits and the sticky bit (07777).
    pub mode: u16,
    /// Owning user.
    pub uid: u32,
    /// Owning group.
    pub gid: u32,
    /// Modification time, where it is managed.
    pub mtime: Option<Mtime>,
    /// Extended attributes, sorted by name.
    pub xattrs: Vec<Xattr>,
}

pub(super) const KEY_MODE: u64 = 3;
pub(super) const KEY_UID: u64 = 4;
pub(super) const KEY_GID: u64 = 5;
pub(super) const KEY_MTIME_SECONDS: u64 = 6;
pub(super) const KEY_MTIME_NANOSECONDS: u64 = 7;
pub(super) const KEY_XATTRS: u64 = 8;

impl Meta {
    /// Makes metadata without time and attributes.
    pub const fn new(mode: u16, uid: u32, gid: u32) -> Self {
        Self { mode, uid, gid, mtime: None, xattrs: Vec::new() }
    }

    /// Returns how many map pairs [`Meta::write_pairs`] writes.
    pub(super) fn pair_count(&self) -> usize {
        3 + if self.mtime.is_some() { 2 } else { 0 } + usize::from(!self.xattrs.is_empty())
    }

    pub(super) fn write_pairs(&self, writer: &mut Writer) {
        writer.uint(KEY_MODE).uint(self.mode.into());
        writer.uint(KEY_UID).uint(self.uid.into());
        writer.uint(KEY_GID).uint(self.gid.into());
        if let Some(mtime) = self.mtime {
            writer.uint(KEY_MTIME_SECONDS).int(mtime.seconds);
            writer.uint(KEY_MTIME_NANOSECONDS).uint(mtime.nanoseconds.into());
        }
        if !self.xattrs.is_empty() {
            writer.uint(KEY_XATTRS).array(self.xattrs.len());
            for xattr in &self.xattrs {
                writer.array(2).bytes(&xattr.name).bytes(&xattr.value);
            }
        }
    }
}

/// Metadata while its map pairs arrive.
#[derive(Debug, Default)]
pub(super) struct PartialMeta {
    mode: Option<u16>,
    uid: Option<u32>,
    gid: Option<u32>,
    seconds: Option<i64>,
    nanoseconds: Option<u32>,
    xattrs: Vec<Xattr>,
}

impl PartialMeta {
    /// Reads the value of `key`; says whether the key belongs to metadata.
    pub(super) fn read_pair(&mut self, key: u64, reader: &mut Reader<'_>) -> Result<bool, CborError> {
        match key {
            KEY_MODE => {
                let mode = u16::try_from(reader.uint()?).ok().filter(|mode| *mode <= 0o7777);
                self.mode = Some(mode.ok_or_else(|| reader.invalid("mode"))?);
            }
            KEY_UID => self.uid = Some(reader.uint32()?),
            KEY_GID => self.gid = Some(reader.uint32()?),
            KEY_MTIME_SECONDS => self.seconds = Some(reader.int()?),
            KEY_MTIME_NANOSECONDS => {
                let nanoseconds = Some(reader.uint32()?).filter(|value| *value < 1_000_000_000);
                self.nanoseconds = Some(nanoseconds.ok_or_else(|| reader.invalid("nanoseconds"))?);
            }
            KEY_XATTRS => self.xattrs = read_xattrs(reader)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Returns the metadata if it is complete, and `None` if no pair of it arrived.
    pub(super) fn finish(self, reader: &Reader<'_>) -> Result<Option<Meta>, CborError> {
        let mtime = match (self.seconds, self.nanoseconds) {
            (Some(seconds), Some(nanoseconds)) => Some(Mtime { seconds, nanoseconds }),
            (None, None) => None,
            _ => return Err(reader.invalid("modification time")),
        };
        match (self.mode, self.uid, self.gid) {
            (Some(mode), Some(uid), Some(gid)) => Ok(Some(Meta { mode, uid, gid, mtime, xattrs: self.xattrs })),
            (None, None, None) if mtime.is_none() && self.xattrs.is_empty() => Ok(None),
            _ => Err(reader.invalid("metadata")),
        }
    }
}

fn read_xattrs(reader: &mut Reader<'_>) -> Result<Vec<Xattr>, CborError> {
    let count = reader.array("extended attributes", XATTR_COUNT_MAX)?;
    let mut xattrs: Vec<Xattr> = Vec::with_capacity(count);
    let mut len = 0;
    for _ in 0..count {
        if reader.array("extended attribute", 2)? != 2 {
            return Err(reader.invalid("extended attribute"));
        }
        let name = reader.bytes("attribute name", XATTR_NAME_LEN_MAX)?;
        let value = reader.bytes("attribute value", XATTRS_LEN_MAX)?;
        len += name.len() + value.len();
        let sorted = xattrs.last().is_none_or(|last| &*last.name < name);
        if name.is_empty() || name.contains(&0) || !sorted || len > XATTRS_LEN_MAX {
            return Err(reader.invalid("extended attributes"));
        }
        xattrs.push(Xattr { name: name.into(), value: value.into() });
    }
    Ok(xattrs)
}
