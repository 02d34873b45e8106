//! The machine database as a watched file.
//!
//! Owns the look at the file, the reading, and what happens to a file that cannot be used. Invariants: a file that is
//! broken or suspicious leaves the database in force as it is; the same bytes are complained about once.
//!
//! Does not understand the form or judge the change: `controller/core` does.

use std::{
    fs::{File, Metadata},
    io::Read,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::Arc,
};

use dominator_controller_core::{Mdb, MdbError, Shrunk, limits::MDB_LEN_MAX};

use crate::error::chain;

/// The file and what was made of it.
#[derive(Debug)]
pub(crate) struct MdbSource {
    path: PathBuf,
    seen: Option<Key>,
    current: Arc<Mdb>,
    held: Option<(Mdb, Arc<Shrunk>)>,
    last_complaint: String,
}

/// What changes when a file is replaced or rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    dev: u64,
    ino: u64,
    len: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// The database that is in force, and the machines that are in doubt.
#[derive(Debug, Clone)]
pub(crate) struct InForce {
    pub(crate) mdb: Arc<Mdb>,
    pub(crate) held: Option<Arc<Shrunk>>,
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("cannot read the machine database")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Mdb(#[from] MdbError),
}

impl MdbSource {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, seen: None, current: Arc::default(), held: None, last_complaint: String::new() }
    }

    /// Looks at the file and returns what is in force if that changed. Blocks on the disk.
    pub(crate) fn check(&mut self) -> Option<InForce> {
        let key = match std::fs::metadata(&self.path) {
            Ok(metadata) => Key::of(&metadata),
            Err(error) => {
                self.seen = None;
                self.complain(&ReadError::Io(error));
                return None;
            }
        };
        if self.seen == Some(key) {
            return None;
        }
        match self.read() {
            Ok((key, mdb)) => {
                self.seen = Some(key);
                self.last_complaint.clear();
                self.take(mdb)
            }
            Err(error) => {
                self.seen = Some(key);
                self.complain(&error);
                None
            }
        }
    }

    /// Looks at the file again whatever was seen before, and accepts a database that is held.
    pub(crate) fn reload(&mut self) -> Option<InForce> {
        let held = self.held.take();
        self.seen = None;
        let changed = self.check();
        match (&self.held, held) {
            // Only what a person has seen being held is accepted.
            (Some((new, _)), Some((old, _))) if *new == old => {
                tracing::warn!(machine_count = old.len(), "held machine database is accepted");
                self.held = None;
                self.current = Arc::new(old);
                Some(self.in_force())
            }
            (None, Some(_)) => Some(self.in_force()),
            _ => changed,
        }
    }

    fn take(&mut self, mdb: Mdb) -> Option<InForce> {
        let was_held = self.held.take().is_some();
        if let Err(shrunk) = self.current.check_successor(&mdb) {
            tracing::error!(path = %self.path.display(), reason = %shrunk, "machine database is held; SIGHUP accepts it");
            self.held = Some((mdb, Arc::new(shrunk)));
            return Some(self.in_force());
        }
        if *self.current == mdb && !was_held {
            return None;
        }
        tracing::info!(path = %self.path.display(), machine_count = mdb.len(), "machine database loaded");
        self.current = Arc::new(mdb);
        Some(self.in_force())
    }

    fn in_force(&self) -> InForce {
        let held = self.held.as_ref().map(|(_, shrunk)| Arc::clone(shrunk));
        InForce { mdb: Arc::clone(&self.current), held }
    }

    fn read(&self) -> Result<(Key, Mdb), ReadError> {
        let file = File::open(&self.path)?;
        let key = Key::of(&file.metadata()?);
        let mut bytes = Vec::new();
        file.take(MDB_LEN_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok((key, Mdb::parse(&bytes)?))
    }

    fn complain(&mut self, error: &ReadError) {
        let complaint = chain(error);
        if complaint != self.last_complaint {
            let (path, machine_count) = (self.path.display(), self.current.len());
            tracing::error!(%path, error = complaint, machine_count, "machine database cannot be used; the old one stays");
            self.last_complaint = complaint;
        }
    }
}

impl Key {
    fn of(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            len: metadata.len(),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            ctime: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(count: usize) -> String {
        let rows: Vec<_> = (0..count).map(|host| format!(r#"{{"Hostname": "m{host:02}"}}"#)).collect();
        format!(r#"{{"Machines": [{}]}}"#, rows.join(","))
    }

    #[test]
    fn replaced_files_are_taken_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("mdb.json");
        let replace = |text: &str| {
            std::fs::write(dir.path().join("new"), text).expect("write");
            std::fs::rename(dir.path().join("new"), &path).expect("rename");
        };
        let mut source = MdbSource::new(path.clone());
        let count = |in_force: Option<InForce>| in_force.map(|in_force| in_force.mdb.len());
        assert_eq!(count(source.check()), None, "no file yet");
        replace(&hosts(3));
        assert_eq!(count(source.check()), Some(3));
        assert_eq!(count(source.check()), None, "nothing changed");
        replace(&hosts(3));
        assert_eq!(count(source.check()), None, "the same again");
        for broken in ["", "{", r#"[{"Hostname": "a"}, {"Hostname": "a"}]"#] {
            replace(broken);
            assert_eq!(count(source.check()), None, "{broken}");
            assert_eq!(source.current.len(), 3);
        }
        std::fs::remove_file(&path).expect("remove");
        assert_eq!(count(source.check()), None);
        replace(&hosts(4));
        assert_eq!(count(source.check()), Some(4));
    }

    #[test]
    fn a_held_file_is_accepted_only_as_it_was_seen() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join("mdb.json");
        let replace = |text: &str| std::fs::write(&path, text).expect("write");
        let mut source = MdbSource::new(path.clone());
        replace(&hosts(20));
        source.check().expect("loaded");
        replace(&hosts(2));
        let in_force = source.check().expect("held");
        assert_eq!(in_force.mdb.len(), 20);
        assert_eq!(in_force.held.expect("held").lost.len(), 18);
        // Replaced by another suspicious file at the moment of the signal: still held.
        replace(&hosts(1));
        assert_eq!(source.reload().expect("held").mdb.len(), 20);
        let in_force = source.reload().expect("accepted");
        assert_eq!((in_force.mdb.len(), in_force.held.is_none()), (1, true));
        // A held file that is corrected is released.
        replace(&hosts(20));
        source.check().expect("loaded");
        replace(&hosts(2));
        source.check().expect("held");
        replace(&hosts(20));
        assert!(source.check().expect("released").held.is_none());
    }
}
