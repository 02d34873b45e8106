//! Offers objects to the server and sends those that it wants.
//!
//! Owns the call. Offers run ahead: while the server looks one up, the next is on its way, and wanted objects are compressed
//! beside. Invariants: an object is compressed and sent only if it was wanted; everything read holds a part of the budget
//! until it is sent or found to be known, so all queues in here are bounded by the budget; `Commit` goes last.
//!
//! Does not read files: that is `ingest`.

use std::sync::{Arc, Mutex, PoisonError};

use dominator_protocol_core::{Commit, Offer, Published, Want};
use dominator_protocol_quic::{Call, Error, Receiver, Sender};
use dominator_store_core::{ObjectId, RecordEncoder};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::limits::{OFFER_COUNT_MAX, OFFER_LEN_MAX};

/// What the courier is told.
pub(super) enum Errand {
    /// Offer this object, which nobody offered before.
    Offer(Candidate),
    /// All objects are offered: make the image visible.
    Commit(Commit),
}

/// An object that the server may want.
pub(super) struct Candidate {
    /// Which object.
    pub(super) id: ObjectId,
    /// Its uncompressed bytes, within the limit of its kind.
    pub(super) bytes: Vec<u8>,
    /// Its part of the budget.
    pub(super) permit: OwnedSemaphorePermit,
}

/// What was delivered.
pub(super) struct Delivered {
    /// Objects that the server wanted.
    pub(super) sent_count: u64,
    /// Bytes sent, everything included.
    pub(super) sent_len: u64,
    /// What the server says about it.
    pub(super) published: Published,
}

/// A compressed object on its way out.
type Outgoing = (Vec<u8>, OwnedSemaphorePermit);

/// Runs the errands until the image is visible; closes the budget at its end, so that nobody waits for it in vain.
pub(super) async fn run(
    call: Call,
    errands: mpsc::UnboundedReceiver<Errand>,
    budget: Arc<Semaphore>,
    encoders: Arc<Encoders>,
) -> Result<Delivered, Error> {
    let result = deliver(call, errands, encoders).await;
    budget.close();
    result
}

async fn deliver(
    call: Call,
    errands: mpsc::UnboundedReceiver<Errand>,
    encoders: Arc<Encoders>,
) -> Result<Delivered, Error> {
    let (mut sender, receiver) = call.split();
    let (batches_tx, batches_rx) = mpsc::unbounded_channel();
    let (records_tx, records_rx) = mpsc::unbounded_channel();
    let answers = tokio::spawn(take_answers(receiver, batches_rx, records_tx, encoders));
    let sent = send_all(&mut sender, errands, batches_tx, records_rx).await;
    // The end of the answers comes first: when the server gave up, it said why there.
    let mut receiver = answers.await.map_err(|_| Error::Stopped)??;
    match sent {
        Ok(sent_count) => {
            let published = receiver.expect().await?;
            Ok(Delivered { sent_count, sent_len: sender.sent_len(), published })
        }
        Err(Error::Stopped) => {
            while receiver.recv().await?.is_some() {}
            Err(Error::Stopped)
        }
        Err(error) => Err(error),
    }
}

/// Sends offers, records and at last the commit; returns how many records it sent.
async fn send_all(
    sender: &mut Sender,
    mut errands: mpsc::UnboundedReceiver<Errand>,
    batches: mpsc::UnboundedSender<Vec<Candidate>>,
    mut records: mpsc::UnboundedReceiver<Outgoing>,
) -> Result<u64, Error> {
    let (mut batch, mut batch_len, mut sent_count) = (Vec::new(), 0, 0);
    let mut batches = Some(batches);
    let mut commit = None;
    loop {
        tokio::select! {
            // Records first: they give their part of the budget back.
            biased;
            record = records.recv() => match record {
                Some((record, _permit)) => {
                    sender.feed_object(&record).await?;
                    sent_count += 1;
                }
                None => break,
            },
            errand = errands.recv(), if batches.is_some() => {
                let is_full = match errand {
                    Some(Errand::Offer(candidate)) => {
                        batch_len += candidate.bytes.len();
                        batch.push(candidate);
                        batch.len() >= OFFER_COUNT_MAX || batch_len >= OFFER_LEN_MAX
                    }
                    Some(Errand::Commit(last)) => {
                        commit = Some(last);
                        true
                    }
                    // The reading side gave up and knows why.
                    None => return Err(Error::Finished),
                };
                if is_full && !batch.is_empty() {
                    let batch = std::mem::take(&mut batch);
                    sender.send(&Offer { ids: batch.iter().map(|candidate| candidate.id).collect() }).await?;
                    batch_len = 0;
                    if batches.as_ref().is_none_or(|batches| batches.send(batch).is_err()) {
                        return Err(Error::Stopped);
                    }
                }
                if commit.is_some() {
                    batches = None;
                }
            }
        }
    }
    let Some(commit) = commit else { return Err(Error::Stopped) };
    sender.send(&commit).await?;
    sender.finish().await?;
    Ok(sent_count)
}

/// Takes one answer for each batch and has the wanted objects compressed.
async fn take_answers(
    mut receiver: Receiver,
    mut batches: mpsc::UnboundedReceiver<Vec<Candidate>>,
    records: mpsc::UnboundedSender<Outgoing>,
    encoders: Arc<Encoders>,
) -> Result<Receiver, Error> {
    while let Some(batch) = batches.recv().await {
        let flags = receiver.expect::<Want>().await?.flags(batch.len())?;
        let wanted: Vec<Candidate> =
            batch.into_iter().zip(flags).filter_map(|(candidate, wanted)| wanted.then_some(candidate)).collect();
        if wanted.is_empty() {
            continue;
        }
        let slot = Arc::clone(&encoders.slots).acquire_owned().await.map_err(|_| Error::Finished)?;
        let (encoders, records) = (Arc::clone(&encoders), records.clone());
        tokio::task::spawn_blocking(move || {
            let mut encoder = encoders.take();
            for Candidate { id, bytes, permit } in wanted {
                let mut record = Vec::new();
                encoder.encode_known(id, &bytes, &mut record).expect("lengths are checked when an object is offered");
                // Nobody takes it when the call is over, which is then the error that is reported.
                let _ = records.send((record, permit));
            }
            encoders.put(encoder);
            drop(slot);
        });
    }
    Ok(receiver)
}

/// Compressors, as many as may run at once.
pub(super) struct Encoders {
    level: i32,
    idle: Mutex<Vec<RecordEncoder>>,
    slots: Arc<Semaphore>,
}

impl Encoders {
    pub(super) fn new(level: i32, count: usize) -> Self {
        Self { level, idle: Mutex::default(), slots: Arc::new(Semaphore::new(count)) }
    }

    fn take(&self) -> RecordEncoder {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.unwrap_or_else(|| RecordEncoder::new(self.level))
    }

    fn put(&self, encoder: RecordEncoder) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(encoder);
    }
}
