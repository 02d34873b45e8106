//! The planner's memory of one machine.
//!
//! Owns what is known, and the rules by which answers change it. Call order: any `set_*` and `handle_*` at any time, then
//! [`Planner::poll_action`] until it returns `Wait`; an action other than `Wait` and `Descend` must be answered before the
//! next one comes. Invariants: answers to something that is no longer asked are ignored; the state of an agent counts only
//! if it was told over the present connection.
//!
//! Does not choose directives: that is `judge`.

use std::time::Duration;

use dominator_protocol_core::{CallFailure, ErrorCode, Phase, PollReply};
use dominator_store_core::{ImageId, ImageName, TreeId};

use super::{
    Action, DescentOrder, DescentSummary, Directive, ImageKnowledge, LinkFailure, Pace, Purpose, Target,
    issued::{Issued, Outcome},
    judge::{Step, is_updating},
    link::Link,
    trouble::{Trouble, failure_status, reason},
};
use crate::{
    DirectiveKind, Host, Report, Status,
    limits::{DESCENT_INTERVAL_MIN, DESCENT_WAIT_MAX},
};

/// The planner of one machine.
#[derive(Debug)]
pub struct Planner {
    host: String,
    pace: Pace,
    pub(super) target: Target,
    pub(super) required: ImageKnowledge,
    pub(super) planned: ImageKnowledge,
    pub(super) link: Link,
    /// Last state of the agent.
    pub(super) reply: Option<PollReply>,
    /// It was told over the present connection.
    pub(super) is_fresh: bool,
    last_seen: Option<Duration>,
    next_poll_at: Duration,
    pub(super) poll_trouble: Trouble,
    generation: u64,
    in_flight: Option<InFlight>,
    pub(super) issued: Option<Issued>,
    /// Image that was fetched, by which instance of the agent.
    pub(super) fetched: Option<(ImageId, u64)>,
    pub(super) trouble: Trouble,
    pub(super) planned_trouble: Trouble,
    pub(super) search: Search,
    search_after: Duration,
    /// Root of the machine when it last was what was required.
    converged_root: Option<TreeId>,
}

/// What the shell is doing for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Connecting,
    Polling,
    Directing,
}

/// The search for deviations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Search {
    None,
    Running { order: DescentOrder, until: Duration },
    Done { order: DescentOrder, summary: DescentSummary },
    Failed { order: DescentOrder, reason: String },
}

impl Planner {
    /// Begins with a machine of which nothing is known but the last generation that was used for it.
    pub fn new(host: &Host, pace: Pace, generation: u64) -> Self {
        Self {
            host: host.to_string(),
            pace,
            target: Target::default(),
            required: ImageKnowledge::Unasked,
            planned: ImageKnowledge::Unasked,
            link: Link::default(),
            reply: None,
            is_fresh: false,
            last_seen: None,
            next_poll_at: Duration::ZERO,
            poll_trouble: Trouble::default(),
            generation,
            in_flight: None,
            issued: None,
            fetched: None,
            trouble: Trouble::default(),
            planned_trouble: Trouble::default(),
            search: Search::None,
            search_after: Duration::ZERO,
            converged_root: None,
        }
    }

    /// Takes over what the machine database says.
    pub fn set_target(&mut self, target: Target) {
        if target.required != self.target.required {
            self.required = ImageKnowledge::Unasked;
            self.forget_progress();
        }
        if target.planned != self.target.planned {
            self.planned = ImageKnowledge::Unasked;
            self.planned_trouble.clear();
        }
        if (target.updates, target.safety) != (self.target.updates, self.target.safety) {
            self.trouble.clear();
        }
        self.target = target;
    }

    /// Takes over what the image server says about `name`.
    pub fn set_image(&mut self, name: &ImageName, knowledge: &ImageKnowledge) {
        if self.target.required.name() == Some(name) && self.required != *knowledge {
            if self.required.image().is_some() {
                self.forget_progress();
            }
            self.required = knowledge.clone();
        }
        if self.target.planned.name() == Some(name) && self.planned != *knowledge {
            self.planned = knowledge.clone();
            self.planned_trouble.clear();
        }
    }

    /// Forgets all delays: a person asks for another attempt now.
    pub fn retry_now(&mut self, now: Duration) {
        self.link.retry_at = now;
        self.trouble.retry_now();
        self.planned_trouble.retry_now();
        self.poll_trouble.clear();
        self.next_poll_at = now;
    }

    /// The connection stands.
    pub fn handle_connected(&mut self, now: Duration) {
        if !self.end(InFlight::Connecting) {
            return;
        }
        self.link.is_up = true;
        self.is_fresh = false;
        self.next_poll_at = now;
    }

    /// There is no connection, or no longer one.
    pub fn handle_link_failed(&mut self, now: Duration, failure: LinkFailure, text: &str) {
        self.in_flight = None;
        self.is_fresh = false;
        self.link.fail(now, &self.host, failure, text);
        self.poll_trouble.clear();
        if let Some(issued) = &mut self.issued {
            // It may have arrived; the next state of the agent tells by its generation.
            issued.since = now;
        }
    }

