//! Holes of a sparse file.
//!
//! Owns the canonical hole map: holes are sorted, do not touch, start at multiples of 4096, end at such a multiple or at
//! the end of the file, and are at most `HOLE_COUNT_MAX`. Invariant: [`coarsen_holes`] of a canonical map is that map, so
//! a file written with exactly these holes is captured with exactly these holes.
//!
//! Finding and making holes on a file system is `store/fs`.

use crate::{
    cbor::{CborError, Reader, Writer},
    limits::HOLE_COUNT_MAX,
};

/// Alignment of holes, in bytes.
const HOLE_ALIGN: u64 = 4096;

/// A range of a file that has no storage and reads as zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hole {
    /// First byte of the hole.
    pub offset: u64,
    /// Length in bytes, above zero.
    pub len: u64,
}

impl Hole {
    /// Returns the first byte after the hole.
    pub const fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// Returns the canonical map for the holes that a file system reported for a file of `size` bytes.
///
/// Ranges are shrunk to the alignment and merged where they touch. If more than `HOLE_COUNT_MAX` remain, the smallest
/// power-of-two length is found at which few enough holes are at least that long, and shorter ones are dropped.
pub fn coarsen_holes(size: u64, reported: &[Hole]) -> Vec<Hole> {
    let mut holes: Vec<Hole> = Vec::with_capacity(reported.len());
    for hole in reported {
        let Some(start) = hole.offset.checked_next_multiple_of(HOLE_ALIGN) else { continue };
        let end = if hole.end() >= size { size } else { hole.end() / HOLE_ALIGN * HOLE_ALIGN };
        if start >= end {
            continue;
        }
        match holes.last_mut() {
            Some(last) if last.end() == start => last.len = end - last.offset,
            _ => holes.push(Hole { offset: start, len: end - start }),
        }
    }
    let mut len_min = HOLE_ALIGN;
    while holes.len() > HOLE_COUNT_MAX {
        len_min *= 2;
        holes.retain(|hole| hole.len >= len_min);
    }
    holes
}

pub(super) fn write_holes(holes: &[Hole], writer: &mut Writer) {
    writer.array(2 * holes.len());
    for hole in holes {
        writer.uint(hole.offset).uint(hole.len);
    }
}

pub(super) fn read_holes(size: u64, reader: &mut Reader<'_>) -> Result<Vec<Hole>, CborError> {
    let count = reader.array("holes", 2 * HOLE_COUNT_MAX)?;
    if count % 2 != 0 {
        return Err(reader.invalid("holes"));
    }
    let mut holes = Vec::with_capacity(count / 2);
    for _ in 0..count / 2 {
        holes.push(Hole { offset: reader.uint()?, len: reader.uint()? });
    }
    if coarsen_holes(size, &holes) != holes {
        return Err(reader.invalid("holes"));
    }
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(size: u64, reported: &[(u64, u64)], expected: &[(u64, u64)]) {
        let holes = |list: &[(u64, u64)]| -> Vec<Hole> {
            list.iter().map(|(offset, len)| Hole { offset: *offset, len: *len }).collect()
        };
        let found = coarsen_holes(size, &holes(reported));
        assert_eq!(found, holes(expected));
        assert_eq!(coarsen_holes(size, &found), found);
    }

    #[test]
    fn holes_are_aligned_inwards_and_merged() {
        check(10_000, &[(0, 4096)], &[(0, 4096)]);
        check(10_000, &[(1, 8191)], &[(4096, 4096)]);
        check(10_000, &[(8192, 1808)], &[(8192, 1808)]);
        check(10_000, &[(0, 4096), (4096, 4096)], &[(0, 8192)]);
        check(10_000, &[(100, 200)], &[]);
        check(100, &[(0, 100)], &[(0, 100)]);
        check(u64::MAX, &[(u64::MAX - 1, u64::MAX)], &[]);
    }

    #[test]
    fn too_many_holes_lose_the_short_ones() {
        let reported: Vec<Hole> =
            (0..3000).map(|at| Hole { offset: at * 65_536, len: if at % 4 == 0 { 32_768 } else { 4096 } }).collect();
        let holes = coarsen_holes(1 << 40, &reported);
        assert_eq!(holes.len(), 750);
        assert!(holes.iter().all(|hole| hole.len == 32_768));
    }
}
