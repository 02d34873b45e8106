//! What one side shows and whom it believes.
//!
//! Owns `Credentials` and the TLS configurations made of them. Invariants: TLS 1.3 only, both sides always show certificates,
//! the cryptography is *ring*'s whatever the process's default, nothing is resumed and nothing is sent before the handshake.
//!
//! Does not issue certificates (`cert`), verify any (`anchors`), or notice that files changed (`watch`).

use std::{path::Path, sync::Arc};

use dominator_protocol_core::{ALPN, Identity};
use rustls::{client::Resumption, crypto::CryptoProvider, sign::CertifiedKey, version::TLS13};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use crate::{
    CredentialFiles, CredentialsWatch, Error, RevocationPolicy,
    anchors::Anchors,
    cert::{self, RevocationList, SignedList},
    error::Unusable,
    verifier::{LiveVerifier, RememberingVerifier},
};

/// Certificate, key, authorities and revocation lists of one side; cheap to clone.
#[derive(Debug, Clone)]
pub struct Credentials {
    provider: Arc<CryptoProvider>,
    key: Arc<CertifiedKey>,
    identity: Arc<Identity>,
    anchors: Arc<Anchors>,
}

/// What credentials are made of, and what to call it in errors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub(crate) ca: Part<'a, str>,
    pub(crate) cert: Part<'a, str>,
    pub(crate) key: Part<'a, str>,
    pub(crate) lists: Option<Part<'a, [u8]>>,
    pub(crate) policy: RevocationPolicy,
}

/// Content of a file, and its name.
#[derive(Debug)]
pub(crate) struct Part<'a, T: ?Sized>(pub(crate) &'a T, pub(crate) &'a str);

impl Credentials {
    /// Reads the authority's certificate, our certificate and our key; also the authority's revocation list, if there is one
    /// beside its certificate (`ca.crl` beside `ca.pem`).
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or key and certificate do not belong together. An expired
    /// certificate is not an error here: the peer will say so.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, Error> {
        CredentialFiles::new(ca, cert, key).load()
    }

    /// Reads `ca.pem`, `ca.crl` if it is there, `NAME.pem` and `NAME.key` from one directory.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn load_dir(dir: &Path, name: &str) -> Result<Self, Error> {
        CredentialFiles::in_dir(dir, name)?.load()
    }

    /// Makes credentials of PEM texts, without a revocation list.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn from_pem(ca: &str, cert: &str, key: &str) -> Result<Self, Error> {
        Self::from_parts(ca, cert, key, None, RevocationPolicy::BestKnown)
    }

    /// Makes credentials of PEM texts and of revocation lists in PEM or DER form.
    ///
    /// # Errors
    /// Those of `load`.
    pub fn from_parts(
        ca: &str,
        cert: &str,
        key: &str,
        lists: Option<&[u8]>,
        policy: RevocationPolicy,
    ) -> Result<Self, Error> {
        Self::build(Parts {
            ca: Part(ca, "the authority's certificate"),
            cert: Part(cert, "the certificate"),
            key: Part(key, "the key"),
            lists: lists.map(|lists| Part(lists, "the revocation list")),
            policy,
        })
    }

    /// Returns who we are.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the revocation lists in use.
    pub fn revocation_lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.anchors.lists()
    }

    pub(crate) const fn key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    pub(crate) const fn anchors(&self) -> &Arc<Anchors> {
        &self.anchors
    }

    pub(crate) fn build(parts: Parts<'_>) -> Result<Self, Error> {
        let unusable = |what: &str, why| Error::Unusable { what: what.to_owned(), why };
        let certificates = |Part(pem, what): Part<'_, str>| {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|_| unusable(what, Unusable::NoPem("certificate")))?;
            if chain.is_empty() { Err(unusable(what, Unusable::NoPem("certificate"))) } else { Ok(chain) }
        };

        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authorities = certificates(parts.ca)?;
        let lists = match parts.lists {
            None => Vec::new(),
            Some(Part(lists, what)) => SignedList::parse_all(lists, &authorities).map_err(|why| unusable(what, why))?,
        };
        let blamed = |why: &Unusable| match (why, parts.lists) {
            (Unusable::TwoLists { .. }, Some(Part(_, what))) => what,
            _ => parts.ca.1,
        };
        let anchors = Anchors::new(authorities.into(), lists, parts.policy, Arc::clone(&provider))
            .map_err(|why| unusable(blamed(&why), why))?;
        let chain = certificates(parts.cert)?;
        let leaf = chain.first().ok_or_else(|| unusable(parts.cert.1, Unusable::NoPem("certificate")))?;
        let identity = cert::read_identity(leaf).map_err(|why| unusable(parts.cert.1, why))?;
        let Part(key, key_name) = parts.key;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| unusable(key_name, Unusable::NoPem("private key")))?;
        let key = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => unusable(key_name, Unusable::WrongKey),
            error => unusable(key_name, Unusable::Tls(error.to_string())),
        })?;
        Ok(Self { provider, key: Arc::new(key), identity: Arc::new(identity), anchors: Arc::new(anchors) })
    }

    /// Makes the TLS side of a server, which always uses what `watch` has at the moment.
    pub(crate) fn server_config(watch: &CredentialsWatch) -> Result<quinn::crypto::rustls::QuicServerConfig, Error> {
        let provider = watch.current().provider;
        let live = Arc::new(LiveVerifier::new(watch.clone(), Arc::clone(&provider)));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable_tls(&error))?
            .with_client_cert_verifier(Arc::<LiveVerifier>::clone(&live))
            .with_cert_resolver(live);
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.send_tls13_tickets = 0;
        config.max_early_data_size = 0;
        quinn::crypto::rustls::QuicServerConfig::try_from(config).map_err(|error| unusable_tls(&error))
    }

    /// Makes the TLS side of one connection of a client, and the verifier that will know why it failed.
    pub(crate) fn client_config(
        &self,
    ) -> Result<(quinn::crypto::rustls::QuicClientConfig, Arc<RememberingVerifier>), Error> {
        let verifier = Arc::new(RememberingVerifier::new(Arc::clone(&self.anchors), Arc::clone(&self.provider)));
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(|error| unusable_tls(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::<RememberingVerifier>::clone(&verifier))
            .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(Arc::clone(&self.key))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        config.enable_early_data = false;
        let config = quinn::crypto::rustls::QuicClientConfig::try_from(config).map_err(|error| unusable_tls(&error))?;
        Ok((config, verifier))
    }
}

impl<T: ?Sized> Clone for Part<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Part<'_, T> {}

fn unusable_tls(error: &dyn std::fmt::Display) -> Error {
    Error::Unusable { what: "the credentials".into(), why: Unusable::Tls(error.to_string()) }
}
