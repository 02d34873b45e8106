//! The connection as the planner sees it.
//!
//! Owns when to connect again. Invariant: failures that only a person can mend are tried less often than those that pass.
//! Does not connect: `controller/daemon` does.

use std::time::Duration;

use super::clipped;
use crate::{
    Backoff, Report, Status,
    limits::{CONNECT_DELAY_MAX, CONNECT_DELAY_MIN, TRUST_DELAY_MAX},
};

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkFailure {
    /// The host name has no address.
    Dns,
    /// Nobody answers.
    Unreachable,
    /// The connection broke.
    Lost,
    /// One side does not accept the certificate of the other.
    Certificate,
    /// The peer breaks the protocol.
    Protocol,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Link {
    pub(super) is_up: bool,
    pub(super) retry_at: Duration,
    failure_count: u32,
    failure: Option<(LinkFailure, String)>,
}

impl Link {
    pub(super) fn fail(&mut self, now: Duration, host: &str, failure: LinkFailure, text: &str) {
        self.is_up = false;
        self.failure_count = self.failure_count.saturating_add(1);
        self.failure = Some((failure, clipped(text)));
        let max = match failure {
            LinkFailure::Dns | LinkFailure::Unreachable | LinkFailure::Lost => CONNECT_DELAY_MAX,
            LinkFailure::Certificate | LinkFailure::Protocol => TRUST_DELAY_MAX,
        };
        self.retry_at = now + Backoff { min: CONNECT_DELAY_MIN, max }.delay(host, self.failure_count);
    }

    /// The agent answered: whatever was wrong is over.
    pub(super) fn confirm(&mut self) {
        self.failure_count = 0;
        self.failure = None;
    }

    pub(super) fn report(&self) -> Report {
        match &self.failure {
            None => Report::new(Status::Connecting, ""),
            Some((failure, text)) => {
                let status = match failure {
                    LinkFailure::Dns => Status::DnsError,
                    LinkFailure::Unreachable => Status::Unreachable,
                    LinkFailure::Lost => Status::Disconnected,
                    LinkFailure::Certificate => Status::CertificateRefused,
                    LinkFailure::Protocol => Status::ProtocolError,
                };
                Report::new(status, text)
            }
        }
    }
}
