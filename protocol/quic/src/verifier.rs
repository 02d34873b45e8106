//! What TLS asks during a handshake.
//!
//! Owns the verifiers of both sides and the choice of our certificate at a server. Invariant: each handshake is judged by the
//! authorities and lists, and shows the certificate, that are in use when it happens.
//!
//! Does not judge: that is `anchors`.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{
    CredentialsWatch,
    anchors::{Anchors, PeerRole},
};

/// The verifier of one connection of a client, which remembers what it said.
#[derive(Debug)]
pub(crate) struct RememberingVerifier {
    anchors: Arc<Anchors>,
    provider: Arc<CryptoProvider>,
    verdict: Mutex<Option<rustls::Error>>,
}

/// The server's side of every handshake.
#[derive(Debug)]
pub(crate) struct LiveVerifier {
    credentials: CredentialsWatch,
    provider: Arc<CryptoProvider>,
}

impl RememberingVerifier {
    pub(crate) fn new(anchors: Arc<Anchors>, provider: Arc<CryptoProvider>) -> Self {
        Self { anchors, provider, verdict: Mutex::new(None) }
    }

    /// Returns why the certificate was refused, if it was.
    pub(crate) fn verdict(&self) -> Option<rustls::Error> {
        self.verdict.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl LiveVerifier {
    pub(crate) const fn new(credentials: CredentialsWatch, provider: Arc<CryptoProvider>) -> Self {
        Self { credentials, provider }
    }
}

impl ServerCertVerifier for RememberingVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let role = PeerRole::Server(server_name.to_owned());
        match self.anchors.verify(end_entity, intermediates, &role, now) {
            Ok(()) => Ok(ServerCertVerified::assertion()),
            Err(error) => {
                *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
                Err(error)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for LiveVerifier {
    /// Every client has one certificate only; hints would be of no use and tell strangers our authorities.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let credentials = self.credentials.current();
        credentials.anchors().verify(end_entity, intermediates, &PeerRole::Client, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ResolvesServerCert for LiveVerifier {
    fn resolve(&self, _client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.credentials.current().key()))
    }
}
