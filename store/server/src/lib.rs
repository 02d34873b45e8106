//! The image server: a store, served over QUIC.
//!
//! Owns the answers to `Image.*` and `Object.*`, admission, and the life of the process. Invariants: an image is visible only
//! after every object of it was verified and made durable; records are sent as they are stored; what one peer can make the
//! server hold is bounded; store work never blocks the event loop.
//!
//! Storing is `store/engine`, transport and permissions are `protocol/quic`.

mod admission;
mod config;
mod failure;
pub mod limits;
mod objects;
mod publish;
mod serve;
mod service;

pub use config::{Config, ConfigFile};
pub use serve::run;
pub use service::Images;
