//! `domtool image publish`.
//!
//! Owns the flags of an image and the report of what it cost. Invariants: what is published is what was read, or nothing; a
//! publish through a server that goes away is taken up again and sends only what is still lacking.
//!
//! Reading and sending is `upload` for a server and `store/engine` for a store.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    str::FromStr,
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use dominator_protocol_quic as quic;
use dominator_store_core::{
    Action, Filter, ImageName, Managed, Pattern, PatternKind, Profile, Rule, Trigger, TriggerAction,
};
use dominator_store_engine::{self as engine, PublishOptions, Store, StoreOptions};
use serde::{Deserialize, Serialize};

use super::{skipped_text, threads};
use crate::{
    error::Outcome,
    link::Link,
    output::{count, print_json, size},
    progress::{Meter, Progress},
    settings::{Peer, Place, PlaceArgs, Settings},
    upload::{Order, upload},
};

/// First wait before a publish is taken up again; doubles up to `RETRY_WAIT_MAX`.
const RETRY_WAIT: Duration = Duration::from_millis(250);
const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// Name of the image, such as debian/2026-11-22
    name: ImageName,
    /// The directory
    path: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
    /// Rules of what is managed: lines such as 'exclude tree /var/log'
    #[arg(long, value_name = "FILE")]
    filter: Option<PathBuf>,
    /// Do not manage this path and what is below it (repeatable; before the rules of --filter)
    #[arg(long, value_name = "PATH")]
    exclude: Vec<String>,
    /// What to do with services when paths change: a TOML file of [[trigger]] tables
    ///
    /// A trigger has service, action (restart, reload, reboot), paths (such as "tree /etc/nginx"), and may have order and
    /// high-impact.
    #[arg(long, value_name = "FILE")]
    triggers: Option<PathBuf>,
    /// Note a key and value with the image (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<Tag>,
    /// Who publishes [default: the user]
    #[arg(long, value_name = "NAME")]
    created_by: Option<String>,
    /// Manage modification times of directories too
    #[arg(long)]
    directory_mtimes: bool,
    /// Where files are cut, for a server; a store has its own [default: that of a new store]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Level of compression, for a server; a store has its own [default: that of a new store]
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    level: Option<i32>,
    /// Files read at once [default: number of processors]
    #[arg(long, value_name = "COUNT")]
    threads: Option<NonZeroUsize>,
    /// How long to try again when the server goes away
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// `KEY=VALUE`.
#[derive(Debug, Clone)]
struct Tag(String, String);

