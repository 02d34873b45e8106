//! The register of issued certificates: `ca.issued`.
//!
//! Owns its lines, `SERIAL NOT_AFTER_S NAME`. Invariant: lines are only added, and before the certificate is handed out, so
//! that all certificates of a holder can be revoked, the replaced and the stolen ones too.
//!
//! Does not say what is revoked: that is `list`.

use std::{io, path::Path};

use super::{
    CertificateInfo,
    files::{append_line, read_bounded},
    is_name,
};
use crate::{Error, error::Unusable, limits::REGISTER_LEN_MAX};

/// One certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issue {
    /// Serial number in hexadecimal digits.
    pub serial: String,
    /// Last moment, in seconds since 1970.
    pub not_after_s: i64,
    /// Name of the holder.
    pub name: String,
}

/// Reads the register of the authority in `dir`, oldest first; it is empty if there is none.
///
/// # Errors
/// When the register cannot be read or has a line that is not one.
pub fn issues(dir: &Path) -> Result<Vec<Issue>, Error> {
    let path = dir.join("ca.issued");
    let bytes = match read_bounded(&path, REGISTER_LEN_MAX) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let text = String::from_utf8_lossy(&bytes);
    // A crash may have cut the last line; its certificate was never handed out.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines().enumerate().map(|(pos, line)| {
        parse(line).ok_or_else(|| Error::Unusable {
            what: path.display().to_string(),
            why: Unusable::BadRegister { line: pos + 1 },
        })
    });
    lines.collect()
}

/// Adds a certificate, unless it is there.
pub(super) fn enter(dir: &Path, cert_pem: &str) -> Result<(), Error> {
    let path = dir.join("ca.issued");
    let info = CertificateInfo::parse(cert_pem)
        .map_err(|why| Error::Unusable { what: "the certificate to register".into(), why })?;
    if issues(dir)?.iter().any(|issue| issue.serial == info.serial) {
        return Ok(());
    }
    append_line(&path, &format!("{} {} {}", info.serial, info.not_after_s, info.name))
}

fn parse(line: &str) -> Option<Issue> {
    let mut words = line.split(' ');
    let (serial, not_after_s, name) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let is_serial = !serial.is_empty() && serial.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_serial && is_name(name) && words.next().is_none()).then(|| Issue {
        serial: serial.to_owned(),
        not_after_s,
        name: name.to_owned(),
    })
}
