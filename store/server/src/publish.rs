//! `Image.Publish`: offers, wanted records, commit.
//!
//! Owns one upload. Invariants: a record is taken only if it was asked for; it is verified before it is stored; the commit
//! comes after everything before it is stored; a call that ends early, for whatever reason, leaves nothing visible. An upload
//! that stalls ends by the idle timeout of its call, and its place is free again.
//!
//! Closure and durability are `store/engine`.

use std::{collections::HashSet, sync::Arc, time::Instant};

use dominator_protocol_core::{CallFailure, Commit, ErrorCode, Message, Object, Offer, Published, Want};
use dominator_protocol_quic::IncomingCall;
use dominator_store_core::{ImageName, ObjectId, Record};
use dominator_store_engine::{Store, Upload};
use tokio::task::JoinSet;

use crate::{
    failure::{failure, lost},
    limits::{OUTSTANDING_COUNT_MAX, PUT_COUNT_MAX, PUT_LEN_MAX, PUTS_MAX},
};

/// One upload under way.
struct Session {
    upload: Arc<Upload>,
    /// Asked for and not yet here.
    outstanding: HashSet<ObjectId>,
    /// Here and not yet being stored.
    records: Vec<Vec<u8>>,
    records_len: usize,
    puts: JoinSet<Result<(), CallFailure>>,
    received_count: u64,
    received_len: u64,
}

/// Answers `Image.Publish`.
pub(crate) async fn publish(store: &Store, call: &mut IncomingCall) -> Result<(), CallFailure> {
    let began = Instant::now();
    let upload = {
        let store = store.clone();
        blocking(move || store.begin_upload().map_err(|error| failure(&error))).await?
    };
    let mut session = Session {
        upload: Arc::new(upload),
        outstanding: HashSet::new(),
        records: Vec::new(),
        records_len: 0,
        puts: JoinSet::new(),
        received_count: 0,
        received_len: 0,
    };
    loop {
        match call.recv().await? {
            Some(Message::Offer(offer)) => {
                let want = session.handle_offer(offer).await?;
                call.send(&want).await?;
            }
            Some(Message::Object(Object(record))) => session.handle_record(record).await?,
            Some(Message::Commit(commit)) => {
                let published = session.handle_commit(&commit).await?;
                tracing::info!(
                    peer = %call.identity().name,
                    address = %call.remote_addr(),
                    name = commit.name,
                    image = %commit.image,
                    received_len = session.received_len,
                    received_count = session.received_count,
                    new_object_count = published.new_object_count,
                    stored_len = published.stored_len,
                    elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                    "published"
                );
                call.send(&published).await?;
                return Ok(());
            }
            Some(other) => {
                return Err(CallFailure::bad_request(format!("{} in a publish", other.tag().name())));
            }
            None => return Err(CallFailure::bad_request("the publish ended without a commit")),
        }
    }
}

impl Session {
    async fn handle_offer(&mut self, Offer { ids }: Offer) -> Result<Want, CallFailure> {
        if self.outstanding.len() + ids.len() > OUTSTANDING_COUNT_MAX {
            let text = format!("more than {OUTSTANDING_COUNT_MAX} objects were asked for and not sent");
            return Err(CallFailure::new(ErrorCode::TooLarge, text));
        }
        let upload = Arc::clone(&self.upload);
        let (ids, missing) = blocking(move || {
            let missing = upload.missing(&ids).map_err(|error| failure(&error))?;
            Ok((ids, missing))
        })
        .await?;
        // What is already on its way from this caller is not asked for twice.
        let flags: Vec<bool> =
            ids.iter().zip(&missing).map(|(id, missing)| *missing && self.outstanding.insert(*id)).collect();
        Ok(Want::from_flags(flags))
    }

    async fn handle_record(&mut self, record: Vec<u8>) -> Result<(), CallFailure> {
        let id = Record::parse(&record).map_err(|error| CallFailure::corrupt(error.to_string()))?.header().id;
        if !self.outstanding.remove(&id) {
            return Err(CallFailure::bad_request(format!("{id} was not asked for")));
        }
        self.received_count += 1;
        self.received_len += record.len() as u64;
        self.records_len += record.len();
        self.records.push(record);
        if self.records.len() >= PUT_COUNT_MAX || self.records_len >= PUT_LEN_MAX {
            self.store_records().await?;
        }
        Ok(())
    }

    async fn handle_commit(&mut self, commit: &Commit) -> Result<Published, CallFailure> {
        let name: ImageName =
            commit.name.parse().map_err(|error| CallFailure::bad_request(format!("{:?}: {error}", commit.name)))?;
        self.store_records().await?;
        while let Some(put) = self.puts.join_next().await {
            put.map_err(|error| lost(&error))??;
        }
        let (upload, image) = (Arc::clone(&self.upload), commit.image);
        let published = blocking(move || upload.commit(&name, image).map_err(|error| failure(&error))).await?;
        Ok(Published { stored_len: published.new_stored_len, new_object_count: published.new_object_count })
    }

    /// Begins to store what has come, once few enough pieces are being stored.
    async fn store_records(&mut self) -> Result<(), CallFailure> {
        while self.puts.len() >= PUTS_MAX {
            if let Some(put) = self.puts.join_next().await {
                put.map_err(|error| lost(&error))??;
            }
        }
        let (upload, records) = (Arc::clone(&self.upload), std::mem::take(&mut self.records));
        self.records_len = 0;
        if !records.is_empty() {
            self.puts.spawn_blocking(move || {
                records.iter().try_for_each(|record| upload.put(record).map(|_| ()).map_err(|error| failure(&error)))
            });
        }
        Ok(())
    }
}

/// Runs store work on the pool for it.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallFailure> + Send + 'static,
) -> Result<T, CallFailure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| lost(&error))?
}
