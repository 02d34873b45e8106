//! Who is refused, and what the operator reads then.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use dominator_protocol_quic::{
    Credentials,
    cert::{Authority, IssueRequest, Replace, Validity},
};
use dominator_store_engine::{Store, StoreOptions};
use dominator_store_server::Images;

use crate::{Serving, Site, serve_images, small_tree};

/// Issues a certificate that was over an hour ago.
fn issue_expired(site: &Site, name: &str) {
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let request = IssueRequest {
        name: name.into(),
        dns_names: vec!["localhost".into()],
        addresses: vec![[127, 0, 0, 1].into()],
        permissions: vec!["*".parse().unwrap()],
        groups: Vec::new(),
        validity: Validity::between(now - 2 * hour, now - hour),
        server: true,
        client: true,
    };
    let authority = Authority::load(&site.path("certs")).unwrap();
    authority.issue(&request).unwrap().save(&site.path("certs"), Replace::Yes).unwrap();
}

#[test]
fn an_expired_certificate_of_ours_is_told_with_the_remedy() {
    let mut site = Site::with_certificates();
    let (_serving, _store) = serve_images(&mut site);
    issue_expired(&site, "old");
    site.use_certificate("old");
    let stderr = site.run("image list").failed();
    assert!(stderr.contains("the peer does not accept our certificate: it expired"), "{stderr}");
    assert!(stderr.contains("hint: renew your certificate"), "{stderr}");
}

#[test]
fn an_expired_certificate_of_the_server_is_told() {
    let mut site = Site::with_certificates();
    issue_expired(&site, "old");
    let store = Store::init(&site.path("server-store"), StoreOptions::default()).unwrap();
    let credentials = Credentials::load_dir(&site.path("certs"), "old").unwrap();
    let serving = Serving::start_as(&credentials, Arc::new(Images::new(store, 8, 8)), None);
    site.set("DOMTOOL_SERVER", serving.address.to_string());
    let stderr = site.run("image list").failed();
    assert!(stderr.contains("the peer's certificate expired"), "{stderr}");
}

#[test]
fn a_stranger_is_refused_by_both_sides() {
    let mut site = Site::with_certificates();
    let (_serving, _store) = serve_images(&mut site);
    site.run("cert init-ca others --name other").ok();
    site.run("cert issue others eve --permission *").ok();
    // Our authority does not know the server.
    site.set("DOMTOOL_CA", "others/ca.pem");
    let stderr = site.run("image list").failed();
    assert!(stderr.contains("the peer's certificate is not signed by our certificate authority"), "{stderr}");
    // The server's authority does not know us.
    site.set("DOMTOOL_CA", "certs/ca.pem");
    site.set("DOMTOOL_CERT", "others/eve.pem");
    site.set("DOMTOOL_KEY", "others/eve.key");
    let stderr = site.run("image list").failed();
    assert!(stderr.contains("the peer does not trust our certificate"), "{stderr}");
}

#[test]
fn a_server_of_another_name_is_refused() {
    let mut site = Site::with_certificates();
    let (_serving, _store) = serve_images(&mut site);
    let stderr = site.run("image list --server-name images.example").failed();
    assert!(stderr.contains("is not for the name images.example"), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
    site.run("image list --server-name localhost").ok();
}

#[test]
fn without_the_permission_nothing_happens_and_the_needed_one_is_named() {
    let mut site = Site::with_certificates();
    let (_serving, store) = serve_images(&mut site);
    small_tree(&site.path("tree"));
    site.run("cert issue certs reader --permission Image.List --permission Image.Publish@team/*").ok();
    site.use_certificate("reader");
    site.run("image list").ok();
    let stderr = site.run("image show a").failed();
    assert!(stderr.contains("denied: Image.Get is not allowed for reader"), "{stderr}");
    assert!(stderr.contains("hint: a certificate with the permission Image.Get"), "{stderr}");
    let stderr = site.run("image publish base/1 tree").failed();
    assert!(stderr.contains("hint: a certificate with the permission Image.Publish@base/1"), "{stderr}");
    assert!(store.images("", None, 10).unwrap().is_empty());
    site.run("image publish team/1 tree").ok();
}

#[test]
fn certificates_that_are_lacking_are_told() {
    let mut site = Site::with_certificates();
    site.set("DOMTOOL_KEY", "certs/nowhere.key");
    let stderr = site.run("image list --server 127.0.0.1:9").failed();
    assert!(stderr.contains("certs/nowhere.key"), "{stderr}");
    site.set("DOMTOOL_KEY", "");
    let ran = site.run("image list --server 127.0.0.1:9");
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("hint: add --key FILE, or set DOMTOOL_KEY"), "{ran:?}");
}
