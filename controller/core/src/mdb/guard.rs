//! Judgement of a reload: a database that lost most machines is more likely broken than right.
//!
//! Owns the rule. Invariant: the rule looks at names only, so that any change of images passes.
//! Does not keep the old database in force: `controller/daemon` does.

use std::collections::BTreeSet;

use super::Mdb;
use crate::{
    Host,
    limits::{SHRINK_EXAMPLE_COUNT, SHRINK_MACHINE_COUNT_MIN},
};

/// Why a new database is held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} of {old_count} machines are gone from the machine database ({}{})", lost.len(), examples(lost), dots(lost))]
pub struct Shrunk {
    /// Machines in the old database.
    pub old_count: usize,
    /// Those of them that the new one does not have.
    pub lost: BTreeSet<Host>,
}

impl Mdb {
    /// Accepts `new` as the successor of this database, unless more than half of at least ten machines would be gone.
    ///
    /// # Errors
    /// `Shrunk` with the machines that would be gone.
    pub fn check_successor(&self, new: &Self) -> Result<(), Shrunk> {
        let lost: BTreeSet<Host> = self.machines.keys().filter(|host| new.machine(host).is_none()).cloned().collect();
        if self.len() >= SHRINK_MACHINE_COUNT_MIN && lost.len() * 2 > self.len() {
            return Err(Shrunk { old_count: self.len(), lost });
        }
        Ok(())
    }
}

fn examples(lost: &BTreeSet<Host>) -> String {
    lost.iter().take(SHRINK_EXAMPLE_COUNT).map(Host::as_str).collect::<Vec<_>>().join(", ")
}

fn dots(lost: &BTreeSet<Host>) -> &'static str {
    if lost.len() > SHRINK_EXAMPLE_COUNT { ", ..." } else { "" }
}
