//! The task of one machine.
//!
//! Owns the loop between the planner and the world, and the words in which its doings reach logs and histories. Invariants:
//! the loop ends only with the machine's place in the database; every answer is handed to the planner; while it waits, it
//! hears of new images, of the end of the connection and of a search that is done.
//!
//! Does not decide (`controller/core`), and does not encode calls (`link`).

use std::{sync::Arc, time::Duration};

use dominator_controller_core::{
    Action, DescentOrder, Directive, DirectiveKind, Host, LedgerEntry, LinkFailure, Pace, Planner, Purpose, Report,
    Safety, Status,
};
use dominator_protocol_core::{CallFailure, Fetch, Message, Method, Require, Update, limits::clip};
use dominator_protocol_quic::Client;
use tokio::sync::{Semaphore, watch};

use super::{
    Assignment, View,
    link::{Broken, Link},
    news::News,
    search::{Found, Search},
};
use crate::{
    clock::{Clock, wall_ms},
    images::{Images, NamedImage},
    ledger::Ledger,
    limits::LOGGED_DEVIATION_COUNT,
};

/// What all machines share.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) client: Client,
    pub(crate) images: Images,
    pub(crate) ledger: Ledger,
    pub(crate) pace: Pace,
    pub(crate) connects: Semaphore,
    pub(crate) searches: Arc<Semaphore>,
    /// Address and name of the image server, as machines are told.
    pub(crate) server: (String, String),
    pub(crate) rate_bytes_per_s: Option<u64>,
}

/// The task of one machine.
#[derive(Debug)]
pub(crate) struct MachineTask {
    host: Host,
    context: Arc<Context>,
    planner: Planner,
    news: News,
    link: Link,
    view: View,
    search: Option<Search>,
    last_report: Option<Report>,
    last_seen_ms: Option<u64>,
    has_deviations: bool,
    episode: Option<Episode>,
}

/// From the first directive to convergence.
#[derive(Debug, Clone, Copy)]
struct Episode {
    since: Duration,
    instance: u64,
    fetched_len: u64,
}

enum Event {
    Time,
    News,
    Searched(Result<Found, String>),
    Closed(Broken),
}

impl MachineTask {
    pub(crate) fn new(host: Host, context: Arc<Context>, assignment: watch::Receiver<Assignment>, view: View) -> Self {
        let last = context.ledger.last(&host);
        if let Some(last) = &last {
            view.note(&format!(
                "last directive before the start: {} of {}, directive {}",
                last.kind,
                last.image.short(),
                last.generation
            ));
        }
        let planner = Planner::new(&host, context.pace, last.map_or(0, |last| last.generation));
        let news = News::new(context.images.clone(), assignment);
        Self {
            host,
            context,
            planner,
            news,
            link: Link::default(),
            view,
            search: None,
            last_report: None,
            last_seen_ms: None,
            has_deviations: false,
            episode: None,
        }
    }

    /// Drives the machine until the task is dropped.
    pub(crate) async fn run(mut self) {
        loop {
            self.take_news();
            let action = self.planner.poll_action(self.now());
            self.publish();
            match action {
                Action::Connect => self.connect().await,
                Action::Poll { known } => self.poll(known).await,
                Action::Direct(directive) => self.direct(directive).await,
                Action::Descend(order) => self.start_search(order),
                Action::Wait { until } => self.wait(until).await,
            }
        }
    }

    fn now(&self) -> Duration {
        self.context.clock.now()
    }

    fn take_news(&mut self) {
        let changes = self.news.take(&mut self.planner);
        let now = self.now();
        if changes.address {
            self.link.drop_connection();
            self.planner.handle_link_failed(now, LinkFailure::Lost, "the address changed");
        }
        if changes.address || changes.retry {
            self.planner.retry_now(now);
        }
    }

    async fn connect(&mut self) {
        match self.open_link().await {
            Ok(()) => self.planner.handle_connected(self.now()),
            Err(broken) => self.handle_broken_link(broken),
        }
    }

