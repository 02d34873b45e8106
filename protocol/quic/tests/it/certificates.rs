//! Certificates as files: made, read, renewed, and refused when they are not what they should be.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::SystemTime};

use dominator_protocol_core::Method;
use dominator_protocol_quic::{
    Credentials, Error, Unusable,
    cert::{Authority, CertificateInfo, Replace, Validity},
};

use crate::fleet::{Fleet, SERVER_NAME};

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

fn unusable<T>(result: Result<T, Error>) -> Unusable {
    match result {
        Err(Error::Unusable { why, .. }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("usable"),
    }
}

#[test]
fn what_is_issued_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("demo", Validity::days(10)).unwrap();
    authority.save(dir.path()).unwrap();
    let authority = Authority::load(dir.path()).unwrap();
    let mut request = Fleet::request("web-1", &["Object.*", "Image.Get@debian/*"]);
    request.groups = vec!["web".into()];
    authority.issue(&request).unwrap().save(dir.path(), Replace::No).unwrap();

    let info = CertificateInfo::read(&dir.path().join("web-1.pem")).unwrap();
    assert_eq!((info.name.as_str(), info.issuer.as_str()), ("web-1", "dominator authority demo"));
    assert_eq!(info.dns_names, [SERVER_NAME]);
    assert_eq!(info.addresses, request.addresses);
    assert_eq!(info.grant.permissions, request.permissions);
    assert_eq!(info.grant.groups, ["web"]);
    assert!(info.server && info.client && !info.is_authority);
    let not_after_s = request.validity.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(info.not_after_s, not_after_s as i64);
    let text = info.to_string();
    assert!(
        text.contains("name:        web-1\n") && text.contains("permissions: Object.*, Image.Get@debian/*"),
        "{text}"
    );
    assert!(CertificateInfo::read(&dir.path().join("ca.pem")).unwrap().is_authority);

    let credentials = Credentials::load_dir(dir.path(), "web-1").unwrap();
    assert!(credentials.identity().allows(Method::ObjectGet, None));
    for (file, expected) in [("ca.key", 0o600), ("web-1.key", 0o600), ("ca.pem", 0o644), ("web-1.pem", 0o644)] {
        assert_eq!(mode(&dir.path().join(file)), expected, "{file}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4, "no drafts are left");
}

#[test]
fn nothing_is_replaced_unasked_and_a_renewal_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::create("demo", Validity::days(10)).unwrap();
    authority.save(dir.path()).unwrap();
    assert!(matches!(authority.save(dir.path()), Err(Error::Exists { .. })));
    let issued = authority.issue(&Fleet::request("web-1", &["Object.*"])).unwrap();
    issued.save(dir.path(), Replace::No).unwrap();
    assert!(matches!(issued.save(dir.path(), Replace::No), Err(Error::Exists { .. })));

    let before = CertificateInfo::read(&dir.path().join("web-1.pem")).unwrap();
    authority.renew(dir.path(), "web-1", Validity::days(99)).unwrap();
    let after = CertificateInfo::read(&dir.path().join("web-1.pem")).unwrap();
    assert!(after.not_after_s > before.not_after_s + 90 * 86_400);
    assert_ne!((&after.public_key, &after.serial), (&before.public_key, &before.serial));
    let same = CertificateInfo {
        not_before_s: after.not_before_s,
        not_after_s: after.not_after_s,
        serial: after.serial.clone(),
        public_key: after.public_key.clone(),
        ..before
    };
    assert_eq!(after, same);
    Credentials::load_dir(dir.path(), "web-1").unwrap();
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let authority = Authority::create("demo", Validity::days(10)).unwrap();
    for name in ["", "a/b", "a b", "../x", ".x", "ü"] {
        assert_eq!(unusable(authority.issue(&Fleet::request(name, &[]))), Unusable::BadName(name.into()));
    }
    let unknown = Fleet::request("x", &["Image.Gett"]);
    assert_eq!(unusable(authority.issue(&unknown)), Unusable::UnknownPermission("Image.Gett".into()));
    let mut request = Fleet::request("x", &[]);
    request.dns_names = vec!["not a name".into()];
    assert_eq!(unusable(authority.issue(&request)), Unusable::BadDnsName("not a name".into()));
    request.dns_names = vec![];
    request.groups = vec!["x".repeat(600)];
    assert!(matches!(unusable(authority.issue(&request)), Unusable::BadGrant(_)));
}

#[test]
fn files_that_are_not_what_they_should_be_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let authority = Authority::create("demo", Validity::days(10)).unwrap();
    authority.save(dir.path()).unwrap();
    for name in ["a", "b"] {
        authority.issue(&Fleet::request(name, &[])).unwrap().save(dir.path(), Replace::No).unwrap();
    }
    let load = |ca: &str, cert: &str, key: &str| Credentials::load(&path(ca), &path(cert), &path(key));
    assert!(load("ca.pem", "a.pem", "a.key").is_ok());
    assert_eq!(unusable(load("ca.pem", "a.pem", "b.key")), Unusable::WrongKey);
    assert_eq!(unusable(load("ca.pem", "a.key", "a.key")), Unusable::NoPem("certificate"));
    assert_eq!(unusable(load("ca.pem", "a.pem", "a.pem")), Unusable::NoPem("private key"));
    assert_eq!(unusable(load("ca.pem", "ca.pem", "ca.key")), Unusable::NoName);
    let error = load("ca.pem", "a.pem", "none.key").unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("none.key"), "{error}");
    fs::write(path("long.pem"), vec![b'x'; 2 << 20]).unwrap();
    assert_eq!(unusable(load("ca.pem", "long.pem", "a.key")), Unusable::TooLong);
    fs::rename(path("a.pem"), path("ca.pem")).unwrap();
    assert_eq!(unusable(Authority::load(dir.path())), Unusable::NotAnAuthority);
}
