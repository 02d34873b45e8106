//! Crash points: where a test can end the process.
//!
//! Owns one countdown. Invariant: unless `crash_at` was called, `point` does nothing but read one number; nothing reads
//! it from outside the process.
//!
//! Does not simulate the loss of what was not synced: only the process ends, as by kill -9.

use std::{
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Points left before the process ends; 0 if it should not.
static COUNTDOWN: AtomicU64 = AtomicU64::new(0);

/// Ends the process, without any clean-up, at the `count`-th crash point from now; tests of crashes call it.
pub fn crash_at(count: u64) {
    COUNTDOWN.store(count, Ordering::SeqCst);
}

/// Marks a crash point: before and after everything that changes what is durable.
pub fn point() {
    if COUNTDOWN.load(Ordering::Relaxed) > 0 && COUNTDOWN.fetch_sub(1, Ordering::SeqCst) == 1 {
        process::abort();
    }
}