impl FromStr for Tag {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
        Ok(Self(key.to_owned(), value.to_owned()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerFile {
    #[serde(default)]
    trigger: Vec<TriggerTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct TriggerTable {
    #[serde(default)]
    service: String,
    action: String,
    paths: Vec<String>,
    #[serde(default)]
    order: u32,
    #[serde(default)]
    high_impact: bool,
}

/// What a publish did.
#[derive(Debug, Serialize)]
struct Report {
    name: String,
    image: String,
    root: String,
    entry_count: u64,
    content_len: u64,
    /// Objects of the image; only known when it went to a server.
    object_count: Option<u64>,
    sent_count: Option<u64>,
    sent_len: Option<u64>,
    new_object_count: u64,
    stored_len: u64,
    elapsed_ms: u64,
    skipped: Vec<String>,
}

pub(super) fn run(settings: &Settings, args: &Publish) -> Result<Outcome> {
    let place = settings.place(&args.place)?;
    let filter = read_filter(args)?;
    let triggers = args.triggers.as_deref().map(read_triggers).transpose()?.unwrap_or_default();
    let tags: BTreeMap<String, String> = args.tag.iter().map(|Tag(key, value)| (key.clone(), value.clone())).collect();
    let user = || ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let created_by = args.created_by.clone().or_else(user).unwrap_or_else(|| "unknown".into());
    let began = Instant::now();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let usual = StoreOptions::default();
    let profile = match &args.profile {
        Some(name) => Profile::from_name(name).with_context(|| format!("there is no profile {name}"))?,
        None => usual.profile,
    };
    let order = Order {
        name: &args.name,
        tree: &args.path,
        filter: &filter,
        triggers: &triggers,
        managed: Managed { directory_mtimes: args.directory_mtimes, ..Managed::default() },
        tags: &tags,
        created_by: &created_by,
        created_ms: u64::try_from(now_ms).unwrap_or(u64::MAX),
        profile,
        level: args.level.unwrap_or(usual.zstd_level),
        threads: threads(args.threads),
    };
    let progress = Progress::start("publish", "entries");
    let published = match &place {
        Place::Store(dir) => publish_to_store(dir, &order, progress.meter()),
        Place::Server(peer) => publish_to_server(peer, &order, args.retry_for, progress.meter()),
    };
    drop(progress);
    let mut report = published.with_context(|| format!("cannot publish {}", args.name))?;
    report.elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    for skipped in &report.skipped {
        eprintln!("not in the image: {skipped}");
    }
    if args.json {
        print_json(&report)?;
    } else {
        tell(&report);
    }
    Ok(Outcome::Done)
}

fn publish_to_store(dir: &Path, order: &Order<'_>, meter: &Meter) -> Result<Report> {
    let store = Store::open(dir).with_context(|| format!("cannot open the store {}", dir.display()))?;
    let options = PublishOptions {
        filter: order.filter.clone(),
        triggers: order.triggers.to_vec(),
        managed: order.managed,
        tags: order.tags.clone(),
        created_by: order.created_by.to_owned(),
        created_ms: Some(order.created_ms),
        threads: Some(order.threads),
    };
    let progress = engine::Progress::default();
    let published = meter.follow(
        || store.publish_tree(order.name, order.tree, &options, &progress),
        || (progress.content_len(), progress.content_total(), progress.entry_count()),
    )?;
    Ok(Report {
        name: order.name.to_string(),
        image: published.image.to_string(),
        root: published.root.to_string(),
        entry_count: published.entry_count,
        content_len: published.content_len,
        object_count: None,
        sent_count: None,
        sent_len: None,
        new_object_count: published.new_object_count,
        stored_len: published.new_stored_len,
        elapsed_ms: 0,
        skipped: published.skipped.iter().map(|(path, why)| skipped_text(path, *why)).collect(),
    })
}

fn publish_to_server(peer: &Peer, order: &Order<'_>, retry_for_s: u64, meter: &Meter) -> Result<Report> {
    let deadline = Instant::now() + Duration::from_secs(retry_for_s);
    let mut wait = RETRY_WAIT;
    let mut was_connected = false;
    loop {
        let attempt = Link::open(peer).and_then(|link| {
            was_connected = true;
            upload(&link, order, meter)
        });
        let error = match attempt {
            Ok(uploaded) => {
                return Ok(Report {
                    name: order.name.to_string(),
                    image: uploaded.image.to_string(),
                    root: uploaded.root.to_string(),
                    entry_count: uploaded.entry_count,
                    content_len: uploaded.content_len,
                    object_count: Some(uploaded.object_count),
                    sent_count: Some(uploaded.sent_count),
                    sent_len: Some(uploaded.sent_len),
                    new_object_count: uploaded.new_object_count,
                    stored_len: uploaded.stored_len,
                    elapsed_ms: 0,
                    skipped: uploaded.skipped,
                });
            }
            Err(error) => error,
        };
        let is_transient =
            error.chain().any(|cause| cause.downcast_ref::<quic::Error>().is_some_and(quic::Error::is_transient));
        // A server that never answered is more likely a wrong address than one that restarts.
        if !is_transient || !was_connected || Instant::now() + wait > deadline {
            return Err(error);
        }
        eprintln!("publish: {error}; trying again");
        thread::sleep(wait);
        wait = (wait * 2).min(RETRY_WAIT_MAX);
        meter.reset();
    }
}

fn read_filter(args: &Publish) -> Result<Filter> {
    let mut rules = Vec::new();
    for path in &args.exclude {
        let pattern = Pattern::new(PatternKind::Tree, path).context("cannot understand --exclude")?;
        rules.push(Rule { action: Action::Exclude, pattern });
    }
    if let Some(path) = &args.filter {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let filter = Filter::parse(&text).with_context(|| format!("cannot understand {}", path.display()))?;
        rules.extend_from_slice(filter.rules());
    }
    Ok(Filter::new(rules)?)
}

fn read_triggers(path: &Path) -> Result<Vec<Trigger>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_triggers(&text).with_context(|| format!("cannot understand {}", path.display()))
}

fn parse_triggers(text: &str) -> Result<Vec<Trigger>> {
    let file: TriggerFile = toml::from_str(text)?;
    let mut triggers = Vec::with_capacity(file.trigger.len());
    for table in file.trigger {
        let action = match table.action.as_str() {
            "restart" => TriggerAction::Restart,
            "reload" => TriggerAction::Reload,
            "reboot" => TriggerAction::Reboot,
            other => bail!("action {other:?}: expected restart, reload or reboot"),
        };
        if table.service.is_empty() != (action == TriggerAction::Reboot) {
            bail!("a trigger names a service unless its action is reboot");
        }
        let mut patterns = Vec::with_capacity(table.paths.len());
        for text in &table.paths {
            let (kind, pattern) = text.split_once(' ').unwrap_or(("", text));
            let Some(kind) = PatternKind::from_word(kind) else {
                bail!("path {text:?}: expected tree, exact, glob or regex and a pattern, such as 'tree /etc/nginx'");
            };
            patterns.push(Pattern::new(kind, pattern.trim())?);
        }
        let TriggerTable { service, order, high_impact, .. } = table;
        triggers.push(Trigger { patterns, service, action, order, high_impact });
    }
    Ok(triggers)
}

fn tell(report: &Report) {
    let (entries, content) = (count(report.entry_count), size(report.content_len));
    eprintln!(
        "published {} ({}): {entries} entries, {content}",
        report.name,
        report.image.get(..12).unwrap_or_default()
    );
    if let (Some(sent_len), Some(sent), Some(all)) = (report.sent_len, report.sent_count, report.object_count) {
        eprintln!("sent {} for {content}: {} of {} objects", size(sent_len), count(sent), count(all));
    }
    let (new, stored) = (count(report.new_object_count), size(report.stored_len));
    eprintln!("new in the store: {new} objects, {stored}; took {:.1} s", report.elapsed_ms as f64 / 1000.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn triggers_are_read_from_toml() {
        let text = "[[trigger]]\nservice = 'nginx'\naction = 'reload'\npaths = ['tree /etc/nginx']\norder = 7\n\
                    [[trigger]]\naction = 'reboot'\npaths = ['glob /boot/**']\nhigh-impact = true\n";
        let triggers = parse_triggers(text).unwrap();
        assert_eq!(triggers.len(), 2);
        assert_eq!((triggers[0].service.as_str(), triggers[0].order), ("nginx", 7));
        assert_eq!((triggers[1].action, triggers[1].high_impact), (TriggerAction::Reboot, true));
    }

    #[test]
    fn mistakes_in_triggers_are_told() {
        for text in [
            "[[trigger]]\nservice = 'a'\naction = 'explode'\npaths = []",
            "[[trigger]]\naction = 'restart'\npaths = ['tree /a']",
            "[[trigger]]\nservice = 'a'\naction = 'reboot'\npaths = ['tree /a']",
            "[[trigger]]\nservice = 'a'\naction = 'restart'\npaths = ['/a']",
            "[[trigger]]\nservice = 'a'\naction = 'restart'\npaths = ['tree a']",
            "[[triggers]]",
        ] {
            assert!(parse_triggers(text).is_err(), "{text}");
        }
    }
}
