//! Configuration: a TOML file, overridden by flags.
//!
//! Owns the file's keys, their defaults and their bounds. Invariants: a `Config` value is complete and within bounds;
//! an unknown key, a wrong type or a value out of bounds is an error that names it, never ignored.
//!
//! Does not read certificates (`protocol/quic`) or open the managed root (`agent`).

use std::{
    io::Read,
    net::{Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::limits::{CACHE_LEN_MIN, CONFIG_LEN_MAX, SCAN_INTERVAL_MAX, SCAN_INTERVAL_MIN, SCAN_THREADS_MAX};

/// Where the configuration is read from if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/dominator/subd.toml";
/// Port on which an agent listens.
pub const DEFAULT_PORT: u16 = 6969;

/// Everything that can be chosen for one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The managed root.
    pub root: PathBuf,
    /// Where calls are answered.
    pub listen: SocketAddr,
    /// Certificate of the authority that every peer's certificate must come from.
    pub ca: PathBuf,
    /// Our certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// How the root is scanned.
    pub scan: Scan,
    /// How fast is fetched.
    pub network: Network,
    /// Most bytes that the chunk cache takes.
    pub cache_limit_len: u64,
}

/// How the root is scanned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan {
    /// Time from the end of one stat pass to the start of the next.
    pub interval: Duration,
    /// Bytes of file content that are read again in each second; `None` is as fast as possible.
    pub deep_bytes_per_s: Option<u64>,
    /// Part of one processor that stat passes may take on average, in percent, above 0; they come less often if need be.
    pub cpu_percent: f64,
    /// Threads that hash changed files after the first scan, which uses every processor.
    pub threads: NonZeroUsize,
}

/// How fast is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Cap on a fetch for which the controller names none; `None` is no cap.
    pub rate_bytes_per_s: Option<u64>,
    /// Cap on every fetch, whatever the controller says; `None` is no cap.
    pub rate_max_bytes_per_s: Option<u64>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not what a configuration looks like.
    #[error("{} is not a configuration", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is out of bounds.
    #[error("{key} must be {expected}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
}

/// The file, or the flags, as they are written: what is absent is left to the next source.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// See `Config`.
    pub root: Option<PathBuf>,
    /// See `Config`.
    pub listen: Option<SocketAddr>,
    /// See `Config`.
    pub ca: Option<PathBuf>,
    /// See `Config`.
    pub cert: Option<PathBuf>,
    /// See `Config`.
    pub key: Option<PathBuf>,
    /// Section `[scan]`.
    #[serde(default)]
    pub scan: ScanSettings,
    /// Section `[network]`.
    #[serde(default)]
    pub network: NetworkSettings,
    /// Section `[cache]`.
    #[serde(default)]
    pub cache: CacheSettings,
}

/// Section `[scan]` as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScanSettings {
    /// Seconds between stat passes.
    pub interval_s: Option<f64>,
    /// Bytes a second of the deep scan; 0 is as fast as possible.
    pub deep_bytes_per_s: Option<u64>,
    /// Percent of one processor for stat passes.
    pub cpu_percent: Option<f64>,
    /// Threads that hash.
    pub threads: Option<usize>,
}

/// Section `[network]` as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// Bytes a second where the controller says nothing; 0 is no cap.
    pub rate_bytes_per_s: Option<u64>,
    /// Bytes a second, whatever the controller says; 0 is no cap.
    pub rate_max_bytes_per_s: Option<u64>,
}

/// Section `[cache]` as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheSettings {
    /// Most bytes of the chunk cache.
    pub limit_bytes: Option<u64>,
}

