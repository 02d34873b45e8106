//! The ledger on disk (`spec/controller.md#ledger`).
//!
//! Owns the file, its lock and the thread that writes it. Invariants: a directive is recorded only when its line is durable;
//! directives that come together share one barrier; after a failed write the file is written anew before anything is
//! recorded again.
//!
//! Does not encode lines: `controller/core` does.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use dominator_controller_core::{Host, LedgerEntry, LedgerLog};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Error,
    limits::{LEDGER_BATCH_MAX, LEDGER_LEN_MAX, LEDGER_REWRITE_LEN_MIN},
};

/// The ledger; clones are the same ledger.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    requests: mpsc::Sender<Request>,
    log: Arc<Mutex<LedgerLog>>,
}

/// Why a directive was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the ledger cannot be written: {0}")]
pub(crate) struct RecordError(String);

#[derive(Debug)]
enum Request {
    Record(LedgerEntry, oneshot::Sender<Result<(), RecordError>>),
    Close(oneshot::Sender<()>),
}

struct Writer {
    dir: PathBuf,
    file: File,
    log: Arc<Mutex<LedgerLog>>,
    len: usize,
    is_sound: bool,
    /// Held as long as we live.
    _lock: File,
}

const FILE: &str = "ledger";
const NEW_FILE: &str = "ledger.new";
const LOCK_FILE: &str = "lock";

impl Ledger {
    /// Opens the ledger of the state directory, which is made if it does not exist.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let io = |operation, name: &str| {
            let path = dir.join(name);
            move |source| Error::Io { operation, path, source }
        };
        std::fs::create_dir_all(dir).map_err(io("create", ""))?;
        let lock = File::create(dir.join(LOCK_FILE)).map_err(io("create", LOCK_FILE))?;
        lock.try_lock().map_err(|_| Error::InUse { path: dir.to_owned() })?;
        let path = dir.join(FILE);
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io("open", FILE))?;
        let len = file.metadata().map_err(io("read", FILE))?.len();
        if len > LEDGER_LEN_MAX {
            return Err(Error::LedgerTooLong { path, len });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io("read", FILE))?;
        let log = LedgerLog::read(&bytes).map_err(|source| Error::Ledger { path, source })?;
        if log.good_len < bytes.len() {
            tracing::warn!(len = bytes.len() - log.good_len, "last line of the ledger was cut short; dropped");
            file.set_len(log.good_len as u64).map_err(io("cut", FILE))?;
            file.sync_all().map_err(io("sync", FILE))?;
        }
        sync_dir(dir).map_err(io("sync", ""))?;
        let len = log.good_len;
        let log = Arc::new(Mutex::new(log));
        let (requests, queue) = mpsc::channel(LEDGER_BATCH_MAX);
        let writer = Writer { dir: dir.to_owned(), file, log: Arc::clone(&log), len, is_sound: true, _lock: lock };
        std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(io("start the writer of", FILE))?;
        Ok(Self { requests, log })
    }

    /// Returns the last directive that was recorded for the machine.
    pub(crate) fn last(&self, host: &Host) -> Option<LedgerEntry> {
        self.log.lock().last.get(host).cloned()
    }

    /// Records a directive and returns when it is durable.
    pub(crate) async fn record(&self, entry: LedgerEntry) -> Result<(), RecordError> {
        let gone = || RecordError("its writer is gone".to_owned());
        let (tx, rx) = oneshot::channel();
        self.requests.send(Request::Record(entry, tx)).await.map_err(|_| gone())?;
        rx.await.map_err(|_| gone())?
    }

    /// Ends the writer and lets go of the directory; what is recorded later fails.
    pub(crate) async fn close(&self) {
        let (tx, rx) = oneshot::channel();
        if self.requests.send(Request::Close(tx)).await.is_ok() {
            // An error is the end of the writer too.
            let _ = rx.await;
        }
    }
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut requests = Vec::new();
        while queue.blocking_recv_many(&mut requests, LEDGER_BATCH_MAX) > 0 {
            let (mut entries, mut waiting, mut closing) = (Vec::new(), Vec::new(), None);
            for request in requests.drain(..) {
                match request {
                    Request::Record(entry, tx) => {
                        entries.push(entry);
                        waiting.push(tx);
                    }
                    Request::Close(tx) => closing = Some(tx),
                }
            }
            let result = self.record(&entries).map_err(|error| {
                tracing::error!(%error, dir = %self.dir.display(), "ledger cannot be written");
                self.is_sound = false;
                RecordError(error.to_string())
            });
            for tx in waiting {
                // A machine that is gone from the database no longer waits.
                let _ = tx.send(result.clone());
            }
            if let Some(tx) = closing {
                drop(self);
                let _ = tx.send(());
                return;
            }
        }
    }

    fn record(&mut self, entries: &[LedgerEntry]) -> io::Result<()> {
        let lines: String = entries.iter().map(LedgerEntry::encode).collect();
        {
            let mut log = self.log.lock();
            for entry in entries {
                if log.last.get(&entry.host).is_none_or(|last| last.generation < entry.generation) {
                    log.last.insert(entry.host.clone(), entry.clone());
                }
            }
        }
        if entries.is_empty() {
            return Ok(());
        }
        // A generation whose line failed stays used: the new file has it, or nobody was told.
        let is_long = self.len > LEDGER_REWRITE_LEN_MIN && self.len > REWRITE_RATIO * self.log.lock().encode().len();
        if !self.is_sound || is_long {
            return self.rewrite();
        }
        self.file.write_all(lines.as_bytes())?;
        self.file.sync_data()?;
        self.len += lines.len();
        Ok(())
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let text = self.log.lock().encode();
        let path = self.dir.join(NEW_FILE);
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.set_len(0)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&path, self.dir.join(FILE))?;
        sync_dir(&self.dir)?;
        (self.file, self.len, self.is_sound) = (file, text.len(), true);
        Ok(())
    }
}

