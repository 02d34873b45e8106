//! The machine database: which machines there are and what each must be (`spec/mdb.md`).
//!
//! Owns the model, the reading of the JSON form, and the judgement of a reload. Invariants: host names are valid and occur
//! once; machines are kept in the order of their names.
//!
//! Does not watch files (`controller/daemon`) and does not know which images exist.

mod guard;
mod parse;

use std::collections::BTreeMap;

use dominator_store_core::ImageName;

pub use guard::Shrunk;
pub use parse::MdbError;

use crate::Host;

/// What the database says about an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WantedImage {
    /// Nothing.
    #[default]
    Nothing,
    /// An image by its name.
    Named(ImageName),
    /// Text that is not the name of an image.
    Invalid(String),
}

impl WantedImage {
    /// Returns the name, if there is a valid one.
    pub const fn name(&self) -> Option<&ImageName> {
        match self {
            Self::Named(name) => Some(name),
            Self::Nothing | Self::Invalid(_) => None,
        }
    }
}

/// One machine of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// By what it is known.
    pub host: Host,
    /// Where it is reached: `HOST:PORT`, where the host may be a name or an address.
    pub address: String,
    /// What it must be now.
    pub required: WantedImage,
    /// What it will probably have to be next.
    pub planned: WantedImage,
    /// It is looked at, but not changed.
    pub disabled: bool,
    /// Its agent's safety rules do not apply.
    pub force_unsafe: bool,
}

/// A machine database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mdb {
    machines: BTreeMap<Host, Machine>,
}

impl Mdb {
    /// Returns the machines in the order of their names.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.machines.values()
    }

    /// Finds a machine.
    pub fn machine(&self, host: &Host) -> Option<&Machine> {
        self.machines.get(host)
    }

    /// Returns the number of machines.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Says whether there is no machine.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }
}

#[cfg(test)]
mod tests;