impl Settings {
    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// `Syntax` for anything but known keys with values of their types.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let syntax = |source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) };
        toml::from_str(text).map_err(syntax)
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// `Read` when it cannot be read or is too long, otherwise those of `parse`.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(read)?;
        file.take(CONFIG_LEN_MAX + 1).read_to_string(&mut text).map_err(read)?;
        if text.len() as u64 > CONFIG_LEN_MAX {
            return Err(read(std::io::Error::from(std::io::ErrorKind::FileTooLarge)));
        }
        Self::parse(path, &text)
    }

    /// Returns these settings, and those of `below` where these say nothing.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            root: self.root.or(below.root),
            listen: self.listen.or(below.listen),
            ca: self.ca.or(below.ca),
            cert: self.cert.or(below.cert),
            key: self.key.or(below.key),
            scan: ScanSettings {
                interval_s: self.scan.interval_s.or(below.scan.interval_s),
                deep_bytes_per_s: self.scan.deep_bytes_per_s.or(below.scan.deep_bytes_per_s),
                cpu_percent: self.scan.cpu_percent.or(below.scan.cpu_percent),
                threads: self.scan.threads.or(below.scan.threads),
            },
            network: NetworkSettings {
                rate_bytes_per_s: self.network.rate_bytes_per_s.or(below.network.rate_bytes_per_s),
                rate_max_bytes_per_s: self.network.rate_max_bytes_per_s.or(below.network.rate_max_bytes_per_s),
            },
            cache: CacheSettings { limit_bytes: self.cache.limit_bytes.or(below.cache.limit_bytes) },
        }
    }

    /// Fills in the defaults and checks the bounds.
    ///
    /// # Errors
    /// `Value` for the first value that is out of bounds.
    pub fn complete(self) -> Result<Config, ConfigError> {
        let interval = Duration::try_from_secs_f64(self.scan.interval_s.unwrap_or(DEFAULT_INTERVAL_S))
            .ok()
            .filter(|interval| (SCAN_INTERVAL_MIN..=SCAN_INTERVAL_MAX).contains(interval));
        let interval = interval.ok_or(value("scan.interval_s", "a number of seconds from 0.2 to 86400"))?;
        let cpu_percent = Some(self.scan.cpu_percent.unwrap_or(DEFAULT_CPU_PERCENT));
        let cpu_percent = cpu_percent.filter(|percent| (CPU_PERCENT_MIN..=100.0).contains(percent));
        let cpu_percent = cpu_percent.ok_or(value("scan.cpu_percent", "a number from 0.1 to 100"))?;
        let threads = NonZeroUsize::new(self.scan.threads.unwrap_or(1)).filter(|count| count.get() <= SCAN_THREADS_MAX);
        let threads = threads.ok_or(value("scan.threads", "from 1 to 64"))?;
        let cache_limit_len = self.cache.limit_bytes.unwrap_or(DEFAULT_CACHE_LEN);
        if cache_limit_len < CACHE_LEN_MIN {
            return Err(value("cache.limit_bytes", "at least 16777216"));
        }
        let root = self.root.unwrap_or_else(|| PathBuf::from("/"));
        if !root.is_absolute() {
            return Err(value("root", "an absolute path"));
        }
        let rate = |rate: Option<u64>, default| Some(rate.unwrap_or(default)).filter(|rate| *rate > 0);
        let file = |path: Option<PathBuf>, default: &str| path.unwrap_or_else(|| PathBuf::from(default));
        Ok(Config {
            root,
            listen: self.listen.unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()),
            ca: file(self.ca, "/etc/dominator/ca.pem"),
            cert: file(self.cert, "/etc/dominator/subd.pem"),
            key: file(self.key, "/etc/dominator/subd.key"),
            scan: Scan {
                interval,
                deep_bytes_per_s: rate(self.scan.deep_bytes_per_s, DEFAULT_DEEP_RATE),
                cpu_percent,
                threads,
            },
            network: Network {
                rate_bytes_per_s: rate(self.network.rate_bytes_per_s, DEFAULT_RATE),
                rate_max_bytes_per_s: rate(self.network.rate_max_bytes_per_s, 0),
            },
            cache_limit_len,
        })
    }
}

impl Network {
    /// Returns the cap for a fetch for which the controller asks `asked`.
    pub fn rate_for(&self, asked: Option<u64>) -> Option<u64> {
        let rate = asked.filter(|rate| *rate > 0).or(self.rate_bytes_per_s);
        match (rate, self.rate_max_bytes_per_s) {
            (Some(rate), Some(max)) => Some(rate.min(max)),
            (rate, max) => rate.or(max),
        }
    }
}

