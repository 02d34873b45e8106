//! An image server in memory that can be made to misbehave.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use dominator_protocol_core::{Absent, CallFailure, Get, Method, Recipes, Single};
use dominator_protocol_quic::{Credentials, IncomingCall, Server, Service, Settings};
use dominator_store_core::{ObjectId, ObjectKind};

use super::Images;

/// A running image server.
pub(crate) struct ImageServer {
    server: Arc<Server>,
    shelf: Arc<Shelf>,
}

/// What the server has and how it behaves.
#[derive(Default)]
pub(crate) struct Shelf {
    images: Mutex<Images>,
    faults: Mutex<Faults>,
}

#[derive(Default)]
struct Faults {
    /// Objects of which one byte is flipped on the way.
    flipped: HashSet<ObjectId>,
    /// Objects in whose place another one is sent.
    swapped: HashSet<ObjectId>,
    /// After so many objects nothing is sent any more.
    stall_after: Option<usize>,
    served: Vec<ObjectId>,
}

impl ImageServer {
    pub(crate) fn start(credentials: &Credentials, address: SocketAddr, shelf: Arc<Shelf>) -> Self {
        let server = Arc::new(Server::bind(address, credentials, Settings::default()).expect("bind"));
        let (serving, service) = (Arc::clone(&server), Arc::clone(&shelf));
        tokio::spawn(async move { serving.serve(service).await });
        Self { server, shelf }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr().expect("address")
    }

    pub(crate) fn stop(self) -> Arc<Shelf> {
        self.server.close();
        Arc::clone(&self.shelf)
    }
}

impl std::ops::Deref for ImageServer {
    type Target = Shelf;

    fn deref(&self) -> &Shelf {
        &self.shelf
    }
}

impl Shelf {
    pub(crate) fn images(&self) -> std::sync::MutexGuard<'_, Images> {
        self.images.lock().expect("lock")
    }

    pub(crate) fn flip(&self, id: ObjectId) {
        self.faults.lock().expect("lock").flipped.insert(id);
    }

    pub(crate) fn swap(&self, id: ObjectId) {
        self.faults.lock().expect("lock").swapped.insert(id);
    }

    pub(crate) fn stall_after(&self, count: usize) {
        self.faults.lock().expect("lock").stall_after = Some(count);
    }

    pub(crate) fn heal(&self) {
        let mut faults = self.faults.lock().expect("lock");
        let served = std::mem::take(&mut faults.served);
        *faults = Faults { served, ..Faults::default() };
    }

    /// Returns the objects that were sent since the last time.
    pub(crate) fn take_served(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.faults.lock().expect("lock").served)
    }

    pub(crate) fn served_count(&self) -> usize {
        self.faults.lock().expect("lock").served.len()
    }

    /// Returns some chunk that a blob of several chunks needs.
    pub(crate) fn some(&self, kind: ObjectKind) -> ObjectId {
        *self.images().records.keys().filter(|id| id.kind == kind).max().expect("an object")
    }

    /// Returns what is sent for an object; `None` is nothing at all, for ever.
    fn record(&self, id: ObjectId) -> Option<Option<Vec<u8>>> {
        let mut faults = self.faults.lock().expect("lock");
        if faults.stall_after.is_some_and(|count| faults.served.len() >= count) {
            return None;
        }
        let images = self.images();
        let Some(mut record) = images.records.get(&id).cloned() else { return Some(None) };
        if faults.flipped.contains(&id) {
            let last = record.last_mut().expect("bytes");
            *last ^= 1;
        }
        if faults.swapped.contains(&id) {
            let other =
                images.records.iter().find(|(other, _)| other.kind == id.kind && **other != id).expect("another");
            record = other.1.clone();
        }
        faults.served.push(id);
        Some(Some(record))
    }

    async fn send(&self, call: &mut IncomingCall, id: ObjectId) -> Result<(), CallFailure> {
        match self.record(id) {
            Some(Some(record)) => call.feed_object(&record).await?,
            Some(None) => call.feed(&Absent { digest: id.digest }).await?,
            None => {
                call.flush().await?;
                std::future::pending::<()>().await;
            }
        }
        Ok(())
    }
}

impl Service for Shelf {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        while let Some(message) = call.recv().await? {
            if call.method() == Method::ObjectRecipes {
                let Recipes { blobs } = message.try_into()?;
                for blob in blobs {
                    let recipe = self.images().recipes.get(&blob).copied();
                    let is_single = self.images().records.contains_key(&blob.single_chunk().into());
                    match recipe {
                        Some(id) => self.send(call, id).await?,
                        None if is_single => call.feed(&Single {}).await?,
                        None => call.feed(&Absent { digest: blob.digest() }).await?,
                    }
                }
            } else {
                let Get { ids } = message.try_into()?;
                for id in ids {
                    self.send(call, id).await?;
                }
            }
        }
        Ok(())
    }
}
