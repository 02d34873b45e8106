//! The fetch: everything that an image needs and the machine lacks comes into the cache.
//!
//! Owns the order of a fetch: trees level by level where they differ from what is here, then recipes, then chunks. Invariants:
//! nothing that is here travels; what came before a failure is not fetched again; a `Content` exists only if everything
//! the image needs was found or stored.
//!
//! Does not choose servers or retry (the controller does), and does not change the managed tree (`apply`).

mod content;
mod error;
mod pins;
mod seed;
mod tree;
mod wire;

pub use content::{Content, Provider, SeedChanged};
pub use error::{FetchError, TreeError};
pub use pins::{Pins, Purpose};
pub use seed::Ranges;
pub use tree::LocalTrees;

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use dominator_protocol_quic::Client;
use dominator_store_core::{BlobId, ChunkId, ObjectId, TreeId};
use dominator_store_fs::Dir;
use dominator_store_pack::Cache;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;

use crate::{limits::FETCH_TREE_COUNT_MAX, scan::Snapshot, state::NamedImage};
use tree::Lack;
use wire::{Cut, Wire, known_cut};

/// What to fetch, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchOrder {
    /// The image.
    pub image: Arc<NamedImage>,
    /// Host and port of the image server.
    pub server: String,
    /// Name that its certificate must have; empty for the host.
    pub server_name: String,
    /// Cap in bytes a second.
    pub rate_bytes_per_s: Option<u64>,
    /// Why it is fetched.
    pub purpose: Purpose,
}

impl FetchOrder {
    /// Says whether the other order brings the same objects in the same way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.image.id == other.image.id
            && (&self.server, &self.server_name, self.rate_bytes_per_s)
                == (&other.server, &other.server_name, other.rate_bytes_per_s)
    }
}

/// How far a fetch is; read while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    done_len: AtomicU64,
    total_len: AtomicU64,
    received_len: AtomicU64,
}

impl Progress {
    /// Returns the bytes of objects that were stored and are to be stored in all, by what is known so far.
    pub fn lens(&self) -> (u64, u64) {
        let done_len = self.done_len.load(Ordering::Relaxed);
        (done_len, self.total_len.load(Ordering::Relaxed).max(done_len))
    }

    /// Returns the bytes received from image servers since the agent started.
    pub fn received_len(&self) -> u64 {
        self.received_len.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.done_len.store(0, Ordering::Relaxed);
        self.total_len.store(0, Ordering::Relaxed);
    }

    fn add_done(&self, len: u64) {
        self.done_len.fetch_add(len, Ordering::Relaxed);
    }

    /// So much is still to come.
    fn expect(&self, len: u64) {
        self.total_len.store(self.done_len.load(Ordering::Relaxed) + len, Ordering::Relaxed);
    }

    fn add_received(&self, len: u64) {
        self.received_len.fetch_add(len, Ordering::Relaxed);
    }
}

/// Fetches images into one cache.
#[derive(Debug)]
pub struct Fetcher {
    client: Client,
    root: Arc<Dir>,
    cache: Arc<Cache>,
    pins: Arc<Pins>,
    progress: Arc<Progress>,
    /// Blobs whose recipe in the cache proved to be wrong.
    distrusted: Arc<Mutex<HashSet<BlobId>>>,
}

impl Fetcher {
    /// Makes a fetcher for the managed root `root`.
    pub fn new(client: Client, root: Arc<Dir>, cache: Arc<Cache>) -> Self {
        let pins = Arc::new(Pins::new(Arc::clone(&cache)));
        Self { client, root, cache, pins, progress: Arc::default(), distrusted: Arc::default() }
    }

    /// Returns the progress of the current fetch, or of the last one.
    pub const fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Returns the cache.
    pub const fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Returns what is protected in the cache.
    pub const fn pins(&self) -> &Arc<Pins> {
        &self.pins
    }

    /// Ends the connections to image servers.
    pub async fn close(&self) {
        self.client.close().await;
    }

