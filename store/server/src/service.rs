//! The methods of the image server.
//!
//! Owns the table from method to answer, and the short answers. Invariant: every call passes admission first.
//!
//! Publishing is `publish`, objects are `objects`; permissions and scopes were checked before a message arrives here.

use std::sync::Arc;

use dominator_protocol_core::{
    CallFailure, Delete, GetImage, GetImageReply, ImageSummary, List, ListReply, Method, limits::LIST_MAX,
};
use dominator_protocol_quic::{IncomingCall, Service};
use dominator_store_core::ImageName;
use dominator_store_engine::Store;

use crate::{admission::Admission, failure::failure, objects, publish};

/// Serves the images and objects of a store.
#[derive(Clone)]
pub struct Images {
    store: Store,
    admission: Arc<Admission>,
}

impl Images {
    /// Serves `store`, with at most so many calls and publishes at once.
    pub fn new(store: Store, calls_max: usize, publishes_max: usize) -> Self {
        Self { store, admission: Admission::new(calls_max, publishes_max) }
    }

    /// Lets no more calls begin and waits for the end of those under way.
    pub async fn drain(&self) {
        self.admission.drain().await;
    }

    async fn list(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let List { prefix, after, limit } = call.expect().await?;
        let after = after.map(|name| parse(&name)).transpose()?;
        let limit = usize::try_from(limit).unwrap_or(LIST_MAX).min(LIST_MAX);
        let store = self.store.clone();
        let reply = publish::blocking(move || {
            // One more than asked for tells whether more follow.
            let mut images = store.images(&prefix, after.as_ref(), limit + 1).map_err(|error| failure(&error))?;
            let more = images.len() > limit;
            images.truncate(limit);
            let images = images.into_iter().map(|image| ImageSummary {
                name: image.name.to_string(),
                image: image.image,
                created_ms: image.created_ms,
                entry_count: image.entry_count,
                content_len: image.content_len,
            });
            Ok(ListReply { images: images.collect(), more })
        })
        .await?;
        Ok(call.send(&reply).await?)
    }

    async fn get(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let GetImage { name } = call.expect().await?;
        let parsed = parse(&name)?;
        let store = self.store.clone();
        let found = publish::blocking(move || store.image(&parsed).map_err(|error| failure(&error))).await?;
        let stored = found.ok_or_else(|| CallFailure::not_found(format!("there is no image {name}")))?;
        Ok(call.send(&GetImageReply { name, image: stored.id, encoded: stored.encoded }).await?)
    }

    async fn delete(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let Delete { name } = call.expect().await?;
        let parsed = parse(&name)?;
        let store = self.store.clone();
        publish::blocking(move || store.delete_image(&parsed).map_err(|error| failure(&error))).await?;
        tracing::info!(peer = %call.identity().name, name, "deleted");
        Ok(())
    }
}

impl Service for Images {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let _guard = self.admission.enter()?;
        match call.method() {
            Method::ImageList => self.list(call).await,
            Method::ImageGet => self.get(call).await,
            Method::ImageDelete => self.delete(call).await,
            Method::ImagePublish => {
                let _guard = self.admission.enter_publish(call.remote_addr())?;
                let published = publish::publish(&self.store, call).await;
                if let Err(failure) = &published {
                    tracing::warn!(peer = %call.identity().name, failure = %failure, "publish failed");
                }
                published
            }
            Method::ObjectGet => objects::get(&self.store, call).await,
            Method::ObjectRecipes => objects::recipes(&self.store, call).await,
            method => Err(CallFailure::bad_request(format!("{method} is not a method of an image server"))),
        }
    }
}

impl std::fmt::Debug for Images {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Images").field("store", &self.store.dir()).finish_non_exhaustive()
    }
}

fn parse(name: &str) -> Result<ImageName, CallFailure> {
    name.parse().map_err(|error| CallFailure::bad_request(format!("{name:?}: {error}")))
}