    /// The agent tells its state.
    pub fn handle_reply(&mut self, now: Duration, reply: PollReply) {
        if !self.end(InFlight::Polling) {
            return;
        }
        self.generation = self.generation.max(reply.generation);
        self.reply = Some(reply);
        self.take_state(now);
    }

    /// The agent says that its state is the one that is known.
    pub fn handle_unchanged(&mut self, now: Duration, scan_count: u64) {
        if !self.end(InFlight::Polling) {
            return;
        }
        match &mut self.reply {
            Some(reply) => {
                reply.scan_count = scan_count;
                self.take_state(now);
            }
            None => self.handle_link_failed(now, LinkFailure::Protocol, "the first state is said to be unchanged"),
        }
    }

    /// The agent fails to tell its state.
    pub fn handle_poll_refused(&mut self, now: Duration, failure: &CallFailure) {
        if !self.end(InFlight::Polling) {
            return;
        }
        self.is_fresh = false;
        let status = match failure.code {
            ErrorCode::Denied => Status::Denied,
            ErrorCode::Busy | ErrorCode::Unavailable => Status::Busy,
            _ => Status::PollFailed,
        };
        self.poll_trouble.note(now, &self.host, status, &reason(failure));
        self.next_poll_at = self.poll_trouble.retry_at();
    }

    /// The agent accepts the directive with this generation.
    pub fn handle_accepted(&mut self, now: Duration, generation: u64) {
        if self.end_directing(generation)
            && let Some(issued) = &mut self.issued
        {
            issued.since = now;
            self.next_poll_at = now;
        }
    }

    /// The agent refuses the directive with this generation.
    pub fn handle_refused(&mut self, now: Duration, generation: u64, failure: &CallFailure) {
        if !self.end_directing(generation) {
            return;
        }
        let Some(issued) = self.issued.take() else { return };
        // A conflict may be about the generation, which the next state tells.
        self.next_poll_at = now;
        self.fetched = None;
        let trouble = match issued.kind {
            DirectiveKind::FetchPlanned => &mut self.planned_trouble,
            _ => &mut self.trouble,
        };
        trouble.note_refusal(now, &self.host, issued.kind, failure);
    }

    /// A search for deviations is over.
    pub fn handle_descended(&mut self, order: DescentOrder, result: Result<DescentSummary, String>) {
        if matches!(self.search, Search::Running { order: running, .. } if running == order) {
            self.search = match result {
                Ok(summary) => Search::Done { order, summary },
                Err(reason) => Search::Failed { order, reason },
            };
        }
    }

    /// Returns what to do next.
    pub fn poll_action(&mut self, now: Duration) -> Action {
        if self.in_flight.is_some() {
            return Action::Wait { until: Duration::MAX };
        }
        if !self.link.is_up {
            if now < self.link.retry_at {
                return Action::Wait { until: self.link.retry_at };
            }
            self.in_flight = Some(InFlight::Connecting);
            return Action::Connect;
        }
        if now >= self.next_poll_at {
            self.in_flight = Some(InFlight::Polling);
            return Action::Poll { known: self.reply.as_ref().map(PollReply::digest) };
        }
        if let Some(order) = self.due_search(now) {
            // A machine that was what was required until now is not drifting: nobody is kept waiting for the list.
            let is_expected = self.converged_root == Some(order.machine);
            let until = if is_expected { now } else { now + DESCENT_WAIT_MAX };
            self.search = Search::Running { order, until };
            self.search_after = now + DESCENT_INTERVAL_MIN;
            return Action::Descend(order);
        }
        match self.judge(now).1 {
            Step::Tell(kind) => self.tell(now, kind),
            Step::Nothing => Action::Wait { until: self.next_event(now) },
        }
    }

    /// Returns what people should know.
    pub fn report(&self, now: Duration) -> Report {
        self.judge(now).0
    }

    /// Returns the last state of the agent, however old.
    pub const fn reply(&self) -> Option<&PollReply> {
        self.reply.as_ref()
    }

    /// Returns when the agent last answered.
    pub const fn last_seen(&self) -> Option<Duration> {
        self.last_seen
    }

    /// Returns the number of deviations as far as it is known: at least one if the roots differ.
    pub fn deviation_count(&self) -> u64 {
        let differs = match (self.required.image(), &self.reply) {
            (Some(image), Some(reply)) => {
                reply.required == Some(image.id) && reply.root.is_some_and(|root| root != image.root)
            }
            _ => false,
        };
        match (differs, &self.search) {
            (false, _) => 0,
            (true, Search::Done { summary, .. }) => summary.deviation_count.max(1),
            (true, _) => 1,
        }
    }

