//! Header and trailer of a pack: the first and the last bytes written (`spec/pack.md#header`, `spec/pack.md#trailer`).
//!
//! Owns their encoding. Invariants: a `Trailer` value exists only if its digest matched, its rows lie back to back from
//! the header to the trailer, and the file ends where the trailer does; so a sealed pack has no byte that nothing covers.
//!
//! Does not read files (`reader`) and does not judge records (`reader`, `scan`).

use dominator_store_core::{DIGEST_LEN, Digest};

use crate::{
    Damage, Error, PackId,
    limits::{PACK_LEN_MAX, ROW_COUNT_MAX},
    row::{ROW_LEN, Row},
};

/// Length of a pack's header in bytes; the first record begins here.
pub(crate) const HEADER_LEN: usize = 32;
/// Length of what follows the rows, in bytes.
pub(crate) const FOOTER_LEN: usize = 56;

const MAGIC: [u8; 8] = *b"DomPack\n";
const END_MAGIC: [u8; 8] = *b"DomEnd.\n";
const VERSION: u16 = 1;
const HEADER_CHECK_POS: usize = HEADER_LEN - 8;

/// Encodes the header of `pack`.
pub(crate) fn encode_header(pack: PackId) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[16..24].copy_from_slice(&pack.get().to_le_bytes());
    let digest = Digest::of(&bytes[..HEADER_CHECK_POS]);
    bytes[HEADER_CHECK_POS..].copy_from_slice(&digest.as_bytes()[..8]);
    bytes
}

/// Checks that `bytes` begin with the header of `pack`.
pub(crate) fn check_header(pack: PackId, bytes: &[u8]) -> Result<(), Error> {
    let corrupt = |source| Error::Corrupt { pack, offset: 0, source };
    let header: &[u8; HEADER_LEN] = bytes
        .first_chunk()
        .ok_or_else(|| corrupt(Damage::Length { expected: HEADER_LEN as u64, found: bytes.len() as u64 }))?;
    if *header == encode_header(pack) {
        return Ok(());
    }
    if !header.starts_with(&MAGIC) {
        return Err(corrupt(Damage::Malformed { what: "magic" }));
    }
    let field = |pos: usize| header.get(pos..).and_then(<[u8]>::first_chunk::<8>).copied().unwrap_or_default();
    let [low, high, ..] = field(8);
    let version = u16::from_le_bytes([low, high]);
    let found = PackId::new(u64::from_le_bytes(field(16)));
    // A header that is whole but not ours is told apart from a damaged one by its check value.
    let check = Digest::of(header.get(..HEADER_CHECK_POS).unwrap_or_default());
    if !check.as_bytes().starts_with(&field(HEADER_CHECK_POS)) {
        return Err(corrupt(Damage::Malformed { what: "header" }));
    }
    if version > VERSION {
        return Err(Error::Newer { pack, version });
    }
    Err(corrupt(Damage::OtherPack { expected: pack, found }))
}

/// Appends rows and footer to `out`; `offset` is where they will begin in the file.
pub(crate) fn encode_trailer(pack: PackId, rows: &[Row], offset: u64, out: &mut Vec<u8>) {
    let start = out.len();
    for row in rows {
        row.encode(out);
    }
    let count = u32::try_from(rows.len()).expect("a writer holds at most ROW_COUNT_MAX rows");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&offset.to_le_bytes());
    let digest = digest_of(pack, out.get(start..).unwrap_or_default());
    out.extend_from_slice(digest.as_bytes());
    out.extend_from_slice(&END_MAGIC);
}

/// Digest over the header, the rows and the footer's counts.
fn digest_of(pack: PackId, rows_and_counts: &[u8]) -> Digest {
    Digest::of(&[&encode_header(pack)[..], rows_and_counts].concat())
}

/// Where the rows of a sealed pack lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trailer {
    /// First byte of the rows; records end here.
    pub(crate) offset: u64,
    row_count: u32,
}

