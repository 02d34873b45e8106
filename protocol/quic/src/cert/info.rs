//! What a certificate says.
//!
//! Owns parsing certificates into plain fields. Invariant: reading an identity needs exactly one `dominator://NAME` and a grant
//! that is absent or canonical; anything else is an error, never a guess.
//!
//! Does not verify signatures or dates.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use dominator_protocol_core::{Grant, Identity};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::X509Certificate};

use super::{GRANT_OID, NAME_SCHEME, is_name, read_pem_file};
use crate::{Error, error::Unusable};

/// The fields of a certificate that matter here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Name of the holder; of an authority, its common name.
    pub name: String,
    /// Common name of whoever signed it.
    pub issuer: String,
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// First moment, in seconds since 1970.
    pub not_before_s: i64,
    /// Last moment, in seconds since 1970.
    pub not_after_s: i64,
    /// DNS names of a server.
    pub dns_names: Vec<String>,
    /// Addresses of a server.
    pub addresses: Vec<IpAddr>,
    /// What the holder may call, and its groups.
    pub grant: Grant,
    /// The holder may answer connections.
    pub server: bool,
    /// The holder may open connections.
    pub client: bool,
    /// The holder may sign certificates.
    pub is_authority: bool,
    /// The public key, raw.
    pub public_key: Vec<u8>,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate that we can use.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let pem = read_pem_file(path)?;
        Self::parse(&pem).map_err(|why| Error::Unusable { what: path.display().to_string(), why })
    }

    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// When it holds no certificate that we can use.
    pub fn parse(pem: &str) -> Result<Self, Unusable> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| Unusable::NoPem("certificate"))?;
        let cert = parse_der(&der)?;
        let is_authority = cert.is_ca();
        let name = match holder(&cert) {
            Err(Unusable::NoName) if is_authority => common_name(cert.subject()),
            name => name?,
        };
        let usage = cert.extended_key_usage().map_err(|_| Unusable::NotACertificate)?;
        let (mut dns_names, mut addresses) = (Vec::new(), Vec::new());
        for general_name in general_names(&cert)? {
            match general_name {
                GeneralName::DNSName(name) => dns_names.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(Self {
            name,
            issuer: common_name(cert.issuer()),
            serial: hex(cert.raw_serial()),
            not_before_s: cert.validity().not_before.timestamp(),
            not_after_s: cert.validity().not_after.timestamp(),
            dns_names,
            addresses,
            grant: grant(&cert)?,
            server: usage.as_ref().is_some_and(|usage| usage.value.server_auth),
            client: usage.as_ref().is_some_and(|usage| usage.value.client_auth),
            is_authority,
            public_key: cert.public_key().subject_public_key.data.to_vec(),
        })
    }
}

/// Reads who a leaf certificate is for and what it allows.
pub(crate) fn read_identity(leaf: &CertificateDer<'_>) -> Result<Identity, Unusable> {
    let cert = parse_der(leaf)?;
    Ok(Identity { name: holder(&cert)?, grant: grant(&cert)?, not_after_s: cert.validity().not_after.timestamp() })
}

pub(crate) fn parse_der<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Unusable> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], cert)) => Ok(cert),
        _ => Err(Unusable::NotACertificate),
    }
}

fn general_names<'a>(cert: &'a X509Certificate<'_>) -> Result<&'a [GeneralName<'a>], Unusable> {
    let names = cert.subject_alternative_name().map_err(|_| Unusable::NotACertificate)?;
    Ok(names.map_or(&[], |names| &names.value.general_names))
}

fn holder(cert: &X509Certificate<'_>) -> Result<String, Unusable> {
    let mut holder = None;
    for general_name in general_names(cert)? {
        let GeneralName::URI(uri) = general_name else { continue };
        let Some(name) = uri.strip_prefix(NAME_SCHEME) else { continue };
        if !is_name(name) || holder.is_some() {
            return Err(Unusable::BadName(name.chars().take(80).collect()));
        }
        holder = Some(name.to_owned());
    }
    holder.ok_or(Unusable::NoName)
}

fn grant(cert: &X509Certificate<'_>) -> Result<Grant, Unusable> {
    let mut grants = cert
        .extensions()
        .iter()
        .filter(|extension| extension.oid.iter().is_some_and(|arcs| arcs.eq(GRANT_OID.iter().copied())));
    match (grants.next(), grants.next()) {
        (None, _) => Ok(Grant::nothing()),
        (Some(extension), None) => Grant::decode(extension.value).map_err(Unusable::BadGrant),
        // X.509 allows each extension once.
        (Some(_), Some(_)) => Err(Unusable::NotACertificate),
    }
}

/// Writes bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    let text = name.iter_common_name().find_map(|part| part.as_str().ok());
    crate::error::clean(text.unwrap_or("(no name)").as_bytes())
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
    }
}

/// One `key: value` line per field; times in seconds since 1970.
impl fmt::Display for CertificateInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = match (self.is_authority, self.server, self.client) {
            (true, ..) => "authority",
            (_, true, true) => "server and client",
            (_, true, false) => "server",
            (_, false, true) => "client",
            (_, false, false) => "nothing",
        };
        let list = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
        writeln!(f, "name:        {}", self.name)?;
        writeln!(f, "role:        {role}")?;
        writeln!(f, "issuer:      {}", self.issuer)?;
        writeln!(f, "serial:      {}", self.serial)?;
        writeln!(f, "not before:  {}", self.not_before_s)?;
        writeln!(f, "not after:   {}", self.not_after_s)?;
        writeln!(f, "dns names:   {}", list(self.dns_names.clone()))?;
        writeln!(f, "addresses:   {}", list(self.addresses.iter().map(IpAddr::to_string).collect()))?;
        writeln!(f, "permissions: {}", list(self.grant.permissions.iter().map(ToString::to_string).collect()))?;
        write!(f, "groups:      {}", list(self.grant.groups.clone()))
    }
}
