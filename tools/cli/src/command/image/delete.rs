//! `domtool image delete`.
//!
//! Owns the question before the deed. Invariant: nothing is deleted without `--yes` or a person who typed the answer.
//!
//! What a machine that requires the image does then is said by its controller.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Result;
use clap::Args;
use dominator_store_core::ImageName;
use dominator_store_engine::Store;

use crate::{
    error::{Advice, Outcome},
    images::Images,
    output::{count, size},
    settings::{Place, PlaceArgs, Settings},
};

#[derive(Debug, Args)]
pub(crate) struct Delete {
    /// Name of the image
    name: ImageName,
    #[command(flatten)]
    place: PlaceArgs,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub(super) fn run(settings: &Settings, args: &Delete) -> Result<Outcome> {
    let place = settings.place(&args.place)?;
    let name = &args.name;
    let images = Images::open(&place)?;
    let (id, image) = images.image(name)?;
    let (entries, len) = (count(image.entry_count), size(image.content_len));
    eprintln!("delete image {name} ({}, {entries} entries, {len}); its name stays used", id.short());
    if !args.yes && !is_confirmed()? {
        return Err(Advice::new("not deleted", "confirm with --yes").into());
    }
    match (images, &place) {
        (Images::Server(remote), _) => remote.delete(name)?,
        (Images::Store(_), Place::Store(dir)) => Store::open(dir)?.delete_image(name)?,
        (Images::Store(_), Place::Server(_)) => unreachable!("a server is opened as a server"),
    }
    eprintln!("deleted {name}");
    Ok(Outcome::Done)
}

fn is_confirmed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("delete it? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
