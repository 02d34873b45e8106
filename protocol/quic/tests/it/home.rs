//! An authority's directory on disk, and daemons whose certificates come from it.
//!
//! Owns set-up. Invariant: what tests change, they change as an operator would: by files.
//!
//! Does not assert.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dominator_protocol_quic::{
    Client, Connection, CredentialFiles, CredentialsWatch, Error, Server, Settings,
    cert::{Authority, Replace, RevocationList, Revoke, Validity},
};

use crate::fleet::{ALL, Echo, Fleet, SERVER_NAME, any_port, soon};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// A directory with an authority, a `server` and a `client`.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
}

impl Home {
    pub(crate) fn new(authority: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::create(authority, Validity::days(10)).unwrap();
        authority.save(dir.path()).unwrap();
        let home = Self { dir, authority };
        home.issue("server");
        home.issue("client");
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn issue(&self, name: &str) {
        self.authority.issue_into(self.dir.path(), &Fleet::request(name, ALL), Replace::Yes).unwrap();
    }

    pub(crate) fn revoke(&self, name: &str) -> RevocationList {
        self.authority.revoke(self.dir.path(), &[Revoke::Name(name.into())], DAY).unwrap()
    }

    pub(crate) fn files(&self, name: &str) -> CredentialFiles {
        CredentialFiles::in_dir(self.dir.path(), name).unwrap()
    }

    /// Credentials as they were before there was a list.
    pub(crate) fn watch_without_list(&self, name: &str) -> CredentialsWatch {
        let mut files = self.files(name);
        files.lists = self.path("none.crl");
        files.watch().unwrap()
    }

    pub(crate) fn watch(&self, name: &str) -> CredentialsWatch {
        self.files(name).watch().unwrap()
    }
}

pub(crate) fn serve(watch: &CredentialsWatch) -> Arc<Server> {
    let server = Arc::new(Server::bind_watched(any_port(), watch, Settings::default()).unwrap());
    let serving = Arc::clone(&server);
    tokio::spawn(async move { serving.serve(Arc::new(Echo { object_len: 1000, ..Echo::default() })).await });
    server
}

pub(crate) fn client(watch: &CredentialsWatch) -> Client {
    Client::bind_watched(any_port(), watch, Settings::default()).unwrap()
}

pub(crate) async fn dial(client: &Client, server: &Server) -> Result<Connection, Error> {
    use dominator_protocol_core::{Method, Poll, Unchanged};

    let connection = soon(client.connect(server.local_addr().unwrap(), SERVER_NAME)).await?;
    let _: Unchanged = soon(connection.ask(Method::MachinePoll, &Poll { known: None })).await?;
    Ok(connection)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    let draft = to.with_extension("draft");
    fs::copy(from, &draft).unwrap();
    fs::rename(draft, to).unwrap();
}