/// A ledger so many times longer than the last directives alone is rewritten.
const REWRITE_RATIO: usize = 4;

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use dominator_controller_core::DirectiveKind;
    use dominator_store_core::ImageId;

    use super::*;

    fn entry(host: &str, generation: u64) -> LedgerEntry {
        let (host, image) = (host.parse().expect("host"), ImageId::of(b"image"));
        LedgerEntry { host, generation, at_ms: 5, kind: DirectiveKind::Fetch, image }
    }

    async fn reopen(ledger: Ledger, dir: &Path) -> Ledger {
        ledger.close().await;
        assert!(ledger.record(entry("a", 99)).await.is_err());
        Ledger::open(dir).expect("ledger")
    }

    #[tokio::test]
    async fn what_was_recorded_is_there_after_a_restart_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().expect("directory");
        let ledger = Ledger::open(dir.path()).expect("ledger");
        assert!(matches!(Ledger::open(dir.path()), Err(Error::InUse { .. })));
        let (a, b, c) =
            tokio::join!(ledger.record(entry("a", 1)), ledger.record(entry("b", 7)), ledger.record(entry("a", 2)));
        (a.and(b).and(c)).expect("record");
        let ledger = reopen(ledger, dir.path()).await;
        assert_eq!(ledger.last(&"a".parse().expect("host")).map(|entry| entry.generation), Some(2));
        ledger.close().await;
        let path = dir.path().join(FILE);
        let whole = std::fs::read(&path).expect("read");
        std::fs::write(&path, [&whole[..], &whole[..30]].concat()).expect("write");
        let ledger = reopen(ledger, dir.path()).await;
        assert_eq!(std::fs::read(&path).expect("read"), whole);
        ledger.record(entry("b", 8)).await.expect("record");
        let ledger = reopen(ledger, dir.path()).await;
        assert_eq!(ledger.last(&"b".parse().expect("host")).map(|entry| entry.generation), Some(8));
    }

    #[tokio::test]
    async fn damage_is_not_passed_over() {
        let dir = tempfile::tempdir().expect("directory");
        std::fs::write(dir.path().join(FILE), entry("a", 1).encode().replace("fetch", "fetsh")).expect("write");
        assert!(matches!(Ledger::open(dir.path()), Err(Error::Ledger { .. })));
    }

    #[test]
    fn a_long_ledger_is_rewritten_and_a_failed_write_is_repaired() {
        let dir = tempfile::tempdir().expect("directory");
        let path = dir.path().join(FILE);
        let open = || OpenOptions::new().append(true).create(true).open(&path).expect("open");
        let log = Arc::new(Mutex::new(LedgerLog::default()));
        let lock = open();
        let mut writer = Writer { dir: dir.path().to_owned(), file: open(), log, len: 0, is_sound: true, _lock: lock };
        writer.record(&[entry("a", 1), entry("b", 1)]).expect("record");
        // A write that got half way.
        open().write_all(b"1 2 5 fet").expect("write");
        writer.is_sound = false;
        writer.record(&[entry("a", 2)]).expect("record");
        let read = || LedgerLog::read(&std::fs::read(&path).expect("read")).expect("sound");
        assert_eq!((read().line_count, read().good_len), (2, writer.len));
        writer.len = LEDGER_REWRITE_LEN_MIN + 1;
        writer.record(&[entry("a", 3)]).expect("record");
        writer.record(&[entry("a", 4)]).expect("record");
        assert_eq!(read().line_count, 3);
        assert_eq!(read().last.values().map(|entry| entry.generation).collect::<Vec<_>>(), [4, 1]);
    }
}
