//! Tests of the machine database.
//!
//! Owns samples of the original's form and of broken files. Invariant: no input makes the reader panic.
//! Does not test the watching of files: `controller/daemon` does.

use proptest::prelude::*;

use super::*;

fn host(text: &str) -> Host {
    text.parse().expect(text)
}

fn image(text: &str) -> WantedImage {
    WantedImage::Named(text.parse().expect(text))
}

#[test]
fn the_form_of_the_original_is_read() {
    let text = br#"{"Machines": [
        {"Hostname": "web-2.example.com", "IpAddress": "10.0.0.2", "RequiredImage": "prod/web/7", "PlannedImage": "prod/web/8",
         "OwnerGroup": "web", "OwnerUsers": ["ann"], "Tags": {"DisableSafetyCheck": "true", "x": "y"},
         "AwsMetadata": {"AccountId": "1"}, "DataSourceType": "aws"},
        {"Hostname": "DB-1", "DisableUpdates": true, "Tags": null},
        {"Hostname": "lab:7001", "IpAddress": "fe80::1", "RequiredImage": "not a name"},
        {"Hostname": "lab:7002", "IpAddress": "127.0.0.1:9000", "RequiredImage": ""}
    ]}"#;
    let mdb = Mdb::parse(text).expect("mdb");
    let hosts: Vec<_> = mdb.machines().map(|machine| machine.host.as_str()).collect();
    assert_eq!(hosts, ["db-1", "lab:7001", "lab:7002", "web-2.example.com"]);
    assert_eq!(
        mdb.machine(&host("web-2.example.com")),
        Some(&Machine {
            host: host("web-2.example.com"),
            address: "10.0.0.2:6969".to_owned(),
            required: image("prod/web/7"),
            planned: image("prod/web/8"),
            disabled: false,
            force_unsafe: true,
        })
    );
    let db = mdb.machine(&host("db-1")).expect("db-1");
    assert_eq!((db.address.as_str(), db.disabled, &db.required), ("db-1:6969", true, &WantedImage::Nothing));
    let lab = mdb.machine(&host("lab:7001")).expect("lab");
    assert_eq!((lab.address.as_str(), &lab.required), ("[fe80::1]:7001", &WantedImage::Invalid("not a name".into())));
    assert_eq!(mdb.machine(&host("lab:7002")).expect("lab").address, "127.0.0.1:9000");
}

#[test]
fn a_bare_list_and_an_empty_one_are_read() {
    assert_eq!(Mdb::parse(br#" [{"Hostname": "a"}]"#).expect("list").len(), 1);
    for empty in [&b"[]"[..], br#"{"Machines": []}"#, br#"{"Machines": null}"#, b"{}"] {
        assert!(Mdb::parse(empty).expect("empty").is_empty());
    }
    assert_eq!(
        Mdb::parse(br#"[{"Hostname": "[::1]"}]"#).expect("v6").machines().next().expect("one").address,
        "[::1]:6969"
    );
}

#[test]
fn broken_files_are_refused_with_a_reason() {
    let check = |text: &str, reason: &str| {
        let error = Mdb::parse(text.as_bytes()).expect_err(text);
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        assert!(format!("{error}: {source}").contains(reason), "{error}: {source}");
    };
    check("", "not JSON");
    check(r#"{"Machines": [{"Hostname": "a"}"#, "EOF");
    check(r#"[{"Hostname": "a"}, {"IpAddress": "::1"}]"#, "Hostname");
    check(r#"[{"Hostname": "a b"}]"#, "machine number 1 has no usable host name");
    check(r#"[{"Hostname": "a"}, {"Hostname": "A"}]"#, "machine a occurs twice");
    check(r#"[{"Hostname": "a", "IpAddress": "host.example"}]"#, "expected an IP address");
    check(r#"[{"Hostname": 7}]"#, "string");
    check(r#"[] trailing"#, "trailing");
}

#[test]
fn a_database_that_loses_most_machines_is_held() {
    let mdb = |range: std::ops::Range<usize>| {
        let rows: Vec<_> = range.map(|host| format!(r#"{{"Hostname": "m{host:02}"}}"#)).collect();
        Mdb::parse(format!("[{}]", rows.join(",")).as_bytes()).expect("mdb")
    };
    let old = mdb(0..10);
    assert_eq!(old.check_successor(&mdb(5..10)), Ok(()));
    let held = old.check_successor(&mdb(6..40)).expect_err("held");
    assert_eq!(held.lost.len(), 6);
    assert_eq!(held.to_string(), "6 of 10 machines are gone from the machine database (m00, m01, m02, m03, m04, ...)");
    assert_eq!(mdb(0..9).check_successor(&mdb(0..0)), Ok(()));
    assert_eq!(mdb(0..0).check_successor(&old), Ok(()));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Mdb::parse(&bytes);
    }

    #[test]
    fn no_damage_makes_the_reader_panic(pos in 0usize..120, byte in any::<u8>()) {
        let mut text = br#"{"Machines": [{"Hostname": "web:1", "IpAddress": "10.0.0.2", "RequiredImage": "prod/web/7", "Tags": {}}]}"#.to_vec();
        if let Some(place) = text.get_mut(pos) {
            *place = byte;
        }
        let _ = Mdb::parse(&text);
    }
}