/// As a file that would give the same.
impl std::fmt::Display for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "root = {:?}\nlisten = {:?}", self.root, self.listen.to_string())?;
        writeln!(f, "ca = {:?}\ncert = {:?}\nkey = {:?}", self.ca, self.cert, self.key)?;
        writeln!(f, "scan.interval_s = {}", self.scan.interval.as_secs_f64())?;
        writeln!(f, "scan.deep_bytes_per_s = {}", self.scan.deep_bytes_per_s.unwrap_or(0))?;
        writeln!(f, "scan.cpu_percent = {}", self.scan.cpu_percent)?;
        writeln!(f, "scan.threads = {}", self.scan.threads)?;
        writeln!(f, "network.rate_bytes_per_s = {}", self.network.rate_bytes_per_s.unwrap_or(0))?;
        writeln!(f, "network.rate_max_bytes_per_s = {}", self.network.rate_max_bytes_per_s.unwrap_or(0))?;
        writeln!(f, "cache.limit_bytes = {}", self.cache_limit_len)
    }
}

const DEFAULT_INTERVAL_S: f64 = 5.0;
const DEFAULT_CPU_PERCENT: f64 = 20.0;
const CPU_PERCENT_MIN: f64 = 0.1;
/// 2 % of a disk that reads 200 MB/s.
const DEFAULT_DEEP_RATE: u64 = 4_000_000;
/// 10 % of a link of 1 Gbit/s.
const DEFAULT_RATE: u64 = 12_500_000;
const DEFAULT_CACHE_LEN: u64 = 1 << 30;

const fn value(key: &'static str, expected: &'static str) -> ConfigError {
    ConfigError::Value { key, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, ConfigError> {
        Settings::parse(Path::new("subd.toml"), text)?.complete()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = config("").expect("config");
        assert_eq!(config.root, Path::new("/"));
        assert_eq!(config.listen.to_string(), "[::]:6969");
        assert_eq!(config.scan.interval, Duration::from_secs(5));
        assert_eq!(config.network.rate_bytes_per_s, Some(12_500_000));
        assert_eq!(config.network.rate_max_bytes_per_s, None);
    }

    #[test]
    fn unknown_keys_and_values_out_of_bounds_are_refused() {
        for bad in [
            "rot = '/'",
            "[scan]\ninterval = 3",
            "[scan]\ninterval_s = 0.1",
            "[scan]\ninterval_s = -1",
            "[scan]\ninterval_s = nan",
            "[scan]\ninterval_s = 1e300",
            "[scan]\ncpu_percent = 0",
            "[scan]\ncpu_percent = nan",
            "[scan]\nthreads = 0",
            "[cache]\nlimit_bytes = 1",
            "root = 'relative'",
            "listen = 'nowhere'",
            "[network]\nrate_bytes_per_s = -1",
        ] {
            assert!(config(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn flags_stand_above_the_file() {
        let file = Settings::parse(Path::new("f"), "root = '/a'\n[scan]\ninterval_s = 1").expect("file");
        let flags = Settings { root: Some("/b".into()), ..Settings::default() };
        let config = flags.over(file).complete().expect("config");
        assert_eq!((config.root.as_path(), config.scan.interval), (Path::new("/b"), Duration::from_secs(1)));
    }

    #[test]
    fn the_cap_of_the_machine_bounds_what_the_controller_asks() {
        let network = |rate, max| Network { rate_bytes_per_s: rate, rate_max_bytes_per_s: max };
        assert_eq!(network(Some(10), None).rate_for(None), Some(10));
        assert_eq!(network(Some(10), None).rate_for(Some(20)), Some(20));
        assert_eq!(network(Some(10), Some(15)).rate_for(Some(20)), Some(15));
        assert_eq!(network(None, Some(15)).rate_for(None), Some(15));
        assert_eq!(network(None, None).rate_for(Some(0)), None);
    }
}
