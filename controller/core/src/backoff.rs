//! Delays between attempts.
//!
//! Owns the arithmetic. Invariants: a delay doubles with each failure, is never above its maximum by more than the jitter,
//! and is a function of its arguments alone, so that a fleet spreads out in the same way in every run.
//!
//! Does not count failures and does not wait: `planner` and `controller/daemon` do.

use std::time::Duration;

use dominator_store_core::Digest;

/// Shortest and longest delay of one kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Delay after the first failure.
    pub min: Duration,
    /// Delay that is not exceeded, jitter aside.
    pub max: Duration,
}

impl Backoff {
    /// Returns the delay after failure number `failure_count` (from 1) of what `name` names: within a quarter of
    /// `min * 2^(failure_count - 1)`, or of `max` if that is less.
    pub fn delay(self, name: &str, failure_count: u32) -> Duration {
        let doublings = failure_count.saturating_sub(1).min(31);
        let full = self.min.saturating_mul(1 << doublings).min(self.max);
        // 0.75 to 1.25 in steps of 1/512.
        full * (384 + spread(name, failure_count) % 257) / 512
    }
}

/// Returns a number that looks drawn by lot but is the same in every run.
fn spread(name: &str, failure_count: u32) -> u32 {
    let mut bytes = name.as_bytes().to_vec();
    bytes.extend_from_slice(&failure_count.to_le_bytes());
    let digest = Digest::of(&bytes);
    digest.as_bytes().first_chunk().map_or(0, |first| u32::from_le_bytes(*first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_maximum_and_differ_between_machines() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(5) };
        for failure_count in 0..100 {
            let full = Duration::from_millis(100 << failure_count.clamp(1, 7) >> 1).min(backoff.max);
            for name in ["a", "b", "c"] {
                let delay = backoff.delay(name, failure_count);
                assert!(delay >= full * 3 / 4 && delay <= full * 5 / 4, "{failure_count} {delay:?} {full:?}");
                assert_eq!(delay, backoff.delay(name, failure_count));
            }
        }
        let distinct: std::collections::BTreeSet<_> =
            (0..1000).map(|host| backoff.delay(&format!("host{host}"), 9)).collect();
        assert!(distinct.len() > 200, "{}", distinct.len());
    }
}
