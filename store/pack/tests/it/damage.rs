//! No damage of a sealed pack makes a read return wrong bytes.

use std::{fs, path::Path};

use dominator_store_pack::{Damage, Error, Location, PackId, PackReader, open_record, scan};

use crate::support::{PACK, Sample, sample, seal};

/// Reads every sample by every way there is; each must give the right bytes or an error. Returns whether all were right.
fn read_all(path: &Path, samples: &[Sample], locations: &[Location]) -> bool {
    let mut all = true;
    match PackReader::open(path) {
        Ok(reader) => {
            for (sample, location) in samples.iter().zip(locations) {
                match reader.record(sample.id, *location).ok().and_then(|record| open_record(&record).ok()) {
                    Some(raw) => assert_eq!(raw, sample.raw),
                    None => all = false,
                }
            }
            assert_eq!(reader.rows().count(), samples.len(), "an open pack lists all of its records");
        }
        Err(Error::Io { source, .. }) => panic!("{source}"),
        Err(_) => all = false,
    }
    for row in scan(path, PACK).map(|scan| scan.rows).unwrap_or_default() {
        assert!(samples.iter().any(|sample| sample.id == row.id), "a scan finds only what was written");
    }
    all
}

#[test]
fn what_was_sealed_is_read_back() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = [sample(1, 100_000), sample(2, 50_000), sample(3, 0), sample(4, 1)];
    let (path, locations) = seal(dir.path(), &samples);
    assert!(read_all(&path, &samples, &locations));
    let reader = PackReader::open(&path).expect("open");
    let ids: Vec<_> = reader.records().map(|(row, record)| record.map(|_| row.id).expect("record")).collect();
    assert_eq!(ids, samples.map(|sample| sample.id));
    assert!(!dir.path().join(PACK.unsealed_name()).exists());
}

#[test]
fn every_flipped_bit_is_found() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = [sample(1, 300), sample(2, 60), sample(4, 1)];
    let (path, locations) = seal(dir.path(), &samples);
    let bytes = fs::read(&path).expect("read");
    for pos in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut flipped = bytes.clone();
            flipped[pos] ^= 1 << bit;
            // A new file each time: what is mapped must not change.
            fs::remove_file(&path).expect("remove");
            fs::write(&path, &flipped).expect("write");
            assert!(!read_all(&path, &samples, &locations), "byte {pos} bit {bit}");
        }
    }
}

#[test]
fn every_truncation_and_every_longer_file_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (path, _) = seal(dir.path(), &[sample(1, 300), sample(2, 60)]);
    let bytes = fs::read(&path).expect("read");
    let lens = (0..bytes.len()).chain([bytes.len() + 1, bytes.len() + 4096]);
    for len in lens {
        let mut other = bytes.clone();
        other.resize(len, 0);
        fs::remove_file(&path).expect("remove");
        fs::write(&path, &other).expect("write");
        let opened = PackReader::open(&path);
        assert!(matches!(opened, Err(Error::Corrupt { .. } | Error::Unsealed { .. })), "{len} bytes");
    }
}

#[test]
fn a_pack_under_another_name_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (path, _) = seal(dir.path(), &[sample(1, 300)]);
    let other = PackId::new(8);
    let renamed = dir.path().join(other.sealed_name());
    fs::rename(path, &renamed).expect("rename");
    match PackReader::open(&renamed) {
        Err(Error::Corrupt { source: Damage::OtherPack { expected, found }, .. }) => {
            assert_eq!((expected, found), (other, PACK));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_later_version_is_told_apart_from_damage() {
    let dir = tempfile::tempdir().expect("dir");
    let (path, _) = seal(dir.path(), &[sample(1, 300)]);
    let mut bytes = fs::read(&path).expect("read");
    bytes[8] = 2;
    let check = dominator_store_core::Digest::of(&bytes[..24]);
    bytes[24..32].copy_from_slice(&check.as_bytes()[..8]);
    fs::remove_file(&path).expect("remove");
    fs::write(&path, &bytes).expect("write");
    assert!(matches!(PackReader::open(&path), Err(Error::Newer { version: 2, .. })));
}

#[test]
fn locations_outside_the_pack_or_of_other_records_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = [sample(1, 300), sample(2, 60)];
    let (path, locations) = seal(dir.path(), &samples);
    let reader = PackReader::open(&path).expect("open");
    let [first, second] = locations[..] else { panic!("two locations") };
    let refused = |location: Location| {
        assert!(matches!(reader.record(samples[0].id, location), Err(Error::Corrupt { .. })), "{location:?}");
        assert!(!reader.is_record(samples[0].id, location));
    };
    refused(second);
    refused(Location { pack: PackId::new(8), ..first });
    for offset in [0, first.offset + 1, 1 << 20, u64::MAX] {
        refused(Location { offset, ..first });
    }
    refused(Location { stored_len: u32::MAX, ..first });
    refused(Location { stored_len: first.stored_len - 1, ..first });
    refused(Location { raw_len: first.raw_len + 1, ..first });
    assert!(reader.is_record(samples[0].id, first));
}

/// The example of `spec/pack.md` and the whole pack around it, byte for byte.
#[test]
fn the_bytes_are_those_of_the_specification() {
    let dir = tempfile::tempdir().expect("dir");
    let abc = crate::support::sample_of(dominator_store_core::ObjectKind::Chunk, b"abc");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&abc.record), RECORD);
    let (path, _) = seal(dir.path(), &[abc]);
    assert_eq!(hex(&fs::read(path).expect("read")), [HEADER, RECORD, TRAILER].concat());
}

const HEADER: &str = "446f6d5061636b0a01000000000000000700000000000000911d4217e8a0c624";
const RECORD: &str = concat!(
    "0100000003000000030000006437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85ccff2c3e10e5cc8e",
    "616263",
);
const TRAILER: &str = concat!(
    "01000000030000000300000020000000000000006437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
    "01000000000000005700000000000000a2d367a88106758fd41a421c51c32bcbb05cc270fc4a8ef181d51e5422b03080446f6d45",
    "6e642e0a",
);