    /// Fetches what the machine, as it is in `snapshot`, lacks of an image.
    ///
    /// # Errors
    /// The first thing that goes wrong; what came before is in the cache.
    pub async fn fetch(&self, order: FetchOrder, snapshot: Arc<Snapshot>) -> Result<Arc<Content>, FetchError> {
        self.progress.begin();
        let server = (order.server, order.server_name);
        let (cache, progress) = (Arc::clone(&self.cache), Arc::clone(&self.progress));
        let wire = Wire::new(self.client.clone(), server, order.rate_bytes_per_s, cache, progress);
        let result = self.fetch_over(&wire, &order.image, &snapshot).await;
        wire.close();
        let content = result?;
        tracing::info!(
            image = %order.image.name, id = %order.image.id, connected = wire.is_connected(),
            object_len = self.progress.lens().0, "image is fetched"
        );
        Ok(content)
    }

    async fn fetch_over(
        &self,
        wire: &Wire,
        image: &Arc<NamedImage>,
        snapshot: &Arc<Snapshot>,
    ) -> Result<Arc<Content>, FetchError> {
        let trees = LocalTrees::new(vec![Arc::clone(snapshot.objects())], Arc::clone(&self.cache));
        let mut pins = self.fetch_trees(wire, &trees, image).await?;
        let lacks = {
            let (image, snapshot) = (Arc::clone(image), Arc::clone(snapshot));
            aside(move || trees.lacks(&image, snapshot.root(), |blob| snapshot.seed(blob).is_some())).await??
        };
        let cuts = self.fetch_recipes(wire, &lacks).await?;
        let chunks = {
            let (root, cache) = (Arc::clone(&self.root), Arc::clone(&self.cache));
            aside(move || Chunks::find(&root, &cache, &lacks, &cuts)).await?
        };
        pins.extend(chunks.pins);
        self.pins.add_fetching(&pins);
        self.progress.expect(chunks.wanted.iter().map(|(_, len)| len).sum());
        wire.get(&chunks.wanted.iter().map(|(id, _)| ObjectId::from(*id)).collect::<Vec<_>>()).await?;
        let cache = Arc::clone(&self.cache);
        aside(move || cache.sync()).await?.map_err(FetchError::Cache)?;
        let objects = Arc::clone(snapshot.objects());
        let distrusted = Arc::clone(&self.distrusted);
        Ok(Arc::new(Content { image: image.id, ranges: chunks.ranges, objects, pins, distrusted }))
    }

    /// Gets the tree objects that no scan has, level by level; returns all that lie in the cache.
    async fn fetch_trees(
        &self,
        wire: &Wire,
        trees: &LocalTrees,
        image: &Arc<NamedImage>,
    ) -> Result<HashSet<ObjectId>, FetchError> {
        let mut seen: HashSet<TreeId> = HashSet::from([image.image.root]);
        let mut cached = HashSet::new();
        let mut level = vec![image.image.root];
        loop {
            level.retain(|id| !trees.is_scanned(*id));
            if level.is_empty() {
                return Ok(cached);
            }
            let ids: HashSet<ObjectId> = level.iter().map(|id| ObjectId::from(*id)).collect();
            self.pins.add_fetching(&ids);
            cached.extend(ids);
            let mut children = self.expand(wire, trees, image, level).await?;
            children.retain(|id| seen.insert(*id));
            if seen.len() > FETCH_TREE_COUNT_MAX {
                let limit = FETCH_TREE_COUNT_MAX as u64;
                return Err(TreeError::TooLarge { image: image.id, what: "tree objects", limit }.into());
            }
            level = children;
        }
    }

