//! The JSON form of the machine database (`spec/mdb.md#form`).
//!
//! Owns its reading. Invariants: fields that are not known are ignored, as the original does; a file is read whole or not
//! at all; a name that is not an image name costs its own machine only.
//!
//! Does not write the form: other programs do.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
};

use serde::Deserialize;

use super::{Machine, Mdb, WantedImage};
use crate::{
    DEFAULT_PORT, Host, HostError,
    limits::{MACHINE_COUNT_MAX, MDB_LEN_MAX},
};

/// Why bytes are not a machine database.
#[derive(Debug, thiserror::Error)]
pub enum MdbError {
    /// Longer than the limit.
    #[error("machine database of {len} bytes is above the limit of {MDB_LEN_MAX}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Not JSON of the expected shape.
    #[error("machine database is not JSON with a list of machines")]
    Json(#[source] serde_json::Error),
    /// More machines than the limit.
    #[error("machine database has more than {MACHINE_COUNT_MAX} machines")]
    TooMany,
    /// A machine without a usable name.
    #[error("machine number {number} has no usable host name")]
    Host {
        /// Its number in the file, from 1.
        number: usize,
        /// Why.
        source: HostError,
    },
    /// A machine with an address that is none.
    #[error("machine {host} has {text:?} as its address: expected an IP address with an optional :PORT")]
    Address {
        /// The machine.
        host: Host,
        /// Beginning of the text.
        text: String,
    },
    /// A machine that occurs twice.
    #[error("machine {host} occurs twice")]
    Duplicate {
        /// The machine.
        host: Host,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawMdb {
    machines: Option<Vec<RawMachine>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawMachine {
    hostname: String,
    ip_address: Option<String>,
    required_image: Option<String>,
    planned_image: Option<String>,
    disable_updates: Option<bool>,
    tags: Option<BTreeMap<String, String>>,
}

/// Tag of the original by which a machine is exempt from safety rules.
const TAG_DISABLE_SAFETY_CHECK: &str = "DisableSafetyCheck";

impl Mdb {
    /// Reads the JSON form: an object with the list `Machines`, or the bare list.
    ///
    /// # Errors
    /// When the bytes are not that, a host name or address is invalid, or a machine occurs twice.
    pub fn parse(bytes: &[u8]) -> Result<Self, MdbError> {
        if bytes.len() > MDB_LEN_MAX {
            return Err(MdbError::TooLong { len: bytes.len() });
        }
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        let raw = match first {
            Some(b'[') => serde_json::from_slice(bytes).map_err(MdbError::Json)?,
            // The original writes `null` for a list without machines.
            _ => serde_json::from_slice::<RawMdb>(bytes).map_err(MdbError::Json)?.machines.unwrap_or_default(),
        };
        if raw.len() > MACHINE_COUNT_MAX {
            return Err(MdbError::TooMany);
        }
        let mut machines = BTreeMap::new();
        for (pos, raw) in raw.into_iter().enumerate() {
            let host: Host = raw.hostname.parse().map_err(|source| MdbError::Host { number: pos + 1, source })?;
            match machines.entry(host) {
                Entry::Occupied(entry) => return Err(MdbError::Duplicate { host: entry.key().clone() }),
                Entry::Vacant(entry) => {
                    let machine = raw.into_machine(entry.key().clone())?;
                    entry.insert(machine);
                }
            }
        }
        Ok(Self { machines })
    }
}

impl RawMachine {
    fn into_machine(self, host: Host) -> Result<Machine, MdbError> {
        let address = address(&host, self.ip_address.as_deref().unwrap_or_default())?;
        let force_unsafe =
            self.tags.as_ref().and_then(|tags| tags.get(TAG_DISABLE_SAFETY_CHECK)).is_some_and(|value| is_on(value));
        Ok(Machine {
            address,
            required: wanted(self.required_image.as_deref()),
            planned: wanted(self.planned_image.as_deref()),
            disabled: self.disable_updates.unwrap_or(false),
            force_unsafe,
            host,
        })
    }
}

fn address(host: &Host, text: &str) -> Result<String, MdbError> {
    let port = host.port().unwrap_or(DEFAULT_PORT);
    if text.is_empty() {
        // A host text without its port, brackets included.
        let name = host.name();
        return Ok(if name.contains(':') { format!("[{name}]:{port}") } else { format!("{name}:{port}") });
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    match text.parse::<IpAddr>() {
        Ok(ip) => Ok(SocketAddr::new(ip, port).to_string()),
        Err(_) => Err(MdbError::Address { host: host.clone(), text: text.chars().take(80).collect() }),
    }
}

fn wanted(text: Option<&str>) -> WantedImage {
    match text.unwrap_or_default() {
        "" => WantedImage::Nothing,
        text => match text.parse() {
            Ok(name) => WantedImage::Named(name),
            Err(_) => WantedImage::Invalid(text.chars().take(80).collect()),
        },
    }
}

fn is_on(value: &str) -> bool {
    !matches!(value.to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "off")
}
