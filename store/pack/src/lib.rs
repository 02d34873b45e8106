//! Pack files: append-once containers of records (`spec/pack.md`).
//!
//! Owns writing, sealing, mapping and recovering packs, the ordering of durable file operations, the agent's chunk cache
//! and the assembly of blobs from objects. Invariants: a sealed pack never changes; no reader returns bytes that fail a
//! check; what was written before a sync survives a crash, and what a crash tore is cut off, never guessed.
//!
//! Does not know where an object lies in a store (`store/engine` keeps the index) and does not link RocksDB.

mod assemble;
mod cache;
pub mod durable;
mod error;
#[doc(hidden)]
pub mod fault;
pub mod limits;
mod location;
mod map;
mod reader;
mod row;
mod scan;
mod source;
mod trailer;
mod writer;

pub use assemble::{AssembleError, assemble};
pub use cache::{Cache, CacheCounts, Put};
pub use error::{Damage, Error};
pub use location::{Location, PackId};
pub use reader::PackReader;
pub use row::Row;
pub use scan::{Scan, scan};
pub use source::{ObjectSource, SourceError, open_record};
pub use writer::{PackWriter, SealedPack};
