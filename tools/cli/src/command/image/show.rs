//! `domtool image show`.
//!
//! Owns how an image is described. Invariant: everything that is part of the image's identity is shown.
//!
//! Does not list its files: `domtool image diff` against a directory does.

use anyhow::Result;
use clap::Args;
use dominator_store_core::{Image, ImageId, ImageName, TriggerAction};
use serde::Serialize;

use crate::{
    error::Outcome,
    images::Images,
    output::{count, print, print_json, printable, size, time_ms},
    settings::{PlaceArgs, Settings},
};

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Name of the image
    name: ImageName,
    #[command(flatten)]
    place: PlaceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    name: String,
    image: String,
    root: String,
    created: String,
    created_by: String,
    entry_count: u64,
    content_len: u64,
    managed: Managed,
    filter: Vec<String>,
    triggers: Vec<Trigger>,
    tags: std::collections::BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Managed {
    mtimes: bool,
    directory_mtimes: bool,
    xattrs: bool,
    holes: bool,
}

#[derive(Serialize)]
struct Trigger {
    paths: Vec<String>,
    service: String,
    action: &'static str,
    order: u32,
    high_impact: bool,
}

pub(super) fn run(settings: &Settings, args: &Show) -> Result<Outcome> {
    let (id, image) = Images::open(&settings.place(&args.place)?)?.image(&args.name)?;
    let document = document(&args.name, id, image);
    if args.json {
        print_json(&document)?;
    } else {
        print(&describe(&document))?;
    }
    Ok(Outcome::Done)
}

fn document(name: &ImageName, id: ImageId, image: Image) -> Document {
    let triggers = image.triggers.iter().map(|trigger| Trigger {
        paths: trigger.patterns.iter().map(|pattern| format!("{} {}", pattern.kind().word(), pattern.text())).collect(),
        service: trigger.service.clone(),
        action: match trigger.action {
            TriggerAction::Restart => "restart",
            TriggerAction::Reload => "reload",
            TriggerAction::Reboot => "reboot",
        },
        order: trigger.order,
        high_impact: trigger.high_impact,
    });
    Document {
        name: name.to_string(),
        image: id.to_string(),
        root: image.root.to_string(),
        created: time_ms(image.created_ms),
        created_by: image.created_by.clone(),
        entry_count: image.entry_count,
        content_len: image.content_len,
        managed: Managed {
            mtimes: image.managed.mtimes,
            directory_mtimes: image.managed.directory_mtimes,
            xattrs: image.managed.xattrs,
            holes: image.managed.holes,
        },
        filter: image.filter.rules().iter().map(ToString::to_string).collect(),
        triggers: triggers.collect(),
        tags: image.tags,
    }
}

fn describe(document: &Document) -> String {
    let managed = [
        ("mtimes", document.managed.mtimes),
        ("directory mtimes", document.managed.directory_mtimes),
        ("xattrs", document.managed.xattrs),
        ("holes", document.managed.holes),
    ];
    let managed: Vec<&str> = managed.iter().filter(|(_, on)| *on).map(|(word, _)| *word).collect();
    let mut lines = vec![
        ("name", document.name.clone()),
        ("image", document.image.clone()),
        ("root", document.root.clone()),
        ("created", format!("{} by {}", document.created, document.created_by)),
        ("entries", count(document.entry_count)),
        ("size", size(document.content_len)),
        ("managed", format!("content, type, mode, owner, {}", managed.join(", "))),
    ];
    lines.extend(document.filter.iter().map(|rule| ("filter", rule.clone())));
    lines.extend(document.triggers.iter().map(|trigger| {
        let impact = if trigger.high_impact { ", high impact" } else { "" };
        let (action, service, order) = (trigger.action, &trigger.service, trigger.order);
        ("trigger", format!("{action} {service} (order {order}{impact}) for {}", trigger.paths.join(", ")))
    }));
    lines.extend(document.tags.iter().map(|(key, value)| ("tag", format!("{key}={value}"))));
    lines.iter().map(|(key, value)| format!("{:9}{}\n", format!("{key}:"), printable(value))).collect()
}
