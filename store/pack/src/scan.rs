//! Reading a pack front to back without its trailer.
//!
//! Owns the recovery of unsealed packs and of sealed ones whose trailer is damaged. Invariant: every row that a scan
//! returns is of a record whose header is well-formed, whose bytes are all there and whose checksum matches; the scan
//! ends before the first record that is not.
//!
//! Does not cut files (`PackWriter::recover`) and does not decompress: an object's digest is checked when it is read.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use dominator_store_core::{ObjectId, RECORD_HEADER_LEN, Record, RecordHeader};

use crate::{
    Damage, Error, Location, PackId,
    row::Row,
    trailer::{HEADER_LEN, check_header},
};

/// What a scan found.
#[derive(Debug)]
pub struct Scan {
    /// The whole records, in order.
    pub rows: Vec<Row>,
    /// Bytes up to the end of the last whole record; 0 if even the header is not whole.
    pub good_len: u64,
    /// Bytes of the file.
    pub file_len: u64,
    /// Why the scan ended before the end of the file.
    pub damage: Option<Damage>,
}

/// Scans the pack file `path`, which should be `pack`.
///
/// # Errors
/// `Io`, and `Newer` for a pack of a later version; damage is part of the result.
pub fn scan(path: &Path, pack: PackId) -> Result<Scan, Error> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    let file_len = file.metadata().map_err(Error::io("stat", path))?.len();
    let mut input = BufReader::with_capacity(256 * 1024, file);
    let mut found = Scan { rows: Vec::new(), good_len: 0, file_len, damage: None };
    let mut bytes = Vec::new();
    read_up_to(&mut input, HEADER_LEN, &mut bytes).map_err(Error::io("read", path))?;
    match check_header(pack, &bytes) {
        Ok(()) => found.good_len = HEADER_LEN as u64,
        Err(Error::Corrupt { source, .. }) => {
            found.damage = Some(source);
            return Ok(found);
        }
        Err(error) => return Err(error),
    }
    while found.good_len < file_len {
        match next_record(&mut input, file_len - found.good_len, &mut bytes).map_err(Error::io("read", path))? {
            Ok(header) => {
                found.rows.push(Row::of(&header, found.good_len));
                found.good_len += header.record_len() as u64;
            }
            Err(damage) => {
                found.damage = Some(damage);
                break;
            }
        }
    }
    Ok(found)
}

fn next_record(
    input: &mut impl Read,
    rest_len: u64,
    bytes: &mut Vec<u8>,
) -> std::io::Result<Result<RecordHeader, Damage>> {
    bytes.clear();
    read_up_to(input, RECORD_HEADER_LEN, bytes)?;
    let Some(header) = bytes.first_chunk() else {
        return Ok(Err(Damage::Length { expected: RECORD_HEADER_LEN as u64, found: bytes.len() as u64 }));
    };
    let header = match RecordHeader::decode(header) {
        Ok(header) => header,
        Err(error) => return Ok(Err(error.into())),
    };
    // Before memory is taken for it: a torn header may state any length within the limits.
    if header.record_len() as u64 > rest_len {
        return Ok(Err(Damage::Length { expected: header.record_len() as u64, found: rest_len }));
    }
    read_up_to(input, header.stored_len as usize, bytes)?;
    let whole = Record::parse(bytes).and_then(|record| record.verify_checksum());
    Ok(whole.map(|()| header).map_err(Damage::from))
}

fn read_up_to(input: &mut impl Read, len: usize, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    input.take(len as u64).read_to_end(bytes).map(drop)
}

/// Checks that `bytes`, read from `location`, are the undamaged record of `id`.
pub(crate) fn check_record(id: ObjectId, location: Location, bytes: &[u8]) -> Result<Record<'_>, Error> {
    let corrupt = |source| Error::Corrupt { pack: location.pack, offset: location.offset, source };
    let record = Record::parse(bytes).map_err(|error| corrupt(error.into()))?;
    record.verify_checksum().map_err(|error| corrupt(error.into()))?;
    if record.header().id != id {
        return Err(corrupt(Damage::OtherRecord { expected: id, found: record.header().id }));
    }
    if record.header().raw_len != location.raw_len {
        let (expected, found) = (location.raw_len.into(), record.header().raw_len.into());
        return Err(corrupt(Damage::Length { expected, found }));
    }
    Ok(record)
}