    /// Gets the objects of one level and returns what they refer to.
    async fn expand(
        &self,
        wire: &Wire,
        trees: &LocalTrees,
        image: &Arc<NamedImage>,
        mut level: Vec<TreeId>,
    ) -> Result<Vec<TreeId>, FetchError> {
        let mut children = Vec::new();
        // An object that the cache has can prove to be damaged when it is read; then it is fetched, once.
        for _ in 0..2 {
            let here = |id: &ObjectId| self.cache.has(*id);
            let wanted: Vec<ObjectId> = level.iter().map(|id| (*id).into()).filter(|id| !here(id)).collect();
            wire.get(&wanted).await?;
            let (trees, image) = (trees.clone(), Arc::clone(image));
            let read = aside(move || {
                let (mut children, mut absent) = (Vec::new(), Vec::new());
                for id in level {
                    match trees.children(&image, id) {
                        Ok(ids) => children.extend(ids),
                        Err(TreeError::Absent(_)) => absent.push(id),
                        Err(error) => return Err(error),
                    }
                }
                Ok((children, absent))
            });
            let (found, absent) = read.await??;
            children.extend(found);
            if absent.is_empty() {
                return Ok(children);
            }
            level = absent;
        }
        Err(TreeError::Absent(level.first().copied().unwrap_or(image.image.root)).into())
    }

    /// Finds out how every lacking blob is cut, asking for what the cache does not say.
    async fn fetch_recipes(&self, wire: &Wire, lacks: &[(BlobId, Lack)]) -> Result<Vec<Cut>, FetchError> {
        let distrusted = std::mem::take(&mut *self.distrusted.lock());
        let (cache, sizes) = (Arc::clone(&self.cache), lacks.iter().map(|(blob, lack)| (*blob, lack.size)).collect());
        let mut cuts: Vec<Option<Cut>> = aside(move || {
            let sizes: Vec<(BlobId, u64)> = sizes;
            // What the cache cannot say is asked for.
            let cut = |(blob, size)| known_cut(&cache, blob, size).unwrap_or_default();
            sizes.into_iter().map(|(blob, size)| cut((blob, size)).filter(|_| !distrusted.contains(&blob))).collect()
        })
        .await?;
        let unknown: Vec<(BlobId, u64)> = lacks
            .iter()
            .zip(&cuts)
            .filter(|(_, cut)| cut.is_none())
            .map(|((blob, lack), _)| (*blob, lack.size))
            .collect();
        let mut asked = wire.recipes(&unknown).await?.into_iter();
        for cut in cuts.iter_mut().filter(|cut| cut.is_none()) {
            *cut = asked.next();
        }
        Ok(cuts.into_iter().flatten().collect())
    }
}

/// Where the chunks of the lacking blobs are.
struct Chunks {
    /// In files.
    ranges: Ranges,
    /// Nowhere here, with their lengths, in the order of the tree.
    wanted: Vec<(ChunkId, u64)>,
    /// In the cache, now or after they were fetched, with the recipes.
    pins: HashSet<ObjectId>,
}

impl Chunks {
    fn find(root: &Dir, cache: &Cache, lacks: &[(BlobId, Lack)], cuts: &[Cut]) -> Self {
        let (mut pins, mut absent) = (HashSet::new(), HashSet::new());
        let mut wanted = Vec::new();
        for ((blob, lack), cut) in lacks.iter().zip(cuts) {
            let rows: Vec<(ChunkId, u64)> = match cut {
                Cut::Single => vec![(blob.single_chunk(), lack.size)],
                Cut::Chunks(recipe) => {
                    pins.insert(recipe.id().into());
                    recipe.chunks().iter().map(|chunk| (chunk.id, chunk.len.into())).collect()
                }
            };
            for (id, len) in rows {
                if cache.has(id.into()) {
                    pins.insert(id.into());
                } else if absent.insert(id) {
                    wanted.push((id, len));
                }
            }
        }
        let mut ranges = Ranges::default();
        for ((_, lack), cut) in lacks.iter().zip(cuts) {
            if let (Some(base), Cut::Chunks(recipe)) = (&lack.base, cut)
                && recipe.chunks().iter().any(|chunk| absent.contains(&chunk.id))
            {
                ranges.cut(root, base, recipe, &absent);
            }
        }
        wanted.retain(|(id, _)| !ranges.has(*id));
        pins.extend(wanted.iter().map(|(id, _)| ObjectId::from(*id)));
        Self { ranges, wanted, pins }
    }
}

/// Runs blocking work beside the runtime.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FetchError> {
    // Work is lost only when the runtime is shut down under it, or when it panics, which was reported then.
    spawn_blocking(work).await.map_err(|_| FetchError::Stopping)
}
