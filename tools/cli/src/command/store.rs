//! `domtool store`: stores on this machine.
//!
//! Owns the flags and the report. Invariants: a store is made only where nothing is; checking one changes nothing.
//!
//! What a store is, is `store/engine`.

use std::{error::Error as _, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use dominator_store_core::Profile;
use dominator_store_engine::{Store, StoreOptions};

use crate::{
    error::Outcome,
    output::{print, printable},
};

/// Stores: make one, verify one.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make a store in a directory that is absent or empty
    Init(Init),
    /// Read everything in a store and compare it with its digests; exit code 3 if something is damaged
    Verify(Verify),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The directory
    dir: PathBuf,
    /// Where files are cut: fastcdc-64k, fastcdc-128k or fastcdc-32k [default: the measured choice]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// Level of compression [default: the measured choice]
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    level: Option<i32>,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The store
    dir: PathBuf,
}

pub(crate) fn run(command: StoreCommand) -> Result<Outcome> {
    match command {
        StoreCommand::Init(args) => init(&args),
        StoreCommand::Verify(args) => verify(&args),
    }
}

fn init(args: &Init) -> Result<Outcome> {
    let mut options = StoreOptions::default();
    if let Some(name) = &args.profile {
        options.profile = Profile::from_name(name).with_context(|| format!("there is no profile {name}"))?;
    }
    if let Some(level) = args.level {
        options.zstd_level = level;
    }
    let store =
        Store::init(&args.dir, options).with_context(|| format!("cannot make a store in {}", args.dir.display()))?;
    eprintln!(
        "made a store in {} (profile {}, level {})",
        args.dir.display(),
        store.profile().name(),
        store.zstd_level()
    );
    Ok(Outcome::Done)
}

fn verify(args: &Verify) -> Result<Outcome> {
    let store =
        Store::open_read_only(&args.dir).with_context(|| format!("cannot open the store {}", args.dir.display()))?;
    let mut faults = String::new();
    let mut fault_count = 0_u64;
    store.verify(&mut |fault| {
        fault_count += 1;
        let mut line = fault.to_string();
        let mut source = fault.source();
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        faults.push_str(&printable(&line));
        faults.push('\n');
    })?;
    print(&faults)?;
    match fault_count {
        0 => eprintln!("nothing is damaged"),
        count => eprintln!("{count} faults"),
    }
    Ok(if fault_count == 0 { Outcome::Done } else { Outcome::Drift })
}
