//! The program `domtool`.
//!
//! Owns the process: arguments in, exit code out. Everything else is the library beside it, so that tests, manual pages and
//! completions see the same commands.

use std::process::ExitCode;

fn main() -> ExitCode {
    dominator_cli::main(std::env::args_os())
}
