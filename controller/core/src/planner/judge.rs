//! The decision: what a machine is, and what it should be told next.
//!
//! Owns the order of the questions. Invariants: it is a pure function of the planner's state and the time; nothing is told
//! to a machine that may not be changed; an update is told only after a fetch of the same image ended well.
//!
//! Does not remember anything: that is `machine`.

use std::time::Duration;

use dominator_protocol_core::{Phase, PollReply, Progress};

use super::{ImageKnowledge, KnownImage, Planner, Updates, machine::Search};
use crate::{DirectiveKind, Report, Status, WantedImage};

/// What should be told to the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Tell(DirectiveKind),
}

impl Planner {
    pub(super) fn judge(&self, now: Duration) -> (Report, Step) {
        let quiet = |status, detail: String| (Report::new(status, detail), Step::Nothing);
        if !self.link.is_up {
            return (self.link.report(), Step::Nothing);
        }
        if let Some(report) = self.poll_trouble.last_report() {
            return (report, Step::Nothing);
        }
        let Some(reply) = self.reply.as_ref().filter(|_| self.is_fresh) else {
            return (self.link.report(), Step::Nothing);
        };
        let image = match self.required_image() {
            Ok(image) => image,
            Err(report) if self.target.updates == Updates::Enabled => return (report, Step::Nothing),
            Err(report) => return quiet(self.restrained(), format!("{}: {}", report.status, report.detail)),
        };
        let is_equal = is_equal(reply, &image);
        if self.target.updates != Updates::Enabled {
            return quiet(
                self.restrained(),
                if is_equal { "converged".to_owned() } else { self.differs(reply, &image) },
            );
        }
        match (is_equal, reply.phase) {
            (true, _) => self.judge_planned(now, reply, &image),
            (false, Phase::Recovering) => quiet(Status::Recovering, String::new()),
            (false, phase) if is_updating(phase) => {
                quiet(Status::Updating, with_progress(phase.text(), reply.progress.as_ref()))
            }
            (false, _) => self.judge_deviating(now, reply, &image),
        }
    }

    /// Says whether the machine is exactly what is required, whether it may be changed or not.
    pub fn is_converged(&self) -> bool {
        let reply = self.reply.as_ref().filter(|_| self.link.is_up && self.is_fresh);
        matches!((reply, self.required_image()), (Some(reply), Ok(image)) if is_equal(reply, &image))
    }

    /// The machine is equal to its required image: think ahead.
    fn judge_planned(&self, now: Duration, reply: &PollReply, image: &KnownImage) -> (Report, Step) {
        let converged = |detail: String| (Report::new(Status::Converged, detail), Step::Nothing);
        // The tree is right, but something else may not be: a service that did not start.
        let complaint =
            reply.last_error.as_ref().map(|error| format!("the agent reports: {error}")).unwrap_or_default();
        let name = match &self.target.planned {
            WantedImage::Nothing => return converged(complaint),
            WantedImage::Invalid(text) => return converged(format!("PlannedImage {text:?} is not an image name")),
            WantedImage::Named(name) => name,
        };
        let planned = match &self.planned {
            ImageKnowledge::Known(planned) => planned,
            ImageKnowledge::Absent => return converged(format!("planned image {name} is not on the image server")),
            ImageKnowledge::Unasked | ImageKnowledge::Failed(_) => return converged(complaint),
        };
        if planned.id == image.id || reply.planned_ready == Some(planned.id) {
            return converged(if complaint.is_empty() { format!("planned image {name} is ready") } else { complaint });
        }
        let fetching =
            |step| (Report::new(Status::PlannedFetching, with_progress(name.as_str(), reply.progress.as_ref())), step);
        if self.issued.is_some() {
            return fetching(Step::Nothing);
        }
        match self.planned_trouble.report(now) {
            Some(report) => converged(format!("planned image {name}: {}: {}", report.status, report.detail)),
            None if reply.phase == Phase::Idle => fetching(Step::Tell(DirectiveKind::FetchPlanned)),
            None => converged(complaint),
        }
    }

