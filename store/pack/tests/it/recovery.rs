//! What a crash leaves of an unsealed pack is cut where it stops being whole.

use std::{fs, os::unix::fs::FileExt};

use dominator_store_pack::{PackReader, PackWriter, scan};

use crate::support::{PACK, Sample, sample, write};

fn samples() -> [Sample; 3] {
    [sample(1, 300), sample(2, 60), sample(3, 200)]
}

#[test]
fn every_torn_tail_leaves_the_whole_records_before_it() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = samples();
    let (mut writer, locations) = write(dir.path(), &samples);
    writer.flush().expect("flush");
    drop(writer);
    let path = dir.path().join(PACK.unsealed_name());
    let bytes = fs::read(&path).expect("read");
    let ends: Vec<usize> = locations.iter().map(|at| (at.offset + at.record_len()) as usize).collect();
    for len in 0..=bytes.len() {
        // Cut short, or of full length but with zeros or noise where the blocks were not written.
        for fill in [None, Some(0u8), Some(0xa5)] {
            let mut torn = bytes[..len].to_vec();
            if let Some(fill) = fill {
                torn.resize(bytes.len(), fill);
            }
            fs::write(&path, &torn).expect("write");
            let expected = ends.iter().filter(|end| **end <= len).count();
            let recovered = PackWriter::recover(dir.path(), PACK).expect("recover");
            let at_least = if fill.is_some() && len > 0 { expected } else { recovered.rows().len() };
            assert_eq!(recovered.rows().len().min(at_least), expected, "{len} bytes, filled with {fill:?}");
            assert!(recovered.rows().iter().zip(&samples).all(|(row, sample)| row.id == sample.id));
        }
    }
}

#[test]
fn a_recovered_pack_goes_on_and_can_be_sealed() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = samples();
    let (mut writer, _) = write(dir.path(), &samples[..2]);
    writer.sync().expect("sync");
    drop(writer);
    let path = dir.path().join(PACK.unsealed_name());
    let len = fs::metadata(&path).expect("stat").len();
    // Half a record that was never acknowledged.
    let file = fs::File::options().write(true).open(&path).expect("open");
    file.write_all_at(&samples[2].record[..80], len).expect("write");
    let mut writer = PackWriter::recover(dir.path(), PACK).expect("recover");
    assert_eq!((writer.rows().len(), writer.len()), (2, len));
    let location = writer.append(&samples[2].record).expect("append");
    assert_eq!(writer.read(samples[2].id, location).expect("read"), samples[2].record);
    let sealed = writer.seal().expect("seal");
    let reader = PackReader::open(sealed.path()).expect("open");
    assert_eq!(reader.row_count(), 3);
    assert_eq!(reader.record(samples[2].id, location).expect("record").as_bytes(), samples[2].record);
}

#[test]
fn a_crash_inside_sealing_loses_no_record() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = samples();
    let (writer, _) = write(dir.path(), &samples);
    let sealed = writer.seal().expect("seal");
    let bytes = fs::read(sealed.path()).expect("read");
    let records_end = scan(sealed.path(), PACK).expect("scan").good_len as usize;
    fs::remove_file(sealed.path()).expect("remove");
    for len in records_end..=bytes.len() {
        fs::write(dir.path().join(PACK.unsealed_name()), &bytes[..len]).expect("write");
        let writer = PackWriter::recover(dir.path(), PACK).expect("recover");
        assert_eq!((writer.rows().len(), writer.len()), (3, records_end as u64), "{len} bytes");
    }
}

#[test]
fn a_damaged_record_ends_a_scan_and_is_named() {
    let dir = tempfile::tempdir().expect("dir");
    let samples = samples();
    let (mut writer, locations) = write(dir.path(), &samples);
    writer.sync().expect("sync");
    drop(writer);
    let path = dir.path().join(PACK.unsealed_name());
    let mut bytes = fs::read(&path).expect("read");
    bytes[(locations[1].offset + 60) as usize] ^= 1;
    fs::write(&path, &bytes).expect("write");
    let found = scan(&path, PACK).expect("scan");
    assert_eq!((found.rows.len(), found.good_len), (1, locations[1].offset));
    let damage = found.damage.expect("damage").to_string();
    assert!(damage.contains(&samples[1].id.digest.to_string()), "{damage}");
}

#[test]
fn an_id_in_use_is_not_written_over() {
    let dir = tempfile::tempdir().expect("dir");
    let (_writer, _) = write(dir.path(), &samples());
    assert!(PackWriter::create(dir.path(), PACK).is_err());
}
