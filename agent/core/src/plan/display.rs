//! How a plan is shown before it is performed.
//!
//! Owns the text: one line per step in order, then what stays, then a summary. Invariant: the text is a function of the
//! plan, so that two runs can be compared line by line.
//!
//! Machine-readable forms are the command line's.

use std::{collections::BTreeMap, fmt};

use super::{Plan, PlanId};
use crate::step::{Op, Slot, Swap};

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut inner_counts: BTreeMap<Slot, usize> = BTreeMap::new();
        for staged in self.staged.iter().filter(|staged| !staged.below.is_root()) {
            *inner_counts.entry(staged.slot).or_default() += 1;
        }
        for step in &self.steps {
            write!(f, "{step}")?;
            if let Op::Create { slot } | Op::Replace { slot, swap: Swap::Grow } = &step.op
                && let Some(count) = inner_counts.get(slot)
            {
                write!(f, ", {count} entries in it")?;
            }
            writeln!(f)?;
        }
        for path in &self.kept {
            writeln!(f, "keep directory {path} (not all of it is managed)")?;
        }
        for path in &self.blocked {
            writeln!(f, "leave {path} as it is (something in the way is not managed)")?;
        }
        write!(
            f,
            "plan {}: {} steps, {} entries and {} bytes to stage, from {} to {}",
            self.id.0.short(),
            self.steps.len(),
            self.staged.len(),
            self.staged_len(),
            self.from.short(),
            self.to.short()
        )
    }
}
