//! Objects and packs for tests.
//!
//! Owns small deterministic inputs. Invariant: the same number makes the same object.
//! Does not check anything.

use std::path::{Path, PathBuf};

use dominator_store_core::{Digest, ObjectId, ObjectKind, RecordEncoder};
use dominator_store_pack::{Location, PackId, PackWriter};

/// An object with its record.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) id: ObjectId,
    pub(crate) raw: Vec<u8>,
    pub(crate) record: Vec<u8>,
}

/// Makes an object; odd ones compress, even ones do not.
pub(crate) fn sample(seed: u64, len: usize) -> Sample {
    sample_of(ObjectKind::Chunk, &bytes(seed, len))
}

pub(crate) fn sample_of(kind: ObjectKind, raw: &[u8]) -> Sample {
    let mut record = Vec::new();
    let id = RecordEncoder::new(3).encode(kind, raw, &mut record).expect("record").id;
    Sample { id, raw: raw.to_vec(), record }
}

pub(crate) fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 32);
    for at in 0u64.. {
        if bytes.len() >= len {
            break;
        }
        let at = if seed % 2 == 1 { 0 } else { at };
        bytes.extend_from_slice(Digest::of(&[seed.to_le_bytes(), at.to_le_bytes()].concat()).as_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) const PACK: PackId = PackId::new(7);

/// Writes an unsealed pack of `samples` and returns where they lie.
pub(crate) fn write(dir: &Path, samples: &[Sample]) -> (PackWriter, Vec<Location>) {
    let mut writer = PackWriter::create(dir, PACK).expect("create");
    let locations = samples.iter().map(|sample| writer.append(&sample.record).expect("append")).collect();
    (writer, locations)
}

/// Writes a sealed pack of `samples`.
pub(crate) fn seal(dir: &Path, samples: &[Sample]) -> (PathBuf, Vec<Location>) {
    let (writer, locations) = write(dir, samples);
    (writer.seal().expect("seal").path().to_owned(), locations)
}
