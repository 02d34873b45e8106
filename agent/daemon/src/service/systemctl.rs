//! Services by systemd's command.
//!
//! Owns running the command and waiting for it. Invariants: the command gets no input and no shell; what it says is cut and
//! escaped before anybody sees it; when its time is up it is killed and collected.
//!
//! Talking to systemd over its bus is not done yet (`SHORTCOMINGS.md`).

use std::{
    io::Read,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::{ServiceError, ServiceManager};

/// Runs `systemctl`.
#[derive(Debug, Clone)]
pub struct Systemctl {
    program: PathBuf,
    timeout: Duration,
}

impl Systemctl {
    /// Makes a manager whose every action ends within `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self::with_program(PathBuf::from(PROGRAM), timeout)
    }

    /// Makes a manager that runs another program with the arguments of `systemctl`.
    pub const fn with_program(program: PathBuf, timeout: Duration) -> Self {
        Self { program, timeout }
    }

    fn run(&self, verb: &'static str, service: &str) -> Result<(), ServiceError> {
        let mut command = Command::new(&self.program);
        command.arg("--no-ask-password").arg(verb);
        if !service.is_empty() {
            command.arg("--").arg(service);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let run_error = |source| ServiceError::Run { program: self.program.display().to_string(), source };
        let mut child = command.spawn().map_err(run_error)?;
        // What it says is read on the side, so that a full pipe cannot keep it from ending.
        let said = child.stderr.take().map(|stderr| thread::spawn(move || read_all(stderr)));
        let status = self.wait(&mut child).map_err(run_error)?;
        let Some(status) = status else {
            return Err(ServiceError::Timeout { verb, service: service.to_owned(), timeout: self.timeout });
        };
        let is_absent = verb == "stop" && status.code() == Some(EXIT_NOT_LOADED);
        if status.success() || is_absent {
            return Ok(());
        }
        let said = said.and_then(|said| said.join().ok()).unwrap_or_default();
        let said = if said.is_empty() { status.to_string() } else { said };
        Err(ServiceError::Failed { verb, service: service.to_owned(), said })
    }

    /// Waits until the command has ended, or kills it when its time is up.
    fn wait(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        let begun = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let Some(left) = self.timeout.checked_sub(begun.elapsed()) else {
                // It may have ended in between, which is fine.
                let _ = child.kill();
                child.wait()?;
                return Ok(None);
            };
            thread::sleep(pause.min(left));
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Reads everything, keeps the beginning, and escapes it.
fn read_all(mut source: impl Read) -> String {
    let mut kept = Vec::new();
    // A read error only means that less is known.
    let _ = source.by_ref().take(SAID_LEN_MAX).read_to_end(&mut kept);
    let _ = std::io::copy(&mut source, &mut std::io::sink());
    String::from_utf8_lossy(&kept).trim().escape_debug().collect()
}

impl ServiceManager for Systemctl {
    fn stop(&self, service: &str) -> Result<(), ServiceError> {
        self.run("stop", service)
    }

    fn start(&self, service: &str) -> Result<(), ServiceError> {
        self.run("start", service)
    }

    fn reload(&self, service: &str) -> Result<(), ServiceError> {
        // What is not running has nothing to reload.
        self.run("try-reload-or-restart", service)
    }

    fn refresh(&self) -> Result<(), ServiceError> {
        self.run("daemon-reload", "")
    }
}

const PROGRAM: &str = "/usr/bin/systemctl";
/// What `systemctl stop` returns for a unit that does not exist.
const EXIT_NOT_LOADED: i32 = 5;
const SAID_LEN_MAX: u64 = 1000;
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(script: &str, timeout_ms: u64) -> (tempfile::TempDir, Systemctl) {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("directory");
        let program = dir.path().join("systemctl");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("script");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("mode");
        (dir, Systemctl::with_program(program, Duration::from_millis(timeout_ms)))
    }

    #[test]
    fn arguments_are_passed_without_a_shell() {
        let (dir, manager) = manager("printf '%s\\n' \"$@\" >> \"$0.log\"", 10_000);
        manager.stop("web; rm -rf /").expect("stopped");
        manager.start("web").expect("started");
        manager.reload("web").expect("reloaded");
        manager.refresh().expect("refreshed");
        let log = std::fs::read_to_string(dir.path().join("systemctl.log")).expect("log");
        let expected = "--no-ask-password stop -- web;_rm_-rf_/ --no-ask-password start -- web \
                        --no-ask-password try-reload-or-restart -- web --no-ask-password daemon-reload";
        let found: Vec<String> = log.lines().map(|line| line.replace(' ', "_")).collect();
        assert_eq!(found.join(" "), expected);
    }

    #[test]
    fn failures_are_told_apart() {
        let (_dir, failing) = manager("echo 'Unit\tweb is masked.' >&2; exit 1", 10_000);
        let error = failing.start("web").expect_err("fails");
        assert_eq!(error.to_string(), "start of web failed: Unit\\tweb is masked.");
        let (_dir, absent) = manager("exit 5", 10_000);
        assert!(absent.stop("web").is_ok());
        assert!(absent.start("web").is_err());
        let missing = Systemctl::with_program(PathBuf::from("/does/not/exist"), Duration::from_secs(1));
        assert!(matches!(missing.stop("web"), Err(ServiceError::Run { .. })));
    }

    #[test]
    fn what_hangs_is_abandoned_and_what_talks_a_lot_is_not() {
        let (_dir, hanging) = manager("exec sleep 60", 100);
        assert!(matches!(hanging.stop("web"), Err(ServiceError::Timeout { .. })));
        let (_dir, talking) = manager("head -c 1000000 /dev/zero >&2; exit 1", 10_000);
        assert!(matches!(talking.stop("web"), Err(ServiceError::Failed { .. })));
    }
}
