//! Noticing that the wall clock was set.
//!
//! Owns one task for each endpoint. Invariant: within `CLOCK_CHECK` of a jump, every connection of the endpoint looks at the
//! clock again, so that no certificate outlives its end on a machine that slept or whose clock was wrong.
//!
//! Does not look at certificates: that is `peer`.

use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinHandle;

use crate::{
    CredentialsWatch,
    limits::{CLOCK_CHECK, CLOCK_JUMP},
};

/// Compares the clocks until it is dropped.
#[derive(Debug)]
pub(crate) struct ClockKeeper(JoinHandle<()>);

impl ClockKeeper {
    pub(crate) fn start(watch: &CredentialsWatch) -> Self {
        let watch = watch.clone();
        Self(tokio::spawn(async move {
            loop {
                let (ran, told) = (Instant::now(), SystemTime::now());
                tokio::time::sleep(CLOCK_CHECK).await;
                if has_jumped(ran.elapsed(), told.elapsed().ok()) {
                    tracing::info!("the clock was set; certificates are judged again");
                    watch.nudge();
                }
            }
        }))
    }
}

impl Drop for ClockKeeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `told` is lacking when the wall clock went backwards.
fn has_jumped(ran: Duration, told: Option<Duration>) -> bool {
    told.is_none_or(|told| told.abs_diff(ran) > CLOCK_JUMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_jump_is_a_jump() {
        let s = Duration::from_secs;
        assert!(!has_jumped(s(2), Some(s(2))));
        assert!(!has_jumped(s(60), Some(s(60))), "a paused process has not jumped");
        assert!(has_jumped(s(2), Some(s(3600))));
        assert!(has_jumped(s(2), Some(s(0))));
        assert!(has_jumped(s(2), None));
    }
}