    async fn open_link(&mut self) -> Result<(), Broken> {
        let (context, address) = (&self.context, self.news.address());
        self.link.connect(&context.client, &context.connects, address, self.host.name()).await?;
        tracing::debug!(host = %self.host, address, "connected");
        Ok(())
    }

    async fn poll(&mut self, known: Option<dominator_store_core::Digest>) {
        if self.link.is_denied()
            && let Err(broken) = self.open_link().await
        {
            return self.handle_broken_link(broken);
        }
        let answer = self.link.poll(known).await;
        let now = self.now();
        match answer {
            Ok(Message::PollReply(reply)) => {
                tracing::debug!(host = %self.host, generation = reply.generation, phase = %reply.phase, "state");
                self.last_seen_ms = Some(wall_ms());
                self.planner.handle_reply(now, reply);
            }
            Ok(Message::Unchanged(unchanged)) => {
                self.last_seen_ms = Some(wall_ms());
                self.planner.handle_unchanged(now, unchanged.scan_count);
            }
            Ok(other) => {
                self.link.drop_connection();
                let text = format!("the agent answers a poll with {}", other.tag().name());
                self.planner.handle_link_failed(now, LinkFailure::Protocol, &text);
            }
            Err(Broken::Refused(failure)) => self.planner.handle_poll_refused(now, &failure),
            Err(broken) => self.handle_broken_link(broken),
        }
    }

    async fn direct(&mut self, directive: Directive) {
        let (kind, generation) = (directive.kind(), directive.generation());
        let result = self.record_and_send(&directive).await;
        let now = self.now();
        match result {
            Ok(name) => {
                tracing::info!(host = %self.host, directive = %kind, generation, image = name, "directive accepted");
                self.view.note(&format!("{kind} {name}: accepted, directive {generation}"));
                if kind != DirectiveKind::FetchPlanned {
                    self.begin_episode(now);
                }
                self.planner.handle_accepted(now, generation);
            }
            Err(Broken::Refused(failure)) => {
                tracing::warn!(host = %self.host, directive = %kind, generation, reason = %failure, "directive refused");
                self.view.note(&format!("{kind}: refused, directive {generation}: {failure}"));
                self.planner.handle_refused(now, generation, &failure);
            }
            Err(broken) => self.handle_broken_link(broken),
        }
    }

    /// Returns the name of the image, once the agent has accepted the directive.
    async fn record_and_send(&mut self, directive: &Directive) -> Result<String, Broken> {
        let image = self.news.image(directive.image());
        let gone = || Broken::Refused(CallFailure::conflict("the image is no longer required"));
        let image = image.ok_or_else(gone)?;
        let entry = LedgerEntry {
            host: self.host.clone(),
            generation: directive.generation(),
            at_ms: wall_ms(),
            kind: directive.kind(),
            image: directive.image(),
        };
        let recorded = self.context.ledger.record(entry).await;
        recorded.map_err(|error| Broken::Refused(CallFailure::internal(error.to_string())))?;
        self.send(directive, &image).await?;
        Ok(image.name.to_string())
    }

    async fn send(&mut self, directive: &Directive, named: &NamedImage) -> Result<(), Broken> {
        let (name, encoded) = (named.name.to_string(), named.encoded.clone());
        match directive {
            Directive::Require { generation, image, .. } => {
                let message = Require { generation: *generation, name, image: *image, encoded };
                self.link.direct(Method::MachineRequire, &message, *generation).await
            }
            Directive::Fetch { generation, image, purpose, .. } => {
                let (server, server_name) = self.context.server.clone();
                let message = Fetch {
                    generation: *generation,
                    name,
                    image: *image,
                    encoded,
                    server,
                    server_name,
                    rate_bytes_per_s: self.context.rate_bytes_per_s,
                    planned: *purpose == Purpose::Planned,
                };
                self.link.direct(Method::MachineFetch, &message, *generation).await
            }
            Directive::Update { generation, image, safety } => {
                let force_unsafe = *safety == Safety::Overridden;
                let message = Update { generation: *generation, image: *image, force_unsafe };
                self.link.direct(Method::MachineUpdate, &message, *generation).await
            }
        }
    }

