//! An authority, a service and what else every test here needs.
//!
//! Owns set-up. Invariant: each test has its own authority and its own ports from the operating system.
//!
//! Does not assert.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dominator_protocol_core::{
    Absent, CallFailure, ErrorCode, Get, GetImage, GetImageReply, Message, Method, Published, Unchanged, Want,
};
use dominator_protocol_quic::{
    Client, Connection, Credentials, Error, IncomingCall, Server, Service, Settings,
    cert::{Authority, IssueRequest, Validity},
};
use dominator_store_core::{Digest, ImageId, ObjectId, ObjectKind};

pub(crate) const SERVER_NAME: &str = "server.test";
pub(crate) const ALL: &[&str] = &["*"];

/// Answers in the simplest way that uses the whole protocol.
#[derive(Debug, Default)]
pub(crate) struct Echo {
    /// Calls that reached the service.
    pub(crate) call_count: AtomicU64,
    /// Length of the objects it hands out.
    pub(crate) object_len: usize,
}

impl Service for Echo {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        self.call_count.fetch_add(1, Ordering::Relaxed);
        match call.method() {
            Method::ImageGet => {
                let GetImage { name } = call.expect().await?;
                if name == "none" {
                    return Err(CallFailure::not_found("no image none").with_hint("publish it first"));
                }
                let image = ImageId::of(name.as_bytes());
                call.send(&GetImageReply { name, image, encoded: vec![7; 100] }).await?;
            }
            Method::ObjectGet => {
                let record = vec![9; self.object_len];
                while let Some(message) = call.recv().await? {
                    let Get { ids } = message.try_into()?;
                    for id in ids {
                        match id.kind {
                            ObjectKind::Chunk => call.feed_object(&record).await?,
                            _ => call.feed(&Absent { digest: id.digest }).await?,
                        }
                    }
                }
            }
            Method::ImagePublish => {
                let mut published = Published { stored_len: 0, new_object_count: 0 };
                loop {
                    match call.recv().await? {
                        Some(Message::Offer(offer)) => {
                            call.send(&Want::from_flags(offer.ids.iter().map(|id| id.digest.as_bytes()[0] % 2 == 0)))
                                .await?;
                        }
                        Some(Message::Object(record)) => {
                            if record.0.first() == Some(&0xff) {
                                return Err(CallFailure::corrupt("a bad record"));
                            }
                            published.stored_len += record.0.len() as u64;
                            published.new_object_count += 1;
                        }
                        Some(Message::Commit(_)) => break,
                        _ => return Err(CallFailure::bad_request("publish without Commit")),
                    }
                }
                call.send(&published).await?;
            }
            Method::MachinePoll => {
                call.recv().await?;
                call.send(&Unchanged { scan_count: 1000 }).await?;
            }
            Method::MachineTrees => std::future::pending::<()>().await,
            Method::MachineUpdate => panic!("a service with a fault"),
            method => return Err(CallFailure::new(ErrorCode::Version, format!("{method} is not known here"))),
        }
        Ok(())
    }
}

pub(crate) struct Fleet {
    pub(crate) authority: Authority,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self { authority: Authority::create("test", Validity::days(1)).unwrap() }
    }

    pub(crate) fn request(name: &str, permissions: &[&str]) -> IssueRequest {
        IssueRequest {
            name: name.to_owned(),
            dns_names: vec![SERVER_NAME.to_owned()],
            addresses: vec![IpAddr::from(Ipv4Addr::LOCALHOST)],
            permissions: permissions.iter().map(|text| text.parse().unwrap()).collect(),
            groups: vec![],
            validity: Validity::days(1),
            server: true,
            client: true,
        }
    }

    /// Issues a certificate; its holder believes in `trusted`.
    pub(crate) fn issue(&self, trusted: &Self, request: &IssueRequest) -> Credentials {
        let issued = self.authority.issue(request).unwrap();
        Credentials::from_pem(trusted.authority.cert_pem(), &issued.cert_pem, &issued.key_pem).unwrap()
    }

    pub(crate) fn credentials(&self, name: &str, permissions: &[&str]) -> Credentials {
        self.issue(self, &Self::request(name, permissions))
    }

    /// Starts a server that answers with `service`.
    pub(crate) fn serve(&self, service: Arc<Echo>) -> Arc<Server> {
        serve(&self.credentials("server", &[]), service, Settings::default())
    }

    /// Starts a server, and connects to it with these permissions.
    pub(crate) async fn pair(&self, permissions: &[&str]) -> (Arc<Server>, Connection) {
        let server = self.serve(Arc::new(Echo::default()));
        let connection = connect(&server, &self.credentials("client", permissions)).await.unwrap();
        (server, connection)
    }
}

pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn serve(credentials: &Credentials, service: Arc<Echo>, settings: Settings) -> Arc<Server> {
    let server = Arc::new(Server::bind(any_port(), credentials, settings).unwrap());
    let serving = Arc::clone(&server);
    tokio::spawn(async move { serving.serve(service).await });
    server
}

pub(crate) async fn connect(server: &Server, credentials: &Credentials) -> Result<Connection, Error> {
    let client = Client::bind(any_port(), credentials, Settings::default())?;
    client.connect(server.local_addr()?, SERVER_NAME).await
}

pub(crate) fn chunk(number: usize) -> ObjectId {
    ObjectId { kind: ObjectKind::Chunk, digest: Digest::of(&number.to_le_bytes()) }
}

/// Ends a test that hangs.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future).await.expect("the test hangs")
}

/// All causes of an error in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
