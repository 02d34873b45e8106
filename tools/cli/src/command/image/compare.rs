//! `domtool image diff` and `domtool image verify`.
//!
//! Owns how differences are told. Invariants: every path that differs is one line, with every respect in which it does;
//! `verify` ends with code 3 if there is any; nothing is changed.
//!
//! Finding differences is `operand` and `store/core`.

use std::{fmt::Write as _, num::NonZeroUsize, path::PathBuf};

use anyhow::Result;
use clap::Args;
use dominator_store_core::{Aspect, Content, Device, Difference, ImageName, Item, Meta, Mtime};
use serde::Serialize;

use super::{
    operand::{Captured, Operand, Side, differences},
    skipped_text, threads,
};
use crate::{
    error::Outcome,
    images::Images,
    output::{count, print, print_json, size},
    settings::{PlaceArgs, Settings},
};

#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// An image name, or a directory (beginning with / or .)
    old: Operand,
    /// An image name, or a directory (beginning with / or .)
    new: Operand,
    #[command(flatten)]
    place: PlaceArgs,
    /// End with code 3 if there is a difference
    #[arg(long)]
    exit_code: bool,
    /// Files read at once [default: number of processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Name of the image
    name: ImageName,
    /// Directory to compare with it
    path: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Files read at once [default: number of processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    differences: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    path: String,
    aspects: Vec<&'static str>,
    old: Option<Entry>,
    new: Option<Entry>,
}

/// What stands at a path, as JSON.
#[derive(Serialize)]
struct Entry {
    r#type: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: Option<String>,
    xattrs: Vec<String>,
    size: Option<u64>,
    blob: Option<String>,
    target: Option<String>,
    device: Option<String>,
    hole_count: Option<usize>,
    linked: bool,
}

pub(super) fn diff(settings: &Settings, args: &Diff) -> Result<Outcome> {
    let threads = threads(args.threads);
    let needs_images = matches!(args.old, Operand::Image(_)) || matches!(args.new, Operand::Image(_));
    let images =
        needs_images.then(|| settings.place(&args.place).and_then(|place| Images::open(&place))).transpose()?;
    let image = |operand: &Operand| match (operand, &images) {
        (Operand::Image(name), Some(images)) => images.image(name).map(|(_, image)| Some(image)),
        _ => Ok(None),
    };
    let (old_image, new_image) = (image(&args.old)?, image(&args.new)?);
    let capture = |operand: &Operand, other| match operand {
        Operand::Directory(path) => Captured::read(path, other, threads).map(Some),
        Operand::Image(_) => Ok(None),
    };
    let old_captured = capture(&args.old, new_image.as_ref())?;
    let new_captured = capture(&args.new, old_image.as_ref())?;
    let side = |image: &Option<_>, captured| match (image, captured, &images) {
        (Some(dominator_store_core::Image { root, .. }), _, Some(images)) => Some(Side::Image(images, *root)),
        (_, Some(captured), _) => Some(Side::Captured(captured)),
        _ => None,
    };
    let old = side(&old_image, old_captured.as_ref()).expect("an operand is an image or a directory");
    let new = side(&new_image, new_captured.as_ref()).expect("an operand is an image or a directory");
    let found = differences(&old, &new)?;
    tell(&found, args.json)?;
    Ok(if args.exit_code && !found.is_empty() { Outcome::Drift } else { Outcome::Done })
}

pub(super) fn verify(settings: &Settings, args: &Verify) -> Result<Outcome> {
    let images = Images::open(&settings.place(&args.place)?)?;
    let (_, image) = images.image(&args.name)?;
    let captured = Captured::read(&args.path, Some(&image), threads(args.threads))?;
    for (path, skipped) in &captured.skipped {
        eprintln!("not compared: {}", skipped_text(path, *skipped));
    }
    let found = differences(&Side::Image(&images, image.root), &Side::Captured(&captured))?;
    tell(&found, args.json)?;
    Ok(if found.is_empty() { Outcome::Done } else { Outcome::Drift })
}

fn tell(differences: &[Difference], json: bool) -> Result<()> {
    if json {
        let differences = differences.iter().map(|difference| Row {
            path: difference.path.to_string(),
            aspects: difference.aspects().into_iter().map(Aspect::word).collect(),
            old: difference.old.as_ref().map(Entry::from),
            new: difference.new.as_ref().map(Entry::from),
        });
        return print_json(&Document { differences: differences.collect() });
    }
    let mut text = String::new();
    for difference in differences {
        let aspects: Vec<&str> = difference.aspects().into_iter().map(Aspect::word).collect();
        let _ = writeln!(text, "{:<16} {}{}", aspects.join(","), difference.path, Detail(difference));
    }
    print(&text)?;
    match differences.len() as u64 {
        0 => eprintln!("no difference"),
        1 => eprintln!("1 path differs"),
        paths => eprintln!("{} paths differ", count(paths)),
    }
    Ok(())
}

/// What was and what is, for those aspects that fit a line.
struct Detail<'a>(&'a Difference);

