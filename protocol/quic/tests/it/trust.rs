//! Who is refused, and what the refused side is told.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use dominator_protocol_core::{Method, Poll, Unchanged};
use dominator_protocol_quic::{Client, Connection, Credentials, Error, Server, Settings, TrustError, cert::Validity};

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, chain, connect, serve, soon};

const HOUR: Duration = Duration::from_secs(3600);

/// Connects and asks once: the peer may refuse us only after our side of the handshake is done.
pub(crate) async fn try_call(server: &Server, credentials: &Credentials) -> Result<Connection, Error> {
    let connection = soon(connect(server, credentials)).await?;
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await?;
    Ok(connection)
}

pub(crate) fn refusal(result: Result<Connection, Error>) -> TrustError {
    match result {
        Err(Error::Refused { source, .. }) => source,
        Err(other) => panic!("{}", chain(&other)),
        Ok(_) => panic!("not refused"),
    }
}

fn past() -> Validity {
    let now = SystemTime::now();
    Validity::between(now - 2 * HOUR, now - HOUR)
}

fn future() -> Validity {
    let now = SystemTime::now();
    Validity::between(now + HOUR, now + 2 * HOUR)
}

#[tokio::test]
async fn a_server_of_another_authority_is_refused() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let server = theirs.serve(Arc::new(Echo::default()));
    let error = try_call(&server, &ours.credentials("client", ALL)).await;
    assert_eq!(refusal(error), TrustError::PeerUntrusted);
}

#[tokio::test]
async fn a_client_of_another_authority_is_refused_and_told_so() {
    let (ours, theirs) = (Fleet::new(), Fleet::new());
    let server = ours.serve(Arc::new(Echo::default()));
    let stranger = theirs.issue(&ours, &Fleet::request("client", ALL));
    assert_eq!(refusal(try_call(&server, &stranger).await), TrustError::OursUntrusted);
    assert!(try_call(&server, &ours.credentials("client", ALL)).await.is_ok(), "others are served");
}

#[tokio::test]
async fn a_client_certificate_outside_its_validity_is_refused_and_told_so() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let mut request = Fleet::request("client", ALL);
    request.validity = past();
    assert_eq!(refusal(try_call(&server, &fleet.issue(&fleet, &request)).await), TrustError::OursExpired);
    request.validity = future();
    assert_eq!(refusal(try_call(&server, &fleet.issue(&fleet, &request)).await), TrustError::OursNotYetValid);
}

#[tokio::test]
async fn a_server_certificate_outside_its_validity_is_refused() {
    let fleet = Fleet::new();
    let client = fleet.credentials("client", ALL);
    let mut request = Fleet::request("server", &[]);
    for (validity, expected) in [(past(), TrustError::PeerExpired), (future(), TrustError::PeerNotYetValid)] {
        request.validity = validity;
        let server = serve(&fleet.issue(&fleet, &request), Arc::new(Echo::default()), Settings::default());
        assert_eq!(refusal(try_call(&server, &client).await), expected);
    }
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), Settings::default()).unwrap();
    let error = soon(client.connect(server.local_addr().unwrap(), "other.test")).await;
    assert_eq!(refusal(error), TrustError::PeerName { expected: "other.test".into() });
    assert!(soon(client.connect(server.local_addr().unwrap(), "127.0.0.1")).await.is_ok(), "by its address");
}

#[tokio::test]
async fn a_certificate_serves_only_the_side_it_was_issued_for() {
    let fleet = Fleet::new();
    let mut request = Fleet::request("client-only", ALL);
    request.server = false;
    let client_only = fleet.issue(&fleet, &request);
    request = Fleet::request("server-only", ALL);
    request.client = false;
    let server_only = fleet.issue(&fleet, &request);

    let server = serve(&server_only, Arc::new(Echo::default()), Settings::default());
    assert!(try_call(&server, &client_only).await.is_ok());
    assert_eq!(refusal(try_call(&server, &server_only).await), TrustError::OursPurpose);
    let server = serve(&client_only, Arc::new(Echo::default()), Settings::default());
    assert_eq!(refusal(try_call(&server, &client_only).await), TrustError::PeerPurpose);
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let connection = crate::hostile::connect_raw(&server, &fleet, None, dominator_protocol_core::ALPN).await.unwrap();
    let quinn::ConnectionError::ConnectionClosed(close) = soon(connection.closed()).await else {
        panic!("not refused")
    };
    assert_eq!(u64::from(close.error_code), 0x100 + 116, "certificate_required");
}

#[tokio::test]
async fn a_client_of_another_version_is_refused() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let issued = fleet.authority.issue(&Fleet::request("client", ALL)).unwrap();
    let error = crate::hostile::connect_raw(&server, &fleet, Some(&issued), b"dominator/0").await.unwrap_err();
    let quinn::ConnectionError::ConnectionClosed(close) = error else { panic!("not refused: {error}") };
    assert_eq!(u64::from(close.error_code), 0x100 + 120, "no_application_protocol");
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_either_side() {
    let fleet = Fleet::new();
    let now = SystemTime::now();
    let brief = Validity::between(now - HOUR, now + Duration::from_secs(2));
    let check = async |server_validity: Option<Validity>, client_validity: Option<Validity>, expected: TrustError| {
        let (mut server, mut client) = (Fleet::request("server", &[]), Fleet::request("client", ALL));
        server.validity = server_validity.unwrap_or(server.validity);
        client.validity = client_validity.unwrap_or(client.validity);
        let server = serve(&fleet.issue(&fleet, &server), Arc::new(Echo::default()), Settings::default());
        let connection = try_call(&server, &fleet.issue(&fleet, &client)).await.unwrap();
        let error = soon(connection.closed()).await;
        // Certificates count whole seconds, so the end may also come up to a second early.
        let early = brief.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let late = SystemTime::now().duration_since(brief.not_after).unwrap_or_default();
        assert!(early < Duration::from_secs(1) && late < Duration::from_secs(5), "{early:?} early, {late:?} late");
        assert_eq!(refusal(Err(error)), expected);
        let error = connection.ask_message(Method::MachinePoll, &Poll { known: None }).await.unwrap_err();
        assert_eq!(refusal(Err(error)), expected);
    };
    tokio::join!(check(Some(brief), None, TrustError::PeerExpired), check(None, Some(brief), TrustError::OursExpired),);
}

#[tokio::test]
async fn nobody_at_the_address_is_said_so() {
    let fleet = Fleet::new();
    // A socket that never answers.
    let silent = std::net::UdpSocket::bind(any_port()).unwrap();
    let settings = Settings { idle_timeout: Duration::from_millis(300), ..Settings::default() };
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), settings).unwrap();
    let error = soon(client.connect(silent.local_addr().unwrap(), SERVER_NAME)).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_transient(), "{}", chain(&error));
}

#[test]
fn the_text_says_whose_certificate_is_wrong() {
    let peer = "192.0.2.1:6970".parse().unwrap();
    let error = Error::Refused { peer, source: TrustError::OursUntrusted };
    assert_eq!(
        chain(&error),
        "connection with 192.0.2.1:6970 refused: the peer does not trust our certificate: it is not signed by the peer's \
         certificate authority"
    );
}
