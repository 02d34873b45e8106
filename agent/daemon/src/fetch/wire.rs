//! The calls of a fetch: objects and recipes from one image server into the cache.
//!
//! Owns the connection, which is made when the first object is wanted, and the spreading of objects over several calls.
//! Invariants: nothing enters the cache but an object that was asked for, verified; what a call holds in memory is
//! bounded; objects that came before a failure stay, so that the next fetch asks only for the rest.
//!
//! Does not know what is wanted (`need`).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use dominator_protocol_core::{Absent, Get, Message, Method, Object, Recipes};
use dominator_protocol_quic::{self as quic, Client, Connection};
use dominator_store_core::{
    BlobId, ObjectId, ObjectKind, Recipe, Record,
    limits::{CHUNK_LEN_MAX, SINGLE_CHUNK_LEN_MAX},
};
use dominator_store_pack::{self as pack, Cache, ObjectSource};
use tokio::{sync::OnceCell, task::spawn_blocking};

use super::{FetchError, Progress};
use crate::limits::{FETCH_BATCH_COUNT, FETCH_STORE_LEN, FETCH_STREAM_COUNT};

/// One image server during one fetch.
#[derive(Debug)]
pub(super) struct Wire {
    client: Client,
    server: String,
    server_name: String,
    rate_bytes_per_s: Option<u64>,
    connection: OnceCell<Connection>,
    /// What of the connection's received bytes is already counted.
    counted_len: AtomicU64,
    cache: Arc<Cache>,
    progress: Arc<Progress>,
}

/// Received and not yet verified: what was asked for, and what came.
type Received = Vec<(ObjectId, Vec<u8>)>;

/// How a blob is cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cut {
    /// Into the chunks of a recipe, which is in the cache.
    Chunks(Box<Recipe>),
    /// It is one chunk.
    Single,
}

impl Wire {
    pub(super) fn new(
        client: Client,
        (server, server_name): (String, String),
        rate_bytes_per_s: Option<u64>,
        cache: Arc<Cache>,
        progress: Arc<Progress>,
    ) -> Self {
        let (connection, counted_len) = (OnceCell::new(), AtomicU64::new(0));
        Self { client, server, server_name, rate_bytes_per_s, connection, counted_len, cache, progress }
    }

    /// Gets every object of `ids` into the cache.
    ///
    /// # Errors
    /// The first thing that goes wrong; what came before is kept.
    pub(super) async fn get(&self, ids: &[ObjectId]) -> Result<(), FetchError> {
        if ids.is_empty() {
            return Ok(());
        }
        let mut stripes: [Vec<Vec<ObjectId>>; FETCH_STREAM_COUNT] = Default::default();
        for (pos, batch) in ids.chunks(FETCH_BATCH_COUNT).enumerate() {
            if let Some(stripe) = stripes.get_mut(pos % FETCH_STREAM_COUNT) {
                stripe.push(batch.to_vec());
            }
        }
        let [a, b, c, d] = &stripes;
        let absent = tokio::try_join!(self.get_stripe(a), self.get_stripe(b), self.get_stripe(c), self.get_stripe(d))?;
        let absent = [absent.0, absent.1, absent.2, absent.3].concat();
        match absent.first() {
            None => Ok(()),
            Some(&first) => Err(FetchError::Absent { server: self.server.clone(), first, count: absent.len() }),
        }
    }

