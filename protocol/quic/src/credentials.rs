//! What one side shows and whom it believes.
//!
//! Owns `Credentials` and the TLS configurations made of them. Invariants: TLS 1.3 only, both sides always show certificates,
//! the cryptography is *ring*'s whatever the process's default, nothing is resumed and nothing is sent before the handshake.
//!
//! Does not issue certificates: that is `cert`.

use std::{path::Path, sync::Arc};

use dominator_protocol_core::{ALPN, Identity};
use rustls::{
    RootCertStore,
    client::{Resumption, WebPkiServerVerifier},
    crypto::CryptoProvider,
    server::WebPkiClientVerifier,
    sign::CertifiedKey,
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    Error,
    cert::{self, read_pem_file},
    error::Unusable,
    trust::RememberingVerifier,
};

/// Certificate, key and authority of one side; cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    identity: Arc<Identity>,
    server_verifier: Arc<WebPkiServerVerifier>,
}

impl Credentials {
    /// Reads the authority's certificate, our certificate and our key.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or key and certificate do not belong together. An expired
    /// certificate is not an error here: the peer will say so.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Error> {
        let (ca_pem, cert_pem, key_pem) = (read_pem_file(ca)?, read_pem_file(cert)?, read_pem_file(key)?);
        let names = [ca, cert, key].map(|path| path.display().to_string());
        Self::build([&ca_pem, &cert_pem, &key_pem], [&names[0], &names[1], &names[2]])
    }

    /// Reads `ca.pem`, `NAME.pem` and `NAME.key` from one directory.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn load_dir(dir: &Path, name: &str) -> Result<Self, Error> {
        cert::check_name(name)?;
        Self::load(&dir.join("ca.pem"), &dir.join(format!("{name}.pem")), &dir.join(format!("{name}.key")))
    }

    /// Makes credentials of PEM texts.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn from_pem(ca: &str, cert: &str, key: &str) -> Result<Self, Error> {
        Self::build([ca, cert, key], ["the authority's certificate", "the certificate", "the key"])
    }

    /// Returns who we are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    fn build([ca, cert, key]: [&str; 3], [ca_name, cert_name, key_name]: [&str; 3]) -> Result<Self, Error> {
        let unusable = |what: &str, why| Error::Unusable { what: what.to_owned(), why };
        let certificates = |pem: &str, what: &str| {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| unusable(what, Unusable::NoPem("certificate")))?;
            if chain.is_empty() { Err(unusable(what, Unusable::NoPem("certificate"))) } else { Ok(chain) }
        };
        let tls = |what: &str, error: &rustls::Error| unusable(what, Unusable::Tls(error.to_string()));

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca, ca_name)? {
            roots.add(certificate).map_err(|error| tls(ca_name, &error))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(cert, cert_name)?;
        let leaf = chain.first().ok_or_else(|| unusable(cert_name, Unusable::NoPem("certificate")))?;
        let identity = cert::read_identity(leaf).map_err(|why| unusable(cert_name, why))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| unusable(key_name, Unusable::NoPem("private key")))?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => unusable(key_name, Unusable::WrongKey),
            error => tls(key_name, &error),
        })?;
        let server_verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|error| unusable(ca_name, Unusable::Tls(error.to_string())))?;
        Ok(Self { roots, provider, key: Arc::new(key), identity: Arc::new(identity), server_verifier })
    }

    /// Makes the TLS side of a server.
    pub(crate) fn server_config(&self) -> Result<quinn::crypto::rustls::QuicServerConfig, Error> {
        let unusable = |why: String| Error::Unusable { what: "the credentials".into(), why: Unusable::Tls(why) };
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| unusable(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        quinn::crypto::rustls::QuicServerConfig::try_from(config).map_err(|error| unusable(error.to_string()))
    }

    /// Makes the TLS side of one connection of a client, and the verifier that will know why it failed.
    pub(crate) fn client_config(
        &self,
    ) -> Result<(quinn::crypto::rustls::QuicClientConfig, Arc<RememberingVerifier>), Error> {
        let unusable = |why: String| Error::Unusable { what: "the credentials".into(), why: Unusable::Tls(why) };
        let verifier = Arc::new(RememberingVerifier::new(Arc::clone(&self.server_verifier)));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<RememberingVerifier>::clone(&verifier))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        let config =
            quinn::crypto::rustls::QuicClientConfig::try_from(config).map_err(|error| unusable(error.to_string()))?;
        Ok((config, verifier))
    }
}
