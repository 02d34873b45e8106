//! Revoked certificates, before the handshake and while a call is open, at both sides; lists that are not to be believed.

use std::{
    fs,
    time::{Duration, Instant, SystemTime},
};

use dominator_protocol_core::{Get, Method, Trees};
use dominator_protocol_quic::{
    CloseCode, Credentials, Error, Reloaded, RevocationPolicy, TrustError, Unusable,
    cert::{Authority, CertificateInfo, RevocationList, Revoke, Validity, issues},
    limits::CREDENTIALS_CHECK,
};

use crate::{
    fleet::{Fleet, chunk, soon},
    home::{DAY, Home, client, copy, dial, serve},
    trust::refusal,
};

fn why<T: std::fmt::Debug>(result: Result<T, Error>) -> Unusable {
    match result.unwrap_err() {
        Error::Unusable { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_revoked_client_is_refused_and_told_so() {
    let home = Home::new("test");
    home.issue("other");
    home.revoke("client");
    let server = serve(&home.watch("server"));
    assert_eq!(refusal(dial(&client(&home.watch("client")), &server).await), TrustError::OursRevoked);
    dial(&client(&home.watch("other")), &server).await.unwrap();
}

#[tokio::test]
async fn a_revoked_server_is_refused() {
    let home = Home::new("test");
    // The server still believes in itself: it has not got the list.
    let server = serve(&home.watch("server"));
    home.revoke("server");
    assert_eq!(refusal(dial(&client(&home.watch("client")), &server).await), TrustError::PeerRevoked);
}

#[tokio::test]
async fn a_client_that_is_revoked_within_a_call_is_cut_off_and_others_go_on() {
    let home = Home::new("test");
    home.issue("other");
    let watch = home.watch("server");
    let server = serve(&watch);
    let (revoked, other) = (client(&home.watch("client")), client(&home.watch("other")));
    let (revoked, other) = (dial(&revoked, &server).await.unwrap(), dial(&other, &server).await.unwrap());
    let mut call = revoked.call(Method::MachineTrees).await.unwrap();
    call.send(&Trees { ids: vec![] }).await.unwrap();
    let mut other_call = other.call(Method::ObjectGet).await.unwrap();
    other_call.send(&Get { ids: vec![chunk(1)] }).await.unwrap();

    home.revoke("client");
    assert_eq!(watch.reload().unwrap(), Reloaded::Changed);
    assert_eq!(watch.reload().unwrap(), Reloaded::Unchanged);
    let start = Instant::now();
    let error = soon(call.recv()).await.unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(refusal(Err(error)), TrustError::OursRevoked);
    assert_eq!(refusal(Err(soon(revoked.closed()).await)), TrustError::OursRevoked);

    assert!(soon(other_call.recv()).await.unwrap().is_some());
    other_call.send(&Get { ids: vec![chunk(2)] }).await.unwrap();
    assert!(soon(other_call.recv()).await.unwrap().is_some(), "the same call goes on");
}

#[tokio::test]
async fn a_server_that_is_revoked_within_a_call_is_left() {
    let home = Home::new("test");
    let server = serve(&home.watch("server"));
    let watch = home.watch("client");
    let connection = dial(&client(&watch), &server).await.unwrap();
    let mut call = connection.call(Method::MachineTrees).await.unwrap();
    call.send(&Trees { ids: vec![] }).await.unwrap();
    home.revoke("server");
    watch.reload().unwrap();
    assert_eq!(refusal(Err(soon(call.recv()).await.unwrap_err())), TrustError::PeerRevoked);
}

/// The whole way, as an operator sees it: a file is replaced, and nothing else is done.
#[tokio::test]
async fn a_new_list_ends_open_calls_within_five_seconds() {
    let home = Home::new("test");
    let watch = home.watch("server");
    let server = serve(&watch);
    let following = tokio::spawn(async move { watch.follow(CREDENTIALS_CHECK).await });
    let connection = dial(&client(&home.watch("client")), &server).await.unwrap();
    let mut call = connection.call(Method::MachineTrees).await.unwrap();
    call.send(&Trees { ids: vec![] }).await.unwrap();
    home.revoke("client");
    let start = Instant::now();
    assert_eq!(refusal(Err(soon(call.recv()).await.unwrap_err())), TrustError::OursRevoked);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    following.abort();
}

#[tokio::test]
async fn a_list_of_another_authority_is_refused() {
    let (home, other) = (Home::new("test"), Home::new("other"));
    other.revoke("client");
    let watch = home.watch("client");
    copy(&other.path("ca.crl"), &home.path("ca.crl"));
    let foreign = Unusable::ForeignList { issuer: "dominator authority other".into() };
    assert_eq!(why(home.files("client").load()), foreign);
    assert_eq!(why(watch.reload()), foreign);
    assert!(watch.last_error().unwrap().contains("ca.crl"));
    // The same name is not the same authority.
    let namesake = Home::new("test");
    namesake.revoke("client");
    copy(&namesake.path("ca.crl"), &home.path("ca.crl"));
    let foreign = Unusable::ForeignList { issuer: "dominator authority test".into() };
    assert_eq!(why(watch.reload()), foreign);
    assert_eq!(why(home.authority.revoke(home.dir.path(), &[], DAY)), foreign, "nor is it continued");
    dial(&client(&watch), &serve(&home.watch_without_list("server"))).await.unwrap();
}

#[test]
fn no_list_with_a_changed_bit_is_believed() {
    let home = Home::new("test");
    home.revoke("client");
    let [ca, cert, key] =
        ["ca.pem", "client.pem", "client.key"].map(|name| fs::read_to_string(home.path(name)).unwrap());
    let load = |lists: &[u8]| Credentials::from_parts(&ca, &cert, &key, Some(lists), RevocationPolicy::BestKnown);
    let der = der(&fs::read(home.path("ca.crl")).unwrap());
    assert_eq!(load(&der).unwrap().revocation_lists().count(), 1, "a list may be in DER form");
    for bit in 0..der.len() * 8 {
        let mut changed = der.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(load(&changed).is_err(), "bit {bit}");
    }
    for len in 0..der.len() {
        assert!(load(&der[..len]).is_err(), "{len} bytes");
    }
}

fn der(pem: &[u8]) -> Vec<u8> {
    use rustls_pki_types::{CertificateRevocationListDer, pem::PemObject};
    CertificateRevocationListDer::from_pem_slice(pem).unwrap().to_vec()
}

#[tokio::test]
async fn an_older_list_and_no_list_replace_nothing() {
    let home = Home::new("test");
    home.authority.revoke(home.dir.path(), &[], DAY).unwrap();
    copy(&home.path("ca.crl"), &home.path("old.crl"));
    home.revoke("client");
    let watch = home.watch("server");
    let server = serve(&watch);
    copy(&home.path("old.crl"), &home.path("ca.crl"));
    assert!(matches!(why(watch.reload()), Unusable::OldList { .. }));
    assert_eq!(refusal(dial(&client(&home.watch("client")), &server).await), TrustError::OursRevoked);
    fs::remove_file(home.path("ca.crl")).unwrap();
    assert_eq!(why(watch.reload()), Unusable::ListGone { issuer: "dominator authority test".into() });
    assert_eq!(refusal(dial(&client(&home.watch("client")), &server).await), TrustError::OursRevoked);
    home.authority.revoke(home.dir.path(), &[], DAY).unwrap();
    assert_eq!(watch.reload().unwrap(), Reloaded::Changed, "a lost list is succeeded by a greater number");
}

async fn wait_until_overdue(list: &RevocationList) {
    loop {
        let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        if list.is_overdue(i64::try_from(now_s).unwrap()) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_overdue_list_still_revokes_and_is_refused_only_if_asked() {
    let home = Home::new("test");
    home.issue("other");
    let revoked = Revoke::Name("client".into());
    let list = home.authority.revoke(home.dir.path(), &[revoked], Duration::from_secs(1)).unwrap();
    let fresh = |name: &str| {
        let mut files = home.files(name);
        files.policy = RevocationPolicy::Fresh;
        files.watch().unwrap()
    };
    let (lenient, strict) = (home.watch("server"), fresh("server"));
    let (lenient_server, strict_server) = (serve(&lenient), serve(&strict));
    let other = client(&home.watch("other"));
    let open = dial(&other, &strict_server).await;
    wait_until_overdue(&list).await;

    dial(&other, &lenient_server).await.unwrap();
    assert_eq!(refusal(dial(&client(&home.watch("client")), &lenient_server).await), TrustError::OursRevoked);
    assert_eq!(refusal(dial(&other, &strict_server).await), TrustError::OursUnchecked);
    let strict_client = client(&fresh("other"));
    assert_eq!(refusal(dial(&strict_client, &lenient_server).await), TrustError::PeerListOverdue);
    // A connection that was open is judged like a new one, at the next occasion.
    if let Ok(open) = open {
        strict.replace(strict.current()).unwrap();
        let error = soon(open.closed()).await;
        assert_eq!(refusal(Err(error)), TrustError::OursUntrusted);
    }
    // A new list opens the doors again.
    home.authority.revoke(home.dir.path(), &[], DAY).unwrap();
    strict.reload().unwrap();
    dial(&other, &strict_server).await.unwrap();
}

#[tokio::test]
async fn without_a_list_nobody_passes_if_one_is_wanted() {
    let home = Home::new("test");
    let mut files = home.files("server");
    files.policy = RevocationPolicy::Fresh;
    let strict_server = serve(&files.watch().unwrap());
    assert_eq!(refusal(dial(&client(&home.watch("client")), &strict_server).await), TrustError::OursUnchecked);
    let mut files = home.files("client");
    files.policy = RevocationPolicy::Fresh;
    let strict_client = client(&files.watch().unwrap());
    assert_eq!(refusal(dial(&strict_client, &serve(&home.watch("server"))).await), TrustError::PeerListMissing);
}

#[test]
fn a_name_stands_for_all_certificates_ever_issued_to_it() {
    let home = Home::new("test");
    let dir = home.dir.path();
    let serial = |name: &str| CertificateInfo::read(&home.path(&format!("{name}.pem"))).unwrap().serial;
    let first = serial("client");
    home.authority.renew(dir, "client", Validity::days(3)).unwrap();
    let second = serial("client");
    home.issue("client");
    let third = serial("client");
    let of_client: Vec<_> =
        issues(dir).unwrap().into_iter().filter(|issue| issue.name == "client").map(|issue| issue.serial).collect();
    assert_eq!(of_client, [first.clone(), second.clone(), third.clone()]);
    let list = home.revoke("client");
    assert!([&first, &second, &third].into_iter().all(|serial| list.names(serial)));
    assert!(!list.names(&serial("server")));

    // By number, with what was revoked before; another of that name is good.
    let digits = serial("server");
    let colons = digits.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap().to_uppercase());
    let colons = colons.collect::<Vec<_>>().join(":");
    let next = home.authority.revoke(dir, &[Revoke::Serial(colons)], DAY).unwrap();
    assert!(next.number > list.number);
    assert_eq!(next.revoked.len(), 4);
    assert!(list.revoked.iter().all(|revoked| next.revoked.contains(revoked)), "with the time of then");
    home.issue("client");
    assert!(!next.names(&serial("client")));
    assert_eq!(RevocationList::read(&home.path("ca.crl")).unwrap(), [next]);

    // Not in the register: issued without a directory.
    let issued = home.authority.issue(&Fleet::request("guest", &[])).unwrap();
    assert_eq!(why(home.authority.revoke(dir, &[Revoke::Name("guest".into())], DAY)), Unusable::NeverIssued);
    let guest = CertificateInfo::parse(&issued.cert_pem).unwrap().serial;
    let list = home.authority.revoke(dir, &[Revoke::Serial(guest.clone())], DAY).unwrap();
    assert!(list.names(&guest));
    for bad in ["", "xyz", "12 34", &"1".repeat(50)] {
        let what = [Revoke::Serial(bad.into())];
        assert!(matches!(why(home.authority.revoke(dir, &what, DAY)), Unusable::BadSerial(_)), "{bad:?}");
    }
}

#[test]
fn a_torn_register_line_is_ignored_and_a_strange_one_is_not() {
    use std::io::Write as _;

    let home = Home::new("test");
    let count = issues(home.dir.path()).unwrap().len();
    let mut register = fs::OpenOptions::new().append(true).open(home.path("ca.issued")).unwrap();
    register.write_all(b"0123 17").unwrap();
    assert_eq!(issues(home.dir.path()).unwrap().len(), count);
    register.write_all(b"\n").unwrap();
    assert_eq!(why(issues(home.dir.path())), Unusable::BadRegister { line: count + 1 });
}

#[test]
fn two_who_revoke_at_once_lose_nothing() {
    let home = Home::new("test");
    let names: Vec<String> = (0..8).map(|number| format!("m-{number}")).collect();
    for name in &names {
        home.issue(name);
    }
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| {
                Authority::load(home.dir.path())
                    .unwrap()
                    .revoke(home.dir.path(), &[Revoke::Name(name.clone())], DAY)
                    .unwrap()
            });
        }
    });
    let lists = RevocationList::read(&home.path("ca.crl")).unwrap();
    assert_eq!(lists[0].revoked.len(), names.len());
}

#[test]
fn the_codes_have_texts() {
    assert_eq!(CloseCode::Revoked.to_string(), "certificate revoked");
    assert_eq!(TrustError::PeerRevoked.to_string(), "the peer's certificate is revoked");
}
