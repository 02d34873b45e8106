//! Making files and their names survive a crash.
//!
//! Owns every fsync and every rename of the store's crates. Invariants: a file's bytes are durable before its final name
//! exists, and the name is durable when the function that made it returns; a failed fsync is final for that file, because
//! the kernel forgets the pages it could not write.
//!
//! Does not decide what must be durable when: writers, the catalog log and the engine's barrier do.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
};

use crate::{Error, fault};

/// Makes the file's bytes and length durable.
pub fn sync_file(file: &File, path: &Path) -> Result<(), Error> {
    fault::point();
    file.sync_data().map_err(Error::io("fsync", path))?;
    fault::point();
    Ok(())
}

/// Makes the names in a directory durable.
pub fn sync_dir(dir: &Path) -> Result<(), Error> {
    let file = File::open(dir).map_err(Error::io("open directory", dir))?;
    file.sync_all().map_err(Error::io("fsync directory", dir))?;
    fault::point();
    Ok(())
}

/// Creates a new file for writing and reading; one that exists is an error.
pub fn create_file(path: &Path) -> Result<File, Error> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path);
    fault::point();
    file.map_err(Error::io("create", path))
}

/// Renames a file whose bytes are durable; the new name is durable after [`sync_dir`] of its directory.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    fs::rename(from, to).map_err(Error::io("rename", from))?;
    fault::point();
    Ok(())
}

/// Removes a file; one that is gone already is no error.
pub fn remove_file(path: &Path) -> Result<(), Error> {
    let removed = fs::remove_file(path);
    fault::point();
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Creates a directory and makes its name durable; one that exists already is no error.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create directory", path)(error));
        }
        _ => {}
    }
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Writes a whole small file so that after a crash the name stands for the old bytes or for all of the new ones.
pub fn replace_file(dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let (path, fresh) = (dir.join(name), dir.join(format!("{name}.new")));
    remove_file(&fresh)?;
    let mut file = create_file(&fresh)?;
    file.write_all(bytes).map_err(Error::io("write", &fresh))?;
    sync_file(&file, &fresh)?;
    rename(&fresh, &path)?;
    sync_dir(dir)
}
