//! Writing packs.
//!
//! Owns `PackWriter`, an unsealed pack, and its way to `SealedPack`. Invariants: records are only appended; a sealed
//! pack's bytes are durable before it has the name of a sealed one, and the name is durable when `seal` returns; after
//! a failed fsync the writer refuses everything, because what the file holds is no longer known.
//!
//! Does not check that a record is what it claims: callers append records that they made or verified.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use dominator_store_core::{ObjectId, Record};

use crate::{
    Damage, Error, Location, PackId, PackReader, durable, fault,
    limits::{ROW_COUNT_MAX, WRITE_BUF_LEN},
    row::Row,
    scan::{self, Scan},
    trailer::{encode_header, encode_trailer, sealed_len},
};

/// A pack that is being written.
#[derive(Debug)]
pub struct PackWriter {
    pack: PackId,
    dir: PathBuf,
    path: PathBuf,
    file: File,
    /// Bytes after `written_len` that are not in the file yet.
    buf: Vec<u8>,
    written_len: u64,
    rows: Vec<Row>,
    name: NameState,
    failed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameState {
    Volatile,
    Durable,
}

impl PackWriter {
    /// Creates the unsealed pack `pack` in `dir`.
    ///
    /// # Errors
    /// `Io` if the file cannot be created or exists already.
    pub fn create(dir: &Path, pack: PackId) -> Result<Self, Error> {
        let path = dir.join(pack.unsealed_name());
        let file = durable::create_file(&path)?;
        let mut buf = Vec::with_capacity(WRITE_BUF_LEN);
        buf.extend_from_slice(&encode_header(pack));
        let name = NameState::Volatile;
        Ok(Self { pack, dir: dir.to_owned(), path, file, buf, written_len: 0, rows: Vec::new(), name, failed: false })
    }

    /// Opens the unsealed pack `pack` that a crash left in `dir`: cuts it at the first record that is not whole.
    ///
    /// # Errors
    /// `Io` if the file cannot be read or cut.
    pub fn recover(dir: &Path, pack: PackId) -> Result<Self, Error> {
        let path = dir.join(pack.unsealed_name());
        let Scan { rows, good_len, .. } = scan::scan(&path, pack)?;
        let file = File::options().read(true).write(true).open(&path).map_err(Error::io("open", &path))?;
        file.set_len(good_len).map_err(Error::io("truncate", &path))?;
        let mut buf = Vec::with_capacity(WRITE_BUF_LEN);
        if good_len == 0 {
            buf.extend_from_slice(&encode_header(pack));
        }
        let name = NameState::Volatile;
        Ok(Self { pack, dir: dir.to_owned(), path, file, buf, written_len: good_len, rows, name, failed: false })
    }

    /// Returns the pack's id.
    pub const fn pack(&self) -> PackId {
        self.pack
    }

    /// Returns the bytes up to the end of the last record.
    pub fn len(&self) -> u64 {
        self.written_len + self.buf.len() as u64
    }

    /// Says whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Returns the length that the pack would have if it were sealed now.
    pub fn sealed_len(&self) -> u64 {
        sealed_len(self.len(), self.rows.len())
    }

    /// Returns the records so far, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Says whether the pack has as many records as one may have.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROW_COUNT_MAX as usize
    }

    /// Appends one record, which is not durable before [`PackWriter::sync`] or [`PackWriter::seal`].
    ///
    /// # Errors
    /// `Record` if `record` is not one whole record; `Io` if buffered bytes cannot be written, and then the record was
    /// not appended.
    pub fn append(&mut self, record: &[u8]) -> Result<Location, Error> {
        let header = *Record::parse(record).map_err(Error::Record)?.header();
        if self.buf.len() + record.len() > WRITE_BUF_LEN {
            self.flush()?;
        }
        let row = Row::of(&header, self.len());
        self.buf.extend_from_slice(record);
        self.rows.push(row);
        Ok(row.location(self.pack))
    }

    /// Writes buffered bytes to the file.
    ///
    /// # Errors
    /// `Io`; trying again later is safe.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        if !self.buf.is_empty() {
            // At a fixed offset, so that a repeated call after a short write overwrites what the first one left.
            self.file.write_all_at(&self.buf, self.written_len).map_err(Error::io("write", &self.path))?;
            self.written_len += self.buf.len() as u64;
            self.buf.clear();
            fault::point();
        }
        Ok(())
    }

    /// Reads back a record that was appended.
    ///
    /// # Errors
    /// `Corrupt` if another record or damaged bytes are there.
    pub fn read(&mut self, id: ObjectId, location: Location) -> Result<Vec<u8>, Error> {
        let corrupt = |source| Error::Corrupt { pack: location.pack, offset: location.offset, source };
        if location.pack != self.pack {
            return Err(corrupt(Damage::OtherPack { expected: location.pack, found: self.pack }));
        }
        self.flush()?;
        let len = usize::try_from(location.record_len()).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, location.offset).map_err(Error::io("read", &self.path))?;
        scan::check_record(id, location, &bytes)?;
        Ok(bytes)
    }

    /// Makes every appended record durable.
    ///
    /// # Errors
    /// `Io`; after a failed fsync the writer is of no further use.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.sync_bytes()?;
        if self.name == NameState::Volatile {
            durable::sync_dir(&self.dir)?;
            self.name = NameState::Durable;
        }
        Ok(())
    }

    /// Writes the trailer and makes the pack durable under its final name.
    ///
    /// # Errors
    /// `Io`; the pack then stays unsealed.
    pub fn seal(mut self) -> Result<SealedPack, Error> {
        self.flush()?;
        encode_trailer(self.pack, &self.rows, self.written_len, &mut self.buf);
        self.flush()?;
        self.sync_bytes()?;
        let path = self.dir.join(self.pack.sealed_name());
        durable::rename(&self.path, &path)?;
        durable::sync_dir(&self.dir)?;
        Ok(SealedPack { pack: self.pack, path, len: self.written_len, rows: self.rows })
    }

    /// Removes the file.
    ///
    /// # Errors
    /// `Io` if it cannot be removed.
    pub fn discard(self) -> Result<(), Error> {
        durable::remove_file(&self.path)
    }

    fn sync_bytes(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        let synced = durable::sync_file(&self.file, &self.path);
        self.failed = synced.is_err();
        synced
    }

    fn check_usable(&self) -> Result<(), Error> {
        if self.failed {
            let source = std::io::Error::other("an earlier fsync failed");
            return Err(Error::io("write", &self.path)(source));
        }
        Ok(())
    }
}

/// A pack that is durable and will never change.
#[derive(Debug)]
pub struct SealedPack {
    pack: PackId,
    path: PathBuf,
    len: u64,
    rows: Vec<Row>,
}

impl SealedPack {
    /// Returns the pack's id.
    pub const fn pack(&self) -> PackId {
        self.pack
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the length of the file in bytes.
    pub const fn file_len(&self) -> u64 {
        self.len
    }

    /// Returns the records, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Maps the pack for reading.
    ///
    /// # Errors
    /// As [`PackReader::open`].
    pub fn open(&self) -> Result<PackReader, Error> {
        PackReader::open(&self.path)
    }
}
