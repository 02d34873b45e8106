//! Configuration of the image server.
//!
//! Owns the TOML file and its defaults. Invariants: unknown keys are refused; what has no sensible default must be given, in
//! the file or as a flag; a flag beats the file.
//!
//! Does not open anything.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::limits::{CALLS_MAX, PUBLISHES_MAX};

/// The file, or the flags, of which nothing need be given.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConfigFile {
    /// The store.
    pub store: Option<PathBuf>,
    /// UDP address to listen on.
    pub listen: Option<SocketAddr>,
    /// Certificate of the authority.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Our key.
    pub key: Option<PathBuf>,
    /// Publishes under way at once.
    pub publishes_max: Option<usize>,
    /// Calls under way at once.
    pub calls_max: Option<usize>,
    /// Cap on what is sent, over all peers.
    pub send_rate_bytes_per_s: Option<u64>,
}

/// A complete configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The store.
    pub store: PathBuf,
    /// UDP address to listen on.
    pub listen: SocketAddr,
    /// Certificate of the authority.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Our key.
    pub key: PathBuf,
    /// Publishes under way at once.
    pub publishes_max: usize,
    /// Calls under way at once.
    pub calls_max: usize,
    /// Cap on what is sent, over all peers.
    pub send_rate_bytes_per_s: Option<u64>,
}

/// Port of image servers.
const PORT: u16 = 6970;

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    /// Takes from `file` what is not given here, and checks that all is there.
    ///
    /// # Errors
    /// When something is given nowhere.
    pub fn complete(self, file: Self) -> Result<Config> {
        let path = |flag: Option<PathBuf>, file: Option<PathBuf>, name: &str| {
            flag.or(file)
                .with_context(|| format!("no {name} given: add --{name}, or {name} = ... to the configuration"))
        };
        Ok(Config {
            store: path(self.store, file.store, "store")?,
            listen: self.listen.or(file.listen).unwrap_or_else(|| ([0_u16; 8], PORT).into()),
            ca: path(self.ca, file.ca, "ca")?,
            cert: path(self.cert, file.cert, "cert")?,
            key: path(self.key, file.key, "key")?,
            publishes_max: self.publishes_max.or(file.publishes_max).unwrap_or(PUBLISHES_MAX),
            calls_max: self.calls_max.or(file.calls_max).unwrap_or(CALLS_MAX),
            send_rate_bytes_per_s: self.send_rate_bytes_per_s.or(file.send_rate_bytes_per_s),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_beats_the_file_and_the_rest_has_defaults() {
        let file: ConfigFile =
            toml::from_str("store = '/a'\nca = 'ca'\ncert = 'cert'\nkey = 'key'\npublishes-max = 3").unwrap();
        let flags = ConfigFile { store: Some("/b".into()), ..ConfigFile::default() };
        let config = flags.complete(file).unwrap();
        assert_eq!((config.store, config.publishes_max, config.calls_max), ("/b".into(), 3, CALLS_MAX));
        assert_eq!(config.listen.to_string(), "[::]:6970");
    }

    #[test]
    fn what_is_lacking_and_what_is_unknown_is_told() {
        let error = ConfigFile::default().complete(ConfigFile::default()).unwrap_err();
        assert!(error.to_string().contains("--store"), "{error}");
        assert!(toml::from_str::<ConfigFile>("stroe = '/a'").is_err());
    }
}
