//! Records of a journal.
//!
//! Owns what each says. Invariant: [`Prepared`] holds everything that finishing or undoing the apply takes, so that no
//! image, scan or network is needed after a crash.
//!
//! The bytes are `codec` and `frame`; the order is `recovery`.

use dominator_store_core::{ImageId, Managed, TreeId};

use crate::{plan::PlanId, services::ServicePlan, step::BoundStep};

/// The first record: everything is staged and durable, nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The plan.
    pub plan: PlanId,
    /// The root id it begins with.
    pub from: TreeId,
    /// The root id it ends with.
    pub to: TreeId,
    /// The image that requires it.
    pub image: ImageId,
    /// The directive it follows.
    pub generation: u64,
    /// Which metadata the image manages.
    pub managed: Managed,
    /// The steps with the inodes they are about.
    pub steps: Vec<BoundStep>,
    /// What happens to services.
    pub services: ServicePlan,
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The new tree is in place.
    Applied,
    /// Every step was undone.
    RolledBack,
    /// No step was begun.
    Discarded,
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Everything is staged and durable.
    Prepared(Box<Prepared>),
    /// Services are about to be stopped.
    Stopping,
    /// The first step is about to be performed.
    StepsBegun,
    /// Every step is performed and durable.
    Committed,
    /// Steps are about to be undone.
    RollingBack,
    /// Every step is undone and durable.
    RolledBack,
    /// Services are started; the stage may be removed.
    Started,
    /// The apply is over and nothing of it is left.
    Done(Outcome),
}

impl Record {
    /// Returns the word used in messages.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Prepared(_) => "prepared",
            Self::Stopping => "stopping",
            Self::StepsBegun => "steps begun",
            Self::Committed => "committed",
            Self::RollingBack => "rolling back",
            Self::RolledBack => "rolled back",
            Self::Started => "started",
            Self::Done(_) => "done",
        }
    }
}

impl Outcome {
    /// Returns the word used in tables and messages.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::RolledBack => "rolled back",
            Self::Discarded => "discarded",
        }
    }
}
