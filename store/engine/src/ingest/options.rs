//! What a publisher says about an image besides its tree.
//!
//! Owns the options of a publish. Invariant: they become part of the image object and so of its id.
//!
//! Does not parse files of filters or triggers: `store/core` does.

use std::{collections::BTreeMap, num::NonZeroUsize, thread};

use dominator_store_core::{Filter, Image, Managed, TreeId, Trigger};

use crate::{commit::now_ms, limits::THREAD_COUNT_MAX};

/// What a publisher says about an image besides its tree.
#[derive(Debug, Clone, Default)]
pub struct PublishOptions {
    /// Which paths the image manages.
    pub filter: Filter,
    /// What to do with services when paths change.
    pub triggers: Vec<Trigger>,
    /// Which metadata it manages.
    pub managed: Managed,
    /// Free key and value pairs.
    pub tags: BTreeMap<String, String>,
    /// Who makes it.
    pub created_by: String,
    /// When it is made, in milliseconds since 1970-01-01 UTC; now, if it is not said.
    pub created_ms: Option<u64>,
    /// Threads that read; as many as there are processors, if it is not said.
    pub threads: Option<NonZeroUsize>,
}

impl PublishOptions {
    /// Makes the image of a tree.
    pub(crate) fn image(&self, root: TreeId, entry_count: u64, content_len: u64) -> Image {
        Image {
            root,
            managed: self.managed,
            filter: self.filter.clone(),
            triggers: self.triggers.clone(),
            entry_count,
            content_len,
            created_ms: self.created_ms.unwrap_or_else(now_ms),
            created_by: self.created_by.clone(),
            tags: self.tags.clone(),
        }
    }

    pub(crate) fn thread_count(&self) -> usize {
        let threads = self.threads.or_else(|| thread::available_parallelism().ok());
        threads.map_or(1, NonZeroUsize::get).min(THREAD_COUNT_MAX)
    }
}
