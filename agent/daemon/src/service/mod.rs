//! Stopping, starting and reloading services.
//!
//! Owns the interface and its implementations. Invariants: a call ends, at the latest when its time is up; stopping what is
//! not running and starting what is running is success.
//!
//! Which services, and in which order, is the plan's (`agent/core`).

mod systemctl;

use std::{io, time::Duration};

pub use systemctl::Systemctl;

/// Acts on services of the machine.
pub trait ServiceManager: Sync {
    /// Stops a service and waits until it has stopped.
    fn stop(&self, service: &str) -> Result<(), ServiceError>;

    /// Starts a service and waits until it says that it has started.
    fn start(&self, service: &str) -> Result<(), ServiceError>;

    /// Makes a service read its configuration again.
    fn reload(&self, service: &str) -> Result<(), ServiceError>;

    /// Makes the manager itself read the definitions of services again; called before the first start.
    fn refresh(&self) -> Result<(), ServiceError>;
}

/// Why an action on a service failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The manager cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// What was to be run.
        program: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It did not end in time and was abandoned.
    #[error("{verb} of {service} did not end in {} s", .timeout.as_secs())]
    Timeout {
        /// What was to be done.
        verb: &'static str,
        /// To which service.
        service: String,
        /// How long it had.
        timeout: Duration,
    },
    /// The manager said no.
    #[error("{verb} of {service} failed: {said}")]
    Failed {
        /// What was to be done.
        verb: &'static str,
        /// To which service.
        service: String,
        /// The manager's words, escaped and cut.
        said: String,
    },
}

/// An action on a service that failed after the tree had changed, when there was no way back.
#[derive(Debug)]
pub struct ServiceFailure {
    /// Which service; empty for the manager itself.
    pub service: String,
    /// What failed.
    pub error: ServiceError,
}

/// Leaves services alone: for roots on which nothing runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoServices;

impl ServiceManager for NoServices {
    fn stop(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    fn start(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    fn reload(&self, _: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    fn refresh(&self) -> Result<(), ServiceError> {
        Ok(())
    }
}
