//! Connections and calls over the loopback interface, with real certificates.

#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod certificates;
mod fleet;
mod home;
mod hostile;
mod pacing;
mod reload;
mod revocation;
mod trust;