    /// Finds out how each blob is cut; recipes enter the cache.
    ///
    /// # Errors
    /// The first thing that goes wrong, a blob that the server lacks included.
    pub(super) async fn recipes(&self, blobs: &[(BlobId, u64)]) -> Result<Vec<Cut>, FetchError> {
        let mut cuts = Vec::with_capacity(blobs.len());
        if blobs.is_empty() {
            return Ok(cuts);
        }
        let mut call = self.connection().await?.call(Method::ObjectRecipes).await.map_err(|error| self.call(error))?;
        let (sender, receiver) = call.halves();
        let ask = async {
            for batch in blobs.chunks(FETCH_BATCH_COUNT) {
                let blobs = batch.iter().map(|(blob, _)| *blob).collect();
                sender.send(&Recipes { blobs }).await?;
            }
            sender.finish().await
        };
        let take = async {
            for &(blob, size) in blobs {
                let cut = match receiver.recv().await.map_err(|error| self.call(error))? {
                    Some(Message::Object(Object(record))) => self.take_recipe(blob, size, record).await?,
                    Some(Message::Single(_)) if size <= CHUNK_LEN_MAX as u64 => Cut::Single,
                    Some(Message::Single(_)) => {
                        return Err(FetchError::Recipe { server: self.server.clone(), blob, source: None });
                    }
                    Some(Message::Absent(_)) => {
                        let first = blob.single_chunk().into();
                        return Err(FetchError::Absent { server: self.server.clone(), first, count: 1 });
                    }
                    other => return Err(self.unexpected(other.as_ref(), "Object or Single")),
                };
                cuts.push(cut);
            }
            self.end(receiver.recv().await)
        };
        tokio::try_join!(async { self.asked(ask.await) }, take)?;
        self.count();
        Ok(cuts)
    }

    /// Returns whether anything was asked of the server.
    pub(super) fn is_connected(&self) -> bool {
        self.connection.initialized()
    }

    /// Ends the connection, if there is one.
    pub(super) fn close(&self) {
        self.count();
        if let Some(connection) = self.connection.get() {
            connection.close();
        }
    }

    async fn connection(&self) -> Result<&Connection, FetchError> {
        let connect = || async {
            let name = Some(self.server_name.as_str()).filter(|name| !name.is_empty());
            let connection = self.client.connect_to(&self.server, name).await;
            let connection =
                connection.map_err(|source| FetchError::Connect { server: self.server.clone(), source })?;
            connection.set_receive_rate(self.rate_bytes_per_s);
            tracing::debug!(server = %self.server, rate_bytes_per_s = self.rate_bytes_per_s, "connected to image server");
            Ok(connection)
        };
        self.connection.get_or_try_init(connect).await
    }

    /// Gets the objects of some batches in one call; returns those that the server lacks.
    async fn get_stripe(&self, batches: &[Vec<ObjectId>]) -> Result<Vec<ObjectId>, FetchError> {
        let mut absent = Vec::new();
        if batches.is_empty() {
            return Ok(absent);
        }
        let mut call = self.connection().await?.call(Method::ObjectGet).await.map_err(|error| self.call(error))?;
        let (sender, receiver) = call.halves();
        let ask = async {
            for batch in batches {
                sender.send(&Get { ids: batch.clone() }).await?;
            }
            sender.finish().await
        };
        let take = async {
            let (mut received, mut received_len) = (Vec::new(), 0);
            for &id in batches.iter().flatten() {
                match receiver.recv().await {
                    Ok(Some(Message::Object(Object(record)))) => {
                        received_len += record.len();
                        received.push((id, record));
                    }
                    Ok(Some(Message::Absent(Absent { digest }))) if digest == id.digest => absent.push(id),
                    Ok(other) => return Err(self.unexpected(other.as_ref(), "Object or Absent")),
                    Err(error) => {
                        // What came before the failure is worth keeping.
                        self.store(received).await?;
                        return Err(self.call(error));
                    }
                }
                if received_len >= FETCH_STORE_LEN {
                    received_len = 0;
                    self.store(std::mem::take(&mut received)).await?;
                }
            }
            self.store(received).await?;
            self.end(receiver.recv().await)
        };
        tokio::try_join!(async { self.asked(ask.await) }, take)?;
        Ok(absent)
    }

