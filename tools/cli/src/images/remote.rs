//! Images behind an image server.
//!
//! Owns the questions that commands ask a server, and the tree objects already fetched. Invariants: nothing is believed
//! unverified: an image has the id that was named, an object the digest that was asked for; many objects are asked for in
//! one call, so that a long link costs bandwidth and not round trips.
//!
//! Does not keep chunks: a checkout brings a cache for them.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context as _, Result, bail};
use dominator_protocol_core::{
    Absent, DecodeError, Delete, ErrorCode, Get, GetImage, GetImageReply, ImageSummary, List, ListReply, Message,
    Method, Object, Recipes, limits::LIST_MAX,
};
use dominator_protocol_quic as quic;
use dominator_store_core::{
    BlobId, Directory, Image, ImageId, ImageName, ObjectId, ReadTreeError, Record, TreeId, TreeObject, read_directory,
};
use dominator_store_pack::open_record;

use super::SourceError;
use crate::{link::Link, settings::Peer};

/// Ids of one `Get` or `Recipes`; several are under way at once.
const BATCH_COUNT: usize = 512;

/// A connection to an image server, and the trees that came over it.
#[derive(Debug)]
pub(crate) struct Remote {
    link: Link,
    trees: Mutex<HashMap<TreeId, Vec<u8>>>,
}

impl Remote {
    /// Connects.
    pub(crate) fn open(peer: &Peer) -> Result<Self> {
        Ok(Self { link: Link::open(peer)?, trees: Mutex::default() })
    }

    /// Returns the images whose names begin with `prefix`, in order.
    pub(crate) fn list(&self, prefix: &str) -> Result<Vec<ImageSummary>> {
        let mut images: Vec<ImageSummary> = Vec::new();
        loop {
            let after = images.last().map(|image| image.name.clone());
            let question = List { prefix: prefix.to_owned(), after, limit: LIST_MAX as u64 };
            let reply: ListReply = self.ask(Method::ImageList, &question).context("cannot list images")?;
            let is_last = !reply.more || reply.images.is_empty();
            images.extend(reply.images);
            if is_last {
                return Ok(images);
            }
        }
    }

    /// Finds an image by its name.
    pub(crate) fn image(&self, name: &ImageName) -> Result<Option<(ImageId, Image)>> {
        let asked = self.ask(Method::ImageGet, &GetImage { name: name.to_string() });
        let reply: GetImageReply = match asked {
            Err(quic::Error::Failed(failure)) if failure.code == ErrorCode::NotFound => return Ok(None),
            asked => asked.with_context(|| format!("cannot get image {name}"))?,
        };
        let id = ImageId::of(&reply.encoded);
        if id != reply.image {
            bail!("the server sends image {id} as {}", reply.image);
        }
        let image = Image::decode(&reply.encoded).with_context(|| format!("image {name} is malformed"))?;
        Ok(Some((id, image)))
    }

    /// Makes an image invisible.
    pub(crate) fn delete(&self, name: &ImageName) -> Result<()> {
        let deleted = self.link.block_on(async |connection| {
            let mut call = connection.call(Method::ImageDelete).await?;
            call.feed(&Delete { name: name.to_string() }).await?;
            call.finish().await?;
            while call.recv().await?.is_some() {}
            Ok(())
        });
        deleted.with_context(|| format!("cannot delete image {name}"))
    }

    /// Reads a directory, from what was fetched before where possible.
    pub(crate) fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<SourceError>> {
        read_directory(id, &mut |id| {
            if let Some(bytes) = self.trees().get(&id) {
                return Ok(bytes.clone());
            }
            self.fetch_trees(&[id])?;
            self.trees().get(&id).cloned().ok_or(SourceError::Absent(id.into()))
        })
    }

    /// Fetches all tree objects below these roots, level by level; those that are equal on every side are left out, because
    /// a comparison does not descend into them.
    pub(crate) fn prefetch_trees(&self, roots: &[TreeId]) -> Result<(), SourceError> {
        let mut sides: Vec<HashSet<TreeId>> = roots.iter().map(|root| HashSet::from([*root])).collect();
        loop {
            let is_everywhere = |id: &TreeId| sides.len() > 1 && sides.iter().all(|side| side.contains(id));
            let level: HashSet<TreeId> = sides.iter().flatten().copied().filter(|id| !is_everywhere(id)).collect();
            if level.is_empty() {
                return Ok(());
            }
            let lacking: Vec<TreeId> = {
                let trees = self.trees();
                level.iter().copied().filter(|id| !trees.contains_key(id)).collect()
            };
            self.fetch_trees(&lacking)?;
            let trees = self.trees();
            let mut next = Vec::with_capacity(sides.len());
            for side in &sides {
                let mut children = HashSet::new();
                for id in side.intersection(&level) {
                    let bytes = trees.get(id).ok_or(SourceError::Absent((*id).into()))?;
                    children.extend(TreeObject::decode(bytes).map_err(SourceError::Tree)?.children());
                }
                next.push(children);
            }
            sides = next;
        }
    }

