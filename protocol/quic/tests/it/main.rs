//! Connections and calls with real certificates, over the loopback interface and over a simulated network.

#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod certificates;
mod fleet;
mod home;
mod hostile;
mod pacing;
mod pool;
mod reload;
mod revocation;
mod trust;
mod virtual_net;
mod weather;
