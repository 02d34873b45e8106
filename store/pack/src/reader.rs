//! Reading sealed packs.
//!
//! Owns `PackReader`, a mapped sealed pack. Invariants: it exists only if header, trailer and length were checked; a
//! record leaves it only if it is the one asked for and its checksum matches. A mapped pack never changes, so readers
//! share it without locks.
//!
//! Does not decompress: `RecordDecoder` does, and checks the object's digest.

use std::{fs::File, path::Path};

use dominator_store_core::{ObjectId, Record};

use crate::{Damage, Error, Location, PackId, map::Map, row::Row, scan::check_record, trailer::Trailer};

/// A sealed pack, mapped.
#[derive(Debug)]
pub struct PackReader {
    pack: PackId,
    map: Map,
    trailer: Trailer,
}

impl PackReader {
    /// Maps the sealed pack `path`, whose name says which pack it is, and checks its trailer.
    ///
    /// # Errors
    /// `Corrupt` if header or trailer are damaged or belong to another pack, `Unsealed` without a trailer, `Newer` for a
    /// later version.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let not_a_pack = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "not the name of a sealed pack");
        let pack = PackId::of_sealed(path).ok_or_else(|| Error::io("open", path)(not_a_pack()))?;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let len = file.metadata().map_err(Error::io("stat", path))?.len();
        if len == 0 {
            // An empty file cannot be mapped.
            return Err(Error::Unsealed { pack });
        }
        let map = Map::new(&file).map_err(Error::io("map", path))?;
        let trailer = Trailer::check(pack, map.bytes())?;
        Ok(Self { pack, map, trailer })
    }

    /// Returns the pack's id.
    pub const fn pack(&self) -> PackId {
        self.pack
    }

    /// Returns the length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.map.bytes().len() as u64
    }

    /// Returns the number of records.
    pub const fn row_count(&self) -> u32 {
        self.trailer.row_count()
    }

    /// Iterates over the records' rows, in order.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        self.trailer.rows(self.map.bytes())
    }

    /// Says whether the trailer has a record of `id` at exactly `location`.
    pub fn is_record(&self, id: ObjectId, location: Location) -> bool {
        let row = self.trailer.find(self.map.bytes(), location.offset);
        row.is_some_and(|row| row.id == id && row.location(self.pack) == location)
    }

    /// Returns the record of `id` at `location`, with its checksum verified.
    ///
    /// # Errors
    /// `Corrupt` if the location is outside the pack, or another record or damaged bytes are there.
    pub fn record(&self, id: ObjectId, location: Location) -> Result<Record<'_>, Error> {
        let corrupt = |source| Error::Corrupt { pack: self.pack, offset: location.offset, source };
        if location.pack != self.pack {
            return Err(corrupt(Damage::OtherPack { expected: location.pack, found: self.pack }));
        }
        let end = location.offset.checked_add(location.record_len()).filter(|end| *end <= self.trailer.offset);
        let bytes = end
            .and_then(|end| self.map.bytes().get(usize::try_from(location.offset).ok()?..usize::try_from(end).ok()?));
        let bytes = bytes.ok_or_else(|| {
            let expected = location.offset.saturating_add(location.record_len());
            corrupt(Damage::Length { expected, found: self.trailer.offset })
        })?;
        check_record(id, location, bytes)
    }

    /// Iterates over all records in order, each with its checksum verified.
    pub fn records(&self) -> impl Iterator<Item = (Row, Result<Record<'_>, Error>)> {
        self.map.expect_sequential();
        self.rows().map(|row| (row, self.record(row.id, row.location(self.pack))))
    }
}
