//! Sealing packs while others are filled.
//!
//! Owns one thread that is started when the first pack is full. Invariant: rows of a pack enter the index only after the
//! pack is sealed, which makes it durable; an error of the thread is returned by the next `wait`.
//!
//! Does not decide when a pack is full.

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, JoinHandle},
};

use crossbeam_channel::{Sender, bounded};
use dominator_store_core::{BlobId, ObjectKind, RecipeId};
use dominator_store_pack::{PackWriter, durable};
use parking_lot::Mutex;

use crate::{Error, error::Result, index::Durability, limits::SEAL_QUEUE_LEN, store::Inner};

pub(super) struct Sealer {
    inner: Arc<Inner>,
    worker: Mutex<Option<Worker>>,
}

struct Worker {
    queue: Sender<PackWriter>,
    thread: JoinHandle<Result<()>>,
}

impl Sealer {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner, worker: Mutex::default() }
    }

    /// Seals a pack on the thread; waits while the queue is full.
    pub(super) fn seal_later(&self, writer: PackWriter) -> Result<()> {
        let queue = {
            let mut worker = self.worker.lock();
            match &*worker {
                Some(worker) => worker.queue.clone(),
                None => worker.insert(self.start()?).queue.clone(),
            }
        };
        // The other end is gone only after an error, which `wait` returns.
        if queue.send(writer).is_err() {
            drop(queue);
            self.wait()?;
            return Err(Error::Stale);
        }
        Ok(())
    }

    fn start(&self) -> Result<Worker> {
        let (queue, packs) = bounded::<PackWriter>(SEAL_QUEUE_LEN);
        let inner = self.inner.clone();
        let work = move || packs.into_iter().try_for_each(|writer| seal(&inner, writer, &HashMap::new()));
        let thread = thread::Builder::new().name("seal packs".to_owned()).spawn(work);
        let thread = thread.map_err(Error::io("start a thread for", self.inner.objects.packs.dir()))?;
        Ok(Worker { queue, thread })
    }

    /// Waits until every pack given to the thread is sealed.
    pub(super) fn wait(&self) -> Result<()> {
        let Some(Worker { queue, thread }) = self.worker.lock().take() else { return Ok(()) };
        drop(queue);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Seals a pack on the calling thread; `blobs` are those of the recipes in it.
    pub(super) fn seal_now(&self, writer: PackWriter, blobs: &HashMap<RecipeId, BlobId>) -> Result<()> {
        seal(&self.inner, writer, blobs)
    }
}

fn seal(inner: &Inner, writer: PackWriter, blobs: &HashMap<RecipeId, BlobId>) -> Result<()> {
    if writer.is_empty() {
        return Ok(writer.discard()?);
    }
    let part = inner.objects.packs.dir().join(writer.pack().unsealed_name());
    let sealed = match writer.seal() {
        Ok(sealed) => sealed,
        Err(error) => {
            // The disk may be full: what cannot be finished must not stay in the way of others.
            if let Err(error) = durable::remove_file(&part) {
                tracing::warn!(error = &error as &dyn std::error::Error, "unfinished pack could not be removed");
            }
            return Err(error.into());
        }
    };
    let mut batch = inner.objects.index.batch();
    for row in sealed.rows() {
        batch.put_object(row.id, row.location(sealed.pack()));
        if row.id.kind == ObjectKind::Recipe {
            let recipe = RecipeId::new(row.id.digest);
            if let Some(blob) = blobs.get(&recipe) {
                batch.put_recipe(*blob, recipe);
            }
        }
    }
    batch.put_pack(sealed.pack());
    batch.write(Durability::Volatile)
}