    fn take_state(&mut self, now: Duration) {
        self.is_fresh = true;
        self.last_seen = Some(now);
        self.link.confirm();
        self.poll_trouble.clear();
        self.observe(now);
        let report = self.judge(now).0;
        if report.is_converged() {
            self.trouble.clear();
            self.fetched = None;
            self.converged_root = self.reply.as_ref().and_then(|reply| reply.root);
            (self.search, self.search_after) = (Search::None, Duration::ZERO);
        }
        let is_active = match report.status {
            Status::Requiring
            | Status::Deviating
            | Status::Fetching
            | Status::Ordering
            | Status::Updating
            | Status::Recovering => true,
            // The first scan takes long, one under another filter does not.
            Status::Scanning => self.reply.as_ref().is_some_and(|reply| reply.phase != Phase::Scanning),
            _ => self.issued.as_ref().is_some_and(|issued| issued.kind != DirectiveKind::FetchPlanned),
        };
        self.next_poll_at = now + if is_active { self.pace.active } else { self.pace.idle };
    }

    fn observe(&mut self, now: Duration) {
        let (Some(mut issued), Some(reply)) = (self.issued.take(), &self.reply) else { return };
        match issued.observe(now, reply) {
            Outcome::UnderWay => self.issued = Some(issued),
            Outcome::Void => {}
            Outcome::Done if issued.kind == DirectiveKind::Fetch => {
                self.fetched = Some((issued.image, issued.instance));
            }
            Outcome::Done if issued.kind == DirectiveKind::FetchPlanned => self.planned_trouble.clear(),
            Outcome::Done => {}
            Outcome::Failed(reason) => {
                self.fetched = None;
                let status = failure_status(issued.kind, &reason);
                let trouble = match issued.kind {
                    DirectiveKind::FetchPlanned => &mut self.planned_trouble,
                    _ => &mut self.trouble,
                };
                trouble.note(now, &self.host, status, &reason);
            }
        }
    }

    fn tell(&mut self, now: Duration, kind: DirectiveKind) -> Action {
        let (wanted, knowledge) = match kind {
            DirectiveKind::FetchPlanned => (&self.target.planned, &self.planned),
            _ => (&self.target.required, &self.required),
        };
        let (Some(name), Some(image), Some(reply)) = (wanted.name(), knowledge.image(), &self.reply) else {
            return Action::Wait { until: self.next_poll_at };
        };
        let (generation, name) = (self.generation.saturating_add(1), name.clone());
        let directive = match kind {
            DirectiveKind::Require => Directive::Require { generation, name, image: image.id },
            DirectiveKind::Fetch => Directive::Fetch { generation, name, image: image.id, purpose: Purpose::Required },
            DirectiveKind::FetchPlanned => {
                Directive::Fetch { generation, name, image: image.id, purpose: Purpose::Planned }
            }
            DirectiveKind::Update => Directive::Update { generation, image: image.id, safety: self.target.safety },
        };
        self.issued = Some(Issued {
            kind,
            generation,
            image: image.id,
            root: image.root,
            instance: reply.instance,
            error: reply.last_error.clone(),
            since: now,
            was_busy: false,
        });
        self.generation = generation;
        self.in_flight = Some(InFlight::Directing);
        Action::Direct(directive)
    }

    /// Ends the wait for an answer; says whether it is the one that is waited for.
    fn end_directing(&mut self, generation: u64) -> bool {
        self.generation == generation && self.end(InFlight::Directing)
    }

    /// Ends what the shell is doing; says whether it was doing that.
    fn end(&mut self, in_flight: InFlight) -> bool {
        self.in_flight.take_if(|current| *current == in_flight).is_some()
    }

    /// Returns the trees to search, once per pair of roots and while the machine's tree stays.
    fn due_search(&self, now: Duration) -> Option<DescentOrder> {
        let (reply, image) = (self.reply.as_ref().filter(|_| self.is_fresh)?, self.required.image()?);
        let machine = reply.root.filter(|root| *root != image.root && reply.required == Some(image.id))?;
        let order = DescentOrder { machine, image: image.root };
        let is_known = match &self.search {
            Search::None => false,
            Search::Running { .. } => true,
            Search::Done { order: last, .. } | Search::Failed { order: last, .. } => *last == order,
        };
        (!is_known && now >= self.search_after && !is_updating(reply.phase)).then_some(order)
    }

    fn next_event(&self, now: Duration) -> Duration {
        let search = match self.search {
            Search::Running { until, .. } => Some(until),
            _ => None,
        };
        let later = [Some(self.trouble.retry_at()), Some(self.planned_trouble.retry_at()), search];
        later.into_iter().flatten().filter(|at| *at > now).fold(self.next_poll_at, Duration::min)
    }

    /// What was begun for another required image no longer counts.
    fn forget_progress(&mut self) {
        // A directive in flight is still answered; it is recognised by its generation.
        if self.in_flight != Some(InFlight::Directing) {
            self.issued = None;
        }
        self.fetched = None;
        self.trouble.clear();
        self.search = Search::None;
        self.search_after = Duration::ZERO;
    }
}
