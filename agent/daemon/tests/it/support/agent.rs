//! The program `subd` as a child process.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A running agent; it is killed when this is dropped.
pub(crate) struct Agent {
    child: Child,
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<String>>,
}

/// Returns the command that starts the program.
pub(crate) fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_subd"))
}

impl Agent {
    /// Starts the program and waits until it answers calls.
    pub(crate) fn start(config: &Path) -> Self {
        Self::try_start(config).unwrap_or_else(|(status, log)| panic!("subd ended with {status}:\n{log}"))
    }

    /// Starts the program; if it ends before it is ready, returns how and what it said.
    pub(crate) fn try_start(config: &Path) -> Result<Self, (ExitStatus, String)> {
        let child = command()
            .args([Path::new("--config"), config, Path::new("--log"), Path::new("debug")])
            .env_remove("SUBD_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("subd can be started");
        let any = ([127, 0, 0, 1], 0).into();
        let mut agent = Self { child, address: any, log: Arc::default() };
        let mut lines = BufReader::new(agent.child.stderr.take().expect("stderr"));
        loop {
            let mut line = String::new();
            if lines.read_line(&mut line).expect("stderr") == 0 {
                let status = agent.child.wait().expect("status");
                return Err((status, agent.log()));
            }
            agent.log.lock().expect("log").push_str(&line);
            if let Some(rest) = line.strip_prefix("subd: ready listen=") {
                agent.address = rest.split(' ').next().and_then(|text| text.parse().ok()).expect("address");
                let kept = Arc::clone(&agent.log);
                std::thread::spawn(move || {
                    for line in lines.lines().map_while(Result::ok) {
                        kept.lock().expect("log").push_str(&(line + "\n"));
                    }
                });
                return Ok(agent);
            }
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Asks it to stop and returns how it did.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("subd did not stop:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("log").clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of subd:\n{}---", self.log());
        }
    }
}

/// The file that a test's agent is configured by.
pub(crate) fn write_config(dir: &Path, root: &Path, certs: &Path, more: &str) -> PathBuf {
    let path = dir.join("subd.toml");
    let text = format!(
        "root = {root:?}\nlisten = \"127.0.0.1:0\"\nca = {:?}\ncert = {:?}\nkey = {:?}\n{more}",
        certs.join("ca.pem"),
        certs.join("subd.pem"),
        certs.join("subd.key"),
    );
    std::fs::write(&path, text).expect("config");
    path
}
