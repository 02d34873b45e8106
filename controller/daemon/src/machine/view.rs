//! What operators see of a machine.
//!
//! Owns the latest status, the history and the deviations. Invariants: lists are bounded; the task of the machine is the only
//! writer, and readers never wait for it.
//!
//! Does not encode messages beyond filling them: `protocol/core` does.

use std::{collections::VecDeque, sync::Arc};

use dominator_protocol_core::{Deviation, HistoryLine, MachineStatus, limits::clip};
use parking_lot::Mutex;

use crate::{clock::wall_ms, limits::HISTORY_COUNT_MAX};

/// What operators see; clones are the same view.
#[derive(Debug, Clone)]
pub(crate) struct View(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    status: MachineStatus,
    history: VecDeque<HistoryLine>,
    deviations: Arc<Vec<Deviation>>,
}

impl View {
    pub(crate) fn new(host: &str) -> Self {
        let status = MachineStatus {
            host: host.to_owned(),
            status: "unknown".to_owned(),
            required: None,
            planned: None,
            converged: false,
            detail: String::new(),
            deviation_count: 0,
            last_seen_ms: None,
            required_image: None,
            root: None,
            phase: None,
            progress: None,
            last_window_us: None,
            last_changed_count: 0,
            fetched_len: 0,
            control_len: 0,
            poll_len: 0,
        };
        Self(Arc::new(Mutex::new(Inner { status, history: VecDeque::new(), deviations: Arc::default() })))
    }

    pub(crate) fn status(&self) -> MachineStatus {
        self.0.lock().status.clone()
    }

    pub(crate) fn detail(&self) -> (MachineStatus, Vec<HistoryLine>, Arc<Vec<Deviation>>) {
        let inner = self.0.lock();
        (inner.status.clone(), inner.history.iter().cloned().collect(), Arc::clone(&inner.deviations))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut MachineStatus)) {
        change(&mut self.0.lock().status);
    }

    pub(super) fn set_deviations(&self, deviations: Vec<Deviation>) {
        self.0.lock().deviations = Arc::new(deviations);
    }

    pub(super) fn note(&self, text: &str) {
        let line = HistoryLine { at_ms: wall_ms(), text: clip(text).to_owned() };
        let mut inner = self.0.lock();
        if inner.history.len() == HISTORY_COUNT_MAX {
            inner.history.pop_front();
        }
        inner.history.push_back(line);
    }
}