impl Trailer {
    /// Checks header, trailer and length of a whole sealed pack.
    pub(crate) fn check(pack: PackId, file: &[u8]) -> Result<Self, Error> {
        let file_len = file.len() as u64;
        if file_len > PACK_LEN_MAX {
            return Err(Error::Corrupt {
                pack,
                offset: 0,
                source: Damage::Length { expected: PACK_LEN_MAX, found: file_len },
            });
        }
        check_header(pack, file)?;
        let unsealed = || Error::Unsealed { pack };
        let footer_offset = file.len().checked_sub(FOOTER_LEN).filter(|offset| *offset >= HEADER_LEN);
        let (before, footer) = file.split_at_checked(footer_offset.ok_or_else(unsealed)?).ok_or_else(unsealed)?;
        let (count, rest) = footer.split_first_chunk().ok_or_else(unsealed)?;
        let (zero, rest) = rest.split_first_chunk::<4>().ok_or_else(unsealed)?;
        let (offset, rest) = rest.split_first_chunk().ok_or_else(unsealed)?;
        let (digest, magic) = rest.split_first_chunk::<DIGEST_LEN>().ok_or_else(unsealed)?;
        let corrupt = |source| Error::Corrupt { pack, offset: before.len() as u64, source };
        if magic != END_MAGIC {
            return Err(unsealed());
        }
        let row_count = u32::from_le_bytes(*count);
        let offset = u64::from_le_bytes(*offset);
        let rows_len = u64::from(row_count) * ROW_LEN as u64;
        let expected = offset.checked_add(rows_len).and_then(|len| len.checked_add(FOOTER_LEN as u64));
        if row_count > ROW_COUNT_MAX || *zero != [0; 4] || expected != Some(file_len) {
            return Err(corrupt(Damage::Malformed { what: "trailer" }));
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let covered =
            file.get(start..before.len() + 16).ok_or_else(|| corrupt(Damage::Malformed { what: "trailer" }))?;
        let (expected, found) = (Digest::new(*digest), digest_of(pack, covered));
        if expected != found {
            return Err(corrupt(Damage::Digest { expected, found }));
        }
        let trailer = Self { offset, row_count };
        trailer.check_rows(pack, file)?;
        Ok(trailer)
    }

    fn check_rows(&self, pack: PackId, file: &[u8]) -> Result<(), Error> {
        let corrupt = |offset| Error::Corrupt { pack, offset, source: Damage::Malformed { what: "trailer row" } };
        let mut end = HEADER_LEN as u64;
        let mut count = 0;
        for row in self.rows(file) {
            if row.offset != end {
                return Err(corrupt(end));
            }
            end = row.end().ok_or_else(|| corrupt(end))?;
            count += 1;
        }
        if end == self.offset && count == self.row_count { Ok(()) } else { Err(corrupt(end)) }
    }

    /// Iterates over the rows; `file` is the whole pack.
    pub(crate) fn rows<'a>(&self, file: &'a [u8]) -> impl Iterator<Item = Row> + use<'a> {
        self.encoded_rows(file).iter().map_while(|row| Row::decode(row))
    }

    /// Finds the row of the record that begins at `offset`.
    pub(crate) fn find(&self, file: &[u8], offset: u64) -> Option<Row> {
        // Rows are in order of their offsets.
        let rows = self.encoded_rows(file);
        let offset_of = |row: &[u8; ROW_LEN]| Row::decode(row).map_or(u64::MAX, |row| row.offset);
        let pos = rows.binary_search_by_key(&offset, offset_of).ok()?;
        Row::decode(rows.get(pos)?)
    }

    fn encoded_rows<'a>(&self, file: &'a [u8]) -> &'a [[u8; ROW_LEN]] {
        let start = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let (rows, _) = file.get(start..file.len().saturating_sub(FOOTER_LEN)).unwrap_or_default().as_chunks();
        rows
    }

    /// Returns the number of records.
    pub(crate) const fn row_count(&self) -> u32 {
        self.row_count
    }
}

/// Returns the length that a pack with these records has once it is sealed.
pub(crate) const fn sealed_len(records_end: u64, row_count: usize) -> u64 {
    records_end + (row_count * ROW_LEN + FOOTER_LEN) as u64
}
