//! The deep scan: reading every file again, slowly, for ever.
//!
//! Owns the position in the tree and the file that is being read. Invariants: every file is read once in a round; a
//! content that changed while nothing else of its file did is found within one round; the position survives a restart.
//!
//! Does not keep the time: `keeper` says how many bytes may be read now.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use dominator_store_core::{BlobHasher, TreePath};
use dominator_store_fs::{Stat, read_holes};
use rustix::fs::Advice;

use super::{Scanner, hash::Hashed};

/// Position of the deep scan and the file under it.
#[derive(Debug)]
pub struct Deep {
    cursor_file: PathBuf,
    /// The last file that was read, or is being read.
    cursor: TreePath,
    reading: Option<Reading>,
    /// Rounds completed since the start.
    round_count: u64,
}

#[derive(Debug)]
struct Reading {
    file: File,
    stat: Stat,
    hasher: BlobHasher,
    read_len: u64,
}

/// What a step of the deep scan came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// So many bytes were read.
    Read(usize),
    /// The content of this file is not what it was, although nothing else of it changed.
    Damaged(TreePath),
    /// The end of the tree: the next step begins a new round.
    RoundDone,
}

const CURSOR_FILE: &str = "scan.cursor";

impl Deep {
    /// Goes on where the last run of the agent recorded that it was, or begins at the root.
    pub fn open(private: &Path) -> Self {
        let cursor_file = private.join(CURSOR_FILE);
        // Losing the position costs time, never truth: anything that is not a path is the beginning.
        let cursor = std::fs::read(&cursor_file).ok().and_then(|bytes| TreePath::parse(&bytes).ok());
        Self { cursor_file, cursor: cursor.unwrap_or_default(), reading: None, round_count: 0 }
    }

    /// Returns the position.
    pub const fn cursor(&self) -> &TreePath {
        &self.cursor
    }

    /// Returns how many rounds were completed since the start.
    pub const fn round_count(&self) -> u64 {
        self.round_count
    }

