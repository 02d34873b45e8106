//! Whom one side believes (`spec/permissions.md#revocation`).
//!
//! Owns the authorities, their revocation lists, and the judgement of open connections. Invariants: what a new handshake
//! would refuse, ends an open connection; a list that one of the authorities did not sign is never used; verification itself is
//! rustls' webpki verifier, unchanged.
//!
//! Does not read files (`watch`) and does not close connections (`peer`).

use std::sync::Arc;

use rustls::{
    CertificateError, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    server::{ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::{
    TrustError,
    cert::{CertificateId, RevocationList, SignedList},
    error::Unusable,
};

/// What a lack of a revocation list means, and an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RevocationPolicy {
    /// No list revokes nothing; a list that is overdue still revokes what it names. A fleet whose operators forget the list
    /// keeps working.
    #[default]
    BestKnown,
    /// Every authority needs a list that is not overdue, or else nobody whom it vouches for is believed. An attacker who
    /// keeps new lists away stops the fleet instead of keeping a stolen key alive.
    Fresh,
}

/// What the peer is in a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PeerRole {
    /// It called us.
    Client,
    /// We called it by this name.
    Server(ServerName<'static>),
}

/// The certificates of authorities, in the order of their file.
pub(crate) type Authorities = Arc<[CertificateDer<'static>]>;

/// Authorities, their lists, and verifiers made of both.
#[derive(Debug)]
pub(crate) struct Anchors {
    authorities: Authorities,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    lists: Vec<SignedList>,
    policy: RevocationPolicy,
    server_verifier: Arc<WebPkiServerVerifier>,
    client_verifier: Arc<dyn ClientCertVerifier>,
}

impl Anchors {
    /// Makes verifiers of authorities and their lists.
    pub(crate) fn new(
        authorities: Authorities,
        lists: Vec<SignedList>,
        policy: RevocationPolicy,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, Unusable> {
        for (pos, list) in lists.iter().enumerate() {
            // Handshakes would use one of them, and nobody could say which.
            if lists.iter().take(pos).any(|other| other.has_issuer_of(list)) {
                return Err(Unusable::TwoLists { issuer: list.info.issuer.clone() });
            }
        }
        let tls = |error: &dyn std::fmt::Display| Unusable::Tls(error.to_string());
        let mut roots = RootCertStore::empty();
        for authority in &*authorities {
            roots.add(authority.clone()).map_err(|error| tls(&error))?;
        }
        let roots = Arc::new(roots);
        let ders: Vec<_> = lists.iter().map(|list| list.der.clone()).collect();
        let mut server = WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let mut client = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        // Without any list the TLS library checks nothing: `check_lists` keeps `Fresh` then.
        (server, client) = (server.with_crls(ders.clone()), client.with_crls(ders));
        (server, client) = match policy {
            RevocationPolicy::BestKnown => {
                (server.allow_unknown_revocation_status(), client.allow_unknown_revocation_status())
            }
            RevocationPolicy::Fresh => (server.enforce_revocation_expiration(), client.enforce_revocation_expiration()),
        };
        Ok(Self {
            server_verifier: server.build().map_err(|error| tls(&error))?,
            client_verifier: client.build().map_err(|error| tls(&error))?,
            authorities,
            roots,
            provider,
            lists,
            policy,
        })
    }

    /// Returns what the lists say.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.lists.iter().map(|list| &list.info)
    }

    /// Returns the authorities.
    pub(crate) const fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// Verifies the certificate of a peer as a handshake does.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        role: &PeerRole,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match role {
            PeerRole::Client => self.client_verifier.verify_client_cert(leaf, intermediates, now).map(|_| ())?,
            PeerRole::Server(name) => {
                self.server_verifier.verify_server_cert(leaf, intermediates, name, &[], now).map(|_| ())?;
            }
        }
        let id = CertificateId::of(leaf).map_err(|_| CertificateError::BadEncoding)?;
        self.check_lists(&[id], now).map_err(|error| match error {
            TrustError::PeerListOverdue => CertificateError::ExpiredRevocationList,
            _ => CertificateError::UnknownRevocationStatus,
        })?;
        Ok(())
    }

    /// Judges the peer of an open connection, whose handshake was judged under the authorities `before`.
    pub(crate) fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        ids: &[CertificateId],
        role: &PeerRole,
        before: &Authorities,
        now: UnixTime,
    ) -> Result<(), TrustError> {
        if ids.iter().any(|id| self.lists.iter().any(|list| list.revokes(id))) {
            return Err(TrustError::PeerRevoked);
        }
        self.check_lists(ids, now)?;
        // Signatures do not change, so the costly part is done only when there are other authorities.
        if self.authorities == *before {
            return Ok(());
        }
        let Some((leaf, intermediates)) = chain.split_first() else { return Err(TrustError::PeerUntrusted) };
        let expected = match role {
            PeerRole::Client => "".into(),
            PeerRole::Server(name) => name.to_str(),
        };
        self.verify(leaf, intermediates, role, now).map_err(|verdict| TrustError::from_verdict(&verdict, &expected))
    }

    /// Under `Fresh`, checks that the issuers of these certificates have lists that are not overdue.
    fn check_lists(&self, ids: &[CertificateId], now: UnixTime) -> Result<(), TrustError> {
        if self.policy == RevocationPolicy::BestKnown {
            return Ok(());
        }
        let now_s = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for id in ids {
            match self.lists.iter().find(|list| list.covers(id)) {
                None => return Err(TrustError::PeerListMissing),
                Some(list) if list.info.is_overdue(now_s) => return Err(TrustError::PeerListOverdue),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Checks that the lists of the authorities that stay are still there and no older than those of `used`.
    pub(crate) fn check_succession(&self, used: &Self) -> Result<(), Unusable> {
        for old in &used.lists {
            let issuer = old.info.issuer.clone();
            match self.lists.iter().find(|new| new.has_issuer_of(old)) {
                Some(new) if new.info.number < old.info.number => {
                    return Err(Unusable::OldList { issuer, found: new.info.number, used: old.info.number });
                }
                Some(_) => {}
                // Who is no longer an authority needs no list.
                None if self.authorities == used.authorities => return Err(Unusable::ListGone { issuer }),
                None => {}
            }
        }
        Ok(())
    }

    /// Checks that a certificate of our own is one that holders of the same authorities would believe, revoked or not.
    pub(crate) fn check_own(&self, chain: &[CertificateDer<'_>]) -> Result<(), Unusable> {
        let unbelieved = |error: &dyn std::fmt::Display| Unusable::Unbelieved(error.to_string());
        let (leaf, intermediates) = chain.split_first().ok_or(Unusable::NoPem("certificate"))?;
        let now = UnixTime::now();
        let client = WebPkiClientVerifier::builder_with_provider(Arc::clone(&self.roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| unbelieved(&error))?;
        let as_client = client.verify_client_cert(leaf, intermediates, now).map(|_| ());
        as_client.or_else(|as_client| {
            let leaf = ParsedCertificate::try_from(leaf).map_err(|error| unbelieved(&error))?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            rustls::client::verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &self.roots,
                intermediates,
                now,
                algorithms,
            )
            .map_err(|_| unbelieved(&as_client))
        })
    }
}
