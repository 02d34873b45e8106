//! The machine database of the lab, in the original's JSON form (`spec/mdb.md`).
//!
//! Owns the file. Invariant: it is replaced as a whole, so that the controller never reads half of it.
//! Does not read it: the controller does.

use std::{fs, path::PathBuf};

use anyhow::Result;
use serde::Serialize;

/// One machine as the database has it.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MachineLine {
    /// Host name.
    pub hostname: String,
    /// What to dial, with the port.
    pub ip_address: String,
    /// What the machine must be now.
    pub required_image: String,
    /// What to stage next.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub planned_image: String,
    /// Whether the machine is only watched.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub disable_updates: bool,
    /// A field that the controller has no use for, as real databases have many.
    pub location: String,
}

/// The machine database.
#[derive(Debug, Clone)]
pub struct Mdb {
    path: PathBuf,
    machines: Vec<MachineLine>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    machines: &'a [MachineLine],
}

impl Mdb {
    /// Begins with no machines; the file is written by the first change.
    pub fn new(path: PathBuf) -> Self {
        Self { path, machines: Vec::new() }
    }

    /// Returns where the file is.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Adds or changes a machine and replaces the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn set(&mut self, hostname: &str, change: impl FnOnce(&mut MachineLine)) -> Result<()> {
        let pos = self.machines.iter().position(|machine| machine.hostname == hostname).unwrap_or_else(|| {
            self.machines.push(MachineLine {
                hostname: hostname.to_owned(),
                location: "lab".to_owned(),
                ..MachineLine::default()
            });
            self.machines.len() - 1
        });
        if let Some(machine) = self.machines.get_mut(pos) {
            change(machine);
        }
        self.write()
    }

    fn write(&self) -> Result<()> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec_pretty(&Document { machines: &self.machines })?)?;
        fs::rename(&fresh, &self.path)?;
        Ok(())
    }
}
