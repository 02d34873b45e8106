//! What the tests of the program share.

mod agent;
mod controller;
mod images;
mod server;
mod site;

pub(crate) use agent::{Agent, command};
pub(crate) use controller::Controller;
pub(crate) use images::{Images, Published};
pub(crate) use server::{ImageServer, Shelf};
pub(crate) use site::{Site, copy_tree};

use std::{num::NonZeroUsize, path::Path};

use dominator_store_core::{Filter, FlatTree, Managed, TreeId};

/// Captures a directory with the code that publishes images, which shares no state with the agent.
pub(crate) fn capture(root: &Path, filter: &Filter) -> FlatTree {
    let threads = NonZeroUsize::new(2).expect("two");
    dominator_store_fs::capture(root, filter, Managed::default(), threads, &|_, _| ()).expect("capture").tree
}

/// Returns the root id of a directory.
pub(crate) fn root_of(root: &Path) -> TreeId {
    capture(root, &Filter::default()).encode(&mut |_, _| ()).expect("tree")
}

/// Writes a file and the directories above it.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().expect("parent")).expect("directories");
    std::fs::write(path, bytes).expect("write");
}

/// Bytes that do not compress and are the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    dominator_testkit::Rng::new(seed).bytes(len)
}
