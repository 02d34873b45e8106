//! The directive that is under way, and how its end is recognised.
//!
//! Owns the comparison of an agent's state with the directive given before. Invariants: a directive whose answer was lost is
//! recognised by its generation; one that ended with a restart of the agent is not taken for done.
//!
//! Does not decide what follows: that is `judge`.

use std::time::Duration;

use dominator_protocol_core::{Phase, PollReply};
use dominator_store_core::{ImageId, TreeId};

use crate::{DirectiveKind, limits::UPDATE_SETTLE_TIME};

#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) kind: DirectiveKind,
    pub(super) generation: u64,
    pub(super) image: ImageId,
    /// The root that an update shall lead to.
    pub(super) root: TreeId,
    /// State of the agent when the directive was given.
    pub(super) instance: u64,
    pub(super) error: Option<String>,
    /// Since when the directive is known or believed to be accepted.
    pub(super) since: Duration,
    pub(super) was_busy: bool,
}

/// What became of a directive.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is not over.
    UnderWay,
    /// The agent never got it, or somebody else has directed the agent since.
    Void,
    /// It ended well, as far as can be seen.
    Done,
    /// It ended with this reason.
    Failed(String),
}

impl Issued {
    pub(super) fn observe(&mut self, now: Duration, reply: &PollReply) -> Outcome {
        if reply.generation != self.generation {
            return Outcome::Void;
        }
        if reply.instance != self.instance {
            return match self.kind {
                DirectiveKind::Require => Outcome::Void,
                kind => Outcome::Failed(format!("the agent restarted during the {kind}")),
            };
        }
        if !matches!(reply.phase, Phase::Idle | Phase::Scanning) {
            self.was_busy = true;
            return Outcome::UnderWay;
        }
        let is_early = !self.was_busy && now < self.since + UPDATE_SETTLE_TIME;
        let new_error = reply.last_error.as_ref().filter(|_| reply.last_error != self.error);
        match (self.kind, new_error) {
            (DirectiveKind::Require, _) if reply.required == Some(self.image) => Outcome::Done,
            (DirectiveKind::Update, _) if reply.root == Some(self.root) => Outcome::Done,
            (DirectiveKind::FetchPlanned, _) if reply.planned_ready == Some(self.image) => Outcome::Done,
            (_, Some(error)) => Outcome::Failed(error.clone()),
            // An error that stood before may be of another directive: if this fetch failed too, the update will say so.
            (DirectiveKind::Fetch, None) => Outcome::Done,
            (_, None) if is_early => Outcome::UnderWay,
            (DirectiveKind::Require, None) => Outcome::Failed("the agent did not take over the image".to_owned()),
            (DirectiveKind::FetchPlanned, None) => {
                let old_error = reply.last_error.clone();
                Outcome::Failed(
                    old_error.unwrap_or_else(|| "the fetch ended, but the image is not complete".to_owned()),
                )
            }
            // The root is not known while the agent looks at what it did.
            (DirectiveKind::Update, None) if reply.root.is_none() => Outcome::UnderWay,
            (DirectiveKind::Update, None) => {
                let old_error = reply.last_error.clone();
                Outcome::Failed(
                    old_error.unwrap_or_else(|| "the update ended, but the machine still differs".to_owned()),
                )
            }
        }
    }
}
