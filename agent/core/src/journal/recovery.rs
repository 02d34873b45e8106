//! What a journal implies after a crash (`spec/journal.md#recovery`).
//!
//! Owns the table of records and what may follow each. Invariant: for every prefix of a journal there is exactly one way
//! on, and it ends with `Done`.
//!
//! Carrying it out is `agent/daemon`.

use super::record::{Outcome, Prepared, Record};

/// The way on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery<'a> {
    /// No apply was under way. What the last one was, if there was one.
    Nothing(Option<(&'a Prepared, Outcome)>),
    /// No step was begun and no service stopped: remove the stage.
    Discard(&'a Prepared),
    /// No step was begun, but services may be down: start them, then remove the stage.
    StartUnchanged(&'a Prepared),
    /// Perform every step (again), commit, and go on from there.
    RollForward(&'a Prepared),
    /// Undo every step (again), and go on from there.
    RollBack(&'a Prepared),
    /// The tree is whole, new or old: start services, then remove the stage.
    Start(&'a Prepared, Outcome),
    /// Only the stage is left to be removed.
    CleanUp(&'a Prepared, Outcome),
}

/// Records in an order that no apply writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {pos} ({word}) does not follow the one before it")]
pub struct OrderError {
    /// Its position, from 0.
    pub pos: usize,
    /// What it is.
    pub word: &'static str,
}

/// Decides how to go on.
///
/// # Errors
/// If the records are in an order that no apply writes; the caller then relies on a new scan alone.
pub fn recover(records: &[Record]) -> Result<Recovery<'_>, OrderError> {
    let mut state = Recovery::Nothing(None);
    for (pos, record) in records.iter().enumerate() {
        state = follow(state, record).ok_or(OrderError { pos, word: record.word() })?;
    }
    Ok(state)
}

fn follow<'a>(state: Recovery<'a>, record: &'a Record) -> Option<Recovery<'a>> {
    use Recovery::{CleanUp, Discard, Nothing, RollBack, RollForward, Start, StartUnchanged};
    Some(match (state, record) {
        (Nothing(None), Record::Prepared(prepared)) => Discard(prepared),
        (Discard(prepared), Record::Stopping) => StartUnchanged(prepared),
        (Discard(prepared) | StartUnchanged(prepared), Record::StepsBegun) => RollForward(prepared),
        (RollForward(prepared), Record::RollingBack) => RollBack(prepared),
        (RollForward(prepared), Record::Committed) => Start(prepared, Outcome::Applied),
        (RollBack(prepared), Record::RolledBack) => Start(prepared, Outcome::RolledBack),
        (StartUnchanged(prepared), Record::Started) => CleanUp(prepared, Outcome::Discarded),
        (Start(prepared, outcome), Record::Started) => CleanUp(prepared, outcome),
        (Discard(prepared), Record::Done(Outcome::Discarded)) => Nothing(Some((prepared, Outcome::Discarded))),
        (CleanUp(prepared, outcome), Record::Done(said)) if outcome == *said => Nothing(Some((prepared, outcome))),
        _ => return None,
    })
}
