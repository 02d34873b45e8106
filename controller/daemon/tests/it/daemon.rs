//! The program: arguments, configuration, log lines and signals.
//!
//! Owns the tests that start the binary. Invariant: every process that is started ends with its test.
//! Does not test what machines are told: `flow` does.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::support::{Lab, path_of, required, row, tree};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn dominator(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dominator"));
    command.arg("--config").arg(config).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn write_config(lab: &Lab, more: &str) -> std::path::PathBuf {
    let text = format!(
        r#"
mdb = "mdb.json"
state_dir = "state"
listen = "127.0.0.1:0"
[certificates]
ca = "ca.pem"
certificate = "dominator.pem"
key = "dominator.key"
[image_server]
address = "{}"
server_name = "imageserver"
[poll]
interval_ms = 200
[fetch]
rate_bytes_per_s = 1000000
{more}
"#,
        lab.images_addr()
    );
    let path = path_of(&lab.dir, "dominator.toml");
    std::fs::write(&path, text).expect("write");
    path
}

fn kill(child: &Child, signal: &str) {
    let status = Command::new("kill").arg(signal).arg(child.id().to_string()).status().expect("kill");
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_when_it_is_ready_and_ends_on_a_signal() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let agent = lab.agent("web");
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let config = write_config(&lab, "");
    for round in 0..2 {
        let mut running = Running(dominator(&config).spawn().expect("spawn"));
        let mut lines = BufReader::new(running.0.stderr.take().expect("stderr")).lines();
        let line = tokio::task::block_in_place(|| {
            lines.by_ref().map(|line| line.expect("line")).find(|line| line.contains(" ready "))
        });
        let line = line.expect("ready");
        let listen = line.split_whitespace().find_map(|word| word.strip_prefix("listen=")).expect("listen");
        assert!(line.contains("machine_count=1"), "{line}");
        let operator = lab.operator("operator", listen.parse().expect("address")).await;
        operator.wait_converged("web", "v1").await;
        if round == 0 {
            // A crash: the next round finds the ledger as it was, and tells the machine nothing.
            kill(&running.0, "-KILL");
            tokio::task::block_in_place(|| running.0.wait()).expect("wait");
            continue;
        }
        assert_eq!(agent.state.directives().len(), 3);
        kill(&running.0, "-HUP");
        kill(&running.0, "-TERM");
        let status = tokio::task::block_in_place(|| running.0.wait()).expect("wait");
        assert!(status.success(), "{status}");
        let rest: Vec<_> = lines.map(|line| line.expect("line")).collect();
        assert!(rest.iter().any(|line| line.contains("stopping")), "{rest:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_refuses_to_run_with_what_it_does_not_understand() {
    let lab = Lab::new().await;
    let check = |more: &str, reason: &str| {
        let output = dominator(&write_config(&lab, more)).output().expect("output");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.starts_with("error: ") && error.contains(reason), "{error}");
    };
    check("rate_bits_per_s = 1", "unknown field `rate_bits_per_s`");
    check("[limits]\nconnects = 0", "limits must be above 0");
    std::fs::remove_file(path_of(&lab.dir, "dominator.key")).expect("remove");
    check("", "dominator.key");
    lab.issue("dominator", &["Machine.*"]);
    let output = dominator(&write_config(&lab, "")).arg("--check").output().expect("output");
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration is valid; we are dominator\n");
    let (daemon, _operator) = lab.start().await;
    check("", "is in use by another dominator");
    daemon.stop().await;
    let usage = Command::new(env!("CARGO_BIN_EXE_dominator")).output().expect("output");
    assert_eq!(usage.status.code(), Some(2));
}
