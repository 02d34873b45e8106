//! Where the programs are.
//!
//! Owns finding them: beside the program that runs, or two folders up for a test. Invariant: all come from one build.
//! Does not start them: `daemon` and `domtool` do.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

/// Paths of the four programs.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The image server.
    pub imageserver: PathBuf,
    /// The agent.
    pub subd: PathBuf,
    /// The controller.
    pub dominator: PathBuf,
    /// The operator's command.
    pub domtool: PathBuf,
}

impl Programs {
    /// Finds the programs of the build that the running program belongs to.
    ///
    /// # Errors
    /// If one of them was not built.
    pub fn find() -> Result<Self> {
        let own = std::env::current_exe().context("cannot tell where this program is")?;
        let dir = own.parent().context("this program is in no directory")?;
        // Tests lie in `deps` below the programs.
        let dir = if dir.ends_with("deps") { dir.parent().unwrap_or(dir) } else { dir };
        let program = |name: &str| -> Result<PathBuf> {
            let path: PathBuf = Path::new(dir).join(name);
            if !path.is_file() {
                bail!("{} is not built; run: cargo build --workspace --bins", path.display());
            }
            Ok(path)
        };
        Ok(Self {
            imageserver: program("imageserver")?,
            subd: program("subd")?,
            dominator: program("dominator")?,
            domtool: program("domtool")?,
        })
    }
}
