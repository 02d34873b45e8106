//! The library behind `domtool`: every operator command.
//!
//! Owns the command line, its settings, its output and the publishing client. Invariants: everything an operator can do is
//! one `noun verb`; results go to stdout, everything else to stderr; the exit code says what happened.
//!
//! Stores, trees and connections are the crates below; this one only puts them together.

mod command;
mod error;
mod images;
mod link;
mod output;
mod progress;
mod settings;
mod upload;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser as _;

/// Runs `domtool` with these arguments, the first of which is the program's name.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    match command::Cli::try_parse_from(args) {
        Ok(cli) => error::conclude(cli.run()),
        Err(error) => {
            // Help and version go to stdout with code 0, mistakes to stderr with code 2; when neither can be written,
            // the code still tells.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(error::EXIT_USAGE))
        }
    }
}
