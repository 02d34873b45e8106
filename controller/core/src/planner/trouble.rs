//! What went wrong with a machine, and when to try again.
//!
//! Owns the count of failures and the delay that follows from it. Invariant: a delay is bounded, and starts over when the
//! machine converges or somebody changes what is required.
//!
//! Does not decide what to try: that is `judge`.

use std::time::Duration;

use dominator_protocol_core::{CallFailure, ErrorCode};

use super::clipped;
use crate::{
    Backoff, DirectiveKind, Report, Status,
    limits::{BUSY_DELAY_MAX, BUSY_DELAY_MIN, RETRY_DELAY_MAX, RETRY_DELAY_MIN},
};

#[derive(Debug, Clone, Default)]
pub(super) struct Trouble {
    failure_count: u32,
    retry_at: Duration,
    status: Option<Status>,
    reason: String,
}

impl Trouble {
    /// Notes a failure and sets the time of the next attempt.
    pub(super) fn note(&mut self, now: Duration, host: &str, status: Status, reason: &str) {
        self.failure_count = self.failure_count.saturating_add(1);
        self.status = Some(status);
        self.reason = clipped(reason);
        let backoff = match status {
            Status::Busy => Backoff { min: BUSY_DELAY_MIN, max: BUSY_DELAY_MAX },
            _ => Backoff { min: RETRY_DELAY_MIN, max: RETRY_DELAY_MAX },
        };
        self.retry_at = now + backoff.delay(host, self.failure_count);
    }

    pub(super) fn note_refusal(&mut self, now: Duration, host: &str, kind: DirectiveKind, failure: &CallFailure) {
        self.note(now, host, refusal_status(kind, failure), &reason(failure));
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets the delay, but not the count.
    pub(super) fn retry_now(&mut self) {
        self.retry_at = Duration::ZERO;
    }

    pub(super) fn retry_at(&self) -> Duration {
        self.retry_at
    }

    /// Returns the report while the next attempt is not due.
    pub(super) fn report(&self, now: Duration) -> Option<Report> {
        self.last_report().filter(|_| now < self.retry_at)
    }

    /// Returns the report of the last failure, until it is cleared.
    pub(super) fn last_report(&self) -> Option<Report> {
        let status = self.status?;
        let count = self.failure_count;
        let attempts = if count > 1 { format!(" ({count} failures in a row)") } else { String::new() };
        Some(Report::new(status, format!("{}{attempts}", self.reason)))
    }
}

/// Returns what a failure says to people; its code is in the status.
pub(super) fn reason(failure: &CallFailure) -> String {
    match &failure.hint {
        Some(hint) => format!("{} ({hint})", failure.message),
        None => failure.message.clone(),
    }
}

/// Which status stands for the end of a directive with this reason.
pub(super) fn failure_status(kind: DirectiveKind, reason: &str) -> Status {
    match kind {
        DirectiveKind::Require => Status::RequireFailed,
        DirectiveKind::Fetch | DirectiveKind::FetchPlanned => Status::FetchFailed,
        DirectiveKind::Update if is_safety_rule(reason) => Status::UpdateRefused,
        DirectiveKind::Update => Status::UpdateFailed,
    }
}

/// Recognises the safety rules of `agent/core` by what they say; a miss costs the better advice, nothing else.
fn is_safety_rule(reason: &str) -> bool {
    ["unsafe", "the plan would remove", "the required tree has"].iter().any(|words| reason.contains(words))
}

fn refusal_status(kind: DirectiveKind, failure: &CallFailure) -> Status {
    match failure.code {
        ErrorCode::Denied => Status::Denied,
        ErrorCode::Busy | ErrorCode::Unavailable => Status::Busy,
        ErrorCode::NoSpace => Status::NoSpace,
        _ => failure_status(kind, &failure.message),
    }
}
