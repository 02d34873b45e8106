//! A regular file being written under a name that nobody knows yet.
//!
//! Owns the order write, owner, mode, attributes, capability, time. Invariants: no byte is written beyond the size nor
//! into a hole; [`NewFile::finish`] succeeds only for a file with all its bytes and metadata.
//!
//! Does not check what the bytes are (the source does) and does not rename the file into place (the caller does).

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::FileExt},
};

use dominator_store_core::{Hole, Managed, Meta, Name, TreePath};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::{Dir, FsError, Result, error::At, inode::Inode};

/// A regular file being written. Dropped unfinished, it stays where it is.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    path: TreePath,
    size: u64,
    written: u64,
    /// Holes that end after what was written, in descending order.
    holes: Vec<Hole>,
}

impl NewFile {
    /// Makes the file `name`, which must not exist, for `size` bytes with these canonical `holes`; only its owner may
    /// open it until it is finished.
    pub fn create(dir: &Dir, name: &Name, size: u64, holes: &[Hole]) -> Result<Self> {
        let path = dir.path().join(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let fd = rustix::fs::openat2(dir.fd(), name.as_bytes(), flags, Mode::RUSR | Mode::WUSR, resolve)
            .at("make", &path)?;
        let mut holes = holes.to_vec();
        if !holes.is_empty() {
            rustix::fs::ftruncate(&fd, size).at("set size of", &path)?;
            holes.reverse();
        }
        Ok(Self { file: fd.into(), path, size, written: 0, holes })
    }

    /// Returns how many bytes were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Gives the file its metadata.
    ///
    /// # Errors
    /// `BlobLen` if fewer bytes were written than the file is to have.
    pub fn finish(self, meta: &Meta, managed: Managed) -> Result<()> {
        if self.written != self.size {
            return Err(FsError::BlobLen { path: self.path, size: self.size });
        }
        Inode::Open(self.file.as_fd()).write_meta(meta, managed, &self.path)
    }

    /// Takes the first bytes of `bytes` that all lie in a hole or all lie outside of one.
    fn next_run<'b>(&mut self, bytes: &'b [u8]) -> (&'b [u8], bool) {
        while self.holes.last().is_some_and(|hole| hole.end() <= self.written) {
            self.holes.pop();
        }
        let (end, in_hole) = match self.holes.last() {
            Some(hole) if hole.offset <= self.written => (hole.end(), true),
            Some(hole) => (hole.offset, false),
            None => (self.size, false),
        };
        let len = usize::try_from(end - self.written).unwrap_or(usize::MAX);
        (bytes.get(..len).unwrap_or(bytes), in_hole)
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.size - self.written {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than the file is to have"));
        }
        let (run, in_hole) = self.next_run(bytes);
        if in_hole {
            if run.iter().any(|byte| *byte != 0) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "other bytes than zeros in a hole"));
            }
        } else {
            self.file.write_all_at(run, self.written)?;
        }
        self.written += run.len() as u64;
        Ok(run.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
