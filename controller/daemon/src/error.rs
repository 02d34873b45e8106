//! Why the daemon cannot run.
//!
//! Owns the error of starting and stopping. Invariant: each names the file or key that a person has to look at.
//! Troubles with machines are not errors but statuses: `controller/core`.

use std::{io, path::PathBuf};

use dominator_controller_core::LedgerError;

/// Why the daemon cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("cannot {operation} {}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The configuration is not valid TOML, or has a key that is not known.
    #[error("configuration {} is not valid", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value of the configuration is out of bounds.
    #[error("configuration: {key} {why}")]
    ConfigValue {
        /// The key.
        key: &'static str,
        /// What is wrong with the value.
        why: String,
    },
    /// Certificates or addresses cannot be used.
    #[error(transparent)]
    Quic(#[from] dominator_protocol_quic::Error),
    /// Another process uses the state directory.
    #[error("{} is in use by another dominator", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The ledger is damaged.
    #[error("ledger {} cannot be used; moved away, generations are taken over from the agents", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// Where.
        source: LedgerError,
    },
    /// The ledger is above its limit.
    #[error("ledger {} of {len} bytes is above the limit", path.display())]
    LedgerTooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
}

/// Prints an error with everything underneath it on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
