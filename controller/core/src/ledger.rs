//! Lines of the ledger: which directives were given (`spec/controller.md#ledger`).
//!
//! Owns the encoding of one line and the reading of a whole ledger. Invariants: a line that was cut short by a crash is
//! dropped, damage anywhere else is reported; a generation that was ever written is never given again.
//!
//! Does not write files: `controller/daemon` does, before it sends the directive.

use std::{collections::BTreeMap, fmt, str::FromStr};

use dominator_store_core::{Digest, ImageId};

use crate::{Host, limits::LEDGER_LINE_LEN_MAX};

/// What a directive tells an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DirectiveKind {
    /// Which image is required.
    Require,
    /// Fetch what the required image needs.
    Fetch,
    /// Fetch what the planned image needs.
    FetchPlanned,
    /// Become the image.
    Update,
}

impl DirectiveKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Require, Self::Fetch, Self::FetchPlanned, Self::Update];

    /// Returns the word used in the ledger, in histories and in logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Fetch => "fetch",
            Self::FetchPlanned => "fetch-planned",
            Self::Update => "update",
        }
    }
}

impl fmt::Display for DirectiveKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One directive as the ledger records it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The machine.
    pub host: Host,
    /// Number of the directive.
    pub generation: u64,
    /// When it was given, in milliseconds since 1970.
    pub at_ms: u64,
    /// What it tells.
    pub kind: DirectiveKind,
    /// The image that it is about.
    pub image: ImageId,
}

/// The last directive of each machine, as read from a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerLog {
    /// By machine.
    pub last: BTreeMap<Host, LedgerEntry>,
    /// Number of whole lines.
    pub line_count: usize,
    /// Length of the whole lines in bytes; what follows was cut short by a crash.
    pub good_len: usize,
}

/// Damage in a ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the ledger is damaged")]
pub struct LedgerError {
    /// Number of the line, from 1.
    pub line: usize,
}

const VERSION: &str = "1";
const CHECK_LEN: usize = 16;

impl LedgerEntry {
    /// Encodes the entry as one line, with its line feed.
    pub fn encode(&self) -> String {
        let Self { host, generation, at_ms, kind, image } = self;
        let text = format!("{VERSION} {generation} {at_ms} {kind} {image} {host}");
        format!("{text} {}\n", check(&text))
    }

    fn decode(line: &str) -> Option<Self> {
        if line.len() > LEDGER_LINE_LEN_MAX {
            return None;
        }
        let (text, found) = line.rsplit_once(' ')?;
        let mut fields = text.split(' ');
        if check(text) != found || fields.next() != Some(VERSION) {
            return None;
        }
        let generation = fields.next()?.parse().ok()?;
        let at_ms = fields.next()?.parse().ok()?;
        let kind = fields.next()?;
        let kind = DirectiveKind::ALL.into_iter().find(|known| known.word() == kind)?;
        let image = ImageId::from_str(fields.next()?).ok()?;
        let host = fields.next()?.parse().ok()?;
        fields.next().is_none().then_some(Self { host, generation, at_ms, kind, image })
    }
}

impl LedgerLog {
    /// Reads a whole ledger.
    ///
    /// # Errors
    /// When a line before the last is damaged; a last line without its line feed was cut short and is dropped.
    pub fn read(bytes: &[u8]) -> Result<Self, LedgerError> {
        let mut log = Self::default();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let Some(line) = piece.strip_suffix(b"\n") else { break };
            let line = std::str::from_utf8(line).ok().and_then(LedgerEntry::decode);
            let entry = line.ok_or(LedgerError { line: log.line_count + 1 })?;
            log.line_count += 1;
            log.good_len += piece.len();
            let is_newer = log.last.get(&entry.host).is_none_or(|last| last.generation < entry.generation);
            if is_newer {
                log.last.insert(entry.host.clone(), entry);
            }
        }
        Ok(log)
    }

    /// Encodes the last directives alone, as the beginning of a shorter ledger.
    pub fn encode(&self) -> String {
        self.last.values().map(LedgerEntry::encode).collect()
    }
}

fn check(text: &str) -> String {
    let mut digits = Digest::of(text.as_bytes()).to_string();
    digits.truncate(CHECK_LEN);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(host: &str, generation: u64, kind: DirectiveKind) -> LedgerEntry {
        let host = host.parse().expect(host);
        LedgerEntry { host, generation, at_ms: 1_700_000_000_123, kind, image: ImageId::of(b"image") }
    }

    #[test]
    fn ledgers_round_trip_and_keep_the_last_directive() {
        let mut text = String::new();
        for (pos, kind) in DirectiveKind::ALL.into_iter().enumerate() {
            text += &entry("web:7001", pos as u64 + 1, kind).encode();
        }
        text += &entry("[::1]", 9, DirectiveKind::Fetch).encode();
        let log = LedgerLog::read(text.as_bytes()).expect("ledger");
        assert_eq!((log.line_count, log.good_len), (5, text.len()));
        let last: Vec<_> = log.last.values().cloned().collect();
        assert_eq!(last, [entry("[::1]", 9, DirectiveKind::Fetch), entry("web:7001", 4, DirectiveKind::Update)]);
        let short = LedgerLog::read(log.encode().as_bytes()).expect("short ledger");
        assert_eq!((short.last, short.line_count), (log.last, 2));
    }

    #[test]
    fn a_line_cut_short_is_dropped_and_damage_is_reported() {
        let lines = [entry("a", 1, DirectiveKind::Require).encode(), entry("b", 2, DirectiveKind::Update).encode()];
        let text = lines.concat();
        for len in 0..text.len() {
            let log = LedgerLog::read(text.get(..len).expect("ascii").as_bytes()).expect("torn");
            assert_eq!(log.line_count, usize::from(len >= lines[0].len()));
            assert_eq!(log.good_len, if len >= lines[0].len() { lines[0].len() } else { 0 });
        }
        for pos in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[pos] ^= 1 << bit;
                let is_last_feed = pos == text.len() - 1;
                assert_eq!(LedgerLog::read(&bytes).is_err(), !is_last_feed, "byte {pos} bit {bit}");
            }
        }
    }

    #[test]
    fn an_older_generation_does_not_replace_a_newer_one() {
        let text =
            [entry("a", 5, DirectiveKind::Fetch).encode(), entry("a", 3, DirectiveKind::Update).encode()].concat();
        let log = LedgerLog::read(text.as_bytes()).expect("ledger");
        assert_eq!(log.last.values().next().map(|entry| entry.generation), Some(5));
    }
}
