//! Changing what an image name stands for: the barrier (`spec/store.md#barrier`).
//!
//! Owns the order: packs are durable (the session is finished), then the event is durable in the catalog log, then the
//! index shows it, synced. Invariants: an event is logged only for an image that is whole; a name never stands for two
//! images, not even one after the other; one event is decided on at a time.
//!
//! Does not check that an image is whole: `ingest` makes it so, `closure` checks uploads.

use std::time::{SystemTime, UNIX_EPOCH};

use dominator_store_core::{Image, ImageId, ImageName};

use crate::{
    Error, Store,
    catalog::{CatalogLog, Event, EventKind},
    error::Result,
    index::Durability,
    store::Inner,
};

impl Inner {
    /// Makes `name` stand for the image, all objects of which are durable; `false` if it did already.
    pub(crate) fn publish(&self, name: &ImageName, id: ImageId, image: &Image) -> Result<bool> {
        let mut log = self.log()?.lock();
        match self.objects.index.event(name)? {
            Some(event) if event.image != id => return Err(taken(event, id)),
            Some(event) if event.kind == EventKind::Published => return Ok(false),
            _ => {}
        }
        let event = Event {
            kind: EventKind::Published,
            at_ms: now_ms(),
            name: name.clone(),
            image: id,
            created_ms: image.created_ms,
            entry_count: image.entry_count,
            content_len: image.content_len,
        };
        self.record_event(&mut log, &event)?;
        Ok(true)
    }

    /// Refuses a name that stands or stood for another image.
    pub(crate) fn check_name(&self, name: &ImageName, id: ImageId) -> Result<()> {
        match self.objects.index.event(name)? {
            Some(event) if event.image != id => Err(taken(event, id)),
            _ => Ok(()),
        }
    }

    fn record_event(&self, log: &mut CatalogLog, event: &Event) -> Result<()> {
        let state = log.append(event)?;
        let mut batch = self.objects.index.batch();
        batch.put_event(event);
        batch.put_log_state(state);
        let shown = batch.write(Durability::Synced);
        if shown.is_err() {
            // The event is durable, but look-ups do not show it; opening the store again will.
            log.fail();
        }
        shown
    }
}

impl Store {
    /// Makes `name` stand for nothing. What it stood for stays in the store until garbage is collected; the name can
    /// come back for the same image only.
    ///
    /// # Errors
    /// `NoSuchImage` if it stands for nothing.
    pub fn delete_image(&self, name: &ImageName) -> Result<()> {
        let mut log = self.inner.log()?.lock();
        let event = self.inner.visible(name)?.ok_or_else(|| Error::NoSuchImage { name: name.clone() })?;
        let event = Event { kind: EventKind::Deleted, at_ms: now_ms(), ..event };
        self.inner.record_event(&mut log, &event)
    }
}

fn taken(event: Event, offered: ImageId) -> Error {
    let (name, existing) = (event.name, event.image);
    match event.kind {
        EventKind::Published => Error::Conflict { name, existing, offered },
        EventKind::Deleted => Error::NameUsed { name, existing },
    }
}

/// Returns the time in milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
