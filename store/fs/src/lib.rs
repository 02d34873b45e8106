//! Linux file systems: a directory becomes a tree, a tree becomes a directory (`spec/capture.md`).
//!
//! Owns every system call on managed files. Invariants: each operation is relative to a held directory and concerns one
//! name in it, so no path is resolved twice and no symbolic link or mount is ever crossed; reading never blocks on a
//! pipe; a file has its whole content and metadata before the caller makes it visible under its final name.
//!
//! Does not chunk, compress or store (`store/engine`, `store/pack`), and does not decide what to change
//! (`agent/core`).

#[cfg(not(target_os = "linux"))]
compile_error!("only Linux file systems are supported");

mod capture;
mod checkout;
mod dir;
mod error;
mod flatten;
mod hash;
mod hole;
mod inode;
mod leaf;
pub mod limits;
mod list;
mod meta;
mod new_file;
mod remove;
mod stat;
mod xattr;

pub use capture::{Capture, Skipped, capture};
pub use checkout::{BlobSource, CheckoutOptions, CheckoutReport, checkout};
pub use dir::{Dir, make_dir};
pub use error::{FsError, Result};
pub use flatten::flatten;
pub use hash::hash_file;
pub use hole::read_holes;
pub use leaf::{make_leaf, read_leaf};
pub use list::{Found, Listed, Listing, list, list_below, list_known};
pub use meta::{read_meta, read_meta_self, write_dir_meta, write_meta_in_place, write_mtime};
pub use new_file::NewFile;
pub use stat::{FileType, Stat, StatKey};
