//! Who may begin what.
//!
//! Owns the counts of calls and publishes under way. Invariants: a count falls when its guard is dropped, whatever ended the
//! call; after the order to stop nothing new begins.
//!
//! Permissions are checked before, in `protocol/quic`.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use dominator_protocol_core::{CallFailure, ErrorCode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::limits::PUBLISHES_PER_CONNECTION_MAX;

/// Counts what is under way.
#[derive(Debug)]
pub(crate) struct Admission {
    calls_max: usize,
    publishes_max: usize,
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    call_count: usize,
    publish_count: usize,
    publishes: HashMap<SocketAddr, usize>,
    is_draining: bool,
}

/// A call that was let in.
#[derive(Debug)]
pub(crate) struct CallGuard(Arc<Admission>);

/// A publish that was let in.
#[derive(Debug)]
pub(crate) struct PublishGuard(Arc<Admission>, SocketAddr);

impl Admission {
    pub(crate) fn new(calls_max: usize, publishes_max: usize) -> Arc<Self> {
        Arc::new(Self { calls_max, publishes_max, state: Mutex::default(), idle: Notify::new() })
    }

    /// Lets a call in, or says why not.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<CallGuard, CallFailure> {
        let mut state = self.state.lock();
        if state.is_draining {
            return Err(CallFailure::new(ErrorCode::Unavailable, "the image server is stopping"));
        }
        if state.call_count >= self.calls_max {
            return Err(busy(format!("{} calls are under way", state.call_count)));
        }
        state.call_count += 1;
        Ok(CallGuard(Arc::clone(self)))
    }

    /// Lets a publish in, or says why not; `peer` stands for its connection.
    pub(crate) fn enter_publish(self: &Arc<Self>, peer: SocketAddr) -> Result<PublishGuard, CallFailure> {
        let mut state = self.state.lock();
        if state.publish_count >= self.publishes_max {
            return Err(busy(format!("{} publishes are under way", state.publish_count)));
        }
        let of_peer = state.publishes.entry(peer).or_default();
        if *of_peer >= PUBLISHES_PER_CONNECTION_MAX {
            return Err(busy(format!("{of_peer} publishes are under way on this connection")));
        }
        *of_peer += 1;
        state.publish_count += 1;
        Ok(PublishGuard(Arc::clone(self), peer))
    }

    /// Lets nothing more in, and waits until what was let in is over.
    pub(crate) async fn drain(&self) {
        loop {
            let idle = self.idle.notified();
            {
                let mut state = self.state.lock();
                state.is_draining = true;
                if state.call_count == 0 {
                    return;
                }
            }
            idle.await;
        }
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.call_count -= 1;
        if state.call_count == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Drop for PublishGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.publish_count -= 1;
        if let Some(of_peer) = state.publishes.get_mut(&self.1) {
            *of_peer -= 1;
            if *of_peer == 0 {
                state.publishes.remove(&self.1);
            }
        }
    }
}

fn busy(message: String) -> CallFailure {
    CallFailure::new(ErrorCode::Busy, message).with_hint("try again later")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[test]
    fn a_connection_and_all_of_them_have_a_limit_of_publishes() {
        let admission = Admission::new(9, 3);
        let first: Vec<_> = (0..2).map(|_| admission.enter_publish(address(1)).unwrap()).collect();
        assert_eq!(admission.enter_publish(address(1)).unwrap_err().code, ErrorCode::Busy);
        let _other = admission.enter_publish(address(2)).unwrap();
        assert_eq!(admission.enter_publish(address(3)).unwrap_err().code, ErrorCode::Busy);
        drop(first);
        assert!(admission.enter_publish(address(1)).is_ok());
        assert_eq!(admission.state.lock().publishes.len(), 1);
    }

    #[test]
    fn calls_have_a_limit_and_none_begins_while_draining() {
        let admission = Admission::new(1, 1);
        let guard = admission.enter().unwrap();
        assert_eq!(admission.enter().unwrap_err().code, ErrorCode::Busy);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let drain = admission.drain();
            tokio::pin!(drain);
            tokio::select! {
                biased;
                () = &mut drain => panic!("a call is under way"),
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(admission.enter().unwrap_err().code, ErrorCode::Unavailable);
            drop(guard);
            drain.await;
        });
    }
}
