//! A search for deviations, carried out.
//!
//! Owns the fetching of what the search asks for, from the machine and from the image server at the same time. Invariants:
//! the number of searches at once is bounded; a search takes bounded time; its failure costs nothing but the list.
//!
//! Does not compare trees: `controller/core` does.

use std::sync::Arc;

use dominator_controller_core::{Descent, DescentError, DescentOrder, DescentSummary, Deviations, describe};
use dominator_protocol_core::{
    Deviation,
    limits::{PATH_LEN_MAX, clip},
};
use dominator_protocol_quic::Connection;
use tokio::{sync::Semaphore, task::JoinHandle, time::timeout};

use super::link::machine_trees;
use crate::{
    error::chain,
    images::{ImageError, Images},
    limits::SEARCH_TIMEOUT,
};

/// A search under way; dropping it ends it.
#[derive(Debug)]
pub(super) struct Search {
    pub(super) order: DescentOrder,
    task: JoinHandle<Result<Found, String>>,
}

/// What a search found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) summary: DescentSummary,
    pub(super) first_fill: bool,
    pub(super) items: Vec<Deviation>,
    pub(super) object_count: usize,
    pub(super) object_len: u64,
}

#[derive(Debug, thiserror::Error)]
enum SearchError {
    #[error("the machine's tree cannot be read")]
    Machine(#[source] dominator_protocol_quic::Error),
    #[error("the image's tree cannot be read")]
    Image(#[source] ImageError),
    #[error(transparent)]
    Descent(#[from] DescentError),
}

impl Search {
    pub(super) fn start(
        order: DescentOrder,
        entry_count: u64,
        connection: Connection,
        images: Images,
        searches: Arc<Semaphore>,
    ) -> Self {
        let task = tokio::spawn(async move {
            // The semaphore is never closed. Waiting for a turn counts, because the tree may be gone when it comes.
            let work = async {
                let _permit = searches.acquire().await;
                search(order, &connection, &images).await
            };
            match timeout(SEARCH_TIMEOUT, work).await {
                Ok(Ok(deviations)) => Ok(Found::new(&deviations, entry_count)),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err("the search took too long".to_owned()),
            }
        });
        Self { order, task }
    }

    /// Waits for the end; must not be called again afterwards.
    pub(super) async fn finish(&mut self) -> Result<Found, String> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(chain(&error)),
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn search(order: DescentOrder, connection: &Connection, images: &Images) -> Result<Deviations, SearchError> {
    let mut descent = Descent::new(order.machine, order.image);
    while let Some(wanted) = descent.poll_wanted()? {
        let of_machine = async {
            if wanted.machine.is_empty() {
                return Ok(Vec::new());
            }
            machine_trees(connection, &wanted.machine).await.map_err(SearchError::Machine)
        };
        let of_image = async { images.trees(&wanted.image).await.map_err(SearchError::Image) };
        let (of_machine, of_image) = tokio::try_join!(of_machine, of_image)?;
        for (id, bytes) in &of_machine {
            descent.handle_object(*id, bytes)?;
        }
        for (id, bytes) in &of_image {
            descent.handle_object(*id, bytes)?;
        }
    }
    Ok(descent.finish())
}

impl Found {
    fn new(deviations: &Deviations, entry_count: u64) -> Self {
        let items: Vec<Deviation> = deviations
            .differences
            .iter()
            .map(|difference| {
                let path = difference.path.as_bytes();
                let path = path.get(..PATH_LEN_MAX).unwrap_or(path).to_vec();
                Deviation { path, what: clip(&describe(difference)).to_owned() }
            })
            .collect();
        let deviation_count = if deviations.first_fill { entry_count } else { items.len() as u64 };
        Self {
            summary: DescentSummary { deviation_count, truncated: deviations.truncated },
            first_fill: deviations.first_fill,
            items,
            object_count: deviations.object_count,
            object_len: deviations.object_len,
        }
    }
}
