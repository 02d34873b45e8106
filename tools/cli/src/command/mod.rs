//! The commands: noun, then verb.
//!
//! Owns the grammar of the command line. Invariants: long flags; `--json` on every command that reads; data on stdout and
//! everything else on stderr.
//!
//! What a command does is in the module of its noun.

mod cert;
mod generate;
mod image;
mod machine;
mod store;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{error::Outcome, settings::Settings};

/// Operate a fleet that is driven to images: publish, compare, verify, look.
///
/// Exit codes: 0 done, 1 failed, 2 called wrongly, 3 drift or damage found.
#[derive(Debug, Parser)]
#[command(name = "domtool", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// Configuration file [env: DOMTOOL_CONFIG] [default: ~/.config/dominator/domtool.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(subcommand)]
    Store(store::StoreCommand),
    #[command(subcommand)]
    Image(image::ImageCommand),
    #[command(subcommand)]
    Cert(cert::CertCommand),
    #[command(subcommand)]
    Machine(machine::MachineCommand),
    /// Print completions for a shell
    Completions(generate::Completions),
    /// Write the manual pages
    Man(generate::Man),
}

impl Cli {
    /// Does what the command line says.
    pub(crate) fn run(self) -> Result<Outcome> {
        let named = self.config.or_else(|| std::env::var_os("DOMTOOL_CONFIG").map(PathBuf::from));
        let settings = || Settings::load(named.as_deref());
        match self.command {
            Command::Store(command) => store::run(command),
            Command::Image(command) => image::run(&settings()?, command),
            Command::Cert(command) => cert::run(command),
            Command::Machine(command) => machine::run(&settings()?, command),
            Command::Completions(args) => generate::completions(&args),
            Command::Man(args) => generate::man(&args),
        }
    }
}
