//! `Object.Get` and `Object.Recipes`.
//!
//! Owns reading records ahead of the sending. Invariants: answers come in the order of the questions, one each; a record goes
//! out as it is stored, its checksum verified; at most two pieces of reading are in memory for one call.
//!
//! A damaged record fails the call and names the object: the receiver must not take its absence for a fact.

use std::sync::Arc;

use dominator_protocol_core::{Absent, CallFailure, Get, Recipes, Single};
use dominator_protocol_quic::IncomingCall;
use dominator_store_core::{BlobId, Digest, ObjectId};
use dominator_store_engine::{Error, Store};

use crate::{
    failure::{failure, lost},
    limits::{READ_COUNT_MAX, READ_LEN_MAX},
};

/// The answer to one question.
pub(crate) enum Answer {
    Record(Vec<u8>),
    Single,
    Absent(Digest),
}

/// Answers `Object.Get`.
pub(crate) async fn get(store: &Store, call: &mut IncomingCall) -> Result<(), CallFailure> {
    while let Some(message) = call.recv().await? {
        let Get { ids } = message.try_into()?;
        answer_all(store, call, ids, read_object).await?;
    }
    Ok(())
}

/// Answers `Object.Recipes`.
pub(crate) async fn recipes(store: &Store, call: &mut IncomingCall) -> Result<(), CallFailure> {
    while let Some(message) = call.recv().await? {
        let Recipes { blobs } = message.try_into()?;
        answer_all(store, call, blobs, read_recipe).await?;
    }
    Ok(())
}

fn read_object(store: &Store, id: ObjectId) -> Result<Answer, Error> {
    Ok(store.record(id)?.map_or(Answer::Absent(id.digest), Answer::Record))
}

fn read_recipe(store: &Store, blob: BlobId) -> Result<Answer, Error> {
    Ok(match store.recipe_record(blob)? {
        Some(record) => Answer::Record(record),
        None if store.has(blob.single_chunk().into())? => Answer::Single,
        None => Answer::Absent(blob.digest()),
    })
}

/// Answers questions in order; while one piece is sent, the next is read.
async fn answer_all<T: Copy + Send + Sync + 'static>(
    store: &Store,
    call: &mut IncomingCall,
    questions: Vec<T>,
    read: fn(&Store, T) -> Result<Answer, Error>,
) -> Result<(), CallFailure> {
    let questions: Arc<[T]> = questions.into();
    let read_from = |pos: usize| {
        let (store, questions) = (store.clone(), Arc::clone(&questions));
        tokio::task::spawn_blocking(move || read_piece(&store, questions.get(pos..).unwrap_or_default(), read))
    };
    let mut pos = 0;
    let mut piece = (pos < questions.len()).then(|| read_from(pos));
    while let Some(reading) = piece {
        let answers = reading.await.map_err(|error| lost(&error))?.map_err(|error| {
            tracing::error!(peer = %call.identity().name, error = %error, "object cannot be read");
            failure(&error)
        })?;
        pos += answers.len();
        piece = (pos < questions.len()).then(|| read_from(pos));
        for answer in answers {
            match answer {
                Answer::Record(record) => call.feed_object(&record).await?,
                Answer::Single => call.feed(&Single {}).await?,
                Answer::Absent(digest) => call.feed(&Absent { digest }).await?,
            }
        }
    }
    Ok(())
}

/// Reads at least one answer, and more until the piece is full.
fn read_piece<T: Copy>(
    store: &Store,
    questions: &[T],
    read: fn(&Store, T) -> Result<Answer, Error>,
) -> Result<Vec<Answer>, Error> {
    let (mut answers, mut len) = (Vec::new(), 0);
    for question in questions.iter().take(READ_COUNT_MAX) {
        let answer = read(store, *question)?;
        if let Answer::Record(record) = &answer {
            len += record.len();
        }
        answers.push(answer);
        if len >= READ_LEN_MAX {
            break;
        }
    }
    Ok(answers)
}
