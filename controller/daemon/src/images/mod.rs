//! Images that machines need: what their names stand for, and their trees.
//!
//! Owns one connection with the image server, one task per name that waits until its image exists, and a cache of tree
//! objects. Invariants: an image is known only when its bytes have the id that the server states; tree objects are
//! verified; calls to the server are bounded.
//!
//! Does not fetch content: agents do.

mod cache;
mod server;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use dominator_controller_core::{Backoff, ImageKnowledge, KnownImage};
use dominator_protocol_core::ErrorCode;
use dominator_protocol_quic::Client;
use dominator_store_core::{Image, ImageId, ImageName, TreeId};
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use self::{cache::TreeCache, server::Server};
use crate::{
    config::ImageServer,
    error::chain,
    limits::{IMAGE_DELAY_MAX, IMAGE_DELAY_MIN, TREE_CACHE_LEN_MAX},
};

/// An image that exists.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NamedImage {
    pub(crate) name: ImageName,
    pub(crate) id: ImageId,
    pub(crate) encoded: Vec<u8>,
    pub(crate) root: TreeId,
    pub(crate) entry_count: u64,
}

/// What is known of an image name.
#[derive(Debug, Clone, Default)]
pub(crate) enum ImageState {
    #[default]
    Unasked,
    Known(Arc<NamedImage>),
    Absent,
    Failed(String),
}

/// The images; clones are the same images.
#[derive(Debug, Clone)]
pub(crate) struct Images(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    server: Server,
    names: Mutex<BTreeMap<ImageName, Watched>>,
    trees: Mutex<TreeCache>,
}

#[derive(Debug)]
struct Watched {
    state: watch::Sender<ImageState>,
    task: AbortHandle,
}

/// Why an image or a tree could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error(transparent)]
    Quic(#[from] dominator_protocol_quic::Error),
    #[error("the image server does not answer in time")]
    Timeout,
    #[error("the image server was not reachable a moment ago: {0}")]
    NotYet(String),
    #[error("image {expected} was announced, but the bytes are image {found}")]
    Digest { expected: ImageId, found: ImageId },
    #[error("the image cannot be decoded")]
    Image(#[from] dominator_store_core::cbor::CborError),
    #[error("the image server sends another object than {0}")]
    Unexpected(TreeId),
    #[error("the image server sends a damaged record")]
    Record(#[from] dominator_store_core::RecordError),
    #[error("the image server lacks the tree object {0}")]
    AbsentTree(TreeId),
}

impl ImageError {
    /// Returns the code of what the image server says, if that is what went wrong.
    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Quic(error) => error.failure().map(|failure| failure.code),
            _ => None,
        }
    }

    fn is_denied(&self) -> bool {
        self.code() == Some(ErrorCode::Denied)
    }
}

impl ImageState {
    /// Returns what the planner wants to know.
    pub(crate) fn knowledge(&self) -> ImageKnowledge {
        match self {
            Self::Unasked => ImageKnowledge::Unasked,
            Self::Known(image) => {
                ImageKnowledge::Known(KnownImage { id: image.id, root: image.root, entry_count: image.entry_count })
            }
            Self::Absent => ImageKnowledge::Absent,
            Self::Failed(reason) => ImageKnowledge::Failed(reason.clone()),
        }
    }
}

impl Images {
    pub(crate) fn new(client: Client, settings: &ImageServer) -> Self {
        Self(Arc::new(Shared {
            server: Server::new(client, settings),
            names: Mutex::default(),
            trees: Mutex::new(TreeCache::new(TREE_CACHE_LEN_MAX)),
        }))
    }

    /// Follows exactly these names: begins with new ones, forgets others.
    pub(crate) fn follow(&self, wanted: &BTreeSet<ImageName>) {
        let mut names = self.0.names.lock();
        names.retain(|name, watched| {
            let keep = wanted.contains(name);
            if !keep {
                watched.task.abort();
            }
            keep
        });
        for name in wanted {
            names.entry(name.clone()).or_insert_with(|| {
                let (state, _) = watch::channel(ImageState::Unasked);
                let task = tokio::spawn(resolve(Arc::clone(&self.0), name.clone(), state.clone()));
                Watched { state, task: task.abort_handle() }
            });
        }
    }

    /// Asks again, without waiting any longer, for every name that does not stand for an image yet.
    pub(crate) fn retry_now(&self) {
        self.0.server.retry_now();
        for (name, watched) in self.0.names.lock().iter_mut() {
            if !matches!(*watched.state.borrow(), ImageState::Known(_)) {
                watched.task.abort();
                let task = tokio::spawn(resolve(Arc::clone(&self.0), name.clone(), watched.state.clone()));
                watched.task = task.abort_handle();
            }
        }
    }

    /// Returns what is known of a name, now and later; `None` for a name that nobody follows.
    pub(crate) fn watch(&self, name: &ImageName) -> Option<watch::Receiver<ImageState>> {
        self.0.names.lock().get(name).map(|watched| watched.state.subscribe())
    }

    /// Returns encoded tree objects by their ids.
    pub(crate) async fn trees(&self, ids: &[TreeId]) -> Result<HashMap<TreeId, Arc<[u8]>>, ImageError> {
        let mut found = HashMap::with_capacity(ids.len());
        let mut lacking = Vec::new();
        {
            let mut cache = self.0.trees.lock();
            for id in ids {
                match cache.get(*id) {
                    Some(bytes) => drop(found.insert(*id, bytes)),
                    None => lacking.push(*id),
                }
            }
        }
        if !lacking.is_empty() {
            let fetched = self.0.server.trees(&lacking).await?;
            let mut cache = self.0.trees.lock();
            for (id, bytes) in fetched {
                cache.put(id, Arc::clone(&bytes));
                found.insert(id, bytes);
            }
        }
        Ok(found)
    }

    pub(crate) fn stop(&self) {
        self.follow(&BTreeSet::new());
    }
}

/// Asks for an image until it exists. A name never stands for another image later, so this is the end of it.
async fn resolve(shared: Arc<Shared>, name: ImageName, state: watch::Sender<ImageState>) {
    let backoff = Backoff { min: IMAGE_DELAY_MIN, max: IMAGE_DELAY_MAX };
    let mut last_complaint = String::new();
    for failure_count in 1u32.. {
        let found = match shared.server.image(&name).await {
            Ok(reply) => match NamedImage::new(name.clone(), reply.image, reply.encoded) {
                Ok(image) => {
                    tracing::info!(image = %name, id = %image.id.short(), "image found");
                    state.send_replace(ImageState::Known(Arc::new(image)));
                    return;
                }
                Err(error) => ImageState::Failed(chain(&error)),
            },
            Err(error) if error.code() == Some(ErrorCode::NotFound) => ImageState::Absent,
            Err(error) => ImageState::Failed(chain(&error)),
        };
        let complaint = match &found {
            ImageState::Failed(reason) => reason.as_str(),
            _ => "the image server does not have it",
        };
        if complaint != last_complaint {
            tracing::warn!(image = %name, reason = complaint, "image is not available");
            last_complaint = complaint.to_owned();
            state.send_replace(found);
        }
        tokio::time::sleep(backoff.delay(name.as_str(), failure_count)).await;
    }
}

impl NamedImage {
    fn new(name: ImageName, id: ImageId, encoded: Vec<u8>) -> Result<Self, ImageError> {
        let found = ImageId::of(&encoded);
        if found != id {
            return Err(ImageError::Digest { expected: id, found });
        }
        let image = Image::decode(&encoded)?;
        Ok(Self { name, id, encoded, root: image.root, entry_count: image.entry_count })
    }
}
