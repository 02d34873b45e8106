//! QUIC endpoints with mutual certificates, and calls over them (`spec/wire.md`, `spec/permissions.md`).
//!
//! Owns everything that names quinn, rustls or X.509: certificates, trust, connections, calls, pacing. Invariants: no byte
//! travels without TLS 1.3 and two verified certificates; no call reaches a service without the permission; every wait has an
//! end; memory per peer is bounded.
//!
//! Does not know what calls mean: messages are `protocol/core`, services are the daemons.

mod anchors;
mod call;
pub mod cert;
mod clock;
mod connection;
mod credentials;
mod endpoint;
mod error;
pub mod limits;
mod network;
mod pace;
mod peer;
mod pool;
mod receiver;
mod sender;
mod serve;
mod trust;
mod verifier;
mod watch;

pub use anchors::RevocationPolicy;
pub use call::{Call, IncomingCall};
pub use connection::Connection;
pub use credentials::Credentials;
pub use endpoint::{Client, Server, Settings};
pub use error::{CloseCode, Error, Unusable};
pub use network::{Network, Udp};
pub use pace::Pacer;
pub use pool::Pool;
pub use receiver::Receiver;
pub use sender::Sender;
pub use serve::Service;
pub use trust::TrustError;
pub use watch::{CredentialFiles, CredentialsWatch, Reloaded};
