//! Revoking what an authority issued.
//!
//! Owns writing `ca.crl`. Invariants: a list holds everything that its predecessor held; its number is greater, even if the
//! predecessor was lost; it is replaced whole; two processes that revoke at once lose neither's word.
//!
//! Does not carry the list to the machines, and does not read it for connections (`list`).

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::{
    Authority, CertificateInfo, Replace, RevocationList, SignedList,
    authority::refused,
    check_name,
    files::{PUBLIC_MODE, lock_authority, write_file},
    issues, read_list_file,
};
use crate::{Error, error::Unusable};

/// What should no longer be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revoke {
    /// All certificates of a holder that are in the register, and `NAME.pem`.
    Name(String),
    /// The certificate with this serial number, in hexadecimal digits; colons are ignored.
    Serial(String),
}

impl Authority {
    /// Writes a new `ca.crl` into the authority's directory: the old one's entries, these, and a date by which there should
    /// be a newer one.
    ///
    /// With nothing to revoke, the list is only given a new number and new dates.
    ///
    /// # Errors
    /// When nothing was ever issued to a name, when the old list is not ours or cannot be read, or when the new one cannot
    /// be written.
    pub fn revoke(&self, dir: &Path, what: &[Revoke], next_update: Duration) -> Result<RevocationList, Error> {
        let path = dir.join("ca.crl");
        // Held to the end: reading the old list and writing the new one are one step.
        let _lock = lock_authority(dir)?;
        let now = SystemTime::now();
        let now_ms = u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
        let old = self.own_list(&path)?;
        let mut revoked: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for entry in old.iter().flat_map(|old| &old.revoked) {
            revoked.insert(serial_bytes(&entry.serial)?, entry.at_s);
        }
        for what in what {
            for serial in serials(dir, what)? {
                revoked.entry(serial_bytes(&serial)?).or_insert(now_s);
            }
        }
        // Milliseconds since 1970 are above every earlier number, even if the earlier list is lost.
        let number = old.as_ref().map_or(0, |old| old.number.saturating_add(1)).max(now_ms);
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + next_update).into(),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .into_iter()
                .map(|(serial, at_s)| RevokedCertParams {
                    serial_number: SerialNumber::from(serial),
                    revocation_time: (UNIX_EPOCH + Duration::from_secs(at_s.unsigned_abs())).into(),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let pem = params.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(|error| refused(&error))?;
        let unusable = |why| Error::Unusable { what: "the new revocation list".into(), why };
        // Nobody else should be the first to find out that it cannot be read.
        let written = self.parse_own(pem.as_bytes()).map_err(unusable)?;
        write_file(&path, pem.as_bytes(), PUBLIC_MODE, Replace::Yes)?;
        written.ok_or_else(|| unusable(Unusable::NotAList))
    }

    fn own_list(&self, path: &Path) -> Result<Option<RevocationList>, Error> {
        match read_list_file(path) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => self.parse_own(&bytes?).map_err(|why| Error::Unusable { what: path.display().to_string(), why }),
        }
    }

    fn parse_own(&self, bytes: &[u8]) -> Result<Option<RevocationList>, Unusable> {
        let own =
            CertificateDer::from_pem_slice(self.cert_pem.as_bytes()).map_err(|_| Unusable::NoPem("certificate"))?;
        Ok(SignedList::parse_all(bytes, &[own])?.into_iter().next().map(|list| list.info))
    }
}

fn serials(dir: &Path, what: &Revoke) -> Result<Vec<String>, Error> {
    let name = match what {
        Revoke::Serial(serial) => return Ok(vec![serial.replace(':', "").to_ascii_lowercase()]),
        Revoke::Name(name) => name,
    };
    check_name(name)?;
    let mut serials: Vec<String> =
        issues(dir)?.into_iter().filter(|issue| issue.name == *name).map(|issue| issue.serial).collect();
    match CertificateInfo::read(&dir.join(format!("{name}.pem"))) {
        Ok(info) => serials.push(info.serial),
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if serials.is_empty() {
        return Err(Error::Unusable { what: name.clone(), why: Unusable::NeverIssued });
    }
    Ok(serials)
}

fn serial_bytes(serial: &str) -> Result<Vec<u8>, Error> {
    let bad = || {
        let why = Unusable::BadSerial(serial.chars().take(80).collect());
        Error::Unusable { what: "the serial number".into(), why }
    };
    let digits: Option<Vec<u8>> =
        serial.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| !digits.is_empty()).ok_or_else(bad)?;
    let mut bytes: Vec<u8> =
        digits.rchunks(2).rev().map(|pair| pair.iter().fold(0, |sum, digit| sum << 4 | digit)).collect();
    // Encoded numbers have no more leading zeros than they need, and the encoder adds that one itself.
    while bytes.len() > 1 && bytes.first() == Some(&0) {
        bytes.remove(0);
    }
    if bytes.len() > 20 { Err(bad()) } else { Ok(bytes) }
}
