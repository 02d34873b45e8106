//! One test's world: certificates, an image server, an agent and its root.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use dominator_protocol_quic::{
    Credentials,
    cert::{Authority, IssueRequest, Replace, Validity},
};
use tempfile::TempDir;

use super::{Agent, Controller, ImageServer, Shelf, agent::write_config};

/// Everything that a test needs; ends with the test.
pub(crate) struct Site {
    dir: TempDir,
    pub(crate) server: ImageServer,
    pub(crate) config: PathBuf,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with_config("[scan]\ninterval_s = 0.2\n[network]\nrate_bytes_per_s = 0\n")
    }

    pub(crate) fn with_config(more: &str) -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let certs = dir.path().join("certs");
        std::fs::create_dir_all(&certs).expect("certs");
        std::fs::create_dir_all(dir.path().join("root")).expect("root");
        let authority = Authority::create("test", Validity::days(1)).expect("authority");
        authority.save(&certs).expect("save");
        for (name, permissions) in
            [("subd", "Object.Get Object.Recipes"), ("images", ""), ("dominator", "Machine.*"), ("stranger", "Image.*")]
        {
            let request = IssueRequest {
                name: name.to_owned(),
                dns_names: vec![],
                addresses: vec!["127.0.0.1".parse().expect("address")],
                permissions: permissions.split_whitespace().map(|text| text.parse().expect("permission")).collect(),
                groups: vec![],
                validity: Validity::days(1),
                server: true,
                client: true,
            };
            authority.issue(&request).expect("issue").save(&certs, Replace::No).expect("save");
        }
        let config = write_config(dir.path(), &dir.path().join("root"), &certs, more);
        let credentials = Credentials::load_dir(&certs, "images").expect("credentials");
        let any = "127.0.0.1:0".parse().expect("address");
        let server = ImageServer::start(&credentials, any, Arc::new(Shelf::default()));
        Self { dir, server, config }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn certs(&self) -> PathBuf {
        self.path("certs")
    }

    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        Credentials::load_dir(&self.certs(), name).expect("credentials")
    }

    pub(crate) fn server_address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Makes an empty directory for a tree.
    pub(crate) fn tree(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("tree");
        path
    }

    /// Starts the agent and connects to it.
    pub(crate) async fn start(&self) -> (Agent, Controller) {
        let config = self.config.clone();
        let agent = tokio::task::spawn_blocking(move || Agent::start(&config)).await.expect("start");
        let controller = Controller::connect(&self.credentials("dominator"), agent.address).await;
        (agent, controller)
    }
}

/// Copies a tree with everything that belongs to it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-aT").arg(from).arg(to).status().expect("cp");
    assert!(status.success());
}
