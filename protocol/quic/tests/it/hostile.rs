//! Peers with valid certificates who do not keep to the protocol.

use std::sync::{Arc, atomic::Ordering};

use dominator_protocol_core::{
    ALPN, CallFailure, ErrorCode, Frame, FrameDecoder, FrameRule, FrameTag, Method, Payload, Poll, Request, Unchanged,
    encode_frame,
};
use dominator_protocol_quic::{Client, Error, Server, Settings, cert::Issued};
use rustls::{RootCertStore, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, connect, soon};

fn roots(fleet: &Fleet) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(fleet.authority.cert_pem().as_bytes()).unwrap()).unwrap();
    roots
}

fn chain_and_key(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let cert = CertificateDer::from_pem_slice(issued.cert_pem.as_bytes()).unwrap();
    (vec![cert], PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Connects without our client, with or without a certificate.
pub(crate) async fn connect_raw(
    server: &Server,
    fleet: &Fleet,
    issued: Option<&Issued>,
    alpn: &[u8],
) -> Result<quinn::Connection, quinn::ConnectionError> {
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(roots(fleet));
    let mut config = match issued.map(chain_and_key) {
        Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
        None => config.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::client(any_port()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    endpoint.connect_with(config, server.local_addr().unwrap(), SERVER_NAME).unwrap().await
}

/// Sends bytes on a stream of its own and returns the failure that the server answers.
async fn say(connection: &quinn::Connection, bytes: &[u8]) -> CallFailure {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    // The server may stop reading in the middle.
    let _ = send.write_all(bytes).await;
    let _ = send.finish();
    let answer = soon(recv.read_to_end(1 << 20)).await.unwrap();
    let mut decoder = FrameDecoder::new(FrameRule::Messages);
    let Frame { tag, payload } = decoder.decode(&mut answer.as_slice()).unwrap().unwrap();
    assert_eq!(tag, FrameTag::CallFailure);
    CallFailure::decode(&payload).unwrap()
}

fn frame(tag: FrameTag, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(tag, payload, &mut bytes).unwrap();
    bytes
}

fn request(method: Method) -> Vec<u8> {
    frame(FrameTag::Request, &Request { method, deadline_ms: None, rate_bytes_per_s: None }.encode())
}

#[tokio::test]
async fn garbage_fails_its_own_call_and_nothing_else() {
    let fleet = Fleet::new();
    let echo = Arc::new(Echo::default());
    let server = fleet.serve(Arc::clone(&echo));
    let issued = fleet.authority.issue(&Fleet::request("hostile", ALL)).unwrap();
    let connection = connect_raw(&server, &fleet, Some(&issued), ALPN).await.unwrap();

    let check = async |what: &str, bytes: &[u8], code| {
        assert_eq!(say(&connection, bytes).await.code, code, "{what}");
    };
    check("nothing at all", &[], ErrorCode::BadRequest).await;
    check("noise", &[0xa5; 4000], ErrorCode::BadRequest).await;
    check("half a header", &[1, 0], ErrorCode::BadRequest).await;
    check("another frame first", &frame(FrameTag::Poll, &[0xa0]), ErrorCode::BadRequest).await;
    check("an unknown method", &frame(FrameTag::Request, &[0xa1, 1, 0x18, 200]), ErrorCode::BadRequest).await;
    check("a request that is not canonical", &frame(FrameTag::Request, &[0xa1, 1, 0x18, 12]), ErrorCode::BadRequest)
        .await;
    check("a frame of 4 GiB", &[0xff, 0xff, 0xff, 0xff, 1], ErrorCode::TooLarge).await;
    assert_eq!(echo.call_count.load(Ordering::Relaxed), 0, "none of these is a call");

    let long_record = [0, 0, 0x80, 0, FrameTag::Object.tag()];
    let polled = [request(Method::MachinePoll), long_record.to_vec()].concat();
    check("a long record where none is due", &polled, ErrorCode::TooLarge).await;
    let publish = [request(Method::ImagePublish), frame(FrameTag::Offer, &[0xff])].concat();
    check("a broken offer", &publish, ErrorCode::BadRequest).await;
    let cut = [request(Method::ImagePublish), vec![200, 0, 0, 0, FrameTag::Object.tag(), 1, 2, 3]].concat();
    check("a record cut short", &cut, ErrorCode::BadRequest).await;

    let honest = connect(&server, &fleet.credentials("client", ALL)).await.unwrap();
    let _: Unchanged = soon(honest.ask(Method::MachinePoll, &Poll { known: None })).await.unwrap();
}

#[tokio::test]
async fn streams_that_never_speak_hold_up_no_other_call() {
    let fleet = Fleet::new();
    let server = fleet.serve(Arc::new(Echo::default()));
    let issued = fleet.authority.issue(&Fleet::request("hostile", ALL)).unwrap();
    let connection = connect_raw(&server, &fleet, Some(&issued), ALPN).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..63 {
        let (mut send, recv) = soon(connection.open_bi()).await.unwrap();
        send.write_all(&[5]).await.unwrap();
        silent.push((send, recv));
    }
    let failure = say(&connection, &[0xa5; 100]).await;
    assert_eq!(failure.code, ErrorCode::BadRequest);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(200), connection.open_uni()).await.is_err());
}

/// A server that answers every call with the same bytes.
async fn answer_with(fleet: &Fleet, answer: &'static [u8]) -> Error {
    let (chain, key) = chain_and_key(&fleet.authority.issue(&Fleet::request("server", &[])).unwrap());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots(fleet)), provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    let config = quinn::crypto::rustls::QuicServerConfig::try_from(config).unwrap();
    let endpoint = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(config)), any_port()).unwrap();
    let address = endpoint.local_addr().unwrap();
    tokio::spawn(async move {
        let connection = endpoint.accept().await.unwrap().await.unwrap();
        while let Ok((mut send, _recv)) = connection.accept_bi().await {
            send.write_all(answer).await.unwrap();
            send.finish().unwrap();
        }
    });
    let client = Client::bind(any_port(), &fleet.credentials("client", ALL), Settings::default()).unwrap();
    let connection = soon(client.connect(address, SERVER_NAME)).await.unwrap();
    soon(connection.ask_message(Method::MachinePoll, &Poll { known: None })).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_breaks_the_protocol_is_an_error() {
    let fleet = Fleet::new();
    let protocol = |error: &Error| matches!(error, Error::Protocol(_));
    let error = answer_with(&fleet, &[0xa5; 50]).await;
    assert!(protocol(&error), "{error}");
    let error = answer_with(&fleet, &[0xff, 0xff, 0xff, 0xff, 0x31]).await;
    assert!(protocol(&error), "{error}");
    let error = answer_with(&fleet, &[1, 0, 0, 0, 0x32, 0xa0]).await;
    assert!(protocol(&error), "{error}");
    let error = answer_with(&fleet, b"").await;
    assert!(matches!(error, Error::Truncated), "{error}");
    let unchanged_without_end = &[3, 0, 0, 0, 0x32, 0xa1, 1, 1];
    let error = answer_with(&fleet, unchanged_without_end).await;
    assert!(matches!(error, Error::Truncated), "{error}");
    let two_answers = &[3, 0, 0, 0, 0x32, 0xa1, 1, 1, 3, 0, 0, 0, 0x32, 0xa1, 1, 1];
    let error = answer_with(&fleet, two_answers).await;
    assert!(protocol(&error), "{error}");
}
