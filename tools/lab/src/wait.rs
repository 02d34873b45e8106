//! Waiting for what other processes do.
//!
//! Owns polling with a limit, and `Watch`, which tells a person what is waited for. Invariant: a wait ends by its limit,
//! with an error that says what it was for.
//!
//! Does not know what is waited for.

use std::{
    io::{IsTerminal as _, Write as _},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

/// Time between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Looks until `look` gives something.
///
/// # Errors
/// What `look` returns, or that `limit` is over.
pub fn wait_until<T>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if start.elapsed() > limit {
            bail!("gave up after {} s", limit.as_secs());
        }
        sleep(LOOK_INTERVAL);
    }
}

/// Shows a person what is going on: one line that is overwritten on a terminal, a line per change elsewhere.
#[derive(Debug)]
pub struct Watch {
    start: Instant,
    shown: String,
    shown_at: Option<Instant>,
    is_terminal: bool,
    is_silent: bool,
}

/// Off a terminal, a line of the same step is written at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

impl Watch {
    /// Begins to watch; times are shown from now on.
    pub fn new() -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { start: Instant::now(), shown: String::new(), shown_at: None, is_terminal, is_silent: false }
    }

    /// Watches without showing anything.
    pub fn silent() -> Self {
        Self { is_silent: true, ..Self::new() }
    }

    /// Shows what is going on now.
    pub fn show(&mut self, text: &str) {
        let recent = self.shown_at.is_some_and(|at| at.elapsed() < LINE_INTERVAL);
        if self.is_silent || text == self.shown || (!self.is_terminal && recent) {
            return;
        }
        text.clone_into(&mut self.shown);
        self.shown_at = Some(Instant::now());
        let line = format!("[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
        let mut stderr = std::io::stderr().lock();
        // Nothing is lost when progress cannot be shown.
        let _ = if self.is_terminal { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    /// Writes a line that stays.
    pub fn note(&mut self, text: &str) {
        if self.is_silent {
            return;
        }
        let clear = if self.is_terminal { "\r\x1b[2K" } else { "" };
        let mut stderr = std::io::stderr().lock();
        // Nothing is lost when progress cannot be shown.
        let _ = writeln!(stderr, "{clear}[{:6.1} s] {text}", self.start.elapsed().as_secs_f64());
        self.shown.clear();
        self.shown_at = None;
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}