impl std::fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (old, new) = match (&self.0.old, &self.0.new) {
            (Some(old), Some(new)) => (old, new),
            (Some(item), None) | (None, Some(item)) => return write!(f, " ({})", item.type_word()),
            (None, None) => return Ok(()),
        };
        let mut details = Vec::new();
        for aspect in self.0.aspects() {
            let (a, b) = match aspect {
                Aspect::Type => (old.type_word().to_owned(), new.type_word().to_owned()),
                Aspect::Mode => (mode(old.meta()), mode(new.meta())),
                Aspect::Owner => (owner(old.meta()), owner(new.meta())),
                Aspect::Mtime => (mtime(old.meta().mtime), mtime(new.meta().mtime)),
                Aspect::Content => match (old.blob(), new.blob()) {
                    (Some((_, a)), Some((_, b))) if a != b => (size(a), size(b)),
                    _ => continue,
                },
                Aspect::Target => (target(old), target(new)),
                Aspect::Device => (device(old), device(new)),
                Aspect::Xattrs => {
                    details.extend(xattr_changes(old.meta(), new.meta()));
                    continue;
                }
                Aspect::Added | Aspect::Removed | Aspect::Link | Aspect::Holes => continue,
            };
            details.push(format!("{a} -> {b}"));
        }
        if details.is_empty() { Ok(()) } else { write!(f, " ({})", details.join(", ")) }
    }
}

fn mode(meta: &Meta) -> String {
    format!("{:04o}", meta.mode)
}

fn owner(meta: &Meta) -> String {
    format!("{}:{}", meta.uid, meta.gid)
}

fn mtime(mtime: Option<Mtime>) -> String {
    let stamp = mtime.map(|mtime| {
        let nanoseconds = i32::try_from(mtime.nanoseconds).unwrap_or(0);
        jiff::Timestamp::new(mtime.seconds, nanoseconds)
            .map_or_else(|_| format!("{} s {} ns", mtime.seconds, mtime.nanoseconds), |stamp| stamp.to_string())
    });
    stamp.unwrap_or_else(|| "-".into())
}

/// Shows raw bytes without anything that could steer a terminal.
fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn target(item: &Item) -> String {
    match item {
        Item::Leaf(leaf) => match &leaf.content {
            Content::Symlink { target } => escaped(target),
            _ => "-".into(),
        },
        Item::Dir(_) => "-".into(),
    }
}

fn device(item: &Item) -> String {
    match item {
        Item::Leaf(leaf) => match leaf.content {
            Content::Block(Device { major, minor }) | Content::Char(Device { major, minor }) => {
                format!("{major}:{minor}")
            }
            _ => "-".into(),
        },
        Item::Dir(_) => "-".into(),
    }
}

fn xattr_changes(old: &Meta, new: &Meta) -> Vec<String> {
    let find = |meta: &'_ Meta, name: &[u8]| {
        meta.xattrs.iter().find(|xattr| &*xattr.name == name).map(|xattr| xattr.value.clone())
    };
    let mut changes = Vec::new();
    for xattr in &old.xattrs {
        match find(new, &xattr.name) {
            None => changes.push(format!("-{}", escaped(&xattr.name))),
            Some(value) if value != xattr.value => changes.push(format!("~{}", escaped(&xattr.name))),
            Some(_) => {}
        }
    }
    let gained = new.xattrs.iter().filter(|xattr| find(old, &xattr.name).is_none());
    changes.extend(gained.map(|xattr| format!("+{}", escaped(&xattr.name))));
    changes
}

impl From<&Item> for Entry {
    fn from(item: &Item) -> Self {
        let meta = item.meta();
        let leaf = match item {
            Item::Leaf(leaf) => Some(leaf),
            Item::Dir(_) => None,
        };
        let hole_count = match leaf.map(|leaf| &leaf.content) {
            Some(Content::File { holes, .. }) => Some(holes.len()),
            _ => None,
        };
        let known = |text: String| Some(text).filter(|text| text != "-");
        Self {
            r#type: item.type_word(),
            mode: mode(meta),
            uid: meta.uid,
            gid: meta.gid,
            mtime: known(mtime(meta.mtime)),
            xattrs: meta.xattrs.iter().map(|xattr| escaped(&xattr.name)).collect(),
            size: item.blob().map(|(_, size)| size),
            blob: item.blob().map(|(blob, _)| blob.to_string()),
            target: known(target(item)),
            device: known(device(item)),
            hole_count,
            linked: leaf.is_some_and(|leaf| leaf.link.is_some()),
        }
    }
}

#[cfg(test)]
mod tests {
    use dominator_store_core::{TreePath, Xattr};

    use super::*;

    #[test]
    fn every_aspect_that_fits_a_line_is_told() {
        let xattr = |name: &[u8], value: &[u8]| Xattr { name: name.into(), value: value.into() };
        let old = Meta { xattrs: vec![xattr(b"user.a", b"1"), xattr(b"user.b", b"1")], ..Meta::new(0o644, 0, 0) };
        let new = Meta { xattrs: vec![xattr(b"user.b", b"2"), xattr(b"user.c", b"1")], ..Meta::new(0o4755, 1, 2) };
        let difference =
            Difference { path: TreePath::parse(b"etc").unwrap(), old: Some(Item::Dir(old)), new: Some(Item::Dir(new)) };
        assert_eq!(Detail(&difference).to_string(), " (0644 -> 4755, 0:0 -> 1:2, -user.a, ~user.b, +user.c)");
    }
}
