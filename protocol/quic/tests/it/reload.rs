//! Certificates and authorities that change while connections are open, and files that are broken meanwhile.

use std::{fs, sync::Arc, time::Duration};

use dominator_protocol_core::{Get, Method, Poll, Unchanged};
use dominator_protocol_quic::{
    CloseCode, Credentials, CredentialsWatch, Error, Reloaded, TrustError, Unusable,
    cert::{Authority, CertificateInfo, Replace, Validity},
};

use crate::{
    fleet::{ALL, Fleet, chunk, soon},
    home::{Home, client, copy, dial, serve},
    trust::refusal,
};

fn why<T: std::fmt::Debug>(result: Result<T, Error>) -> Unusable {
    match result.unwrap_err() {
        Error::Unusable { why, .. } => why,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections_and_drops_no_other() {
    let home = Home::new("test");
    let (server_watch, client_watch) = (home.watch("server"), home.watch("client"));
    let server = serve(&server_watch);
    let client = client(&client_watch);
    let before = dial(&client, &server).await.unwrap();
    let mut call = before.call(Method::ObjectGet).await.unwrap();
    call.send(&Get { ids: vec![chunk(1)] }).await.unwrap();
    assert!(soon(call.recv()).await.unwrap().is_some());

    for name in ["server", "client"] {
        home.authority.renew(home.dir.path(), name, Validity::days(7)).unwrap();
    }
    assert_eq!(server_watch.reload().unwrap(), Reloaded::Changed);
    assert_eq!(client_watch.reload().unwrap(), Reloaded::Changed);
    let after = dial(&client, &server).await.unwrap();
    let renewed = CertificateInfo::read(&home.path("server.pem")).unwrap();
    assert_eq!(after.identity().not_after_s, renewed.not_after_s);
    assert_ne!(before.identity().not_after_s, renewed.not_after_s);
    assert_eq!(server_watch.current().identity().not_after_s, renewed.not_after_s);

    call.send(&Get { ids: vec![chunk(2)] }).await.unwrap();
    assert!(soon(call.recv()).await.unwrap().is_some(), "the same call goes on");
    let _: Unchanged = soon(before.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn broken_files_keep_what_is_in_use_and_say_so() {
    let home = Home::new("test");
    let watch = home.watch("server");
    let server = serve(&watch);
    let client = client(&home.watch("client"));
    let check = async |what: &str, break_it: &dyn Fn(), expected: &dyn Fn(&Error) -> bool| {
        let saved: Vec<_> =
            ["ca.pem", "server.pem", "server.key"].map(|name| (name, fs::read(home.path(name)).unwrap())).into();
        break_it();
        let error = watch.reload().unwrap_err();
        assert!(expected(&error), "{what}: {error}");
        assert!(watch.last_error().is_some(), "{what}");
        dial(&client, &server).await.unwrap();
        for (name, content) in saved {
            fs::write(home.path(name), content).unwrap();
        }
        assert_eq!(watch.reload().unwrap(), Reloaded::Unchanged, "{what}");
        assert_eq!(watch.last_error(), None, "{what}");
    };
    let unusable =
        |expected: Unusable| move |error: &Error| matches!(error, Error::Unusable { why, .. } if *why == expected);
    let write = |name: &str, content: &[u8]| fs::write(home.path(name), content).unwrap();

    check("gone", &|| fs::remove_file(home.path("server.pem")).unwrap(), &|error| matches!(error, Error::Io { .. }))
        .await;
    check("empty", &|| write("server.pem", b""), &unusable(Unusable::NoPem("certificate"))).await;
    check(
        "cut short",
        &|| write("server.key", b"-----BEGIN PRIVATE KEY-----\n"),
        &unusable(Unusable::NoPem("private key")),
    )
    .await;
    check("no text", &|| write("ca.pem", &[0xff; 100]), &unusable(Unusable::NoPem("certificate"))).await;
    let key_of_another = || copy(&home.path("client.key"), &home.path("server.key"));
    check("key of another", &key_of_another, &unusable(Unusable::WrongKey)).await;
    let another = || {
        copy(&home.path("client.pem"), &home.path("server.pem"));
        copy(&home.path("client.key"), &home.path("server.key"));
    };
    let other_holder = Unusable::OtherHolder { expected: "server".into(), found: "client".into() };
    check("another holder", &another, &unusable(other_holder)).await;
    let unbelieved = |error: &Error| matches!(error, Error::Unusable { why: Unusable::Unbelieved(_), .. });
    let strange = || {
        let strange = Authority::create("strange", Validity::days(1)).unwrap();
        let issued = strange.issue(&Fleet::request("server", &[])).unwrap();
        issued.save(home.dir.path(), Replace::Yes).unwrap();
    };
    check("strange authority", &strange, &unbelieved).await;
    let expired = || {
        let mut request = Fleet::request("server", &[]);
        let now = std::time::SystemTime::now();
        request.validity = Validity::between(now - Duration::from_secs(100), now - Duration::from_secs(50));
        home.authority.issue(&request).unwrap().save(home.dir.path(), Replace::Yes).unwrap();
    };
    check("expired", &expired, &unbelieved).await;
}

#[tokio::test]
async fn a_broken_certificate_does_not_keep_a_list_out_nor_the_reverse() {
    let home = Home::new("test");
    let watch = home.watch("server");
    let server = serve(&watch);
    let revoked = client(&home.watch("client"));
    dial(&revoked, &server).await.unwrap();
    fs::write(home.path("server.pem"), "nothing").unwrap();
    home.revoke("client");
    assert_eq!(why(watch.reload()), Unusable::NoPem("certificate"));
    assert_eq!(refusal(dial(&revoked, &server).await), TrustError::OursRevoked);

    home.issue("server");
    fs::write(home.path("ca.crl"), "nothing").unwrap();
    assert_eq!(why(watch.reload()), Unusable::NoPem("revocation list"));
    let renewed = CertificateInfo::read(&home.path("server.pem")).unwrap();
    assert_eq!(watch.current().identity().not_after_s, renewed.not_after_s);
    assert_eq!(refusal(dial(&revoked, &server).await), TrustError::OursRevoked);
}

#[tokio::test]
async fn authorities_can_be_added_and_taken_away() {
    let (home, other) = (Home::new("test"), Home::new("other"));
    let watch = home.watch("server");
    let server = serve(&watch);
    let ours = client(&home.watch("client"));
    // A client of the other authority that believes in both.
    let both = fs::read_to_string(home.path("ca.pem")).unwrap() + &fs::read_to_string(other.path("ca.pem")).unwrap();
    fs::write(other.path("ca.pem"), &both).unwrap();
    let theirs = client(&other.watch("client"));
    assert_eq!(refusal(dial(&theirs, &server).await), TrustError::OursUntrusted);

    let only_ours = fs::read(home.path("ca.pem")).unwrap();
    fs::write(home.path("ca.pem"), &both).unwrap();
    watch.reload().unwrap();
    let (our_connection, their_connection) =
        (dial(&ours, &server).await.unwrap(), dial(&theirs, &server).await.unwrap());

    fs::write(home.path("ca.pem"), only_ours).unwrap();
    watch.reload().unwrap();
    assert_eq!(refusal(Err(soon(their_connection.closed()).await)), TrustError::OursUntrusted);
    assert_eq!(refusal(dial(&theirs, &server).await), TrustError::OursUntrusted);
    let _: Unchanged = soon(our_connection.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn the_end_of_a_replaced_certificate_is_worth_another_try() {
    let fleet = Fleet::new();
    let mut request = Fleet::request("client", ALL);
    let now = std::time::SystemTime::now();
    request.validity = Validity::between(now - Duration::from_secs(60), now + Duration::from_secs(2));
    let server = fleet.serve(Arc::default());
    let watch = CredentialsWatch::fixed(fleet.issue(&fleet, &request));
    let client = client(&watch);
    let connection = dial(&client, &server).await.unwrap();
    watch.replace(fleet.credentials("client", ALL)).unwrap();
    let error = soon(connection.closed()).await;
    assert!(matches!(error, Error::Closed { code: CloseCode::Expired, .. }) && error.is_transient(), "{error}");
    dial(&client, &server).await.unwrap();
}

#[tokio::test]
async fn replacing_by_hand_obeys_the_same_rules() {
    let fleet = Fleet::new();
    let watch = CredentialsWatch::from(fleet.credentials("server", &[]));
    assert_eq!(watch.reload().unwrap(), Reloaded::Unchanged, "there are no files");
    let expected = Unusable::OtherHolder { expected: "server".into(), found: "client".into() };
    assert_eq!(why(watch.replace(fleet.credentials("client", &[]))), expected);
    let stranger: Credentials = Fleet::new().issue(&fleet, &Fleet::request("server", &[]));
    assert!(matches!(why(watch.replace(stranger)), Unusable::Unbelieved(_)));
    watch.replace(fleet.credentials("server", &[])).unwrap();
}

#[tokio::test]
async fn keys_stay_out_of_logs() {
    let home = Home::new("test");
    let key = fs::read_to_string(home.path("server.key")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    let watch = home.watch("server");
    assert!(!format!("{watch:?}{:?}{:?}", watch.current(), home.files("server")).contains(secret));
}
