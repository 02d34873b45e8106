//! Messages of the controller: the fleet and one machine of it (`spec/wire.md#fleet`).
//!
//! Owns their fields and encodings, and how a reply that does not fit one frame is spread over several. Invariant: no frame
//! comes near `FRAME_MAX`, whatever the number of machines and deviations.
//!
//! Does not say what a status means: that is `controller/core`.

use dominator_store_core::{ImageId, TreeId};

use super::batches;
use crate::{
    Phase, Progress,
    cbor::message,
    limits::{BATCH_MAX, DEVIATIONS_MAX, HISTORY_MAX, HOST_LEN_MAX, IMAGE_NAME_LEN_MAX, PATH_LEN_MAX, TEXT_LEN_MAX},
};

message! {
    /// Asks for all machines; the answer is one or more `FleetList`.
    ListMachines {}
}

message! {
    /// Some machines of the fleet, in order of their host names.
    FleetList {
        /// The machines.
        1 machines: Vec<MachineStatus> = BATCH_MAX,
    }
}

message! {
    /// What the controller knows about one machine.
    MachineStatus {
        /// Host name in the machine database.
        1 host: String = HOST_LEN_MAX,
        /// Status as the controller's own tag.
        2 status: String = TEXT_LEN_MAX,
        /// Name of the required image.
        3 required: Option<String> = IMAGE_NAME_LEN_MAX,
        /// Name of the planned image.
        4 planned: Option<String> = IMAGE_NAME_LEN_MAX,
        /// The machine is exactly what is required.
        5 converged: bool = 0,
        /// What is going on, for people.
        6 detail: String = TEXT_LEN_MAX,
        /// Deviations found, known or estimated.
        7 deviation_count: u64 = 0,
        /// When the machine last answered, in milliseconds since 1970.
        8 last_seen_ms: Option<u64> = 0,
        /// Id of the required image.
        9 required_image: Option<ImageId> = 0,
        /// Root that the machine last reported.
        10 root: Option<TreeId> = 0,
        /// What the agent is doing.
        11 phase: Option<Phase> = 0,
        /// How far it is.
        12 progress: Option<Progress> = 0,
        /// Transition window of the last apply.
        13 last_window_us: Option<u64> = 0,
        /// Paths that the last apply changed.
        14 last_changed_count: u64 = 0,
        /// Bytes that the agent fetched from image servers.
        15 fetched_len: u64 = 0,
        /// Bytes that the controller sent to and received from the agent.
        16 control_len: u64 = 0,
        /// Bytes of the last poll, both directions.
        17 poll_len: u64 = 0,
    }
}

message! {
    /// Asks for one machine; the answer is `MachineDetail`, then one or more `Deviations`.
    ShowMachine {
        /// Host name in the machine database.
        1 host: String = HOST_LEN_MAX,
    }
}

message! {
    /// One machine in detail.
    MachineDetail {
        /// Its status.
        1 status: MachineStatus = 0,
        /// What happened to it lately, oldest first.
        2 history: Vec<HistoryLine> = HISTORY_MAX,
    }
}

message! {
    /// One thing that happened to a machine.
    HistoryLine {
        /// When, in milliseconds since 1970.
        1 at_ms: u64 = 0,
        /// What, for people.
        2 text: String = TEXT_LEN_MAX,
    }
}

message! {
    /// One path where the machine differs from what is required.
    Deviation {
        /// The path, raw bytes below the root.
        1 path: Vec<u8> = PATH_LEN_MAX,
        /// How it differs, for people.
        2 what: String = TEXT_LEN_MAX,
    }
}

message! {
    /// Some deviations of one machine, in order of their paths.
    Deviations {
        /// The deviations.
        1 items: Vec<Deviation> = BATCH_MAX,
    }
}

impl FleetList {
    /// Spreads machines over as many frames as they need; no machines make one empty frame.
    pub fn batches(machines: impl IntoIterator<Item = MachineStatus>) -> Vec<Self> {
        batches(machines, |machines| Self { machines })
    }
}

impl Deviations {
    /// Spreads deviations, at most `DEVIATIONS_MAX` of them, over as many frames as they need; none make one empty frame.
    pub fn batches(items: impl IntoIterator<Item = Deviation>) -> Vec<Self> {
        batches(items.into_iter().take(DEVIATIONS_MAX), |items| Self { items })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Payload, limits::FRAME_MAX};

    #[test]
    fn long_deviations_are_spread_over_frames_that_fit() {
        let deviation = Deviation { path: vec![b'x'; PATH_LEN_MAX], what: "w".repeat(TEXT_LEN_MAX) };
        let frames = Deviations::batches(std::iter::repeat_n(deviation, DEVIATIONS_MAX + 5));
        assert_eq!(frames.iter().map(|frame| frame.items.len()).sum::<usize>(), DEVIATIONS_MAX);
        assert!(frames.iter().all(|frame| frame.encode().len() < FRAME_MAX / 4));
        assert_eq!(Deviations::batches([]), vec![Deviations { items: vec![] }]);
    }
}
