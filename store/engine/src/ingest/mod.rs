//! From a directory to objects: walk, read, cut, hash, look up, compress what is new (`spec/store.md#ingest`).
//!
//! Owns the pipeline up to a `Sink`, which stores the objects or notes where they came from. Invariants: content,
//! metadata and holes of a file were true of one inode at one time; every byte is read once; memory is bounded by the
//! number of threads and entries, not by the bytes.
//!
//! Does not make an image visible (`publish`) and does not talk to a server (`prepare` is for that).

mod file;
mod options;
mod prepare;
mod progress;
mod publish;
mod survey;

pub use dominator_store_fs::Skipped;
pub use options::PublishOptions;
pub use prepare::PreparedTree;
pub use progress::Progress;
pub use publish::Published;