    fn start_search(&mut self, order: DescentOrder) {
        let required = self.news.images().2.and_then(|id| self.news.image(id));
        match (self.link.connection(), required) {
            (Some(connection), Some(image)) => {
                let (images, searches) = (self.context.images.clone(), Arc::clone(&self.context.searches));
                self.search = Some(Search::start(order, image.entry_count, connection, images, searches));
            }
            _ => self.planner.handle_descended(order, Err("there is no connection".to_owned())),
        }
    }

    async fn wait(&mut self, until: Duration) {
        let searched = async {
            match &mut self.search {
                Some(search) => search.finish().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            () = tokio::time::sleep_until(self.context.clock.instant(until)) => Event::Time,
            () = self.news.wait() => Event::News,
            result = searched => Event::Searched(result),
            broken = self.link.closed() => Event::Closed(broken),
        };
        match event {
            Event::Time | Event::News => {}
            Event::Searched(result) => self.take_search(result),
            Event::Closed(broken) => {
                self.link.drop_connection();
                self.handle_broken_link(broken);
            }
        }
    }

    fn take_search(&mut self, result: Result<Found, String>) {
        let Some(search) = self.search.take() else { return };
        match &result {
            Ok(found) => self.tell_deviations(found),
            Err(reason) => tracing::warn!(host = %self.host, reason, "deviations cannot be listed"),
        }
        let summary = result.map(|found| {
            let summary = found.summary;
            self.view.set_deviations(found.items);
            self.has_deviations = true;
            summary
        });
        self.planner.handle_descended(search.order, summary);
    }

    fn tell_deviations(&self, found: &Found) {
        let (count, truncated) = (found.summary.deviation_count, found.summary.truncated);
        let (host, object_count, object_len) = (&self.host, found.object_count, found.object_len);
        tracing::info!(%host, count, truncated, object_count, object_len, "deviations found");
        for item in found.items.iter().take(LOGGED_DEVIATION_COUNT) {
            tracing::info!(%host, path = %path_text(&item.path), what = item.what, "deviation");
        }
        let more = if truncated { "more than " } else { "" };
        if found.first_fill {
            self.view.note(&format!("the root is empty: all {count} paths are missing"));
            return;
        }
        let examples: Vec<_> = found
            .items
            .iter()
            .take(EXAMPLE_COUNT)
            .map(|item| format!("{} ({})", path_text(&item.path), item.what))
            .collect();
        let dots = if found.items.len() > EXAMPLE_COUNT { ", ..." } else { "" };
        self.view.note(&format!("deviations: {more}{count}: {}{dots}", examples.join(", ")));
    }

    fn handle_broken_link(&mut self, broken: Broken) {
        let now = self.now();
        match broken {
            Broken::Link(failure, text) => self.planner.handle_link_failed(now, failure, &text),
            // A connection does not end with an answer to a call.
            Broken::Refused(failure) => {
                self.link.drop_connection();
                self.planner.handle_link_failed(now, LinkFailure::Protocol, &failure.to_string());
            }
        }
    }

    fn begin_episode(&mut self, now: Duration) {
        if self.episode.is_none() {
            let (instance, fetched_len) =
                self.planner.reply().map_or((0, 0), |reply| (reply.instance, reply.fetched_len));
            self.episode = Some(Episode { since: now, instance, fetched_len });
        }
    }

    /// Tells operators, the log and the history what is new.
    fn publish(&mut self) {
        let now = self.now();
        let report = self.planner.report(now);
        let deviation_count = self.planner.deviation_count();
        if deviation_count == 0 && std::mem::take(&mut self.has_deviations) {
            self.view.set_deviations(Vec::new());
        }
        let (required, planned, required_image) = self.news.images();
        self.tell_status(now, &report, required.as_deref().unwrap_or("nothing"));
        let (converged, last_seen_ms) = (self.planner.is_converged(), self.last_seen_ms);
        let (control_len, poll_len) = (self.link.control_len(), self.link.poll_len);
        let reply = self.planner.reply();
        self.view.update(|status| {
            status.status = report.status.word().to_owned();
            status.detail = clip(&report.to_string()).to_owned();
            (status.required, status.planned, status.required_image) = (required, planned, required_image);
            (status.converged, status.deviation_count) = (converged, deviation_count);
            (status.last_seen_ms, status.control_len, status.poll_len) = (last_seen_ms, control_len, poll_len);
            if let Some(reply) = reply {
                (status.root, status.phase, status.progress) = (reply.root, Some(reply.phase), reply.progress.clone());
                (status.last_window_us, status.last_changed_count) = (reply.last_window_us, reply.last_changed_count);
                status.fetched_len = reply.fetched_len;
            }
        });
        self.last_report = Some(report);
    }

    fn tell_status(&mut self, now: Duration, report: &Report, required: &str) {
        if self.last_report.as_ref().is_some_and(|last| last.status == report.status && !is_news(last, report)) {
            return;
        }
        let (host, status, detail) = (&self.host, report.status, report.detail.as_str());
        let advice = status.advice();
        match status {
            Status::Converged if self.episode.is_some() => self.end_episode(now, required),
            Status::Converged if self.last_report.as_ref().is_none_or(|last| !last.is_converged()) => {
                tracing::info!(%host, image = required, detail, "converged");
                self.view.note(&format!("converged: {required} {detail}"));
            }
            _ if is_transitional(status) => tracing::debug!(%host, %status, detail, "status"),
            // Somebody wants it so.
            _ if advice.is_empty() || status == Status::Disabled => {
                tracing::info!(%host, %status, detail, "status");
                self.view.note(&format!("{status}: {detail}"));
            }
            _ => {
                tracing::warn!(%host, %status, detail, advice, "status");
                self.view.note(&format!("{status}: {detail}"));
            }
        }
    }

    fn end_episode(&mut self, now: Duration, required: &str) {
        let (Some(episode), Some(reply)) = (self.episode.take(), self.planner.reply()) else { return };
        // An agent that restarted meanwhile counts from zero.
        let before_len = if reply.instance == episode.instance { episode.fetched_len } else { 0 };
        let fetched_len = reply.fetched_len.saturating_sub(before_len);
        let (elapsed_ms, changed_count) = ((now - episode.since).as_millis(), reply.last_changed_count);
        let window_us = reply.last_window_us.unwrap_or(0);
        tracing::info!(
            host = %self.host,
            image = required,
            elapsed_ms,
            changed_count,
            window_us,
            fetched_len,
            "converged"
        );
        self.view.note(&format!(
            "converged: {required} in {elapsed_ms} ms, {changed_count} paths changed, window {window_us} us, fetched {fetched_len} bytes"
        ));
    }
}

/// Deviations that are named in one line of the history.
const EXAMPLE_COUNT: usize = 5;

/// Says whether two reports with one status differ in what people should hear of: another reason, not more of the same.
fn is_news(last: &Report, report: &Report) -> bool {
    !report.status.advice().is_empty()
        && report.status != Status::Disabled
        && reason(&last.detail) != reason(&report.detail)
}

/// Cuts off the count of failures.
fn reason(detail: &str) -> &str {
    detail.rsplit_once(" (").map_or(detail, |(reason, _)| reason)
}

const fn is_transitional(status: Status) -> bool {
    matches!(
        status,
        Status::Unknown
            | Status::Connecting
            | Status::LookingUp
            | Status::Scanning
            | Status::Requiring
            | Status::Deviating
            | Status::Fetching
            | Status::Ordering
            | Status::Updating
            | Status::Recovering
            | Status::Busy
            | Status::PlannedFetching
            | Status::Converged
    )
}

/// Makes a path of a message printable.
fn path_text(path: &[u8]) -> String {
    match dominator_store_core::TreePath::parse(path) {
        Ok(path) => path.to_string(),
        Err(_) => path.escape_ascii().to_string(),
    }
}
