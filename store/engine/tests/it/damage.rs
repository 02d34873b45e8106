//! Damage is found, named and never read as good.

use std::{fs, os::unix::fs::FileExt, path::Path};

use dominator_store_core::ObjectId;
use dominator_store_engine::{Error, PreparedTree, Progress, Store};

use crate::support::{faults, files, init, name, noise, options, publish, text};

/// A store small enough to damage every byte of.
fn small(dir: &Path) -> (Store, Vec<(ObjectId, Vec<u8>)>) {
    let tree = dir.join("small");
    fs::create_dir_all(tree.join("sub")).expect("mkdir");
    fs::write(tree.join("a"), b"content of a").expect("write");
    fs::write(tree.join("sub/b"), text(1, 600)).expect("write");
    fs::write(tree.join("sub/c"), noise(1, 100)).expect("write");
    let store = init(dir);
    publish(&store, "x", &tree);
    let prepared = PreparedTree::new(&tree, store.profile(), 3, &options(), &Progress::default()).expect("prepare");
    let records = prepared.ids().iter().map(|id| (*id, store.record(*id).expect("read").expect("there"))).collect();
    (store, records)
}

/// Reads every object: each must be right or an error. Says whether all were right.
fn read_all(store: &Store, records: &[(ObjectId, Vec<u8>)]) -> bool {
    let mut all = true;
    for (id, record) in records {
        match store.record(*id) {
            Ok(found) => assert_eq!(found.as_ref(), Some(record), "{id}"),
            Err(Error::Pack(_) | Error::PackLost { .. }) => all = false,
            Err(error) => panic!("{error:?}"),
        }
    }
    all
}

#[test]
fn every_flipped_byte_of_the_records_is_an_error_and_a_fault() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, records) = small(dir.path());
    assert!(read_all(&store, &records));
    for pack in files(&store.dir().join("packs"), "pack") {
        // The mapping shows what is written to the file, so one open store sees every flip; header and trailer were
        // checked before and are checked again below and in the tests of packs.
        let file = fs::File::options().write(true).open(&pack).expect("open");
        let bytes = fs::read(&pack).expect("read");
        let end = records_end(&bytes);
        for pos in 32..end {
            file.write_all_at(&[bytes[pos] ^ 0x10], pos as u64).expect("write");
            assert!(!read_all(&store, &records), "byte {pos}");
            assert!(!faults(&store).is_empty(), "byte {pos}");
            file.write_all_at(&bytes[pos..=pos], pos as u64).expect("write");
        }
    }
    assert!(read_all(&store, &records));
    assert_eq!(faults(&store), [""; 0]);
}

fn records_end(pack: &[u8]) -> usize {
    let footer = &pack[pack.len() - 56..];
    u64::from_le_bytes(footer[8..16].try_into().expect("eight bytes")) as usize
}

#[test]
fn flips_in_headers_and_trailers_are_found_when_a_store_is_opened_again() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, records) = small(dir.path());
    let path = store.dir().to_owned();
    drop(store);
    for pack in files(&path.join("packs"), "pack") {
        let bytes = fs::read(&pack).expect("read");
        let end = records_end(&bytes);
        for pos in (0..32).chain(end..bytes.len()).step_by(9) {
            let mut flipped = bytes.clone();
            flipped[pos] ^= 0x10;
            fs::write(&pack, &flipped).expect("write");
            let store = Store::open_read_only(&path).expect("open");
            assert!(!read_all(&store, &records), "byte {pos}");
            assert!(!faults(&store).is_empty(), "byte {pos}");
        }
        fs::write(&pack, &bytes).expect("write");
    }
    assert_eq!(faults(&Store::open(&path).expect("open")), [""; 0]);
}

#[test]
fn a_fault_names_pack_offset_object_expected_and_found() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, records) = small(dir.path());
    let [pack, ..] = &files(&store.dir().join("packs"), "pack")[..] else { panic!("a pack") };
    let bytes = fs::read(pack).expect("read");
    let file = fs::File::options().write(true).open(pack).expect("open");
    file.write_all_at(&[bytes[90] ^ 1], 90).expect("write");
    let fault = &faults(&store)[0];
    let id = records.iter().find(|(_, record)| bytes[32..].starts_with(record)).expect("first record").0;
    for part in [id.to_string().as_str(), "pack 0000", "byte 32", "expected"] {
        assert!(fault.contains(part), "{part} in {fault}");
    }
}

#[test]
fn every_flipped_byte_and_every_lost_tail_of_the_catalog_log_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let (store, _) = small(dir.path());
    store.delete_image(&name("x")).expect("delete");
    let path = store.dir().to_owned();
    drop(store);
    let log = path.join("catalog.log");
    let bytes = fs::read(&log).expect("read");
    let check = |bytes: &[u8], what: &str| {
        fs::write(&log, bytes).expect("write");
        let opened = Store::open(&path);
        let refused = matches!(opened, Err(Error::CatalogCorrupt { .. } | Error::CatalogMalformed { .. }));
        assert!(refused, "{what}: {opened:?}");
    };
    for pos in (0..bytes.len()).step_by(5) {
        let mut flipped = bytes.clone();
        flipped[pos] ^= 0x10;
        check(&flipped, &format!("byte {pos} flipped"));
    }
    for len in (0..bytes.len()).step_by(11) {
        check(&bytes[..len], &format!("cut to {len} bytes"));
    }
    fs::remove_file(&log).expect("remove");
    assert!(matches!(Store::open(&path), Err(Error::CatalogMalformed { .. })));
    // Behind what was acknowledged, a torn entry is cut.
    for tail in [&[1u8, 2, 3][..], &[0; 300], &bytes[8..50], &[0xff; 9]] {
        fs::write(&log, [&bytes, tail].concat()).expect("write");
        let store = Store::open(&path).expect("open");
        assert_eq!(faults(&store), [""; 0]);
        drop(store);
        assert_eq!(fs::read(&log).expect("read"), bytes);
    }
    // Without the index nothing says what was acknowledged, but a flip is still no torn entry.
    let mut flipped = bytes.clone();
    let last = flipped.len() - 40;
    flipped[last] ^= 1;
    fs::write(&log, &flipped).expect("write");
    assert!(matches!(Store::rebuild_index(&path), Err(Error::CatalogCorrupt { .. } | Error::CatalogMalformed { .. })));
}
