//! The catalog log: every event in order, each chained to all before it by digest (`spec/store.md#log`).
//!
//! Owns the file. Invariants: an event is durable when `append` returns; what the index says was acknowledged is never
//! cut, and damage there is an error; behind it, an entry that a crash tore is cut. After a failed write nothing is
//! appended until the store is opened again.
//!
//! Does not interpret events: `recover` applies them to the index.

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use dominator_store_core::{DIGEST_LEN, Digest};
use dominator_store_pack::{durable, fault};

use super::Event;
use crate::{Error, error::Result, index::LogState, limits::EVENT_LEN_MAX};

const MAGIC: [u8; 8] = *b"DomLog\n\x01";
const CHAIN_CONTEXT: &str = "dominator 2026-11 catalog log v1";
/// Bytes before an event: its length and the complement of it.
const PREFIX_LEN: usize = 8;

/// The log, open for appending.
#[derive(Debug)]
pub(crate) struct CatalogLog {
    file: File,
    path: PathBuf,
    state: LogState,
    failed: bool,
}

/// What a log holds.
#[derive(Debug)]
pub(crate) struct Replay {
    /// Each event with the state of the log behind it.
    pub(crate) events: Vec<(Event, LogState)>,
    /// The state behind the last whole entry.
    pub(crate) state: LogState,
    /// Bytes of a torn entry at the end.
    pub(crate) torn_len: u64,
}

impl CatalogLog {
    /// Creates an empty log.
    pub(crate) fn create(path: &Path) -> Result<()> {
        let file = durable::create_file(path)?;
        file.write_all_at(&MAGIC, 0).map_err(Error::io("write", path))?;
        durable::sync_file(&file, path)?;
        Ok(durable::sync_dir(path.parent().unwrap_or(Path::new(".")))?)
    }

    /// Opens the log behind what `replay` found in it, cutting a torn entry.
    pub(crate) fn open(path: &Path, replay: &Replay) -> Result<Self> {
        let file = File::options().read(true).write(true).open(path).map_err(Error::io("open", path))?;
        if replay.torn_len > 0 {
            file.set_len(replay.state.len).map_err(Error::io("truncate", path))?;
            durable::sync_file(&file, path)?;
        }
        Ok(Self { file, path: path.to_owned(), state: replay.state, failed: false })
    }

    /// Appends one event and makes it durable; returns the state behind it.
    pub(crate) fn append(&mut self, event: &Event) -> Result<LogState> {
        if self.failed {
            return Err(Error::Stale);
        }
        let payload = event.encode();
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= EVENT_LEN_MAX);
        let len = len.ok_or(Error::Limit { what: "catalog event", limit: EVENT_LEN_MAX as u64 })?;
        let head = chain(self.state.head, &payload);
        let mut entry = Vec::with_capacity(PREFIX_LEN + payload.len() + DIGEST_LEN);
        entry.extend_from_slice(&len.to_le_bytes());
        entry.extend_from_slice(&(!len).to_le_bytes());
        entry.extend_from_slice(&payload);
        entry.extend_from_slice(head.as_bytes());
        let written = self.file.write_all_at(&entry, self.state.len).map_err(Error::io("write", &self.path));
        fault::point();
        let durable = written.and_then(|()| Ok(durable::sync_file(&self.file, &self.path)?));
        // Whether the entry is there is unknown now; only reading the log again can tell.
        self.failed = durable.is_err();
        durable?;
        self.state = LogState { len: self.state.len + entry.len() as u64, head };
        Ok(self.state)
    }

    /// Refuses further events, because the index does not show the last one.
    pub(crate) fn fail(&mut self) {
        self.failed = true;
    }
}

fn first_head() -> Digest {
    Digest::derive(CHAIN_CONTEXT, &MAGIC)
}

fn chain(head: Digest, payload: &[u8]) -> Digest {
    Digest::derive(CHAIN_CONTEXT, &[head.as_bytes(), payload].concat())
}

