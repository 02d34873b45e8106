//! The image server against a real store and real connections.
//!
//! Owns the harness: a server in this process, an authority of its own, clients with the permissions that a test names.
//! Invariant: ports come from the operating system, nothing sleeps, nothing leaves the machine.

#![expect(clippy::unwrap_used, reason = "tests")]

mod images;
mod objects;
mod process;
mod publish;

use std::{net::SocketAddr, path::Path, sync::Arc};

use dominator_protocol_quic::{
    Client, Connection, Credentials, Server, Settings,
    cert::{Authority, IssueRequest, Replace, Validity},
};
use dominator_store_core::{
    Content, Directory, Entry, Filter, Image, ImageId, Leaf, Managed, Meta, Name, Node, ObjectId, ObjectKind,
    RecordEncoder, TreeId,
};
use dominator_store_engine::{Store, StoreOptions};
use dominator_store_server::Images;
use tempfile::TempDir;

/// A server with its store, and the authority of its certificates.
pub(crate) struct Harness {
    pub(crate) dir: TempDir,
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    authority: Authority,
    server: Arc<Server>,
}

/// What a publisher may do.
pub(crate) const PUBLISHER: &[&str] = &["Image.*", "Object.*"];

impl Harness {
    pub(crate) fn start() -> Self {
        Self::start_with(Settings::default(), 64, 8)
    }

    pub(crate) fn start_with(settings: Settings, calls_max: usize, publishes_max: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::init(&dir.path().join("store"), StoreOptions::default()).unwrap();
        let certs = dir.path().join("certs");
        std::fs::create_dir(&certs).unwrap();
        let authority = Authority::create("test", Validity::days(1)).unwrap();
        authority.save(&certs).unwrap();
        let credentials = issue(&authority, &certs, "imageserver", &[]);
        let server = Arc::new(Server::bind(([127, 0, 0, 1], 0).into(), &credentials, settings).unwrap());
        let address = server.local_addr().unwrap();
        let images = Images::new(store.clone(), calls_max, publishes_max);
        let serving = Arc::clone(&server);
        tokio::spawn(async move { serving.serve(Arc::new(images)).await });
        Self { dir, store, address, authority, server }
    }

    pub(crate) async fn connect(&self, name: &str, permissions: &[&str]) -> Connection {
        let credentials = issue(&self.authority, &self.dir.path().join("certs"), name, permissions);
        let client = Client::bind(([127, 0, 0, 1], 0).into(), &credentials, Settings::default()).unwrap();
        client.connect(self.address, "127.0.0.1").await.unwrap()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.server.close();
    }
}

pub(crate) fn issue(authority: &Authority, dir: &Path, name: &str, permissions: &[&str]) -> Credentials {
    let request = IssueRequest {
        name: name.into(),
        dns_names: vec!["localhost".into()],
        addresses: vec![[127, 0, 0, 1].into()],
        permissions: permissions.iter().map(|permission| permission.parse().unwrap()).collect(),
        groups: Vec::new(),
        validity: Validity::days(1),
        server: true,
        client: true,
    };
    authority.issue(&request).unwrap().save(dir, Replace::Yes).unwrap();
    Credentials::load_dir(dir, name).unwrap()
}

/// One stored form of an object.
pub(crate) fn record(kind: ObjectKind, bytes: &[u8]) -> (ObjectId, Vec<u8>) {
    let mut out = Vec::new();
    let header = RecordEncoder::new(3).encode(kind, bytes, &mut out).unwrap();
    (header.id, out)
}

/// The records of an image with files of these contents, named `0`, `1`, ...; the image is the last one.
pub(crate) fn image_of(contents: &[&[u8]]) -> (ImageId, TreeId, Vec<(ObjectId, Vec<u8>)>) {
    let mut records: Vec<_> = contents.iter().map(|content| record(ObjectKind::Chunk, content)).collect();
    let entries = contents.iter().enumerate().map(|(pos, content)| Entry {
        name: Name::new(pos.to_string().as_bytes()).unwrap(),
        node: Node::Leaf(Leaf {
            meta: Meta::new(0o644, 0, 0),
            link: None,
            content: Content::File {
                size: content.len() as u64,
                blob: dominator_store_core::BlobId::of(content),
                holes: Vec::new(),
            },
        }),
    });
    let directory = Directory::new(Meta::new(0o755, 0, 0), entries.collect()).unwrap();
    let root = directory.encode(&mut |_, bytes| records.push(record(ObjectKind::Tree, &bytes)));
    let image = Image {
        root,
        managed: Managed::default(),
        filter: Filter::default(),
        triggers: Vec::new(),
        entry_count: contents.len() as u64 + 1,
        content_len: contents.iter().map(|content| content.len() as u64).sum(),
        created_ms: 1,
        created_by: "test".into(),
        tags: std::collections::BTreeMap::new(),
    };
    let (id, bytes) = record(ObjectKind::Image, &image.encode());
    records.push((id, bytes));
    (image.id(), root, records)
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
