//! How far a publish is.
//!
//! Owns counters that another thread may read at any time. Invariant: counters only grow, and reach their totals when
//! all content was read.
//!
//! Does not print: tools do.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a publish; share a reference with a thread that shows them.
#[derive(Debug, Default)]
pub struct Progress {
    entry_count: AtomicU64,
    file_count: AtomicU64,
    file_total: AtomicU64,
    content_len: AtomicU64,
    content_total: AtomicU64,
}

impl Progress {
    /// Returns the number of entries found by the walk so far.
    pub fn entry_count(&self) -> u64 {
        self.entry_count.load(Ordering::Relaxed)
    }

    /// Returns the number of files read so far.
    pub fn file_count(&self) -> u64 {
        self.file_count.load(Ordering::Relaxed)
    }

    /// Returns the number of files to read; 0 until the walk is done.
    pub fn file_total(&self) -> u64 {
        self.file_total.load(Ordering::Relaxed)
    }

    /// Returns the bytes read so far.
    pub fn content_len(&self) -> u64 {
        self.content_len.load(Ordering::Relaxed)
    }

    /// Returns the bytes to read; 0 until the walk is done.
    pub fn content_total(&self) -> u64 {
        self.content_total.load(Ordering::Relaxed)
    }

    pub(crate) fn add_entry(&self) {
        self.entry_count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_totals(&self, file_count: u64, content_len: u64) {
        self.file_total.store(file_count, Ordering::Relaxed);
        self.content_total.store(content_len, Ordering::Relaxed);
    }

    pub(crate) fn add_file(&self, len: u64) {
        self.file_count.fetch_add(1, Ordering::Relaxed);
        self.content_len.fetch_add(len, Ordering::Relaxed);
    }
}
