//! Certificate and key files.
//!
//! Owns reading and writing them. Invariants: a key is never readable by others, not even for a moment; a file is there whole
//! or not at all; nothing is replaced unless the caller says so.
//!
//! Does not look into them.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use crate::{Error, error::Unusable, limits::PEM_LEN_MAX};

/// Whether files that exist may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// They may.
    Yes,
    /// They may not.
    No,
}

/// Permission bits of a file that only its owner may read.
pub(crate) const SECRET_MODE: u32 = 0o600;
/// Permission bits of a file that everybody may read.
pub(crate) const PUBLIC_MODE: u32 = 0o644;

/// Reads a PEM file of bounded length.
pub(crate) fn read_pem_file(path: &Path) -> Result<String, Error> {
    // Bytes that are no text are no PEM either; the reader of the PEM says so.
    Ok(String::from_utf8(read_bounded(path, PEM_LEN_MAX)?).unwrap_or_default())
}

/// Reads a file of at most `len_max` bytes.
pub(crate) fn read_bounded(path: &Path, len_max: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Io { operation: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let read_len = File::open(path).map_err(io)?.take(len_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if read_len as u64 > len_max {
        return Err(Error::Unusable { what: path.display().to_string(), why: Unusable::TooLong });
    }
    Ok(bytes)
}

/// Adds a line to a file, durably; it need not exist.
pub(crate) fn append_line(path: &Path, line: &str) -> Result<(), Error> {
    let io = |source| Error::Io { operation: "append to", path: path.to_owned(), source };
    let mut file = OpenOptions::new().append(true).create(true).mode(PUBLIC_MODE).open(path).map_err(io)?;
    // One write, so that two writers do not mix their lines.
    file.write_all(format!("{line}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(io)
}

/// Waits until no other process changes what the authority in `dir` keeps; dropping the result lets others go on.
pub(crate) fn lock_authority(dir: &Path) -> Result<File, Error> {
    let path = dir.join("ca.key");
    let file = File::open(&path).and_then(|file| file.lock().map(|()| file));
    file.map_err(|source| Error::Io { operation: "lock", path, source })
}

/// Writes a file whole and durably, under a name of its own first.
pub(crate) fn write_file(path: &Path, content: &[u8], mode: u32, replace: Replace) -> Result<(), Error> {
    let error = |operation, source| Error::Io { operation, path: path.to_owned(), source };
    if replace == Replace::No && path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: path.to_owned() });
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".{}.draft", std::process::id()));
    let draft = Path::new(&draft);
    let written = write_draft(draft, content, mode).map_err(|source| error("write", source)).and_then(|()| {
        match replace {
            Replace::Yes => fs::rename(draft, path).map_err(|source| error("replace", source)),
            // A link, unlike a rename, fails when somebody was faster.
            Replace::No => fs::hard_link(draft, path).map_err(|source| match source.kind() {
                io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
                _ => error("create", source),
            }),
        }
    });
    // Gone already after a rename; the outcome above counts.
    let _ = fs::remove_file(draft);
    written?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(|source| error("sync the directory of", source))
}

fn write_draft(draft: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    // A draft of this process id can only be left over from a crash.
    let _ = fs::remove_file(draft);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(content)?;
    file.sync_all()
}
