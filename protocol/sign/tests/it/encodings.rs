//! What is stored: signed statements and floors have one encoding, and no other bytes are read.

use dominator_protocol_sign::{Accepted, Error, Floors, SignedStatement, Statement, limits::SIGNATURES_MAX};
use proptest::prelude::*;

use crate::scene::{signed_by, statement};

fn floors(entries: &[(&str, u64)]) -> Floors {
    let mut floors = Floors::default();
    for (directory, new_floor) in entries {
        floors.raise(&Accepted { directory: (*directory).into(), new_floor: *new_floor, signers: vec![] });
    }
    floors
}

#[test]
fn only_whole_bundles_are_read() {
    let signed = signed_by(&statement(5), &[1, 2]);
    let bytes = signed.encode();
    assert_eq!(SignedStatement::decode(&bytes).unwrap(), signed);
    for len in 0..bytes.len() {
        assert!(SignedStatement::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    assert!(SignedStatement::decode(&[&bytes[..], &[0]].concat()).is_err());
    let full = SignedStatement { statement: vec![], signatures: vec![vec![]; SIGNATURES_MAX] };
    assert_eq!(SignedStatement::decode(&full.encode()).unwrap(), full);
    let over = SignedStatement { statement: vec![], signatures: vec![vec![]; SIGNATURES_MAX + 1] };
    assert!(SignedStatement::decode(&over.encode()).is_err());
}

#[test]
fn too_many_signatures_are_not_added() {
    let mut signed = SignedStatement::new(&statement(5));
    for number in 0..SIGNATURES_MAX {
        signed.add(vec![u8::try_from(number).unwrap()]).unwrap();
        signed.add(vec![u8::try_from(number).unwrap()]).unwrap();
    }
    assert!(matches!(signed.add(vec![255]), Err(Error::Limit { .. })));
    assert!(matches!(signed.add(vec![0; 5000]), Err(Error::Limit { .. })));
}

#[test]
fn only_whole_floors_are_read() {
    let floors = floors(&[("", 1), ("debian", 1 << 40), ("debian/stable", 7)]);
    let bytes = floors.encode();
    assert_eq!(Floors::decode(&bytes).unwrap(), floors);
    for len in 0..bytes.len() {
        assert!(Floors::decode(&bytes[..len]).is_err(), "{len} bytes");
    }
    let entry =
        |directory: &str| [&[0x82, 0x60 + u8::try_from(directory.len()).unwrap()], directory.as_bytes(), &[1]].concat();
    let array = |entries: &[&str]| {
        [vec![0x80 + u8::try_from(entries.len()).unwrap()], entries.iter().flat_map(|text| entry(text)).collect()]
            .concat()
    };
    assert!(Floors::decode(&array(&["a", "b"])).is_ok());
    assert!(Floors::decode(&array(&["b", "a"])).is_err(), "out of order");
    assert!(Floors::decode(&array(&["a", "a"])).is_err(), "twice");
    assert!(Floors::decode(&array(&["a/../b"])).is_err(), "not a directory");
}

#[test]
fn a_floor_never_falls() {
    let mut floors = floors(&[("debian", 7)]);
    let accepted = Accepted { directory: "debian".into(), new_floor: 3, signers: vec![] };
    assert!(!floors.raise(&accepted));
    assert_eq!(floors.iter().collect::<Vec<_>>(), [("debian", 7)]);
}

proptest! {
    #[test]
    fn bytes_that_are_read_are_written_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(signed) = SignedStatement::decode(&bytes) {
            prop_assert_eq!(signed.encode(), bytes.clone());
        }
        if let Ok(floors) = Floors::decode(&bytes) {
            prop_assert_eq!(floors.encode(), bytes.clone());
        }
        if let Ok(statement) = Statement::decode(&bytes) {
            prop_assert_eq!(statement.encode(), bytes);
        }
    }

    #[test]
    fn a_changed_bit_of_a_bundle_is_an_error_or_another_bundle(bit in 0usize..4000) {
        let signed = signed_by(&statement(5), &[1, 2]);
        let mut bytes = signed.encode();
        let bit = bit % (bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(SignedStatement::decode(&bytes).map_or(true, |other| other != signed));
    }
}