/// Reads a whole log. `acknowledged` is what the index shows of it: damage there, or an end before it, is an error.
pub(crate) fn read_log(path: &Path, acknowledged: Option<LogState>) -> Result<Replay> {
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::CatalogMalformed { offset: 0, what: "the file is gone" },
        _ => Error::io("read", path)(error),
    })?;
    let Some(mut rest) = bytes.strip_prefix(&MAGIC) else {
        return Err(Error::CatalogMalformed { offset: 0, what: "wrong magic" });
    };
    let acknowledged_len = acknowledged.map_or(0, |state| state.len);
    let mut replay =
        Replay { events: Vec::new(), state: LogState { len: MAGIC.len() as u64, head: first_head() }, torn_len: 0 };
    let mut met = acknowledged.is_none() || acknowledged == Some(replay.state);
    while !rest.is_empty() {
        let offset = replay.state.len;
        let durable = offset < acknowledged_len;
        match next_entry(rest, replay.state.head, offset) {
            Ok(Some((event, head, len, tail))) => {
                rest = tail;
                replay.state = LogState { len: offset + len as u64, head };
                met |= acknowledged == Some(replay.state);
                replay.events.push((event, replay.state));
            }
            Ok(None) if durable => return Err(Error::CatalogMalformed { offset, what: "the file ends too early" }),
            // With an index, all that was acknowledged is known, so what is damaged behind it never was.
            Err(_) if acknowledged.is_some() && !durable => {
                replay.torn_len = rest.len() as u64;
                break;
            }
            Ok(None) => {
                replay.torn_len = rest.len() as u64;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if !met {
        return Err(Error::CatalogMalformed { offset: replay.state.len, what: "it is not the log of this index" });
    }
    Ok(replay)
}

type Entry<'a> = (Event, Digest, usize, &'a [u8]);

/// Reads one entry; `None` if the bytes end before it does.
fn next_entry(bytes: &[u8], head: Digest, offset: u64) -> Result<Option<Entry<'_>>> {
    let malformed = |what| Error::CatalogMalformed { offset, what };
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let [a, b, c, d, not @ ..] = *prefix;
    let len = u32::from_le_bytes([a, b, c, d]);
    // The length is checked by itself, so that a damaged one is never taken for an entry that a crash cut short.
    if !len != u32::from_le_bytes(not) || len as usize > EVENT_LEN_MAX {
        return Err(malformed("damaged length of an entry"));
    }
    let Some((payload, rest)) = rest.split_at_checked(len as usize) else { return Ok(None) };
    let Some((digest, rest)) = rest.split_first_chunk::<DIGEST_LEN>() else { return Ok(None) };
    let (expected, found) = (Digest::new(*digest), chain(head, payload));
    if expected != found {
        return Err(Error::CatalogCorrupt { offset, expected, found });
    }
    let event = Event::decode(payload).map_err(|_| malformed("unknown event"))?;
    Ok(Some((event, found, PREFIX_LEN + payload.len() + DIGEST_LEN, rest)))
}

#[cfg(test)]
mod tests {
    use dominator_store_core::ImageId;

    use super::*;
    use crate::catalog::EventKind;

    fn event(at_ms: u64, kind: EventKind) -> Event {
        let name = "prod/web".parse().expect("name");
        let image = ImageId::of(b"image");
        Event { kind, at_ms, name, image, created_ms: 5, entry_count: 7, content_len: 1 << 33 }
    }

    fn log(dir: &Path) -> (PathBuf, Replay) {
        let path = dir.join("log");
        CatalogLog::create(&path).expect("create");
        let mut log = CatalogLog::open(&path, &read_log(&path, None).expect("read")).expect("open");
        log.append(&event(1, EventKind::Published)).expect("append");
        log.append(&event(2, EventKind::Deleted)).expect("append");
        let replay = read_log(&path, None).expect("read");
        assert_eq!(replay.state, log.state);
        (path, replay)
    }

    #[test]
    fn what_was_appended_is_read_back_and_its_bytes_never_change() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, replay) = log(dir.path());
        let events: Vec<Event> = replay.events.iter().map(|(event, _)| event.clone()).collect();
        assert_eq!(events, [event(1, EventKind::Published), event(2, EventKind::Deleted)]);
        assert_eq!(Digest::of(&fs::read(path).expect("read")).short(), LOG_VECTOR);
    }

    const LOG_VECTOR: &str = "bdfded5d2333";

    #[test]
    fn entries_cannot_be_swapped_repeated_or_left_out() {
        let dir = tempfile::tempdir().expect("dir");
        let (path, replay) = log(dir.path());
        let bytes = fs::read(&path).expect("read");
        let [(_, first), (_, second)] = &replay.events[..] else { panic!("two events") };
        let part = |from: u64, to: u64| &bytes[from as usize..to as usize];
        let (magic, a, b) = (part(0, 8), part(8, first.len), part(first.len, second.len));
        for parts in [vec![magic, b, a], vec![magic, a, a, b], vec![magic, b], vec![magic, a, b, a]] {
            fs::write(&path, parts.concat()).expect("write");
            assert!(matches!(read_log(&path, None), Err(Error::CatalogCorrupt { .. })));
        }
        // Leaving out the end is seen by who knows what was acknowledged.
        fs::write(&path, [magic, a].concat()).expect("write");
        assert!(read_log(&path, Some(*second)).is_err() && read_log(&path, Some(*first)).is_ok());
    }
}
