//! The controller's side of the protocol, one step at a time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use dominator_protocol_core::{
    Ack, CallFailure, DecodeError, Fetch, Message, Method, Payload, Phase, Poll, PollReply, Require, Trees, Update,
};
use dominator_protocol_quic::{Client, Connection, Credentials, Error, Settings};
use dominator_store_core::TreeId;

use super::Published;

/// A connection to one agent.
pub(crate) struct Controller {
    pub(crate) connection: Connection,
    generation: u64,
    _client: Client,
}

/// No step of a test takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Controller {
    pub(crate) async fn connect(credentials: &Credentials, address: SocketAddr) -> Self {
        let client =
            Client::bind("0.0.0.0:0".parse().expect("address"), credentials, Settings::default()).expect("bind");
        let connection = client.connect(address, "127.0.0.1").await.expect("connect");
        let mut controller = Self { connection, generation: 0, _client: client };
        controller.generation = controller.poll().await.generation;
        controller
    }

    pub(crate) async fn poll(&self) -> PollReply {
        self.connection.ask(Method::MachinePoll, &Poll { known: None }).await.expect("poll")
    }

    /// Polls until the state is as `wanted` says.
    pub(crate) async fn wait(&self, what: &str, wanted: impl Fn(&PollReply) -> bool) -> PollReply {
        let end = Instant::now() + PATIENCE;
        loop {
            let reply = self.poll().await;
            if wanted(&reply) {
                return reply;
            }
            assert!(Instant::now() < end, "no {what}: {reply:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn require(&mut self, image: &Published) -> Result<Ack, CallFailure> {
        let (name, encoded) = (image.name.clone(), image.encoded.clone());
        let generation = self.next();
        self.direct(Method::MachineRequire, &Require { generation, name, image: image.id, encoded }).await
    }

    pub(crate) async fn fetch(
        &mut self,
        image: &Published,
        server: SocketAddr,
        planned: bool,
    ) -> Result<Ack, CallFailure> {
        let fetch = Fetch {
            generation: self.next(),
            name: image.name.clone(),
            image: image.id,
            encoded: image.encoded.clone(),
            server: server.to_string(),
            server_name: String::new(),
            rate_bytes_per_s: None,
            planned,
        };
        self.direct(Method::MachineFetch, &fetch).await
    }

    pub(crate) async fn update(&mut self, image: &Published) -> Result<Ack, CallFailure> {
        let generation = self.next();
        self.direct(Method::MachineUpdate, &Update { generation, image: image.id, force_unsafe: false }).await
    }

    pub(crate) async fn direct<M: Payload>(&self, method: Method, message: &M) -> Result<Ack, CallFailure>
    where
        Ack: TryFrom<Message, Error = DecodeError>,
    {
        match self.connection.ask(method, message).await {
            Ok(ack) => Ok(ack),
            Err(Error::Failed(failure)) => Err(failure),
            Err(error) => panic!("{method}: {error}"),
        }
    }

    /// Requires an image and waits until its root is known.
    pub(crate) async fn require_and_wait(&mut self, image: &Published) -> PollReply {
        self.require(image).await.expect("require");
        self.wait("root", |reply| reply.root.is_some() && reply.phase == Phase::Idle).await
    }

    /// Fetches what an image needs and returns the state after it.
    pub(crate) async fn fetch_and_wait(&mut self, image: &Published, server: SocketAddr) -> PollReply {
        self.fetch(image, server, false).await.expect("fetch");
        self.wait("end of the fetch", |reply| reply.phase == Phase::Idle).await
    }

    /// Updates and returns the state after it.
    pub(crate) async fn update_and_wait(&mut self, image: &Published) -> PollReply {
        self.update(image).await.expect("update");
        self.wait("end of the update", |reply| reply.phase == Phase::Idle).await
    }

    /// Does all that a controller does until the machine is the image.
    pub(crate) async fn converge(&mut self, image: &Published, server: SocketAddr) -> PollReply {
        self.require_and_wait(image).await;
        let reply = self.fetch_and_wait(image, server).await;
        assert_eq!(reply.last_error, None);
        let reply = self.update_and_wait(image).await;
        assert_eq!(reply.last_error, None);
        assert_eq!(reply.root, Some(image.root));
        reply
    }

    /// Asks for tree objects.
    pub(crate) async fn trees(&self, ids: Vec<TreeId>) -> Vec<Option<Vec<u8>>> {
        let mut call = self.connection.call(Method::MachineTrees).await.expect("call");
        call.send(&Trees { ids }).await.expect("send");
        call.finish().await.expect("finish");
        let mut trees = Vec::new();
        while let Some(message) = call.recv().await.expect("answer") {
            trees.push(match message {
                Message::TreeObject(tree) => Some(tree.0),
                _ => None,
            });
        }
        trees
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }
}
