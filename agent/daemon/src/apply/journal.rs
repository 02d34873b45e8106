//! The journal's file.
//!
//! Owns its life: one file per apply, begun beside the last one and renamed over it, then appended to. Invariant: when a
//! call returns, its record is durable; a record that failed to be written is cut off, so that nothing follows a torn
//! one.
//!
//! What records say and imply is `agent/core`.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
};

use dominator_agent_core::journal::{HEADER, Prepared, Record, decode, encode_frame};
use dominator_store_fs::Dir;
use rustix::{
    fs::{FallocateFlags, OFlags},
    io::Errno,
};

use super::{
    error::ApplyError,
    limits::{JOURNAL_LEN_MAX, JOURNAL_SLACK_LEN},
    private::{open_own, own_name},
};

/// A journal open for appending.
#[derive(Debug)]
pub(super) struct JournalFile {
    file: File,
    len: u64,
}

impl JournalFile {
    /// Begins the journal of an apply; the last one is gone then.
    pub(super) fn begin(private: &Dir, prepared: &Prepared) -> Result<Self, ApplyError> {
        let fail = |source| ApplyError::io("begin the journal", source);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        let mut file = File::from(open_own(private, NEW_NAME, flags).map_err(|errno| fail(errno.into()))?);
        let mut bytes = HEADER.to_vec();
        bytes.extend(encode_frame(&Record::Prepared(Box::new(prepared.clone()))));
        file.write_all(&bytes).map_err(fail)?;
        let len = bytes.len() as u64;
        match rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, len, JOURNAL_SLACK_LEN) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
        file.sync_data().map_err(fail)?;
        private.rename(&own_name(NEW_NAME), private, &own_name(NAME))?;
        private.sync()?;
        Ok(Self { file, len })
    }

    /// Reads the journal, if there is one, and opens it for appending behind its last whole record.
    pub(super) fn open(private: &Dir) -> Result<Option<(Self, Vec<Record>)>, ApplyError> {
        let fail = |source| ApplyError::io("read the journal", source);
        let mut file = match open_own(private, NAME, OFlags::RDWR) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(fail(errno.into())),
        };
        let mut bytes = Vec::new();
        (&mut file).take(JOURNAL_LEN_MAX).read_to_end(&mut bytes).map_err(fail)?;
        let decoded = decode(&bytes)?;
        Ok(Some((Self { file, len: decoded.valid_len as u64 }, decoded.records)))
    }

    /// Puts a journal that cannot be followed out of the way, for a person to look at.
    pub(super) fn set_aside(private: &Dir) -> Result<(), ApplyError> {
        private.rename(&own_name(NAME), private, &own_name(BAD_NAME))?;
        Ok(private.sync()?)
    }

    /// Appends a record.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), ApplyError> {
        let fail = |source| ApplyError::io("append to the journal", source);
        // Whatever is behind the last whole record, such as what an earlier failure left, is overwritten and cut off.
        self.file.seek(SeekFrom::Start(self.len)).map_err(fail)?;
        let frame = encode_frame(record);
        let end = self.len + frame.len() as u64;
        self.file.write_all(&frame).map_err(fail)?;
        if self.file.metadata().map_err(fail)?.len() != end {
            self.file.set_len(end).map_err(fail)?;
        }
        self.file.sync_data().map_err(fail)?;
        self.len = end;
        Ok(())
    }
}

const NAME: &str = "journal";
const NEW_NAME: &str = "journal.new";
const BAD_NAME: &str = "journal.bad";
