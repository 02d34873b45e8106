//! `domtool machine`: what the controller knows about the fleet.
//!
//! Owns the flags, the tables and the JSON of machines. Invariant: what is printed is what the controller said, nothing is
//! computed here.
//!
//! What a status means is `controller/core`.

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use dominator_protocol_core::{
    Deviation, Deviations, FleetList, ListMachines, MachineDetail, MachineStatus, Message, Method, Payload, ShowMachine,
};
use dominator_store_core::TreePath;
use serde::Serialize;

use crate::{
    error::Outcome,
    link::Link,
    output::{count, print, print_json, printable, short_time_ms, size, table, time_ms},
    settings::{ControllerArgs, Settings},
};

/// Machines: list the fleet, show one.
#[derive(Debug, Subcommand)]
pub(crate) enum MachineCommand {
    /// List all machines of a controller
    List(List),
    /// Show one machine: its status, its deviations, what happened to it
    Show(Show),
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    controller: ControllerArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Host name in the machine database
    host: String,
    #[command(flatten)]
    controller: ControllerArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Fleet {
    machines: Vec<Machine>,
}

#[derive(Serialize)]
struct Machine {
    host: String,
    status: String,
    converged: bool,
    detail: String,
    required: Option<String>,
    required_image: Option<String>,
    planned: Option<String>,
    root: Option<String>,
    deviation_count: u64,
    phase: Option<&'static str>,
    progress_done_len: Option<u64>,
    progress_total_len: Option<u64>,
    last_seen: Option<String>,
    last_window_us: Option<u64>,
    last_changed_count: u64,
    fetched_len: u64,
    control_len: u64,
    poll_len: u64,
}

#[derive(Serialize)]
struct MachineWithDetail {
    machine: Machine,
    deviations: Vec<DeviationLine>,
    history: Vec<Event>,
}

#[derive(Serialize)]
struct DeviationLine {
    path: String,
    what: String,
}

#[derive(Serialize)]
struct Event {
    at: String,
    text: String,
}

pub(crate) fn run(settings: &Settings, command: MachineCommand) -> Result<Outcome> {
    match command {
        MachineCommand::List(args) => list(settings, &args)?,
        MachineCommand::Show(args) => show(settings, &args)?,
    }
    Ok(Outcome::Done)
}

fn list(settings: &Settings, args: &List) -> Result<()> {
    let link = Link::open(&settings.controller(&args.controller)?)?;
    let mut statuses = Vec::new();
    for message in ask_all(&link, Method::FleetList, &ListMachines {}).context("cannot list the machines")? {
        statuses.append(&mut FleetList::try_from(message)?.machines);
    }
    if args.json {
        return print_json(&Fleet { machines: statuses.into_iter().map(Machine::from).collect() });
    }
    let rows = statuses.iter().map(|status| {
        vec![
            status.host.clone(),
            status.status.clone(),
            status.required.clone().unwrap_or_else(|| "-".into()),
            status.planned.clone().unwrap_or_else(|| "-".into()),
            count(status.deviation_count),
            phase_text(status),
            status.last_seen_ms.map_or_else(|| "never".into(), short_time_ms),
            status.detail.clone(),
        ]
    });
    let header = ["HOST", "STATUS", "REQUIRED", "PLANNED", "DEVIATIONS", "PHASE", "LAST SEEN", "DETAIL"];
    print(&table(&header, &[4], rows))?;
    Ok(())
}

fn show(settings: &Settings, args: &Show) -> Result<()> {
    let link = Link::open(&settings.controller(&args.controller)?)?;
    let question = ShowMachine { host: args.host.clone() };
    let answers = ask_all(&link, Method::FleetShow, &question).with_context(|| format!("cannot show {}", args.host))?;
    let mut answers = answers.into_iter();
    let detail: MachineDetail = answers.next().context("the controller gave no answer")?.try_into()?;
    let mut deviations = Vec::new();
    for message in answers {
        deviations.append(&mut Deviations::try_from(message)?.items);
    }
    if args.json {
        return print_json(&MachineWithDetail {
            machine: detail.status.into(),
            deviations: deviations.iter().map(DeviationLine::from).collect(),
            history: detail
                .history
                .into_iter()
                .map(|line| Event { at: time_ms(line.at_ms), text: line.text })
                .collect(),
        });
    }
    print(&describe(&detail, &deviations))?;
    Ok(())
}

fn ask_all<Q: Payload + Sync>(link: &Link, method: Method, question: &Q) -> Result<Vec<Message>> {
    let answers = link.block_on(async |connection| {
        let mut call = connection.call(method).await?;
        call.feed(question).await?;
        call.finish().await?;
        let mut answers = Vec::new();
        while let Some(message) = call.recv().await? {
            answers.push(message);
        }
        Ok(answers)
    })?;
    Ok(answers)
}

fn phase_text(status: &MachineStatus) -> String {
    let phase = status.phase.map_or("-", |phase| phase.text());
    match &status.progress {
        Some(progress) if progress.total_len > 0 => {
            let percent = u128::from(progress.done_len) * 100 / u128::from(progress.total_len);
            format!("{phase} {percent} %")
        }
        _ => phase.to_owned(),
    }
}

fn describe(detail: &MachineDetail, deviations: &[Deviation]) -> String {
    let status = &detail.status;
    let optional = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let named = |name: &Option<String>, id: Option<String>| match (name, id) {
        (Some(name), Some(id)) => format!("{name} ({id})"),
        (Some(name), None) => name.clone(),
        _ => "-".into(),
    };
    let rows = [
        ("host", status.host.clone()),
        ("status", status.status.clone()),
        ("detail", status.detail.clone()),
        ("required", named(&status.required, status.required_image.map(|image| image.short()))),
        ("planned", optional(status.planned.clone())),
        ("root", optional(status.root.map(|root| root.short()))),
        ("phase", phase_text(status)),
        ("last seen", status.last_seen_ms.map_or_else(|| "never".into(), time_ms)),
        ("last window", optional(status.last_window_us.map(|us| format!("{:.1} ms", us as f64 / 1000.0)))),
        ("last changed", format!("{} paths", count(status.last_changed_count))),
        ("fetched", size(status.fetched_len)),
        ("control", format!("{} in all, {} B for the last poll", size(status.control_len), status.poll_len)),
        ("deviations", count(status.deviation_count)),
    ];
    let mut text: String =
        rows.iter().map(|(key, value)| format!("{:14}{}\n", format!("{key}:"), printable(value))).collect();
    if !deviations.is_empty() {
        text.push('\n');
        let rows = deviations.iter().map(DeviationLine::from).map(|line| vec![line.path, line.what]);
        text.push_str(&table(&["PATH", "DEVIATION"], &[], rows));
    }
    if !detail.history.is_empty() {
        text.push('\n');
        let rows = detail.history.iter().map(|line| vec![time_ms(line.at_ms), line.text.clone()]);
        text.push_str(&table(&["TIME", "WHAT HAPPENED"], &[], rows));
    }
    text
}

impl From<MachineStatus> for Machine {
    fn from(status: MachineStatus) -> Self {
        Self {
            host: status.host,
            status: status.status,
            converged: status.converged,
            detail: status.detail,
            required: status.required,
            required_image: status.required_image.map(|image| image.to_string()),
            planned: status.planned,
            root: status.root.map(|root| root.to_string()),
            deviation_count: status.deviation_count,
            phase: status.phase.map(|phase| phase.text()),
            progress_done_len: status.progress.as_ref().map(|progress| progress.done_len),
            progress_total_len: status.progress.as_ref().map(|progress| progress.total_len),
            last_seen: status.last_seen_ms.map(time_ms),
            last_window_us: status.last_window_us,
            last_changed_count: status.last_changed_count,
            fetched_len: status.fetched_len,
            control_len: status.control_len,
            poll_len: status.poll_len,
        }
    }
}

impl From<&Deviation> for DeviationLine {
    fn from(deviation: &Deviation) -> Self {
        // A path is shown escaped, so that no byte of it is lost and none steers a terminal.
        let path = TreePath::parse(&deviation.path)
            .map_or_else(|_| String::from_utf8_lossy(&deviation.path).into_owned(), |path| path.to_string());
        Self { path, what: deviation.what.clone() }
    }
}
