//! `domtool image checkout`.
//!
//! Owns putting a source of trees and content together with a destination. Invariant: the destination was absent or empty,
//! so nothing is ever replaced.
//!
//! Writing files is `store/fs`.

use std::{collections::BTreeSet, num::NonZeroUsize, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use dominator_store_core::{BlobId, ImageName, walk};
use dominator_store_fs::{CheckoutOptions, checkout};

use super::threads;
use crate::{
    error::Outcome,
    images::Images,
    output::{count, size},
    progress::Progress,
    settings::{PlaceArgs, Settings},
};

#[derive(Debug, Args)]
pub(crate) struct Checkout {
    /// Name of the image
    name: ImageName,
    /// Directory to make; it may exist if it is empty
    dest: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Files written at once [default: number of processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
}

pub(super) fn run(settings: &Settings, args: &Checkout) -> Result<Outcome> {
    let images = Images::open(&settings.place(&args.place)?)?;
    let (_, image) = images.image(&args.name)?;
    images.prefetch_trees(&[image.root])?;
    let blobs = {
        let progress = Progress::start("fetch", "objects");
        let mut files: BTreeSet<(BlobId, u64)> = BTreeSet::new();
        let mut note = |_, item: dominator_store_core::Item| files.extend(item.blob());
        walk(image.root, image.entry_count, &mut |id| images.directory(id), &mut note)
            .with_context(|| format!("cannot read the tree of {}", args.name))?;
        let files: Vec<_> = files.into_iter().collect();
        images.blobs(&files, &args.dest, progress.meter())?
    };
    let progress = Progress::start("checkout", "entries");
    progress.meter().set_total_len(image.content_len);
    let options = CheckoutOptions { managed: image.managed, threads: threads(args.threads) };
    let report = checkout(&args.dest, image.root, |id| images.directory(id), &blobs, options, &|_, len| {
        progress.meter().add_len(len);
        progress.meter().add_count(1);
    })
    .with_context(|| format!("cannot check out {}", args.name))?;
    drop(progress);
    let (entries, len) = (count(report.entry_count), size(report.content_len));
    eprintln!("checked out {entries} entries, {len}, to {}", args.dest.display());
    Ok(Outcome::Done)
}
