//! What `domtool machine` tells as JSON.
//!
//! Owns the shapes. Invariant: unknown fields are ignored, as the documents only ever gain some.
//! Does not judge: the controller does.

use serde::Deserialize;

/// What the controller knows about one machine.
#[derive(Debug, Clone, Deserialize)]
pub struct MachineStatus {
    /// Host name.
    pub host: String,
    /// The status, one word or two.
    pub status: String,
    /// Whether the machine is exactly what is required.
    pub converged: bool,
    /// Particulars.
    pub detail: String,
    /// Name of the required image.
    pub required: Option<String>,
    /// Root that the machine last reported.
    pub root: Option<String>,
    /// Deviations, known or estimated.
    pub deviation_count: u64,
    /// What the agent is doing.
    pub phase: Option<String>,
    /// Bytes of the phase that are done.
    pub progress_done_len: Option<u64>,
    /// Bytes of the phase in all.
    pub progress_total_len: Option<u64>,
    /// Transition window of the last apply, in microseconds.
    pub last_window_us: Option<u64>,
    /// Paths that the last apply changed.
    pub last_changed_count: u64,
    /// Bytes that the agent received from image servers since it started.
    pub fetched_len: u64,
    /// Bytes between controller and agent.
    pub control_len: u64,
    /// Bytes of the last poll.
    pub poll_len: u64,
}

impl MachineStatus {
    /// Returns a short text for people who wait.
    pub fn progress_text(&self) -> String {
        let phase = self.phase.as_deref().filter(|phase| *phase != "idle");
        match (phase, self.progress_done_len, self.progress_total_len) {
            (Some(phase), Some(done_len), Some(total_len)) if total_len > 0 => {
                format!("{} {phase} {} %", self.host, u128::from(done_len) * 100 / u128::from(total_len))
            }
            (Some(phase), _, _) => format!("{} {phase}", self.host),
            (None, _, _) => format!("{} {}", self.host, self.status),
        }
    }
}

/// One path where a machine differs from what is required.
#[derive(Debug, Clone, Deserialize)]
pub struct Deviation {
    /// The path.
    pub path: String,
    /// How it differs.
    pub what: String,
}

/// One thing that happened to a machine.
#[derive(Debug, Clone, Deserialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// What.
    pub text: String,
}

/// One machine in detail.
#[derive(Debug, Clone, Deserialize)]
pub struct MachineDetail {
    /// Its status.
    pub machine: MachineStatus,
    /// Where it differs.
    pub deviations: Vec<Deviation>,
    /// What happened to it.
    pub history: Vec<Event>,
}

/// The answer of `machine list`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) machines: Vec<MachineStatus>,
}
