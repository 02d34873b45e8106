//! A laboratory: one authority, one image server, some agents, one controller, one operator.
//!
//! Owns what the tests share. Invariants: ports come from the system; waiting has an end that is far above what is needed,
//! and a failed wait prints what was seen last.
//! Does not assert anything about the controller itself.

mod agent;
mod images;

use std::{fs, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use dominator_controller_daemon::{Certificates, Config, Daemon, FetchSettings, ImageServer, Limits, PollSettings};
use dominator_protocol_core::{
    Deviation, Deviations, FleetList, HistoryLine, ListMachines, MachineDetail, MachineStatus, Method, ShowMachine,
};
use dominator_protocol_quic::{
    Client, Connection, Credentials, Settings,
    cert::{Authority, IssueRequest, Replace, Validity},
};
use dominator_store_core::{BlobId, Content, FlatTree, Item, Leaf, Meta, TreePath};
use tempfile::TempDir;

pub(crate) use agent::FakeAgent;
use images::FakeImages;

pub(crate) struct Lab {
    pub(crate) dir: TempDir,
    authority: Authority,
    pub(crate) images: Arc<FakeImages>,
    images_addr: SocketAddr,
    pub(crate) config: Config,
}

pub(crate) const ANY: &str = "127.0.0.1:0";

impl Lab {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().expect("directory");
        let authority = Authority::create("test", Validity::days(2)).expect("authority");
        authority.save(dir.path()).expect("save");
        issue(&authority, &dir, "imageserver", &[]);
        issue(&authority, &dir, "dominator", &["Machine.*", "Image.List", "Image.Get", "Object.Get"]);
        issue(&authority, &dir, "operator", &["Fleet.*"]);
        let images = Arc::new(FakeImages::default());
        let images_addr = images::serve(Arc::clone(&images), &credentials(&dir, "imageserver"));
        let path = |name: &str| dir.path().join(name);
        let config = Config {
            mdb: path("mdb.json"),
            state_dir: path("state"),
            listen: ANY.parse().expect("address"),
            certificates: Certificates {
                ca: path("ca.pem"),
                certificate: path("dominator.pem"),
                key: path("dominator.key"),
            },
            image_server: ImageServer {
                address: images_addr.to_string(),
                server_name: Some("imageserver".to_owned()),
                machines_address: None,
            },
            poll: PollSettings { interval_ms: 200, active_interval_ms: 20 },
            fetch: FetchSettings { rate_bytes_per_s: Some(1_000_000) },
            limits: Limits::default(),
        };
        Self { dir, authority, images, images_addr, config }
    }

    pub(crate) fn images_addr(&self) -> SocketAddr {
        self.images_addr
    }

    pub(crate) fn issue(&self, name: &str, permissions: &[&str]) {
        issue(&self.authority, &self.dir, name, permissions);
    }

    pub(crate) fn credentials(&self, name: &str) -> Credentials {
        credentials(&self.dir, name)
    }

    /// Starts an agent with a certificate for `host`.
    pub(crate) fn agent(&self, host: &str) -> FakeAgent {
        self.issue(host, &["Object.Get"]);
        FakeAgent::start(host, &self.credentials(host), Arc::clone(&self.images), ANY.parse().expect("address"))
    }

    /// Replaces the machine database atomically.
    pub(crate) fn write_mdb(&self, rows: &[String]) {
        self.write_mdb_text(&format!(r#"{{"Machines": [{}]}}"#, rows.join(",\n")));
    }

    pub(crate) fn write_mdb_text(&self, text: &str) {
        let new = self.dir.path().join("mdb.new");
        fs::write(&new, text).expect("write");
        fs::rename(new, &self.config.mdb).expect("rename");
    }

    pub(crate) async fn start(&self) -> (Daemon, Operator) {
        let daemon = Daemon::start(&self.config).await.expect("daemon");
        let operator = self.operator("operator", daemon.listen_addr()).await;
        (daemon, operator)
    }

    pub(crate) async fn operator(&self, name: &str, address: SocketAddr) -> Operator {
        let client = Client::bind(ANY.parse().expect("address"), &self.credentials(name), Settings::default());
        let connection = client.expect("client").connect(address, "dominator").await.expect("connect");
        Operator { connection }
    }
}

/// A row of the machine database.
pub(crate) fn row(agent: &FakeAgent, fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { ", " };
    format!(r#"{{"Hostname": "{}", "IpAddress": "{}"{comma}{fields}}}"#, agent.host, agent.address())
}

pub(crate) fn required(image: &str) -> String {
    format!(r#""RequiredImage": "{image}""#)
}

pub(crate) struct Operator {
    pub(crate) connection: Connection,
}

impl Operator {
    pub(crate) async fn list(&self) -> Vec<MachineStatus> {
        let mut call = self.connection.call(Method::FleetList).await.expect("call");
        call.feed(&ListMachines {}).await.expect("feed");
        call.finish().await.expect("finish");
        let mut machines = Vec::new();
        while let Some(message) = call.recv().await.expect("recv") {
            let list: FleetList = message.try_into().expect("list");
            machines.extend(list.machines);
        }
        machines
    }

    pub(crate) async fn try_show(
        &self,
        host: &str,
    ) -> Result<(MachineDetail, Vec<Deviation>), dominator_protocol_quic::Error> {
        let mut call = self.connection.call(Method::FleetShow).await?;
        call.feed(&ShowMachine { host: host.to_owned() }).await?;
        call.finish().await?;
        let detail: MachineDetail = call.expect().await?;
        let mut items = Vec::new();
        while let Some(message) = call.recv().await? {
            let deviations: Deviations = message.try_into()?;
            items.extend(deviations.items);
        }
        Ok((detail, items))
    }

    pub(crate) async fn show(&self, host: &str) -> (MachineDetail, Vec<Deviation>) {
        self.try_show(host).await.expect("show")
    }

    pub(crate) async fn history(&self, host: &str) -> Vec<String> {
        self.show(host).await.0.history.into_iter().map(|HistoryLine { text, .. }| text).collect()
    }

    /// Waits until the machine looks right.
    pub(crate) async fn wait(&self, host: &str, is_right: impl Fn(&MachineStatus) -> bool) -> MachineStatus {
        self.wait_all(host, |detail, _| is_right(&detail.status)).await.0.status
    }

    pub(crate) async fn wait_all(
        &self,
        host: &str,
        is_right: impl Fn(&MachineDetail, &[Deviation]) -> bool,
    ) -> (MachineDetail, Vec<Deviation>) {
        let deadline = tokio::time::Instant::now() + WAIT_MAX;
        loop {
            let seen = self.try_show(host).await;
            if let Ok((detail, items)) = &seen
                && is_right(detail, items)
            {
                return (detail.clone(), items.clone());
            }
            assert!(tokio::time::Instant::now() < deadline, "{host} never looks right: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn wait_status(&self, host: &str, status: &str) -> MachineStatus {
        self.wait(host, |seen| seen.status == status).await
    }

    /// Waits until the machine is exactly the image.
    pub(crate) async fn wait_converged(&self, host: &str, image: &str) -> MachineStatus {
        self.wait(host, |seen| seen.converged && seen.required.as_deref() == Some(image)).await
    }
}

const WAIT_MAX: Duration = Duration::from_secs(30);

/// A tree of files: path and content; directories are made as needed.
pub(crate) fn tree(files: &[(&str, &str)]) -> FlatTree {
    let mut items = vec![(TreePath::root(), Item::Dir(Meta::new(0o755, 0, 0)))];
    for (path, text) in files {
        let path = TreePath::parse(path.as_bytes()).expect("path");
        let mut above = path.parent();
        while let Some(parent) = above.filter(|parent| !parent.is_root()) {
            if items.iter().all(|(known, _)| *known != parent) {
                items.push((parent.clone(), Item::Dir(Meta::new(0o755, 0, 0))));
            }
            above = parent.parent();
        }
        let content = Content::File { size: text.len() as u64, blob: BlobId::of(text.as_bytes()), holes: Vec::new() };
        items.push((path, Item::Leaf(Leaf { meta: Meta::new(0o644, 0, 0), link: None, content })));
    }
    FlatTree::new(items)
}

pub(crate) fn path_of(dir: &TempDir, name: &str) -> PathBuf {
    dir.path().join(name)
}

fn credentials(dir: &TempDir, name: &str) -> Credentials {
    Credentials::load_dir(dir.path(), name).expect("credentials")
}

fn issue(authority: &Authority, dir: &TempDir, name: &str, permissions: &[&str]) {
    let request = IssueRequest {
        name: name.to_owned(),
        dns_names: vec![name.to_owned()],
        addresses: Vec::new(),
        permissions: permissions.iter().map(|text| text.parse().expect("permission")).collect(),
        groups: Vec::new(),
        validity: Validity::days(1),
        server: true,
        client: true,
    };
    authority.issue(&request).expect("issue").save(dir.path(), Replace::Yes).expect("save");
}
