//! The configuration file (`spec/controller.md#configuration`).
//!
//! Owns its keys, defaults and bounds. Invariant: a key that is not known is an error, so that a typing mistake never turns
//! a limit off in silence.
//!
//! Does not read certificates (`protocol/quic`) or the machine database (`mdb`).

use std::{
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    Error,
    limits::{
        ACTIVE_INTERVAL_MIN, CONFIG_LEN_MAX, CONNECTS_DEFAULT, POLL_INTERVAL_MAX, POLL_INTERVAL_MIN, SEARCHES_DEFAULT,
    },
};

/// Configuration of the daemon.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The machine database.
    pub mdb: PathBuf,
    /// Where the ledger is kept.
    pub state_dir: PathBuf,
    /// Address on which operators are answered.
    #[serde(default = "default_listen")]
    pub listen: SocketAddr,
    /// Who we are and whom we trust.
    pub certificates: Certificates,
    /// Where images are.
    pub image_server: ImageServer,
    /// How often machines are polled.
    #[serde(default)]
    pub poll: PollSettings,
    /// How machines fetch.
    #[serde(default)]
    pub fetch: FetchSettings,
    /// How much is done at once.
    #[serde(default)]
    pub limits: Limits,
}

/// Files of our certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// Certificate of the authority.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Our key.
    pub key: PathBuf,
}

/// The image server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageServer {
    /// `HOST:PORT` at which we reach it.
    pub address: String,
    /// Name that its certificate must have; the host of `address` unless given.
    pub server_name: Option<String>,
    /// `HOST:PORT` at which machines reach it; `address` unless given.
    pub machines_address: Option<String>,
}

/// How often machines are polled.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PollSettings {
    /// Interval while nothing is under way, in milliseconds.
    pub interval_ms: u64,
    /// Interval while something is under way, in milliseconds.
    pub active_interval_ms: u64,
}

/// How machines fetch.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FetchSettings {
    /// Cap on the fetch of each machine; the agent's own default unless given.
    pub rate_bytes_per_s: Option<u64>,
}

/// How much is done at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections that are being made.
    pub connects: usize,
    /// Searches for deviations.
    pub searches: usize,
}

impl Default for PollSettings {
    fn default() -> Self {
        Self { interval_ms: 1000, active_interval_ms: 100 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { connects: CONNECTS_DEFAULT, searches: SEARCHES_DEFAULT }
    }
}

impl Config {
    /// Reads and checks a configuration file; relative paths in it are relative to its directory.
    ///
    /// # Errors
    /// When the file cannot be read, has unknown keys, or values out of bounds.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { operation: "read", path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(CONFIG_LEN_MAX).read_to_string(&mut text).map_err(io)?;
        let mut config: Self = toml::from_str(&text)
            .map_err(|source| Error::Config { path: path.to_owned(), source: Box::new(source) })?;
        config.resolve(path.parent().unwrap_or(Path::new("")));
        config.check()?;
        Ok(config)
    }

    /// Checks values against their bounds.
    ///
    /// # Errors
    /// When a value is out of bounds.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |key, why: &str| Err(Error::ConfigValue { key, why: why.to_owned() });
        if !(POLL_INTERVAL_MIN..=POLL_INTERVAL_MAX).contains(&self.poll_interval()) {
            return bad("poll.interval_ms", "must be between 200 and 3600000");
        }
        if self.active_interval() < ACTIVE_INTERVAL_MIN || self.active_interval() > POLL_INTERVAL_MAX {
            return bad("poll.active_interval_ms", "must be between 20 and 3600000");
        }
        if self.fetch.rate_bytes_per_s == Some(0) {
            return bad("fetch.rate_bytes_per_s", "must be above 0; leave it out for the agent's own default");
        }
        if self.limits.connects == 0 || self.limits.searches == 0 {
            return bad("limits", "must be above 0");
        }
        for (key, address) in [
            ("image_server.address", Some(&self.image_server.address)),
            ("image_server.machines_address", self.image_server.machines_address.as_ref()),
        ] {
            let has_port = |address: &String| {
                address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
            };
            if address.is_some_and(|address| !has_port(address)) {
                return bad(key, "must be HOST:PORT");
            }
        }
        Ok(())
    }

    pub(crate) fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.poll.interval_ms)
    }

    pub(crate) fn active_interval(&self) -> Duration {
        Duration::from_millis(self.poll.active_interval_ms)
    }

    fn resolve(&mut self, base: &Path) {
        let certificates = &mut self.certificates;
        let paths = [
            &mut self.mdb,
            &mut self.state_dir,
            &mut certificates.ca,
            &mut certificates.certificate,
            &mut certificates.key,
        ];
        for path in paths {
            *path = base.join(&*path);
        }
    }
}

impl ImageServer {
    /// Returns the name that the certificate must have.
    pub fn name(&self) -> &str {
        let host = self.address.rsplit_once(':').map_or(self.address.as_str(), |(host, _)| host);
        self.server_name.as_deref().unwrap_or(host.trim_start_matches('[').trim_end_matches(']'))
    }

    /// Returns the address for machines.
    pub fn for_machines(&self) -> &str {
        self.machines_address.as_deref().unwrap_or(&self.address)
    }
}

fn default_listen() -> SocketAddr {
    (std::net::Ipv6Addr::UNSPECIFIED, DEFAULT_LISTEN_PORT).into()
}

const DEFAULT_LISTEN_PORT: u16 = 6970;

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str = r#"
        mdb = "mdb.json"
        state_dir = "/var/lib/dominator"
        [certificates]
        ca = "ca.pem"
        certificate = "dominator.pem"
        key = "dominator.key"
        [image_server]
        address = "[::1]:6971"
    "#;

    fn read(text: &str) -> Result<Config, Error> {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("dominator.toml");
        std::fs::write(&path, text).expect("write");
        Config::read(&path).inspect(|config| assert_eq!(config.mdb, dir.path().join("mdb.json")))
    }

    #[test]
    fn the_least_configuration_has_defaults() {
        let config = read(MINIMAL).expect("config");
        assert_eq!(config.listen.to_string(), "[::]:6970");
        assert_eq!(config.state_dir, Path::new("/var/lib/dominator"));
        assert_eq!((config.image_server.name(), config.image_server.for_machines()), ("::1", "[::1]:6971"));
        assert_eq!(config.poll_interval(), Duration::from_secs(1));
    }

    #[test]
    fn unknown_keys_and_values_out_of_bounds_are_refused() {
        let check = |addition: &str, reason: &str| {
            let error = read(&format!("{MINIMAL}\n{addition}")).expect_err(addition);
            assert!(crate::error::chain(&error).contains(reason), "{}", crate::error::chain(&error));
        };
        check("adress = \"x\"", "unknown field `adress`");
        check("[pol]\ninterval_ms = 1", "unknown field `pol`");
        check("[poll]\ninterval_ms = 199", "between 200");
        check("[poll]\nactive_interval_ms = 19", "between 20");
        check("[fetch]\nrate_bytes_per_s = 0", "above 0");
        check("[limits]\nsearches = 0", "above 0");
        check("machines_address = \"host\"", "HOST:PORT");
    }
}