    /// Asks for objects and calls `take` with the verified record of each; an absent one is an error.
    pub(crate) fn fetch(
        &self,
        ids: &[ObjectId],
        mut take: impl FnMut(ObjectId, &[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut failure = None;
        let questions = ids.chunks(BATCH_COUNT).map(|ids| Get { ids: ids.to_vec() });
        self.exchange(Method::ObjectGet, questions, ids, |id, message| match message {
            Message::Object(Object(record)) => {
                let taken = check_record(&record, Some(*id)).and_then(|()| take(*id, &record));
                failure = taken.err();
                Ok(failure.is_none())
            }
            Message::Absent(Absent { .. }) => {
                failure = Some(SourceError::Absent(*id));
                Ok(false)
            }
            other => Err(unexpected("Object", &other)),
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Asks for the recipes of blobs and calls `take` with the record of each, or with nothing for a blob of one chunk.
    pub(crate) fn recipes(
        &self,
        blobs: &[BlobId],
        mut take: impl FnMut(BlobId, Option<&[u8]>) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let mut failure = None;
        let questions = blobs.chunks(BATCH_COUNT).map(|blobs| Recipes { blobs: blobs.to_vec() });
        self.exchange(Method::ObjectRecipes, questions, blobs, |blob, message| {
            let taken = match message {
                Message::Object(Object(record)) => {
                    check_record(&record, None).and_then(|()| take(*blob, Some(&record)))
                }
                Message::Single(_) => take(*blob, None),
                Message::Absent(_) => Err(SourceError::AbsentBlob(*blob)),
                other => return Err(unexpected("Object", &other)),
            };
            failure = taken.err();
            Ok(failure.is_none())
        })?;
        failure.map_or(Ok(()), Err)
    }

    /// Sends the questions and hands each answer to `take` with the item that is due, until it says false.
    fn exchange<T, Q: dominator_protocol_core::Payload>(
        &self,
        method: Method,
        questions: impl Iterator<Item = Q>,
        due: &[T],
        mut take: impl FnMut(&T, Message) -> Result<bool, quic::Error>,
    ) -> Result<(), SourceError> {
        if due.is_empty() {
            return Ok(());
        }
        let exchanged = self.link.block_on(async |connection| {
            let mut call = connection.call(method).await?;
            let (sender, receiver) = call.halves();
            let ask = async {
                for question in questions {
                    sender.send(&question).await?;
                }
                sender.finish().await
            };
            let answers = async {
                for item in due {
                    let message = receiver.recv().await?.ok_or(quic::Error::Truncated)?;
                    if !take(item, message)? {
                        return Ok(());
                    }
                }
                Ok::<_, quic::Error>(())
            };
            tokio::pin!(ask, answers);
            // Answers that end early must not wait for questions that nobody will read.
            tokio::select! {
                asked = &mut ask => match asked {
                    Ok(()) => answers.await,
                    // When the server stopped reading, its reason is among the answers.
                    Err(error) => answers.await.and(Err(error)),
                },
                ended = &mut answers => ended,
            }
        });
        exchanged.map_err(|error| SourceError::Peer(Box::new(error)))
    }

    fn fetch_trees(&self, ids: &[TreeId]) -> Result<(), SourceError> {
        let objects: Vec<ObjectId> = ids.iter().copied().map(ObjectId::from).collect();
        self.fetch(&objects, |id, record| {
            let bytes =
                open_record(&Record::parse(record).map_err(SourceError::Record)?).map_err(SourceError::Record)?;
            self.trees().insert(TreeId::new(id.digest), bytes);
            Ok(())
        })
    }

    fn ask<Q, R>(&self, method: Method, question: &Q) -> Result<R, quic::Error>
    where
        Q: dominator_protocol_core::Payload,
        R: dominator_protocol_core::Payload + TryFrom<Message, Error = DecodeError>,
    {
        self.link.block_on(async |connection| connection.ask(method, question).await)
    }

    fn trees(&self) -> std::sync::MutexGuard<'_, HashMap<TreeId, Vec<u8>>> {
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a record that is not the object asked for; whether its bytes have the digest is checked when it is opened.
fn check_record(record: &[u8], asked: Option<ObjectId>) -> Result<(), SourceError> {
    let found = Record::parse(record).map_err(SourceError::Record)?.header().id;
    match asked {
        Some(asked) if asked != found => Err(SourceError::Other { asked, found }),
        _ => Ok(()),
    }
}

fn unexpected(expected: &'static str, found: &Message) -> quic::Error {
    DecodeError::UnexpectedFrame { expected, found: found.tag().name() }.into()
}
