//! `dominator-lab`: a fleet on one machine, to look at.
//!
//! Owns the command line. Invariant: exit code 0 means that everything shown was also checked.
//! What is shown is in `demo`.

mod demo;
mod report;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

/// A fleet on one machine: the real programs, real certificates, real Debian images.
#[derive(Debug, Parser)]
#[command(name = "dominator-lab", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish two Debian images, drive three machines through them, damage one, watch the repair
    ///
    /// Exit codes: 0 if every root equals its image in the end, 1 if not or if a step failed, 2 if called wrongly.
    Demo(DemoArgs),
}

/// Flags of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave everything running at the end and print how to look around
    #[arg(long)]
    keep: bool,
    /// Directory with the trees v1 and v2
    #[arg(long, value_name = "DIR", default_value = "target/demo-images")]
    images: PathBuf,
    /// Where the lab lives; emptied first [default: target/lab]
    #[arg(long, value_name = "DIR", default_value = "target/lab")]
    dir: PathBuf,
    /// Write the figures as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Command::Demo(args) = Cli::parse().command;
    match demo::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("  caused by: {cause}"));
            ExitCode::FAILURE
        }
    }
}
