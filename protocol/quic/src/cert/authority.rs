//! The certificate authority of a fleet.
//!
//! Owns making authorities and issuing and renewing certificates. Invariants: only Ed25519; a leaf can sign nothing; key usage
//! says server, client or both, as asked; a permission that matches no method is never issued.
//!
//! Does not keep a register of what was issued (`register`) and does not revoke (`revoke`).

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use dominator_protocol_core::{Grant, Permission};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, SanType,
};

use super::{
    CertificateInfo, GRANT_OID, NAME_SCHEME, Replace, check_name,
    files::{PUBLIC_MODE, SECRET_MODE, read_pem_file, write_file},
    register,
};
use crate::{Error, error::Unusable};

/// Clocks of the fleet may differ by so much when a certificate is new.
const CLOCK_SKEW: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// From when until when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: SystemTime,
    /// Last moment.
    pub not_after: SystemTime,
}

/// A certificate authority with its key.
pub struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    pub(super) cert_pem: String,
}

/// What a certificate should say.
#[derive(Debug, Clone)]
pub struct IssueRequest {
    /// Name of the holder; also the beginning of the file names.
    pub name: String,
    /// DNS names under which a server is called.
    pub dns_names: Vec<String>,
    /// Addresses under which a server is called.
    pub addresses: Vec<IpAddr>,
    /// What the holder may call.
    pub permissions: Vec<Permission>,
    /// Groups that the holder belongs to.
    pub groups: Vec<String>,
    /// From when until when.
    pub validity: Validity,
    /// The holder answers connections.
    pub server: bool,
    /// The holder opens connections.
    pub client: bool,
}

/// A new certificate and its key, in PEM form.
#[derive(Clone)]
pub struct Issued {
    /// Name of the holder.
    pub name: String,
    /// The certificate.
    pub cert_pem: String,
    /// The private key.
    pub key_pem: String,
}

impl Validity {
    /// From a little before now, for so many days.
    pub fn days(count: u32) -> Self {
        let now = SystemTime::now();
        Self { not_before: now - CLOCK_SKEW, not_after: now + DAY * count }
    }

