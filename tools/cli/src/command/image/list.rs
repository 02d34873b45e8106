//! `domtool image list`.
//!
//! Owns the table of images. Invariant: images come in the order of their names.
//!
//! Does not read trees.

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::{
    error::Outcome,
    images::Images,
    output::{count, print, print_json, short_time_ms, size, table, time_ms},
    settings::{PlaceArgs, Settings},
};

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only images whose names begin with this
    #[arg(default_value = "")]
    prefix: String,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    images: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: String,
    image: String,
    created: String,
    entry_count: u64,
    content_len: u64,
}

pub(super) fn run(settings: &Settings, args: &List) -> Result<Outcome> {
    let images = Images::open(&settings.place(&args.place)?)?.list(&args.prefix)?;
    if args.json {
        let rows = images.into_iter().map(|image| Row {
            name: image.name,
            image: image.image.to_string(),
            created: time_ms(image.created_ms),
            entry_count: image.entry_count,
            content_len: image.content_len,
        });
        print_json(&Document { images: rows.collect() })?;
        return Ok(Outcome::Done);
    }
    let rows = images.into_iter().map(|image| {
        let (entries, len) = (count(image.entry_count), size(image.content_len));
        vec![image.name, image.image.short(), entries, len, short_time_ms(image.created_ms)]
    });
    print(&table(&["NAME", "IMAGE", "ENTRIES", "SIZE", "CREATED"], &[2, 3], rows))?;
    Ok(Outcome::Done)
}
