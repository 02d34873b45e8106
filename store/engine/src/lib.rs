//! The store: images published, kept and read back (`spec/store.md`).
//!
//! Owns the index and the catalog over packs, ingest, uploads, reading and verification; it is the only crate that names
//! RocksDB. Invariants: an acknowledged publish survives any crash and an unacknowledged one is never visible in part;
//! no byte is stored or handed out as good that does not match its digest; losing the index loses nothing.
//!
//! Does not speak to peers (`store/server`) and does not change managed machines (`agent/daemon`).

mod catalog;
mod closure;
mod commit;
mod error;
mod format;
mod index;
mod ingest;
pub mod limits;
mod objects;
mod packs;
mod read;
mod recover;
mod session;
mod store;
mod upload;
mod verify;

pub use error::{Error, IndexError, Result};
pub use format::StoreOptions;
pub use ingest::{PreparedTree, Progress, PublishOptions, Published, Skipped};
pub use read::{ImageSummary, StoredImage};
pub use store::Store;
pub use upload::Upload;
pub use verify::{Fault, VerifyReport};
