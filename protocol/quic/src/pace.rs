//! Waiting for a bandwidth cap (`spec/wire.md#pacing`).
//!
//! Owns `Pacer`, one bucket for any number of streams, and `Share`, the part of one of them. Invariants: those of
//! `Schedule`; grants are in the order of the calls to `take`, so no stream starves another.
//!
//! Does not read or write: streams take what they are about to read or write, in pieces of `piece_len`.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dominator_protocol_core::Schedule;
use tokio::time::Instant;

/// A bandwidth cap; clones share it.
#[derive(Debug, Clone)]
pub struct Pacer {
    start: Instant,
    schedule: Arc<Mutex<Schedule>>,
    user_count: Arc<AtomicUsize>,
}

/// The part of one stream in a cap; the more there are, the smaller are their pieces.
#[derive(Debug)]
pub(crate) struct Share(Pacer);

impl Pacer {
    /// Makes a cap of `rate_bytes_per_s`, or none.
    pub fn new(rate_bytes_per_s: Option<u64>) -> Self {
        Self {
            start: Instant::now(),
            schedule: Arc::new(Mutex::new(Schedule::new(rate_bytes_per_s))),
            user_count: Arc::new(AtomicUsize::new(0)),
        }
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
        self.schedule().piece_len(self.user_count.load(Ordering::Relaxed))
    }

    /// Waits until `len` bytes may pass.
    pub async fn take(&self, len: usize) {
        let now_ns = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let at_ns = self.schedule().take(now_ns, len);
        if at_ns > now_ns {
            tokio::time::sleep_until(self.start + Duration::from_nanos(at_ns)).await;
        }
    }

    pub(crate) fn share(&self) -> Share {
        self.user_count.fetch_add(1, Ordering::Relaxed);
        Share(self.clone())
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        // A schedule is two numbers that are valid in any combination.
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Share {
    type Target = Pacer;

    fn deref(&self) -> &Pacer {
        &self.0
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.user_count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Returns how many bytes a stream under two caps should take at once.
pub(crate) fn piece_len(caps: &[Share; 2]) -> usize {
    let [first, second] = caps;
    first.piece_len().min(second.piece_len())
}

/// Waits until `len` bytes may pass both caps.
pub(crate) async fn take(caps: &[Share; 2], len: usize) {
    for cap in caps {
        cap.take(len).await;
    }
}

impl Default for Pacer {
    fn default() -> Self {
        Self::unlimited()
    }
}
