//! Removing a whole sub-tree.
//!
//! Owns the recursion. Invariants: links are removed, not followed; a mount is not entered; however deep the nesting,
//! stack and descriptors are bounded.
//!
//! The agent removes nothing that an old image still needs: that is its plan's concern.

use dominator_store_core::Name;
use rustix::io::Errno;

use crate::{Dir, FileType, FsError, Result};

impl Dir {
    /// Removes `name`, of any type, with everything in it; that there is no such name is no error.
    ///
    /// # Errors
    /// `EBUSY` or `EXDEV` at a mount; what was removed before stays removed.
    pub fn remove_tree(&self, name: &Name) -> Result<()> {
        // A pass removes what is at most `PASS_DEPTH_MAX` deep and lifts up what is deeper, for the next pass.
        for _ in 0..PASS_COUNT_MAX {
            match self.try_stat(name)? {
                None => return Ok(()),
                Some(stat) if stat.kind == FileType::Dir => match self.open_child(name) {
                    Ok(top) => {
                        Pass { top: &top, lifted: 0 }.empty(&top, 0)?;
                        settle(self.remove_dir(name))?;
                    }
                    Err(error) => settle(Err(error))?,
                },
                Some(_) => settle(self.unlink(name))?,
            }
        }
        Err(FsError::Unstable { path: self.path().join(name) })
    }
}

/// Takes for done what was swapped or filled meanwhile: the next look shows it.
fn settle(done: Result<()>) -> Result<()> {
    match done {
        Err(error) => match error.errno() {
            Some(Errno::NOENT | Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY | Errno::LOOP) => Ok(()),
            _ => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

struct Pass<'a> {
    /// What is to be removed, as a place for directories that are too deep to be reached from it.
    top: &'a Dir,
    lifted: u64,
}

impl Pass<'_> {
    fn empty(&mut self, dir: &Dir, depth: usize) -> Result<()> {
        for name in dir.names()? {
            let Some(stat) = dir.try_stat(&name)? else { continue };
            if stat.kind != FileType::Dir {
                settle(dir.unlink(&name))?;
            } else if depth >= PASS_DEPTH_MAX {
                self.lift(dir, &name)?;
            } else {
                match dir.open_child(&name) {
                    Ok(child) => {
                        self.empty(&child, depth + 1)?;
                        settle(dir.remove_dir(&name))?;
                    }
                    Err(error) => settle(Err(error))?,
                }
            }
        }
        Ok(())
    }

    fn lift(&mut self, dir: &Dir, name: &Name) -> Result<()> {
        loop {
            self.lifted += 1;
            let free = format!("lifted-{}", self.lifted);
            let Ok(free) = Name::new(free.as_bytes()) else { return Ok(()) };
            match dir.rename_new(name, self.top, &free) {
                Err(error) if error.errno() == Some(Errno::EXIST) => {}
                done => return settle(done),
            }
        }
    }
}

/// How deep one pass goes; others may nest directories deeper than a path can be.
const PASS_DEPTH_MAX: usize = 64;
/// How many passes are made, which bounds the depth that can be removed at about 250,000.
const PASS_COUNT_MAX: usize = 4096;
