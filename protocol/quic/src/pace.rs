//! Waiting for a bandwidth cap (`spec/wire.md#pacing`).
//!
//! Owns `Pacer`, one bucket for any number of streams. Invariants: those of `Schedule`; grants are in the order of the calls
//! to `take`, so no stream starves another.
//!
//! Does not read or write: callers take what they are about to read or write, in pieces of `piece_len`.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dominator_protocol_core::Schedule;
use tokio::time::Instant;

/// A bandwidth cap; clones share it.
#[derive(Debug, Clone)]
pub struct Pacer {
    start: Instant,
    schedule: Arc<Mutex<Schedule>>,
}

impl Pacer {
    /// Makes a cap of `rate_bytes_per_s`, or none.
    pub fn new(rate_bytes_per_s: Option<u64>) -> Self {
        Self { start: Instant::now(), schedule: Arc::new(Mutex::new(Schedule::new(rate_bytes_per_s))) }
    }

    /// Makes a pacer that lets everything pass until a rate is set.
    pub fn unlimited() -> Self {
        Self::new(None)
    }

    /// Changes the cap for everybody who shares it.
    pub fn set_rate(&self, rate_bytes_per_s: Option<u64>) {
        self.schedule().set_rate(rate_bytes_per_s);
    }

    /// Returns the cap.
    pub fn rate(&self) -> Option<u64> {
        self.schedule().rate()
    }

    /// Returns how many bytes should be taken at once.
    pub fn piece_len(&self) -> usize {
        self.schedule().piece_len()
    }

    /// Waits until `len` bytes may pass.
    pub async fn take(&self, len: usize) {
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let at_ns = self.schedule().take(now_ns, len);
        if at_ns > now_ns {
            tokio::time::sleep_until(self.start + Duration::from_nanos(at_ns)).await;
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // A schedule is two numbers that are valid in any combination.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::unlimited()
    }
}
