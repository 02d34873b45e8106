//! `domtool` as an operator runs it: processes, exit codes, stdout, stderr.
//!
//! Owns the harness: the program in an environment of its own, and an image server in this process. Invariants: no setting
//! of the user leaks in; ports come from the operating system; nothing sleeps.

#![expect(clippy::unwrap_used, reason = "tests")]

mod cert;
mod compare;
mod local;
mod machine;
mod server;
mod trust;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use dominator_protocol_quic::{Credentials, Server, Service, Settings};
use dominator_store_engine::{Store, StoreOptions};
use dominator_store_server::Images;
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle};

/// What one run of the program gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Expects success and returns stdout.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }

    /// Expects exit code 1 and returns stderr, which is an error.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.code, 1, "{self:?}");
        assert!(self.stderr.contains("error: ") && self.stdout.is_empty(), "{self:?}");
        self.stderr
    }

    /// Expects success and returns stdout as JSON of the known version.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        let value: serde_json::Value = serde_json::from_str(&self.ok()).unwrap();
        assert_eq!(value["version"], 1);
        value
    }
}

/// A directory to work in, and the program.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    env: Vec<(&'static str, String)>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), env: Vec::new() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sets a variable for every later run.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.env.push((name, value.into()));
    }

    /// Runs the program in the directory; words are split at spaces.
    pub(crate) fn run(&self, words: &str) -> Ran {
        self.run_args(&words.split_whitespace().collect::<Vec<_>>())
    }

    pub(crate) fn run_args(&self, args: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_domtool"))
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Makes an authority and the certificates of the server and of somebody who may do everything.
    pub(crate) fn with_certificates() -> Self {
        let mut site = Self::new();
        site.run("cert init-ca certs --name test").ok();
        site.run("cert issue certs server --dns localhost --address 127.0.0.1").ok();
        site.run("cert issue certs admin --permission *").ok();
        site.use_certificate("admin");
        site
    }

    pub(crate) fn use_certificate(&mut self, name: &str) {
        self.set("DOMTOOL_CA", "certs/ca.pem");
        self.set("DOMTOOL_CERT", format!("certs/{name}.pem"));
        self.set("DOMTOOL_KEY", format!("certs/{name}.key"));
    }
}

/// A server in this process.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    server: Arc<Server>,
    serving: Option<JoinHandle<()>>,
    runtime: Runtime,
}

impl Serving {
    pub(crate) fn start<S: Service>(site: &Site, service: Arc<S>, address: Option<SocketAddr>) -> Self {
        let credentials = Credentials::load_dir(&site.path("certs"), "server").unwrap();
        Self::start_as(&credentials, service, address)
    }

    pub(crate) fn start_as<S: Service>(
        credentials: &Credentials,
        service: Arc<S>,
        address: Option<SocketAddr>,
    ) -> Self {
        let runtime = Runtime::new().unwrap();
        let address = address.unwrap_or(([127, 0, 0, 1], 0).into());
        let server = runtime.block_on(async { Server::bind(address, credentials, Settings::default()).unwrap() });
        let server = Arc::new(server);
        let serving = Arc::clone(&server);
        let serving = runtime.spawn(async move { serving.serve(service).await });
        Self { address: server.local_addr().unwrap(), server, serving: Some(serving), runtime }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.server.close();
        // The task ends when the peers have been told.
        let serving = self.serving.take().unwrap();
        let _ = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(5), serving).await });
    }
}

/// Makes a store and serves it; the program finds it by its environment.
pub(crate) fn serve_images(site: &mut Site) -> (Serving, Store) {
    let store = Store::init(&site.path("server-store"), StoreOptions::default()).unwrap();
    let serving = Serving::start(site, Arc::new(Images::new(store.clone(), 64, 8)), None);
    site.set("DOMTOOL_SERVER", serving.address.to_string());
    (serving, store)
}

/// Makes a directory with a little of everything that is quick to make.
pub(crate) fn small_tree(dir: &Path) {
    std::fs::create_dir_all(dir.join("etc/app")).unwrap();
    std::fs::write(dir.join("etc/app/conf"), "key = 1\n").unwrap();
    std::fs::write(dir.join("etc/passwd"), "root:x:0:0\n").unwrap();
    std::fs::write(dir.join("large"), vec![7_u8; 500_000]).unwrap();
    std::os::unix::fs::symlink("etc/passwd", dir.join("link")).unwrap();
    std::fs::hard_link(dir.join("etc/passwd"), dir.join("twin")).unwrap();
    std::fs::create_dir(dir.join("var")).unwrap();
}

/// No file of this directory is forgotten in the list of modules above.
#[test]
fn every_file_is_a_module() {
    let source = include_str!("main.rs");
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it")).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let module = name.strip_suffix(".rs").unwrap();
        assert!(module == "main" || source.contains(&format!("mod {module};")), "{name} is not compiled");
    }
}
