//! What an operator reads when a command fails.
//!
//! Owns exit codes and the form of errors: `error: ...`, causes indented, `hint: ...` at the end. Invariants: stdout never
//! carries an error; a hint says what to do, never what went wrong; a reader that went away is no error.
//!
//! Does not decide what fails: commands do.

use std::{fmt::Write as _, io, process::ExitCode};

use dominator_protocol_quic as quic;

/// How a command ended, when nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// What was asked for is done.
    Done,
    /// What was compared differs, or is damaged.
    Drift,
}

/// The exit code of a failed command.
pub(crate) const EXIT_FAILED: u8 = 1;
/// The exit code of a command that was called wrongly.
pub(crate) const EXIT_USAGE: u8 = 2;
/// The exit code when drift or damage was found.
pub(crate) const EXIT_DRIFT: u8 = 3;

/// A message with advice.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Advice {
    message: String,
    hint: String,
    usage: bool,
}

impl Advice {
    /// What failed, and what to do about it.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), usage: false }
    }

    /// What is lacking on the command line, and what to add.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into(), usage: true }
    }
}

/// Prints the error if there is one, and turns the result into an exit code.
pub(crate) fn conclude(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Drift) => ExitCode::from(EXIT_DRIFT),
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("{}", describe(&error));
            let usage = error.downcast_ref::<Advice>().is_some_and(|advice| advice.usage);
            ExitCode::from(if usage { EXIT_USAGE } else { EXIT_FAILED })
        }
    }
}

/// Writes an error with its causes and hint as the lines that an operator reads.
fn describe(error: &anyhow::Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Transparent wrappers say the same thing twice.
        if cause != last {
            let _ = writeln!(text, "  {cause}");
        }
        last = cause;
    }
    if let Some(hint) = hint(error) {
        let _ = writeln!(text, "hint: {hint}");
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(advice) = error.downcast_ref::<Advice>() {
        return Some(advice.hint.clone());
    }
    error.chain().find_map(|cause| match cause.downcast_ref::<quic::Error>()? {
        quic::Error::Failed(failure) => failure.hint.clone(),
        quic::Error::Refused { source: quic::TrustError::PeerExpired, .. } => {
            Some("renew the peer's certificate: domtool cert renew DIR NAME".into())
        }
        quic::Error::Refused { source: quic::TrustError::OursExpired, .. } => {
            Some("renew your certificate: domtool cert renew DIR NAME".into())
        }
        quic::Error::Refused { source: quic::TrustError::PeerName { .. }, .. } => {
            Some("name the peer as its certificate does: --server-name NAME (see domtool cert show FILE)".into())
        }
        quic::Error::Unreachable { .. } => Some("is it running, and is its UDP port reachable?".into()),
        _ => None,
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            && !cause.is::<quic::Error>()
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;
    use dominator_protocol_core::{CallFailure, ErrorCode};

    use super::*;

    #[test]
    fn causes_are_indented_and_a_hint_of_the_peer_is_shown() {
        let failure = CallFailure::new(ErrorCode::Denied, "Image.Delete is not allowed for eve").with_hint("ask");
        let error = Err::<(), _>(quic::Error::from(failure)).context("cannot delete the image").unwrap_err();
        assert_eq!(
            describe(&error),
            "error: cannot delete the image\n  denied: Image.Delete is not allowed for eve\nhint: ask\n"
        );
    }

    #[test]
    fn advice_brings_its_own_hint() {
        let error = anyhow::Error::from(Advice::usage("no server", "add --server"));
        assert_eq!(describe(&error), "error: no server\nhint: add --server\n");
    }
}