    /// Verifies records and puts them into the cache, beside the runtime.
    async fn store(&self, received: Received) -> Result<(), FetchError> {
        self.count();
        if received.is_empty() {
            return Ok(());
        }
        let (cache, progress, server) = (Arc::clone(&self.cache), Arc::clone(&self.progress), self.server.clone());
        spawn_blocking(move || {
            received.iter().try_for_each(|(id, record)| {
                let len = put(&cache, &server, *id, record)?;
                progress.add_done(len);
                Ok(())
            })
        })
        .await
        .unwrap_or(Err(FetchError::Stopping))
    }

    async fn take_recipe(&self, blob: BlobId, size: u64, record: Vec<u8>) -> Result<Cut, FetchError> {
        let (cache, server) = (Arc::clone(&self.cache), self.server.clone());
        spawn_blocking(move || {
            let wrong = |source| FetchError::Recipe { server: server.clone(), blob, source };
            let header = *Record::parse(&record).map_err(|_| wrong(None))?.header();
            if header.id.kind != ObjectKind::Recipe {
                return Err(wrong(None));
            }
            put(&cache, &server, header.id, &record)?;
            let bytes = cache.get(header.id).map_err(FetchError::Cache)?.ok_or_else(|| wrong(None))?;
            let recipe = Recipe::decode(&bytes).map_err(|source| wrong(Some(source)))?;
            if recipe.blob() != blob || recipe.size() != size {
                return Err(wrong(None));
            }
            Ok(Cut::Chunks(Box::new(recipe)))
        })
        .await
        .unwrap_or(Err(FetchError::Stopping))
    }

    /// Adds what the connection received since the last time.
    fn count(&self) {
        if let Some(connection) = self.connection.get() {
            let received_len = connection.received_len();
            let counted_len = self.counted_len.fetch_max(received_len, Ordering::Relaxed);
            self.progress.add_received(received_len.saturating_sub(counted_len));
        }
    }

    fn call(&self, source: quic::Error) -> FetchError {
        FetchError::Call { server: self.server.clone(), source }
    }

    /// When the server stops reading, its reason is on the receiving side.
    fn asked(&self, result: Result<(), quic::Error>) -> Result<(), FetchError> {
        match result {
            Err(quic::Error::Stopped) | Ok(()) => Ok(()),
            Err(error) => Err(self.call(error)),
        }
    }

    fn end(&self, received: Result<Option<Message>, quic::Error>) -> Result<(), FetchError> {
        match received.map_err(|error| self.call(error))? {
            None => Ok(()),
            more => Err(self.unexpected(more.as_ref(), "End")),
        }
    }

    fn unexpected(&self, found: Option<&Message>, expected: &'static str) -> FetchError {
        let found = found.map_or("End", |message| message.tag().name());
        FetchError::Unexpected { server: self.server.clone(), found, expected }
    }
}

/// Returns how the cache says that the blob is cut, if it says so.
pub(super) fn known_cut(cache: &Cache, blob: BlobId, size: u64) -> Result<Option<Cut>, pack::SourceError> {
    if size <= SINGLE_CHUNK_LEN_MAX || cache.has(blob.single_chunk().into()) {
        return Ok(Some(Cut::Single));
    }
    let recipe = cache.recipe(blob)?.filter(|recipe| recipe.size() == size);
    Ok(recipe.map(|recipe| Cut::Chunks(Box::new(recipe))))
}

fn put(cache: &Cache, server: &str, id: ObjectId, record: &[u8]) -> Result<u64, FetchError> {
    let corrupt = |source| FetchError::Corrupt { server: server.to_owned(), object: id, source: Box::new(source) };
    let header = *Record::parse(record).map_err(corrupt)?.header();
    if header.id != id {
        return Err(FetchError::OtherObject { server: server.to_owned(), expected: id, found: header.id });
    }
    match cache.put(record) {
        Ok(_) => Ok(header.raw_len.into()),
        Err(pack::Error::Record(source)) => Err(corrupt(source)),
        Err(error) => Err(FetchError::Cache(error)),
    }
}
