//! An image server in memory.
//!
//! Owns images and their tree objects. Invariant: what it serves is what was published in the test.
//! Does not serve content: the agents of the test do not need any.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use dominator_protocol_core::{Absent, CallFailure, Get, GetImage, GetImageReply, Method};
use dominator_protocol_quic::{Credentials, IncomingCall, Server, Service, Settings};
use dominator_store_core::{Filter, FlatTree, Image, ImageId, Managed, ObjectId, ObjectKind, RecordEncoder, TreeId};
use parking_lot::Mutex;

#[derive(Default)]
pub(crate) struct FakeImages(Mutex<Published>);

#[derive(Default)]
struct Published {
    by_name: HashMap<String, Image>,
    trees: HashMap<TreeId, FlatTree>,
    objects: HashMap<TreeId, Vec<u8>>,
}

impl FakeImages {
    pub(crate) fn publish(&self, name: &str, tree: &FlatTree) -> Image {
        let mut published = self.0.lock();
        let root = tree.encode(&mut |id, bytes| drop(published.objects.insert(id, bytes))).expect("tree");
        published.trees.insert(root, tree.clone());
        let image = Image {
            root,
            managed: Managed::default(),
            filter: Filter::default(),
            triggers: Vec::new(),
            entry_count: tree.items.len() as u64,
            content_len: 0,
            created_ms: 0,
            created_by: "test".to_owned(),
            tags: std::collections::BTreeMap::new(),
        };
        published.by_name.insert(name.to_owned(), image.clone());
        image
    }

    pub(crate) fn tree_of(&self, id: ImageId) -> Option<FlatTree> {
        let published = self.0.lock();
        let image = published.by_name.values().find(|image| image.id() == id)?;
        published.trees.get(&image.root).cloned()
    }

    fn object(&self, id: ObjectId) -> Option<Vec<u8>> {
        let raw = self.0.lock().objects.get(&TreeId::new(id.digest)).cloned()?;
        let mut record = Vec::new();
        RecordEncoder::new(3).encode(ObjectKind::Tree, &raw, &mut record).expect("record");
        Some(record)
    }
}

struct FakeServer(Arc<FakeImages>);

impl Service for FakeServer {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        match call.method() {
            Method::ImageGet => {
                let GetImage { name } = call.expect().await?;
                let image = self.0.0.lock().by_name.get(&name).cloned();
                let image = image.ok_or_else(|| CallFailure::not_found(format!("no image {name}")))?;
                call.send(&GetImageReply { name, image: image.id(), encoded: image.encode() }).await?;
            }
            Method::ObjectGet => {
                while let Some(message) = call.recv().await? {
                    let Get { ids } = message.try_into()?;
                    for id in ids {
                        match self.0.object(id) {
                            Some(record) => call.feed_object(&record).await?,
                            None => call.feed(&Absent { digest: id.digest }).await?,
                        }
                    }
                }
            }
            method => return Err(CallFailure::bad_request(format!("{method} is not served"))),
        }
        Ok(())
    }
}

pub(crate) fn serve(images: Arc<FakeImages>, credentials: &Credentials) -> SocketAddr {
    let server = Server::bind(super::ANY.parse().expect("address"), credentials, Settings::default()).expect("server");
    let address = server.local_addr().expect("address");
    tokio::spawn(async move { server.serve(Arc::new(FakeServer(images))).await });
    address
}
