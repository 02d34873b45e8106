//! The mapping of a sealed pack: the only unsafe code of the store.
//!
//! Owns `Map`, the bytes of one file. Invariant: only sealed packs are mapped, and nothing in these crates writes to,
//! truncates or replaces the content of a sealed pack: it is removed as a whole, which leaves existing mappings intact.
//!
//! Does not judge the bytes: `reader` does.

#![expect(unsafe_code, reason = "mapping a file is unsafe; this module is the one place that does it")]

use std::{fs::File, io};

use memmap2::{Advice, Mmap};

/// The bytes of a sealed pack.
#[derive(Debug)]
pub(crate) struct Map(Mmap);

impl Map {
    /// Maps the whole file.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: a mapping is sound while no one changes the file's bytes or truncates it. `PackReader` maps only files
        // whose name says that they are sealed; `PackWriter::seal` gives that name after its last write, and every other
        // function of this crate and of store/engine only renames or removes such files. The store's directory belongs
        // to one user, and its lock to one process; another process of that user that truncates a sealed pack can make
        // reads raise SIGBUS, which ends the program without returning wrong bytes.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self(map))
    }

    /// Tells the kernel that the pack is about to be read from start to end.
    pub(crate) fn expect_sequential(&self) {
        // Advice only: a kernel that refuses it reads as well.
        let _ = self.0.advise(Advice::Sequential);
    }

    /// Returns the bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
