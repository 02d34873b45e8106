//! An agent in memory that keeps the rules of `spec/control.md`, with knobs for what goes wrong.
//!
//! Owns a tree, the memory of directives, and the phases of fetch and update. Invariants: a stale generation is refused; an
//! update without a fetch is refused; each directive is remembered for assertions.
//! Does not touch a file system.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use dominator_protocol_core::{
    Absent, Ack, CallFailure, Fetch, Get, Message, Method, Phase, Poll, PollReply, Require, Trees, Unchanged, Update,
};
use dominator_protocol_quic::{Client, Credentials, IncomingCall, Server, Service, Settings};
use dominator_store_core::{FlatTree, Image, ImageId, ObjectId, TreeId};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::{FakeImages, tree};

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(crate) struct Knobs {
    /// Updates fail with this reason, unless they are forced.
    pub(crate) unsafe_reason: Option<String>,
    /// Fetches fail with this reason.
    pub(crate) fetch_error: Option<String>,
    /// Updates stay in the phase of applying until this is off.
    pub(crate) hangs: bool,
}

pub(crate) struct FakeAgent {
    pub(crate) host: String,
    credentials: Credentials,
    pub(crate) state: Arc<AgentState>,
    address: SocketAddr,
    running: Option<(Arc<Server>, JoinHandle<()>)>,
}

pub(crate) struct AgentState {
    inner: Mutex<Inner>,
    images: Arc<FakeImages>,
    credentials: Credentials,
}

struct Inner {
    reply: PollReply,
    tree: FlatTree,
    objects: HashMap<TreeId, Vec<u8>>,
    fetched: BTreeSet<ImageId>,
    directives: Vec<String>,
    knobs: Knobs,
}

impl FakeAgent {
    pub(crate) fn start(host: &str, credentials: &Credentials, images: Arc<FakeImages>, address: SocketAddr) -> Self {
        let reply = PollReply {
            instance: 1,
            generation: 0,
            required: None,
            root: None,
            scan_count: 1,
            phase: Phase::Idle,
            progress: None,
            last_error: None,
            planned_ready: None,
            last_window_us: None,
            last_changed_count: 0,
            fetched_len: 0,
        };
        let inner = Inner {
            reply,
            tree: FlatTree::default(),
            objects: HashMap::new(),
            fetched: BTreeSet::new(),
            directives: Vec::new(),
            knobs: Knobs::default(),
        };
        let state = AgentState { inner: Mutex::new(inner), images, credentials: credentials.clone() };
        state.set_tree(&tree(&[]));
        let mut agent = Self {
            host: host.to_owned(),
            credentials: credentials.clone(),
            state: Arc::new(state),
            address,
            running: None,
        };
        agent.serve(Server::bind(address, credentials, Settings::default()).expect("server"));
        agent
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to listen again, on the same port.
    pub(crate) async fn resume(&mut self) {
        // The socket is free once the last task of the old server is gone.
        for _ in 0..1000 {
            match Server::bind(self.address, &self.credentials, Settings::default()) {
                Ok(server) => return self.serve(server),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        panic!("port of {} stays in use", self.host);
    }

    fn serve(&mut self, server: Server) {
        self.address = server.local_addr().expect("address");
        let (server, service) = (Arc::new(server), Arc::new(FakeService(Arc::clone(&self.state))));
        let serving = Arc::clone(&server);
        let task = tokio::spawn(async move { serving.serve(service).await });
        self.running = Some((server, task));
    }

    /// Stops listening, and says so to whoever is connected.
    pub(crate) async fn stop(&mut self) {
        if let Some((server, task)) = self.running.take() {
            server.close();
            task.await.expect("serve");
        }
    }

    /// Stops and starts the agent: what is under way is lost, what is durable stays.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        self.state.change(|reply| {
            reply.instance += 1;
            (reply.phase, reply.fetched_len) = (Phase::Idle, 0);
        });
        self.state.inner.lock().fetched.clear();
        self.resume().await;
    }
}

impl AgentState {
    pub(crate) fn change(&self, change: impl FnOnce(&mut PollReply)) {
        change(&mut self.inner.lock().reply);
    }

    pub(crate) fn turn(&self, turn: impl FnOnce(&mut Knobs)) {
        turn(&mut self.inner.lock().knobs);
    }

    pub(crate) fn directives(&self) -> Vec<String> {
        self.inner.lock().directives.clone()
    }

    pub(crate) fn root(&self) -> Option<TreeId> {
        self.inner.lock().reply.root
    }

    /// Makes the tree another one, as a scan would find it.
    pub(crate) fn set_tree(&self, tree: &FlatTree) {
        let mut inner = self.inner.lock();
        let mut objects = HashMap::new();
        let root = tree.encode(&mut |id, bytes| drop(objects.insert(id, bytes))).expect("tree");
        (inner.objects, inner.tree, inner.reply.root) = (objects, tree.clone(), Some(root));
        inner.reply.scan_count += 1;
    }

