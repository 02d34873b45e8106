//! Publishing to an image server.
//!
//! Owns one attempt to publish a directory: it is read once (`ingest`, `cut`), objects are offered as they come, and only
//! wanted ones are compressed and sent (`courier`). Invariants: memory is bounded whatever the tree; nothing is visible at the
//! server unless all of it is; the same tree published again sends ids only.
//!
//! Publishing into a store on this machine is `store/engine`; choosing between the two is the command.

mod courier;
mod cut;
mod ingest;
mod limits;

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use dominator_protocol_core::Method;
use dominator_protocol_quic as quic;
use dominator_store_core::{Filter, Image, ImageId, ImageName, Managed, Profile, TreeId, Trigger};
use dominator_store_fs::Dir;
use tokio::sync::{Semaphore, mpsc};

use self::{
    courier::{Delivered, Encoders},
    ingest::{Gone, Intake},
    limits::BUDGET_LEN,
};
use crate::{link::Link, progress::Meter};

/// What to publish, and how.
pub(crate) struct Order<'a> {
    /// The name it gets.
    pub(crate) name: &'a ImageName,
    /// The directory.
    pub(crate) tree: &'a Path,
    /// Which paths the image manages.
    pub(crate) filter: &'a Filter,
    /// What to do with services when paths change.
    pub(crate) triggers: &'a [Trigger],
    /// Which metadata the image manages.
    pub(crate) managed: Managed,
    /// Free key and value pairs.
    pub(crate) tags: &'a BTreeMap<String, String>,
    /// Who publishes.
    pub(crate) created_by: &'a str,
    /// When, in milliseconds since 1970.
    pub(crate) created_ms: u64,
    /// Where files are cut.
    pub(crate) profile: Profile,
    /// Level of compression.
    pub(crate) level: i32,
    /// How many threads read and how many compress.
    pub(crate) threads: NonZeroUsize,
}

/// What was published, and what it cost.
pub(crate) struct Uploaded {
    /// The image.
    pub(crate) image: ImageId,
    /// Its root.
    pub(crate) root: TreeId,
    /// Paths in it.
    pub(crate) entry_count: u64,
    /// Bytes of its files.
    pub(crate) content_len: u64,
    /// Objects it consists of.
    pub(crate) object_count: u64,
    /// Objects that were sent.
    pub(crate) sent_count: u64,
    /// Bytes that were sent, everything included.
    pub(crate) sent_len: u64,
    /// Objects that the server did not have.
    pub(crate) new_object_count: u64,
    /// Bytes that the server's store grew by.
    pub(crate) stored_len: u64,
    /// What could not be in the image.
    pub(crate) skipped: Vec<String>,
}

/// Publishes once; a failure leaves nothing visible, and a second attempt sends only what did not arrive.
pub(crate) fn upload(link: &Link, order: &Order<'_>, meter: &Meter) -> Result<Uploaded> {
    let root = Dir::open(order.tree)?;
    let call = link.block_on(async |connection| connection.call(Method::ImagePublish).await)?;
    let budget = Arc::new(Semaphore::new(BUDGET_LEN as usize));
    let (errands_tx, errands_rx) = mpsc::unbounded_channel();
    let encoders = Arc::new(Encoders::new(order.level, order.threads.get()));
    let courier = link.runtime().spawn(courier::run(call, errands_rx, Arc::clone(&budget), encoders));
    let intake = Intake {
        errands: errands_tx,
        budget,
        runtime: link.runtime().handle().clone(),
        offered: Mutex::new(HashSet::new()),
    };
    let read = read(&root, order, &intake, meter);
    let object_count = intake.offered_count();
    // Without the intake the courier ends, whatever happened before.
    drop(intake);
    let delivered: Result<Delivered, quic::Error> =
        link.runtime().block_on(courier).unwrap_or(Err(quic::Error::Stopped));
    let (image, root, ingested) = match (read, &delivered) {
        (Ok(read), _) => read,
        (Err(error), Ok(_)) => return Err(error),
        (Err(error), Err(_)) if !error.chain().any(|cause| cause.is::<Gone>()) => return Err(error),
        // Reading stopped because sending did, so that is the reason.
        (Err(_), Err(_)) => return Err(delivered.map_or_else(Into::into, |_| anyhow::Error::from(Gone))),
    };
    let Delivered { sent_count, sent_len, published } = delivered?;
    Ok(Uploaded {
        image,
        root,
        entry_count: ingested.entry_count,
        content_len: ingested.content_len,
        object_count,
        sent_count,
        sent_len,
        new_object_count: published.new_object_count,
        stored_len: published.stored_len,
        skipped: ingested.skipped,
    })
}

fn read(dir: &Dir, order: &Order<'_>, intake: &Intake, meter: &Meter) -> Result<(ImageId, TreeId, ingest::Ingested)> {
    let ingested = ingest::ingest(dir, order.filter, order.managed, order.profile, order.threads, intake, meter)?;
    let image = Image {
        root: ingested.root,
        managed: order.managed,
        filter: order.filter.clone(),
        triggers: order.triggers.to_vec(),
        entry_count: ingested.entry_count,
        content_len: ingested.content_len,
        created_ms: order.created_ms,
        created_by: order.created_by.to_owned(),
        tags: order.tags.clone(),
    };
    let encoded = image.encode();
    // What no reader would accept is not published.
    Image::decode(&encoded)?;
    let id = ImageId::of(&encoded);
    intake.offer(id.into(), &encoded)?;
    intake.commit(order.name.as_str(), id)?;
    Ok((id, ingested.root, ingested))
}
