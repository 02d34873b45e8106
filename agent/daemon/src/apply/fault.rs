//! Points at which a test may stop an apply.
//!
//! Owns their names. Invariant: in production nothing happens at them; what is passed in decides, never a setting or an
//! environment variable, since the agent runs as root.
//!
//! What a stop at each point must come to is in the tests of `apply`.

/// Where an apply or a recovery has arrived: what it is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// To stage an entry.
    Stage,
    /// To wait until the stage is durable.
    SyncStage,
    /// To append to the journal.
    Journal,
    /// To stop a service.
    Stop,
    /// To change a name or metadata.
    Operation,
    /// To wait until the changed directories are durable.
    SyncRoot,
    /// To start or reload a service.
    Start,
    /// To compare what was changed.
    Verify,
    /// To remove what is left of the stage.
    CleanUp,
}

/// The apply stops here and does nothing more, not even tidy up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a test")]
pub struct Interrupted;

/// Decides at every point whether the apply goes on.
pub trait Fault: Send + Sync {
    /// Is called before what `point` names.
    ///
    /// # Errors
    /// To stop there as a crash would.
    fn reach(&self, point: Point) -> Result<(), Interrupted>;
}

/// Always goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFault;

impl Fault for NoFault {
    fn reach(&self, _: Point) -> Result<(), Interrupted> {
        Ok(())
    }
}