    /// Exactly from `not_before` until `not_after`.
    pub const fn between(not_before: SystemTime, not_after: SystemTime) -> Self {
        Self { not_before, not_after }
    }
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    /// When the name has characters that names may not have.
    pub fn create(name: &str, validity: Validity) -> Result<Self, Error> {
        check_name(name)?;
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (validity.not_before.into(), validity.not_after.into());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("dominator authority {name}"));
        // Leaves are signed directly: a chain of authorities would only be more to steal.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = new_key()?;
        let cert_pem = params.self_signed(&key).map_err(|error| refused(&error))?.pem();
        Ok(Self { issuer: Issuer::new(params, key), cert_pem })
    }

    /// Reads `ca.pem` and `ca.key` from a directory.
    ///
    /// # Errors
    /// When a file cannot be read, is not what it should be, or key and certificate do not belong together.
    pub fn load(dir: &Path) -> Result<Self, Error> {
        let (cert_path, key_path) = (dir.join("ca.pem"), dir.join("ca.key"));
        let (cert_pem, key_pem) = (read_pem_file(&cert_path)?, read_pem_file(&key_path)?);
        let unusable = |path: &Path, why| Error::Unusable { what: path.display().to_string(), why };
        let info = CertificateInfo::parse(&cert_pem).map_err(|why| unusable(&cert_path, why))?;
        if !info.is_authority {
            return Err(unusable(&cert_path, Unusable::NotAnAuthority));
        }
        let key = KeyPair::from_pem(&key_pem).map_err(|_| unusable(&key_path, Unusable::NoPem("private key")))?;
        if info.public_key != key.public_key_raw() {
            return Err(unusable(&key_path, Unusable::WrongKey));
        }
        let issuer = Issuer::from_ca_cert_pem(&cert_pem, key)
            .map_err(|error| unusable(&cert_path, Unusable::Tls(error.to_string())))?;
        Ok(Self { issuer, cert_pem })
    }

    /// Writes `ca.pem` and `ca.key` into a directory.
    ///
    /// # Errors
    /// When the files exist or cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        let key_pem = self.issuer.key().serialize_pem();
        write_file(&dir.join("ca.key"), key_pem.as_bytes(), SECRET_MODE, Replace::No)?;
        write_file(&dir.join("ca.pem"), self.cert_pem.as_bytes(), PUBLIC_MODE, Replace::No)
    }

    /// Returns the certificate of the authority.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// Issues a certificate with a new key.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate, or a permission matches no method.
    pub fn issue(&self, request: &IssueRequest) -> Result<Issued, Error> {
        check_name(&request.name)?;
        let unusable = |why| Error::Unusable { what: format!("the certificate of {}", request.name), why };
        if let Some(permission) = request.permissions.iter().find(|permission| !permission.is_known()) {
            return Err(unusable(Unusable::UnknownPermission(permission.to_string())));
        }
        let grant = Grant::new(request.permissions.clone(), request.groups.clone());
        let encoded = grant.encode();
        // What we issue, every reader must be able to read: this checks all limits.
        Grant::decode(&encoded).map_err(|error| unusable(Unusable::BadGrant(error)))?;

        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (request.validity.not_before.into(), request.validity.not_after.into());
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, request.name.clone());
        for name in &request.dns_names {
            let bad = || unusable(Unusable::BadDnsName(name.clone()));
            rustls_pki_types::DnsName::try_from(name.as_str()).map_err(|_| bad())?;
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(|_| bad())?));
        }
        params.subject_alt_names.extend(request.addresses.iter().copied().map(SanType::IpAddress));
        let uri = format!("{NAME_SCHEME}{}", request.name);
        params.subject_alt_names.push(SanType::URI(uri.try_into().map_err(|error| refused(&error))?));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if request.server {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if request.client {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.custom_extensions.push(CustomExtension::from_oid_content(&GRANT_OID, encoded));
        let key = new_key()?;
        let cert = params.signed_by(&key, &self.issuer).map_err(|error| refused(&error))?;
        Ok(Issued { name: request.name.clone(), cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }

    /// Issues a certificate, enters it into the register of the authority in `dir`, and writes both files there.
    ///
    /// What is not in the register can be revoked by its serial number only, not by its holder's name.
    ///
    /// # Errors
    /// Those of `issue` and of `Issued::save`; also when the register cannot be written.
    pub fn issue_into(&self, dir: &Path, request: &IssueRequest, replace: Replace) -> Result<Issued, Error> {
        let issued = self.issue(request)?;
        issued.check_replace(dir, replace)?;
        // The register comes first: no certificate may be in use that it does not know.
        register::enter(dir, &issued.cert_pem)?;
        issued.save(dir, replace)?;
        Ok(issued)
    }

    /// Issues what `NAME.pem` in a directory says once more, with a new key and validity, and replaces both files.
    ///
    /// Both certificates are in the authority's register afterwards; the old one stays good until it ends or is revoked.
    ///
    /// # Errors
    /// When the old certificate cannot be read, or the new files cannot be written.
    pub fn renew(&self, dir: &Path, name: &str, validity: Validity) -> Result<Issued, Error> {
        check_name(name)?;
        let old_pem = read_pem_file(&dir.join(format!("{name}.pem")))?;
        let info = CertificateInfo::read(&dir.join(format!("{name}.pem")))?;
        register::enter(dir, &old_pem)?;
        let request = IssueRequest {
            name: info.name,
            dns_names: info.dns_names,
            addresses: info.addresses,
            permissions: info.grant.permissions,
            groups: info.grant.groups,
            validity,
            server: info.server,
            client: info.client,
        };
        self.issue_into(dir, &request, Replace::Yes)
    }
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key` into a directory.
    ///
    /// # Errors
    /// When the files cannot be written, or exist and may not be replaced.
    pub fn save(&self, dir: &Path, replace: Replace) -> Result<(), Error> {
        let (cert_path, key_path) = (dir.join(format!("{}.pem", self.name)), dir.join(format!("{}.key", self.name)));
        write_file(&key_path, self.key_pem.as_bytes(), SECRET_MODE, replace)?;
        write_file(&cert_path, self.cert_pem.as_bytes(), PUBLIC_MODE, replace)
    }

    fn check_replace(&self, dir: &Path, replace: Replace) -> Result<(), Error> {
        let paths = [dir.join(format!("{}.pem", self.name)), dir.join(format!("{}.key", self.name))];
        match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
            Some(path) if replace == Replace::No => Err(Error::Exists { path }),
            _ => Ok(()),
        }
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Keys stay out of logs.
impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ED25519).map_err(|error| refused(&error))
}

pub(super) fn refused(error: &rcgen::Error) -> Error {
    Error::Unusable { what: "the certificate".into(), why: Unusable::Tls(error.to_string()) }
}