    /// The machine differs from its required image, and its agent is free to hear so.
    fn judge_deviating(&self, now: Duration, reply: &PollReply, image: &KnownImage) -> (Report, Step) {
        let name = self.target.required.name().map(ToString::to_string).unwrap_or_default();
        let tell = |status, kind| (Report::new(status, self.differs(reply, image)), Step::Tell(kind));
        let under_way = |status, detail| (Report::new(status, detail), Step::Nothing);
        match self.issued.as_ref().map(|issued| issued.kind) {
            Some(DirectiveKind::Require) => return under_way(Status::Requiring, name),
            Some(DirectiveKind::Fetch) => {
                return under_way(Status::Fetching, with_progress(&name, reply.progress.as_ref()));
            }
            Some(DirectiveKind::Update) => return under_way(Status::Ordering, name),
            Some(DirectiveKind::FetchPlanned) | None => {}
        }
        if let Some(report) = self.trouble.report(now) {
            return (report, Step::Nothing);
        }
        if reply.required != Some(image.id) {
            return (Report::new(Status::Requiring, name), Step::Tell(DirectiveKind::Require));
        }
        if reply.root.is_none() {
            return under_way(Status::Scanning, with_progress("", reply.progress.as_ref()));
        }
        if self.fetched != Some((image.id, reply.instance)) {
            return tell(Status::Deviating, DirectiveKind::Fetch);
        }
        match self.search {
            // Once the update begins, the tree that is being searched is gone.
            Search::Running { until, .. } if now < until => under_way(Status::Deviating, "being listed".to_owned()),
            _ => tell(Status::Ordering, DirectiveKind::Update),
        }
    }

    fn required_image(&self) -> Result<KnownImage, Report> {
        let name = match &self.target.required {
            WantedImage::Nothing => return Err(Report::new(Status::ImageUndefined, "")),
            WantedImage::Invalid(text) => {
                return Err(Report::new(Status::ImageUndefined, format!("{text:?} is not an image name")));
            }
            WantedImage::Named(name) => name.as_str(),
        };
        match &self.required {
            ImageKnowledge::Known(image) => Ok(*image),
            ImageKnowledge::Absent => Err(Report::new(Status::ImageNotReady, name)),
            ImageKnowledge::Unasked => Err(Report::new(Status::LookingUp, name)),
            ImageKnowledge::Failed(reason) => Err(Report::new(Status::ImageServerFailed, format!("{name}: {reason}"))),
        }
    }

    fn restrained(&self) -> Status {
        if self.target.updates == Updates::Held { Status::Held } else { Status::Disabled }
    }

    fn differs(&self, reply: &PollReply, image: &KnownImage) -> String {
        if reply.required != Some(image.id) {
            return "the agent has another required image".to_owned();
        }
        match &self.search {
            Search::Done { summary, .. } => {
                let more = if summary.truncated { "more than " } else { "" };
                let plural = if summary.deviation_count == 1 { "" } else { "s" };
                format!("{more}{} deviation{plural}", summary.deviation_count)
            }
            Search::Failed { reason, .. } => format!("deviations are not known: {reason}"),
            Search::None | Search::Running { .. } => "the root differs".to_owned(),
        }
    }
}

/// Says whether names may be changing at this moment.
pub(super) const fn is_updating(phase: Phase) -> bool {
    match phase {
        Phase::Idle | Phase::Scanning | Phase::Fetching => false,
        Phase::Staging | Phase::Stopping | Phase::Applying | Phase::Starting | Phase::Verifying | Phase::Recovering => {
            true
        }
    }
}

fn is_equal(reply: &PollReply, image: &KnownImage) -> bool {
    reply.required == Some(image.id) && reply.root == Some(image.root) && !is_updating(reply.phase)
}

fn with_progress(text: &str, progress: Option<&Progress>) -> String {
    let space = if text.is_empty() { "" } else { " " };
    match progress {
        Some(Progress { done_len, total_len }) => format!("{text}{space}({done_len} of {total_len} bytes)"),
        None => text.to_owned(),
    }
}