    fn accept(&self, generation: u64, what: String) -> Result<(), CallFailure> {
        let mut inner = self.inner.lock();
        if generation <= inner.reply.generation {
            return Err(CallFailure::conflict(format!("{generation} is not above {}", inner.reply.generation)));
        }
        inner.reply.generation = generation;
        inner.directives.push(what);
        Ok(())
    }

    /// Asks the image server that the controller names for the root, as a real agent would ask for more.
    async fn fetch(self: Arc<Self>, fetch: Fetch) {
        let image = Image::decode(&fetch.encoded).expect("image");
        let got = self.get_root(&fetch, image.root).await;
        let mut inner = self.inner.lock();
        inner.reply.phase = Phase::Idle;
        match inner.knobs.fetch_error.clone().map_or(got, Err) {
            Ok(len) => {
                inner.reply.last_error = None;
                inner.reply.fetched_len += len;
                inner.fetched.insert(fetch.image);
                if fetch.planned {
                    inner.reply.planned_ready = Some(fetch.image);
                }
            }
            Err(error) => inner.reply.last_error = Some(format!("fetch of {}: {error}", fetch.name)),
        }
    }

    async fn get_root(&self, fetch: &Fetch, root: TreeId) -> Result<u64, String> {
        let client = Client::bind(super::ANY.parse().expect("address"), &self.credentials, Settings::default())
            .map_err(|error| error.to_string())?;
        let connection =
            client.connect_to(&fetch.server, Some(&fetch.server_name)).await.map_err(|error| error.to_string())?;
        let question = Get { ids: vec![ObjectId::from(root)] };
        match connection.ask_message(Method::ObjectGet, &question).await {
            Ok(Message::Object(record)) => Ok(record.0.len() as u64),
            other => Err(format!("{other:?}")),
        }
    }

    async fn update(self: Arc<Self>, update: Update) {
        loop {
            tokio::time::sleep(Duration::from_millis(5)).await;
            let knobs = self.inner.lock().knobs.clone();
            if knobs.hangs {
                continue;
            }
            if let Some(reason) = knobs.unsafe_reason.filter(|_| !update.force_unsafe) {
                self.change(|reply| (reply.phase, reply.last_error) = (Phase::Idle, Some(reason)));
                return;
            }
            if let Some(tree) = self.images.tree_of(update.image) {
                let changed_count = tree.items.len() as u64;
                self.set_tree(&tree);
                self.change(|reply| {
                    (reply.phase, reply.last_error) = (Phase::Idle, None);
                    (reply.last_window_us, reply.last_changed_count) = (Some(1234), changed_count);
                });
            }
            return;
        }
    }
}

struct FakeService(Arc<AgentState>);

impl Service for FakeService {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let state = &self.0;
        match call.method() {
            Method::MachinePoll => {
                let Poll { known } = call.expect().await?;
                let reply = state.inner.lock().reply.clone();
                if known == Some(reply.digest()) {
                    call.send(&Unchanged { scan_count: reply.scan_count }).await?;
                } else {
                    call.send(&reply).await?;
                }
            }
            Method::MachineTrees => {
                while let Some(message) = call.recv().await? {
                    let Trees { ids } = message.try_into()?;
                    for id in ids {
                        let bytes = state.inner.lock().objects.get(&id).cloned();
                        match bytes {
                            Some(bytes) => call.feed_tree(&bytes).await?,
                            None => call.feed(&Absent { digest: id.digest() }).await?,
                        }
                    }
                }
            }
            Method::MachineRequire => {
                let require: Require = call.expect().await?;
                assert_eq!(ImageId::of(&require.encoded), require.image);
                state.accept(require.generation, format!("require {}", require.name))?;
                state.change(|reply| reply.required = Some(require.image));
                call.send(&Ack { generation: require.generation }).await?;
            }
            Method::MachineFetch => {
                let fetch: Fetch = call.expect().await?;
                assert_eq!(fetch.rate_bytes_per_s, Some(1_000_000));
                let planned = if fetch.planned { " as planned" } else { "" };
                let generation = fetch.generation;
                state.accept(generation, format!("fetch {}{planned}", fetch.name))?;
                state.change(|reply| reply.phase = Phase::Fetching);
                tokio::spawn(Arc::clone(state).fetch(fetch));
                call.send(&Ack { generation }).await?;
            }
            Method::MachineUpdate => {
                let update: Update = call.expect().await?;
                if !state.inner.lock().fetched.contains(&update.image) {
                    return Err(CallFailure::conflict("the content is not complete"));
                }
                let generation = update.generation;
                state.accept(generation, format!("update{}", if update.force_unsafe { " in any case" } else { "" }))?;
                state.change(|reply| reply.phase = Phase::Applying);
                tokio::spawn(Arc::clone(state).update(update));
                call.send(&Ack { generation }).await?;
            }
            method => return Err(CallFailure::bad_request(format!("{method} is not served"))),
        }
        Ok(())
    }
}
