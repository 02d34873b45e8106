//! What an agent remembers, so that nothing old comes back.
//!
//! Owns `Floors` and their bytes. Invariant: a floor never falls.
//!
//! Does not keep them: the agent writes them down before it acts on what they are for.

use std::collections::BTreeMap;

use dominator_store_core::{
    ImageName,
    cbor::{self, Canonical, CborError, Reader, Writer},
};

use crate::{Accepted, Error, limits::FLOORS_MAX};

/// The highest epoch that was accepted, for each directory of the policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Floors(BTreeMap<String, u64>);

impl Floors {
    /// Returns the floor of a directory; 0 if nothing was accepted there.
    pub fn get(&self, directory: &str) -> u64 {
        self.0.get(directory).copied().unwrap_or(0)
    }

    /// Remembers what was accepted, and tells whether that has changed anything, which must then be written down.
    pub fn raise(&mut self, accepted: &Accepted) -> bool {
        if accepted.new_floor <= self.get(&accepted.directory) {
            return false;
        }
        self.0.insert(accepted.directory.clone(), accepted.new_floor);
        true
    }

    /// Returns all floors by directory.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(directory, floor)| (directory.as_str(), *floor))
    }

    /// Returns the bytes to be kept.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads what was kept.
    ///
    /// # Errors
    /// When it is anything but what `encode` returns.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Ok(cbor::decode(bytes)?)
    }
}

/// An array of pairs, by directory.
impl Canonical for Floors {
    fn write(&self, writer: &mut Writer) {
        writer.array(self.0.len());
        for (directory, floor) in &self.0 {
            writer.array(2).text(directory).uint(*floor);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.array("floors", FLOORS_MAX)?;
        let mut floors = BTreeMap::new();
        for _ in 0..count {
            if reader.array("floor", 2)? != 2 {
                return Err(reader.invalid("floor"));
            }
            let directory = reader.text("directory", dominator_store_core::limits::IMAGE_NAME_LEN_MAX)?;
            if !directory.is_empty() && directory.parse::<ImageName>().is_err() {
                return Err(reader.invalid("directory"));
            }
            // Order and repetition show when it is encoded again.
            floors.insert(directory.to_owned(), reader.uint()?);
        }
        Ok(Self(floors))
    }
}
