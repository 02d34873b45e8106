//! Revocation lists (`spec/permissions.md#revocation`).
//!
//! Owns reading a file of lists, checking their signatures, and looking up certificates in them. Invariants: a list is used
//! only if one of our authorities signed it; a certificate is named by its issuer and its serial number, both as encoded.
//!
//! Does not decide what a lack of a list or an old list means: that is `anchors`.

use std::{collections::HashSet, path::Path};

use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use x509_parser::{prelude::X509Certificate, revocation_list::CertificateRevocationList};

use super::{
    files::read_bounded,
    info::{common_name, hex, parse_der},
};
use crate::{
    Error,
    error::Unusable,
    limits::{LIST_LEN_MAX, LISTS_MAX},
};

/// What a revocation list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationList {
    /// Common name of the authority that it names as its signer.
    pub issuer: String,
    /// Its number, which only grows; 0 if it has none or one of more than 64 bits.
    pub number: u64,
    /// When it was made, in seconds since 1970.
    pub this_update_s: i64,
    /// When there should be a newer one, in seconds since 1970.
    pub next_update_s: Option<i64>,
    /// What is revoked, in the order of the list.
    pub revoked: Vec<Revoked>,
}

/// One revoked certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revoked {
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// From when on, in seconds since 1970.
    pub at_s: i64,
}

/// A verified list as connections need it.
#[derive(Debug)]
pub(crate) struct SignedList {
    pub(crate) der: CertificateRevocationListDer<'static>,
    pub(crate) info: RevocationList,
    /// The issuer's name as encoded.
    issuer_raw: Vec<u8>,
    serials: HashSet<Vec<u8>>,
}

impl RevocationList {
    /// Reads a file of lists, in PEM or DER form; signatures are not checked.
    ///
    /// # Errors
    /// When the file cannot be read or holds no list.
    pub fn read(path: &Path) -> Result<Vec<Self>, Error> {
        let bytes = read_list_file(path)?;
        Self::parse(&bytes).map_err(|why| Error::Unusable { what: path.display().to_string(), why })
    }

    /// Reads lists in PEM or DER form; signatures are not checked.
    ///
    /// # Errors
    /// When there is no list, or something else.
    pub fn parse(bytes: &[u8]) -> Result<Vec<Self>, Unusable> {
        sections(bytes)?.iter().map(|der| Ok(Self::of(&parse_list(der)?))).collect()
    }

    /// Tells whether the list is older than it should be at `now_s`.
    pub fn is_overdue(&self, now_s: i64) -> bool {
        self.next_update_s.is_some_and(|next_s| next_s < now_s)
    }

    /// Tells whether the list names a serial number in hexadecimal digits.
    pub fn names(&self, serial: &str) -> bool {
        self.revoked.iter().any(|revoked| revoked.serial == serial)
    }

    fn of(list: &CertificateRevocationList<'_>) -> Self {
        let revoked = list
            .iter_revoked_certificates()
            .map(|revoked| Revoked { serial: hex(revoked.raw_serial()), at_s: revoked.revocation_date.timestamp() });
        Self {
            issuer: common_name(list.issuer()),
            number: list.crl_number().and_then(|number| number.try_into().ok()).unwrap_or(0),
            this_update_s: list.last_update().timestamp(),
            next_update_s: list.next_update().map(|time| time.timestamp()),
            revoked: revoked.collect(),
        }
    }
}

impl SignedList {
    /// Reads lists, each of which must be signed by one of the authorities.
    pub(crate) fn parse_all(bytes: &[u8], authorities: &[CertificateDer<'_>]) -> Result<Vec<Self>, Unusable> {
        let authorities = authorities.iter().map(parse_der).collect::<Result<Vec<_>, _>>()?;
        sections(bytes)?.into_iter().map(|der| Self::parse(der, &authorities)).collect()
    }

    fn parse(
        der: CertificateRevocationListDer<'static>,
        authorities: &[X509Certificate<'_>],
    ) -> Result<Self, Unusable> {
        let (info, issuer_raw, serials) = {
            let list = parse_list(&der)?;
            let info = RevocationList::of(&list);
            if !authorities.iter().any(|authority| is_signed_by(&list, authority)) {
                return Err(Unusable::ForeignList { issuer: info.issuer });
            }
            let serials = list.iter_revoked_certificates().map(|revoked| revoked.raw_serial().to_vec()).collect();
            (info, list.issuer().as_raw().to_vec(), serials)
        };
        Ok(Self { der, info, issuer_raw, serials })
    }

    /// Tells whether the list speaks for the issuer of `certificate`.
    pub(crate) fn covers(&self, certificate: &CertificateId) -> bool {
        self.issuer_raw == certificate.issuer_raw
    }

    /// Tells whether the list names `certificate`.
    pub(crate) fn revokes(&self, certificate: &CertificateId) -> bool {
        self.covers(certificate) && self.serials.contains(&certificate.serial)
    }

    /// Tells whether `self` and `other` come from the same authority.
    pub(crate) fn has_issuer_of(&self, other: &Self) -> bool {
        self.issuer_raw == other.issuer_raw
    }
}

/// What a revocation list calls a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateId {
    issuer_raw: Vec<u8>,
    serial: Vec<u8>,
}

impl CertificateId {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Result<Self, Unusable> {
        let certificate = parse_der(certificate)?;
        Ok(Self { issuer_raw: certificate.issuer().as_raw().to_vec(), serial: certificate.raw_serial().to_vec() })
    }
}

/// Reads a file of lists.
pub(crate) fn read_list_file(path: &Path) -> Result<Vec<u8>, Error> {
    read_bounded(path, LIST_LEN_MAX)
}

fn parse_list(der: &[u8]) -> Result<CertificateRevocationList<'_>, Unusable> {
    match x509_parser::parse_x509_crl(der) {
        Ok(([], list)) => Ok(list),
        _ => Err(Unusable::NotAList),
    }
}

/// Splits PEM text; anything that begins like DER is one list.
fn sections(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, Unusable> {
    const SEQUENCE: u8 = 0x30;
    if bytes.first() == Some(&SEQUENCE) {
        return Ok(vec![bytes.to_vec().into()]);
    }
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .take(LISTS_MAX + 1)
        .collect::<Result<_, _>>()
        .map_err(|_| Unusable::NoPem("revocation list"))?;
    match lists.len() {
        0 => Err(Unusable::NoPem("revocation list")),
        count if count > LISTS_MAX => Err(Unusable::TooLong),
        _ => Ok(lists),
    }
}

/// The authority must have the name, the right and the key.
fn is_signed_by(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> bool {
    let may_sign = match authority.key_usage() {
        Ok(usage) => usage.is_none_or(|usage| usage.value.crl_sign()),
        Err(_) => false,
    };
    let key = &authority.public_key().subject_public_key.data;
    // No key and signature are good for two algorithms, so trying all is the same as finding the right one.
    let provider = rustls::crypto::ring::default_provider();
    let is_signed = || {
        provider.signature_verification_algorithms.all.iter().any(|algorithm| {
            algorithm.verify_signature(key, list.tbs_cert_list.as_ref(), &list.signature_value.data).is_ok()
        })
    };
    may_sign && list.issuer().as_raw() == authority.subject().as_raw() && is_signed()
}
