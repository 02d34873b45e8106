//! One daemon process of the lab.
//!
//! Owns starting, stopping, killing and the log. Invariants: the process is ended when the value is dropped; the log keeps
//! what every start of the daemon wrote.
//!
//! Does not configure daemons: `lab` does.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait::wait_until;

/// A daemon that can be stopped, killed and started again.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    child: Option<Child>,
}

/// How long a daemon may take to end after it was asked to.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);

impl Daemon {
    /// Describes a daemon; it does not run yet.
    pub fn new(name: &str, program: &Path, args: impl IntoIterator<Item = OsString>, log: &Path) -> Self {
        Self {
            name: name.to_owned(),
            program: program.to_owned(),
            args: args.into_iter().collect(),
            log: log.to_owned(),
            child: None,
        }
    }

    /// Starts the daemon, which must not run.
    ///
    /// # Errors
    /// If it runs, or cannot be started.
    pub fn start(&mut self) -> Result<()> {
        if self.is_running() {
            bail!("{} runs already", self.name);
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// Says whether the process runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends the process at once, as a crash would.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill9(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().with_context(|| format!("cannot kill {}", self.name))?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the process to end and waits for it.
    ///
    /// # Errors
    /// If it does not end in time.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        let Some(mut child) = self.child.take() else { return Ok(None) };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            // The process may be gone already, which `wait` then tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        let ended = wait_until(STOP_TIME_MAX, || Ok(child.try_wait()?));
        if ended.is_err() {
            child.kill()?;
            child.wait()?;
        }
        ended.map(Some).with_context(|| format!("{} does not end when asked", self.name))
    }

    /// Returns what the daemon has logged.
    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Returns where the daemon logs.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// Returns the id of the running process.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Lets the process go on after this value is dropped.
    pub fn release(&mut self) {
        self.child = None;
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // A lab that is dropped is over; nobody is left to tell about a process that cannot be killed.
        let _ = self.kill9();
    }
}
