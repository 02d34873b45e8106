//! Where a command works: which store, which server, with which certificate.
//!
//! Owns the order flag, environment, configuration file. Invariants: a flag beats everything; the file is optional, but what
//! is in it is understood as a whole or refused; no secret is ever an argument, only the path of one.
//!
//! Does not open anything: that is `images` and `remote`.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Deserialize;

use crate::error::Advice;

/// Flags for the certificates of a connection.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct TlsArgs {
    /// Certificate of the authority [env: DOMTOOL_CA]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Our certificate [env: DOMTOOL_CERT]
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// Our private key [env: DOMTOOL_KEY]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Name in the peer's certificate, if it is not the host
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

/// Flags that say where images are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Work on this store, directly [env: DOMTOOL_STORE]
    #[arg(long, value_name = "DIR", conflicts_with = "server", help_heading = "Where")]
    store: Option<PathBuf>,
    /// Work through this image server [env: DOMTOOL_SERVER]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Where")]
    server: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Flags that say where the controller is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ControllerArgs {
    /// The controller [env: DOMTOOL_CONTROLLER]
    #[arg(long, value_name = "HOST:PORT")]
    controller: Option<String>,
    #[command(flatten)]
    tls: TlsArgs,
}

/// Where images are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a store on this machine.
    Store(PathBuf),
    /// Behind an image server.
    Server(Peer),
}

/// A peer and how to reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Host and port.
    pub(crate) host_port: String,
    /// Name in its certificate, if it is not the host.
    pub(crate) name: Option<String>,
    /// Certificate of the authority.
    pub(crate) ca: PathBuf,
    /// Our certificate.
    pub(crate) cert: PathBuf,
    /// Our key.
    pub(crate) key: PathBuf,
}

/// The configuration file, by default `~/.config/dominator/domtool.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    store: Option<PathBuf>,
    server: Option<String>,
    server_name: Option<String>,
    controller: Option<String>,
    controller_name: Option<String>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

/// Everything that is not on the command line.
#[derive(Debug)]
pub(crate) struct Settings {
    file: File,
    env: fn(&str) -> Option<String>,
}

impl Settings {
    /// Reads the configuration file that was named, or the one in the usual place if it is there.
    pub(crate) fn load(named: Option<&Path>) -> Result<Self> {
        let usual = env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| env::home_dir().map(|home| home.join(".config")))
            .map(|dir| dir.join("dominator/domtool.toml"));
        let file = match named.map(Path::to_owned).or(usual) {
            None => File::default(),
            Some(path) => match fs::read_to_string(&path) {
                Ok(text) => toml::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))?,
                Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => File::default(),
                Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
            },
        };
        Ok(Self { file, env: |name| env::var(name).ok().filter(|value| !value.is_empty()) })
    }

    /// Decides where images are.
    pub(crate) fn place(&self, args: &PlaceArgs) -> Result<Place> {
        let path = |value: Option<String>| value.map(PathBuf::from);
        let layers = [
            (args.store.clone(), args.server.clone(), "the command line"),
            (path((self.env)("DOMTOOL_STORE")), (self.env)("DOMTOOL_SERVER"), "the environment"),
            (self.file.store.clone(), self.file.server.clone(), "the configuration file"),
        ];
        for (store, server, origin) in layers {
            match (store, server) {
                (Some(_), Some(_)) => {
                    let message = format!("{origin} names both a store and a server");
                    return Err(Advice::usage(message, "choose with --store DIR or --server HOST:PORT").into());
                }
                (Some(store), None) => return Ok(Place::Store(store)),
                (None, Some(server)) => {
                    return Ok(Place::Server(self.peer(server, &args.tls, self.file.server_name.as_deref())?));
                }
                (None, None) => {}
            }
        }
        let hint = "add --store DIR or --server HOST:PORT, or set DOMTOOL_STORE or DOMTOOL_SERVER";
        Err(Advice::usage("neither a store nor an image server is named", hint).into())
    }

    /// Decides where the controller is.
    pub(crate) fn controller(&self, args: &ControllerArgs) -> Result<Peer> {
        let named = args.controller.clone().or_else(|| (self.env)("DOMTOOL_CONTROLLER"));
        let Some(host_port) = named.or_else(|| self.file.controller.clone()) else {
            let hint = "add --controller HOST:PORT, or set DOMTOOL_CONTROLLER";
            return Err(Advice::usage("no controller is named", hint).into());
        };
        self.peer(host_port, &args.tls, self.file.controller_name.as_deref())
    }

    fn peer(&self, host_port: String, tls: &TlsArgs, name: Option<&str>) -> Result<Peer> {
        let find = |flag: &Option<PathBuf>, variable: &str, file: &Option<PathBuf>, what: &str| {
            let found = flag.clone().or_else(|| (self.env)(variable).map(PathBuf::from)).or_else(|| file.clone());
            found.ok_or_else(|| {
                let flag = variable.trim_start_matches("DOMTOOL_").to_ascii_lowercase();
                Advice::usage(format!("{what} is not named"), format!("add --{flag} FILE, or set {variable}"))
            })
        };
        Ok(Peer {
            host_port,
            name: tls.server_name.clone().or_else(|| name.map(str::to_owned)),
            ca: find(&tls.ca, "DOMTOOL_CA", &self.file.ca, "the authority's certificate")?,
            cert: find(&tls.cert, "DOMTOOL_CERT", &self.file.cert, "our certificate")?,
            key: find(&tls.key, "DOMTOOL_KEY", &self.file.key, "our private key")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(file: &str, env: fn(&str) -> Option<String>) -> Settings {
        Settings { file: toml::from_str(file).unwrap(), env }
    }

    const FILE: &str =
        "server = 'file:1'\nca = 'file-ca'\ncert = 'file-cert'\nkey = 'file-key'\nserver-name = 'images'";

    #[test]
    fn a_flag_beats_the_environment_and_the_environment_beats_the_file() {
        let settings = settings(FILE, |name| (name == "DOMTOOL_CERT").then(|| "env-cert".into()));
        let tls = TlsArgs { key: Some("flag-key".into()), ..TlsArgs::default() };
        let Place::Server(peer) = settings.place(&PlaceArgs { tls, ..PlaceArgs::default() }).unwrap() else {
            panic!("a server was configured");
        };
        assert_eq!((peer.host_port.as_str(), peer.name.as_deref()), ("file:1", Some("images")));
        assert_eq!((peer.ca, peer.cert, peer.key), ("file-ca".into(), "env-cert".into(), "flag-key".into()));
        let args = PlaceArgs { store: Some("here".into()), ..PlaceArgs::default() };
        assert_eq!(settings.place(&args).unwrap(), Place::Store("here".into()));
    }

    #[test]
    fn nothing_named_is_a_usage_error_with_a_hint() {
        let error = settings("", |_| None).place(&PlaceArgs::default()).unwrap_err();
        assert!(error.downcast_ref::<Advice>().is_some());
    }

    #[test]
    fn an_unknown_key_is_refused() {
        assert!(toml::from_str::<File>("stroe = '/x'").is_err());
    }
}
