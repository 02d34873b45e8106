//! The planner of one machine (`spec/controller.md#planner`).
//!
//! Owns the words of the conversation between planner and shell: what the planner is told and what it wants done. One
//! planner per machine; it is told the target, what the image server says, and every answer of the agent, and it returns
//! one action at a time. Invariants: it holds no clock and no connection; equal inputs give equal actions; a directive has
//! a generation above every generation that was ever seen or used for the machine.
//!
//! Does not carry anything out: `controller/daemon` does.

mod issued;
mod judge;
mod link;
mod machine;
mod trouble;

use std::time::Duration;

use dominator_protocol_core::limits::clip;
use dominator_store_core::{Digest, ImageId, ImageName, TreeId};

pub use link::LinkFailure;
pub use machine::Planner;

use crate::{DirectiveKind, WantedImage};

/// Whether a machine may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Updates {
    /// It may.
    #[default]
    Enabled,
    /// The machine database says no: it is looked at only.
    Disabled,
    /// Its place in the machine database is in doubt: it is looked at only.
    Held,
}

/// Whether the agent's safety rules apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Safety {
    /// They do.
    #[default]
    Checked,
    /// They do not.
    Overridden,
}

/// What the machine database says about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// What it must be.
    pub required: WantedImage,
    /// What to fetch ahead.
    pub planned: WantedImage,
    /// Whether it may be changed.
    pub updates: Updates,
    /// Whether the agent's safety rules apply.
    pub safety: Safety,
}

/// An image that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownImage {
    /// Its id.
    pub id: ImageId,
    /// Its tree.
    pub root: TreeId,
    /// Number of paths in the tree.
    pub entry_count: u64,
}

/// What the image server says about an image name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ImageKnowledge {
    /// Nothing yet.
    #[default]
    Unasked,
    /// The image exists.
    Known(KnownImage),
    /// There is no image of this name, so far.
    Absent,
    /// The image server could not be asked, or its answer cannot be used.
    Failed(String),
}

impl ImageKnowledge {
    const fn image(&self) -> Option<&KnownImage> {
        match self {
            Self::Known(image) => Some(image),
            _ => None,
        }
    }
}

/// How often the agent is asked for its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Interval while nothing is under way.
    pub idle: Duration,
    /// Interval while something is under way.
    pub active: Duration,
}

/// What an image is fetched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To become it.
    Required,
    /// To have it when it becomes required.
    Planned,
}

/// What an agent is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// Which image is required.
    Require {
        /// Number of the directive.
        generation: u64,
        /// Name of the image.
        name: ImageName,
        /// Its id.
        image: ImageId,
    },
    /// To fetch what is lacking of an image.
    Fetch {
        /// Number of the directive.
        generation: u64,
        /// Name of the image.
        name: ImageName,
        /// Its id.
        image: ImageId,
        /// What for.
        purpose: Purpose,
    },
    /// To become the image.
    Update {
        /// Number of the directive.
        generation: u64,
        /// The image.
        image: ImageId,
        /// Whether the agent's safety rules apply.
        safety: Safety,
    },
}

impl Directive {
    /// Returns the number of the directive.
    pub const fn generation(&self) -> u64 {
        match self {
            Self::Require { generation, .. } | Self::Fetch { generation, .. } | Self::Update { generation, .. } => {
                *generation
            }
        }
    }

    /// Returns the image that it is about.
    pub const fn image(&self) -> ImageId {
        match self {
            Self::Require { image, .. } | Self::Fetch { image, .. } | Self::Update { image, .. } => *image,
        }
    }

    /// Returns what it tells.
    pub const fn kind(&self) -> DirectiveKind {
        match self {
            Self::Require { .. } => DirectiveKind::Require,
            Self::Fetch { purpose: Purpose::Required, .. } => DirectiveKind::Fetch,
            Self::Fetch { purpose: Purpose::Planned, .. } => DirectiveKind::FetchPlanned,
            Self::Update { .. } => DirectiveKind::Update,
        }
    }
}

/// Two trees to be searched for deviations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescentOrder {
    /// The machine's tree.
    pub machine: TreeId,
    /// The image's tree.
    pub image: TreeId,
}

/// What a search for deviations came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescentSummary {
    /// Number of deviations.
    pub deviation_count: u64,
    /// There are more.
    pub truncated: bool,
}

/// What the shell shall do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Connect; answered by `handle_connected` or `handle_link_failed`.
    Connect,
    /// Ask the agent for its state; answered by `handle_reply`, `handle_unchanged`, `handle_poll_refused` or
    /// `handle_link_failed`.
    Poll {
        /// The state that is known already.
        known: Option<Digest>,
    },
    /// Send a directive, after it is in the ledger; answered by `handle_accepted`, `handle_refused` or
    /// `handle_link_failed`.
    Direct(Directive),
    /// Search for deviations while everything else goes on; answered by `handle_descended`.
    Descend(DescentOrder),
    /// Do nothing before this time, unless something new is known.
    Wait {
        /// The time.
        until: Duration,
    },
}

/// Cuts text of others to what a message can carry.
fn clipped(text: &str) -> String {
    clip(text).to_owned()
}
