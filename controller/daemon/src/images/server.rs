//! The connection with the image server and the two calls that are made of it.
//!
//! Owns connecting, the pause after a failure, and the check of records. Invariants: there is one connection; a server that
//! is away is not asked at every occasion; what is returned has the digest that was asked for.
//!
//! Does not cache (`cache`) or repeat (`images`).

use std::{sync::Arc, time::Duration};

use dominator_controller_core::Backoff;
use dominator_protocol_core::{Get, GetImage, GetImageReply, Message, Method, Object};
use dominator_protocol_quic::{Client, Connection};
use dominator_store_core::{ImageName, ObjectId, ObjectKind, Record, RecordDecoder, TreeId};
use tokio::{sync::Semaphore, time::Instant};

use super::ImageError;
use crate::{
    config::ImageServer,
    error::chain,
    limits::{CONNECT_TIMEOUT, IMAGE_CALLS_MAX, IMAGE_DELAY_MAX, IMAGE_DELAY_MIN, IMAGE_TIMEOUT},
};

#[derive(Debug)]
pub(super) struct Server {
    client: Client,
    address: String,
    name: String,
    link: tokio::sync::Mutex<Link>,
    retry: parking_lot::Mutex<Option<Instant>>,
    calls: Semaphore,
}

#[derive(Debug, Default)]
struct Link {
    connection: Option<Connection>,
    failure_count: u32,
    last_failure: String,
}

impl Server {
    pub(super) fn new(client: Client, settings: &ImageServer) -> Self {
        Self {
            client,
            address: settings.address.clone(),
            name: settings.name().to_owned(),
            link: tokio::sync::Mutex::default(),
            retry: parking_lot::Mutex::default(),
            calls: Semaphore::new(IMAGE_CALLS_MAX),
        }
    }

    /// Forgets the pause after a failure.
    pub(super) fn retry_now(&self) {
        *self.retry.lock() = None;
    }

    pub(super) async fn image(&self, name: &ImageName) -> Result<GetImageReply, ImageError> {
        let question = GetImage { name: name.to_string() };
        self.within_time(async |connection: Connection| Ok(connection.ask(Method::ImageGet, &question).await?)).await
    }

    pub(super) async fn trees(&self, ids: &[TreeId]) -> Result<Vec<(TreeId, Arc<[u8]>)>, ImageError> {
        self.within_time(async |connection: Connection| get_trees(&connection, ids).await).await
    }

    async fn within_time<T>(
        &self,
        work: impl AsyncFnOnce(Connection) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        // The semaphore is never closed.
        let _permit = self.calls.acquire().await.map_err(|_| ImageError::Timeout)?;
        let connection = self.connection().await?;
        let result = tokio::time::timeout(IMAGE_TIMEOUT, work(connection.clone())).await;
        match &result {
            Err(_) => connection.close(),
            // Certificates are shown when a connection begins: only another one can change the answer.
            Ok(Err(error)) if error.is_denied() => self.link.lock().await.connection = None,
            Ok(_) => {}
        }
        result.map_err(|_| ImageError::Timeout)?
    }

    async fn connection(&self) -> Result<Connection, ImageError> {
        let mut link = self.link.lock().await;
        if let Some(connection) = link.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        link.connection = None;
        if self.retry.lock().is_some_and(|retry_at| Instant::now() < retry_at) {
            return Err(ImageError::NotYet(link.last_failure.clone()));
        }
        let connecting = self.client.connect_to(&self.address, Some(&self.name));
        let error = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(connection)) => {
                tracing::info!(address = %self.address, peer = %connection.identity().name, "image server connected");
                (link.failure_count, link.connection) = (0, Some(connection.clone()));
                return Ok(connection);
            }
            Ok(Err(error)) => error.into(),
            Err(_) => ImageError::Timeout,
        };
        link.failure_count = link.failure_count.saturating_add(1);
        link.last_failure = chain(&error);
        *self.retry.lock() = Some(Instant::now() + self.delay(link.failure_count));
        Err(error)
    }

    fn delay(&self, failure_count: u32) -> Duration {
        Backoff { min: IMAGE_DELAY_MIN, max: IMAGE_DELAY_MAX }.delay(&self.address, failure_count)
    }
}

async fn get_trees(connection: &Connection, ids: &[TreeId]) -> Result<Vec<(TreeId, Arc<[u8]>)>, ImageError> {
    let mut call = connection.call(Method::ObjectGet).await?;
    let objects = ids.iter().map(|id| ObjectId::from(*id)).collect();
    call.feed(&Get { ids: objects }).await?;
    call.finish().await?;
    let mut trees = Vec::with_capacity(ids.len());
    let mut decoder = RecordDecoder::new();
    for id in ids {
        match call.recv().await? {
            Some(Message::Object(Object(record))) => {
                let record = Record::parse(&record)?;
                if record.header().id != (ObjectId { kind: ObjectKind::Tree, digest: id.digest() }) {
                    return Err(ImageError::Unexpected(*id));
                }
                trees.push((*id, Arc::from(decoder.open(&record)?)));
            }
            Some(Message::Absent(_)) => return Err(ImageError::AbsentTree(*id)),
            _ => return Err(ImageError::Unexpected(*id)),
        }
    }
    Ok(trees)
}
