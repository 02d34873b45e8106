//! `domtool image`: publish, look, check out, compare, delete.
//!
//! Owns the verbs; each has its module. Invariant: every verb works on a store and through a server, with the same result.
//!
//! Where images are is `settings`; reading them is `images`.

mod checkout;
mod compare;
mod delete;
mod list;
mod operand;
mod publish;
mod show;

use std::num::NonZeroUsize;

use anyhow::Result;
use clap::Subcommand;
use dominator_store_core::TreePath;
use dominator_store_fs::Skipped;

use crate::{error::Outcome, settings::Settings};

/// Images: publish, look, check out, compare, delete.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Publish a directory as an image
    Publish(Box<publish::Publish>),
    /// List images
    List(list::List),
    /// Show what an image is
    Show(show::Show),
    /// Write the tree of an image into a new directory
    Checkout(checkout::Checkout),
    /// Compare two images, or an image and a directory
    Diff(compare::Diff),
    /// Compare a directory with an image; exit code 3 if it deviates
    Verify(compare::Verify),
    /// Make an image invisible
    Delete(delete::Delete),
}

pub(crate) fn run(settings: &Settings, command: ImageCommand) -> Result<Outcome> {
    match command {
        ImageCommand::Publish(args) => publish::run(settings, &args),
        ImageCommand::List(args) => list::run(settings, &args),
        ImageCommand::Show(args) => show::run(settings, &args),
        ImageCommand::Checkout(args) => checkout::run(settings, &args),
        ImageCommand::Diff(args) => compare::diff(settings, &args),
        ImageCommand::Verify(args) => compare::verify(settings, &args),
        ImageCommand::Delete(args) => delete::run(settings, &args),
    }
}

/// Returns how many threads to use where the command line does not say.
fn threads(asked: Option<NonZeroUsize>) -> NonZeroUsize {
    asked.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Says what is left out of an image, and why.
fn skipped_text(path: &TreePath, why: Skipped) -> String {
    match why {
        Skipped::Socket => format!("{path} (socket)"),
        Skipped::ForeignMount => format!("{path} (another file system is mounted there)"),
    }
}