    /// Records the position; not made durable, because an old one does no harm.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn record(&self) -> std::io::Result<()> {
        let fresh = self.cursor_file.with_extension("new");
        std::fs::write(&fresh, self.cursor.as_bytes())?;
        std::fs::rename(&fresh, &self.cursor_file)
    }

    /// Reads at most `buf.len()` bytes of the next file.
    pub fn step(&mut self, scanner: &mut Scanner, buf: &mut [u8]) -> Step {
        let Some(mut reading) = self.reading.take() else { return self.open_next(scanner) };
        match reading.file.read(buf) {
            Ok(0) => self.close(scanner, &reading),
            Ok(len) => {
                reading.hasher.update(buf.get(..len).unwrap_or_default());
                reading.read_len += len as u64;
                self.reading = Some(reading);
                Step::Read(len)
            }
            Err(error) => {
                tracing::warn!(path = %self.cursor, %error, "file cannot be read");
                Step::Read(0)
            }
        }
    }

    fn open_next(&mut self, scanner: &Scanner) -> Step {
        let Some(snapshot) = scanner.snapshot() else { return Step::RoundDone };
        let items = &snapshot.flat().items;
        let start = items.partition_point(|(path, _)| *path <= self.cursor);
        let files = items.get(start..).unwrap_or_default().iter();
        for (path, _) in files.filter(|(_, item)| item.blob().is_some_and(|(_, size)| size > 0)) {
            self.cursor = path.clone();
            // What cannot be opened or is another file by now is for the next pass to find out.
            let Ok(stat) = scanner.root().stat_path(path) else { continue };
            let Ok(file) = scanner.root().open_file_path(path) else { continue };
            if scanner.known.get(&stat).is_none_or(|known| !known.settled) {
                continue;
            }
            // Reading everything once should not push out what services read all the time.
            let _ = rustix::fs::fadvise(&file, 0, None, Advice::NoReuse);
            self.reading = Some(Reading { file, stat, hasher: BlobHasher::new(), read_len: 0 });
            return Step::Read(0);
        }
        self.cursor = TreePath::root();
        self.round_count += 1;
        Step::RoundDone
    }

    fn close(&self, scanner: &mut Scanner, reading: &Reading) -> Step {
        let same = scanner.root().stat_path(&self.cursor).is_ok_and(|stat| stat.key() == reading.stat.key());
        if !same || reading.read_len != reading.stat.size {
            return Step::Read(0);
        }
        let Ok(holes) = read_holes(&reading.file, reading.stat.size) else { return Step::Read(0) };
        let hashed = Hashed { blob: reading.hasher.finish(), size: reading.read_len, holes };
        if scanner.correct(&reading.stat, hashed) { Step::Damaged(self.cursor.clone()) } else { Step::Read(0) }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use dominator_store_core::BlobId;
    use dominator_store_fs::Dir;

    use super::*;
    use crate::scan::known::Known;

    /// A scanned root with three files whose times count as settled.
    fn scanned(dir: &Path) -> Scanner {
        for name in ["a", "b", "c"] {
            std::fs::write(dir.join(name), name.repeat(1000)).expect("write");
        }
        let mut scanner = Scanner::new(Dir::open(dir).expect("root"));
        scanner.pass(NonZeroUsize::MIN).expect("pass");
        for name in ["a", "b", "c"] {
            believe(&mut scanner, name, BlobId::of(name.repeat(1000).as_bytes()));
        }
        scanner
    }

    /// Makes the scanner believe that a file has had this content for long.
    fn believe(scanner: &mut Scanner, name: &str, blob: BlobId) {
        let stat = scanner.root().stat_path(&TreePath::parse(name.as_bytes()).expect("path")).expect("stat");
        scanner.known.put(&stat, Known { key: stat.key(), blob, holes: Vec::new(), settled: true });
    }

    fn round(deep: &mut Deep, scanner: &mut Scanner) -> (usize, Vec<TreePath>) {
        let (mut read_len, mut damaged, mut buf) = (0, Vec::new(), vec![0; 700]);
        loop {
            match deep.step(scanner, &mut buf) {
                Step::Read(len) => read_len += len,
                Step::Damaged(path) => damaged.push(path),
                Step::RoundDone => return (read_len, damaged),
            }
        }
    }

    #[test]
    fn content_that_changed_behind_the_file_system_is_found_within_one_round() {
        let (dir, private) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
        let mut scanner = scanned(dir.path());
        let mut deep = Deep::open(private.path());
        assert_eq!(round(&mut deep, &mut scanner), (3000, vec![]));
        let healthy = scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot.root();
        // As if the disk had turned the bytes into others since they were hashed.
        believe(&mut scanner, "b", BlobId::of(b"what it was"));
        scanner.last.as_mut().expect("pass").settled = false;
        let wrong = scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot.root();
        assert_ne!(wrong, healthy);
        assert_eq!(round(&mut deep, &mut scanner), (3000, vec![TreePath::parse(b"b").expect("path")]));
        assert_eq!(scanner.pass(NonZeroUsize::MIN).expect("pass").snapshot.root(), healthy);
        assert_eq!(deep.round_count(), 2);
    }

    #[test]
    fn the_position_survives_a_restart_and_garbage_is_the_beginning() {
        let (dir, private) = (tempfile::tempdir().expect("directory"), tempfile::tempdir().expect("directory"));
        let mut scanner = scanned(dir.path());
        let mut deep = Deep::open(private.path());
        while deep.cursor().as_bytes() != b"b" {
            assert_ne!(deep.step(&mut scanner, &mut [0; 700]), Step::RoundDone);
        }
        deep.record().expect("record");
        let mut deep = Deep::open(private.path());
        assert_eq!(round(&mut deep, &mut scanner), (1000, vec![]), "only what is behind the position is left");
        std::fs::write(private.path().join(CURSOR_FILE), b"//").expect("write");
        assert!(Deep::open(private.path()).cursor().is_root());
    }
}
