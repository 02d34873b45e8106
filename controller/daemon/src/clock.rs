//! Time: the planner's monotonic one and the wall clock of histories.
//!
//! Owns the one place where clocks are read. Invariant: monotonic times of one process are comparable.
//! Does not wait: tasks do.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The beginning of monotonic time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn now(self) -> Duration {
        self.0.elapsed()
    }

    /// Returns the instant of a monotonic time; a time too far away is about a day away.
    pub(crate) fn instant(self, at: Duration) -> tokio::time::Instant {
        let far = self.now() + Duration::from_secs(24 * 3600);
        tokio::time::Instant::from_std(self.0 + at.min(far))
    }
}

/// Returns the wall clock in milliseconds since 1970.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
