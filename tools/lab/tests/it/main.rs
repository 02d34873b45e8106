//! The whole system: every program as a process, over real QUIC with real certificates, on real directories.
//!
//! Owns the list of what is tested. Needs root, `rsync`, `setcap` and `setfattr`, as the set-up installs them.

mod corruption;
mod crash;
mod figures;
mod flow;
mod site;
mod trust;
