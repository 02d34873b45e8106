//! Running `domtool`.
//!
//! Owns the command line and the environment with certificates. Invariant: a failure carries what the command printed.
//! Does not parse tables: it reads `--json`.

use std::{
    ffi::OsStr,
    path::PathBuf,
    process::{Command, Output},
};

use serde::de::DeserializeOwned;

/// A command that did not end with 0.
#[derive(Debug, thiserror::Error)]
#[error("domtool {args}: exit code {code}: {stderr}")]
pub struct DomtoolError {
    /// Its arguments.
    pub args: String,
    /// Its exit code, or -1 for a signal.
    pub code: i32,
    /// What it printed as errors.
    pub stderr: String,
    /// What it printed as data.
    pub stdout: String,
}

/// The operator's command with fixed environment.
#[derive(Debug, Clone)]
pub struct Domtool {
    program: PathBuf,
    env: Vec<(String, PathBuf)>,
}

impl Domtool {
    /// Uses `program` without certificates.
    pub fn new(program: PathBuf) -> Self {
        Self { program, env: Vec::new() }
    }

    /// Uses the certificate `name` of the authority in `certs`.
    #[must_use]
    pub fn as_holder(&self, certs: &std::path::Path, name: &str) -> Self {
        let env = [
            ("DOMTOOL_CA".to_owned(), certs.join("ca.pem")),
            ("DOMTOOL_CERT".to_owned(), certs.join(format!("{name}.pem"))),
            ("DOMTOOL_KEY".to_owned(), certs.join(format!("{name}.key"))),
        ];
        Self { program: self.program.clone(), env: env.into() }
    }

    /// Returns the environment as a person would type it.
    pub fn env_text(&self) -> String {
        self.env.iter().map(|(key, value)| format!("{key}={}", value.display())).collect::<Vec<_>>().join(" ")
    }

    /// Returns where the command is.
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    /// Returns the command, for callers who want to run it themselves.
    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }

    /// Runs the command and returns what it printed.
    ///
    /// # Errors
    /// If it cannot be run or does not end with 0.
    pub fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<String, DomtoolError> {
        let words: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        let failed = |code, stdout, stderr| DomtoolError { args: words.join(" "), code, stdout, stderr };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        match self.command(args).output() {
            Err(error) => Err(failed(-1, String::new(), error.to_string())),
            Ok(Output { status, stdout, .. }) if status.success() => Ok(text(&stdout)),
            Ok(Output { status, stdout, stderr }) => {
                Err(failed(status.code().unwrap_or(-1), text(&stdout), text(&stderr)))
            }
        }
    }

    /// Runs the command with `--json` and reads its document.
    ///
    /// # Errors
    /// If it fails or prints something else.
    pub fn json<T: DeserializeOwned, S: AsRef<OsStr>>(&self, args: &[S]) -> anyhow::Result<T> {
        let mut args: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        args.push(OsStr::new("--json"));
        Ok(serde_json::from_str(&self.run(&args)?)?)
    }
}
