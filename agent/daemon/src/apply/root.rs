//! The managed root as a place in which steps are performed.
//!
//! Owns the translation of operations into system calls. Invariants: every call is relative to a held directory that was
//! reached beneath the root without crossing a link or a mount; an inode is compared after it is held, where the call
//! allows it; what the kernel refuses because the world is different is told apart from what is broken.
//!
//! What a refusal means is `agent/core`.

use std::{collections::BTreeMap, rc::Rc};

use dominator_agent_core::{Files, Found, Ino, Moved, Place, Slot};
use dominator_store_core::{Managed, Meta, Mtime, Name, TreePath};
use dominator_store_fs::{Dir, FileType, FsError, make_dir, write_dir_meta, write_mtime};
use rustix::io::Errno;

use super::{
    error::ApplyError,
    fault::{Fault, Point},
    limits::OPEN_DIR_COUNT_MAX,
    private::own_name,
};

/// A managed root with the stage and the rollback directory of one plan.
pub(super) struct RootFiles<'a> {
    root: &'a Dir,
    stage: &'a Dir,
    rollback: &'a Dir,
    managed: Managed,
    can_exchange: bool,
    fault: &'a dyn Fault,
    /// Directories of the root that steps were in lately.
    open: BTreeMap<TreePath, Rc<Dir>>,
}

/// The directory that holds a name, and the name.
enum Held<'a> {
    Own(&'a Dir, Name),
    InRoot(Rc<Dir>, Name),
}

impl Held<'_> {
    fn dir(&self) -> &Dir {
        match self {
            Self::Own(dir, _) => dir,
            Self::InRoot(dir, _) => dir,
        }
    }

    fn name(&self) -> &Name {
        match self {
            Self::Own(_, name) | Self::InRoot(_, name) => name,
        }
    }
}

impl<'a> RootFiles<'a> {
    pub(super) fn new(
        root: &'a Dir,
        stage: &'a Dir,
        rollback: &'a Dir,
        managed: Managed,
        can_exchange: bool,
        fault: &'a dyn Fault,
    ) -> Self {
        Self { root, stage, rollback, managed, can_exchange, fault, open: BTreeMap::new() }
    }

    /// Looks at a name in the root; `None` if its directory, or the name, cannot be reached.
    pub(super) fn look<T>(
        &mut self,
        path: &TreePath,
        look: impl FnOnce(&Dir, &Name) -> Result<T, FsError>,
    ) -> Result<Option<T>, ApplyError> {
        match self.hold(Place::Root(path))? {
            Some(held) => reached(look(held.dir(), held.name())),
            None => Ok(None),
        }
    }

    /// Waits until the names in a directory of the root are on disk; one that is gone has none.
    pub(super) fn sync_dir(&mut self, path: &TreePath) -> Result<(), ApplyError> {
        match self.open_dir(path)? {
            Some(dir) => Ok(dir.sync()?),
            None => Ok(()),
        }
    }

    pub(super) const fn root(&self) -> &Dir {
        self.root
    }

    /// Holds the directory of a place; `None` if it cannot be reached, or for the root, which is in none.
    fn hold(&mut self, at: Place<'_>) -> Result<Option<Held<'a>>, ApplyError> {
        match at {
            Place::Stage(slot) => Ok(Some(Held::Own(self.stage, slot_name(slot)))),
            Place::Rollback(slot) => Ok(Some(Held::Own(self.rollback, slot_name(slot)))),
            Place::Root(path) => {
                let (Some(parent), Some(name)) = (path.parent(), path.name()) else { return Ok(None) };
                Ok(self.open_dir(&parent)?.map(|dir| Held::InRoot(dir, name)))
            }
        }
    }

    fn open_dir(&mut self, path: &TreePath) -> Result<Option<Rc<Dir>>, ApplyError> {
        if let Some(dir) = self.open.get(path) {
            return Ok(Some(Rc::clone(dir)));
        }
        let Some(dir) = reached(self.root.open_path(path))? else { return Ok(None) };
        if self.open.len() >= OPEN_DIR_COUNT_MAX {
            self.open.clear();
        }
        let dir = Rc::new(dir);
        self.open.insert(path.clone(), Rc::clone(&dir));
        Ok(Some(dir))
    }

    /// Forgets directories that an operation on this name has moved.
    fn forget(&mut self, at: Place<'_>) {
        let Place::Root(path) = at else { return };
        let below = self.open.range(path.clone()..).map(|(at, _)| at).take_while(|at| at.starts_with(path));
        let below: Vec<TreePath> = below.cloned().collect();
        for path in below {
            self.open.remove(&path);
        }
    }

    /// Performs an operation on two names.
    fn move_names(
        &mut self,
        from: Place<'_>,
        to: Place<'_>,
        call: fn(&Dir, &Name, &Dir, &Name) -> Result<(), FsError>,
    ) -> Result<Moved, ApplyError> {
        self.fault.reach(Point::Operation)?;
        let (Some(source), Some(target)) = (self.hold(from)?, self.hold(to)?) else { return Ok(Moved::Refused) };
        self.forget(from);
        self.forget(to);
        moved(call(source.dir(), source.name(), target.dir(), target.name()))
    }
}

fn slot_name(slot: Slot) -> Name {
    own_name(&slot.to_string())
}

/// Tells what cannot be reached from what is broken.
fn reached<T>(result: Result<T, FsError>) -> Result<Option<T>, ApplyError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_elsewhere(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Tells what was refused because names are different from what is broken.
fn moved(result: Result<(), FsError>) -> Result<Moved, ApplyError> {
    match result {
        Ok(()) => Ok(Moved::Done),
        Err(error) if is_elsewhere(&error) || is_occupied(&error) => Ok(Moved::Refused),
        Err(error) => Err(error.into()),
    }
}

/// The name, or a directory on the way to it, is gone, or is a link, another type or a mount now.
fn is_elsewhere(error: &FsError) -> bool {
    let errnos = [Errno::NOENT, Errno::NOTDIR, Errno::LOOP, Errno::XDEV, Errno::STALE];
    matches!(error, FsError::WrongType { .. }) || error.errno().is_some_and(|errno| errnos.contains(&errno))
}

/// Something is there: a name, an entry in a directory, a mount.
fn is_occupied(error: &FsError) -> bool {
    let errnos = [Errno::EXIST, Errno::NOTEMPTY, Errno::BUSY, Errno::ISDIR];
    error.errno().is_some_and(|errno| errnos.contains(&errno))
}

impl Files for RootFiles<'_> {
    type Error = ApplyError;

    fn can_exchange(&self) -> bool {
        self.can_exchange
    }

    fn find(&mut self, at: Place<'_>) -> Result<Option<Found>, ApplyError> {
        let stat = match self.hold(at)? {
            Some(held) => reached(held.dir().stat(held.name()))?,
            None if at == Place::Root(&TreePath::root()) => Some(self.root.stat_self()?),
            None => None,
        };
        // A mount has another file system's numbers. Device numbers say less: an overlay has several.
        let is_root = at == Place::Root(&TreePath::root());
        Ok(stat.map(|stat| Found {
            ino: (is_root || !stat.mount_root).then_some(Ino(stat.ino)),
            is_dir: stat.kind == FileType::Dir,
        }))
    }

    fn is_empty_dir(&mut self, at: Place<'_>) -> Result<bool, ApplyError> {
        let Some(held) = self.hold(at)? else { return Ok(false) };
        match reached(held.dir().open_child(held.name()))? {
            Some(dir) => Ok(dir.names()?.is_empty()),
            None => Ok(false),
        }
    }

    fn rename_new(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, ApplyError> {
        self.move_names(from, to, Dir::rename_new)
    }

    fn rename_over(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, ApplyError> {
        self.move_names(from, to, Dir::rename)
    }

    fn exchange(&mut self, one: Place<'_>, other: Place<'_>) -> Result<Moved, ApplyError> {
        self.move_names(one, other, Dir::exchange)
    }

    fn link(&mut self, from: Place<'_>, to: Place<'_>) -> Result<Moved, ApplyError> {
        self.move_names(from, to, Dir::link)
    }

    fn remove_dir(&mut self, at: Place<'_>) -> Result<Moved, ApplyError> {
        self.fault.reach(Point::Operation)?;
        let Some(held) = self.hold(at)? else { return Ok(Moved::Refused) };
        self.forget(at);
        moved(held.dir().remove_dir(held.name()))
    }

    fn make_dir(&mut self, at: Place<'_>, meta: &Meta) -> Result<Moved, ApplyError> {
        self.fault.reach(Point::Operation)?;
        let Some(held) = self.hold(at)? else { return Ok(Moved::Refused) };
        let dir = match make_dir(held.dir(), held.name()) {
            Ok(dir) => dir,
            Err(error) if error.errno() == Some(Errno::EXIST) => held.dir().open_child(held.name())?,
            Err(error) => return Err(error.into()),
        };
        write_dir_meta(&dir, meta, self.managed)?;
        Ok(Moved::Done)
    }

    fn write_meta(&mut self, at: Place<'_>, ino: Ino, meta: &Meta) -> Result<Moved, ApplyError> {
        self.fault.reach(Point::Operation)?;
        let dir = match (at, self.hold(at)?) {
            (_, Some(held)) => reached(held.dir().open_child(held.name()))?,
            (Place::Root(_), None) => Some(self.root.try_clone()?),
            _ => None,
        };
        let Some(dir) = dir else { return Ok(Moved::Refused) };
        let stat = dir.stat_self()?;
        if stat.ino != ino.0 {
            return Ok(Moved::Refused);
        }
        write_dir_meta(&dir, &Meta { mtime: None, ..meta.clone() }, self.managed)?;
        Ok(Moved::Done)
    }

    fn write_mtime(&mut self, at: Place<'_>, ino: Ino, mtime: Mtime) -> Result<Moved, ApplyError> {
        self.fault.reach(Point::Operation)?;
        if let Some(held) = self.hold(at)? {
            let written = reached(write_mtime(held.dir(), held.name(), ino.0, mtime))?;
            return Ok(if written == Some(true) { Moved::Done } else { Moved::Refused });
        }
        if at != Place::Root(&TreePath::root()) {
            return Ok(Moved::Refused);
        }
        // The root is in no directory of ours, but it is held.
        let stat = self.root.stat_self()?;
        let meta = Meta { mtime: Some(mtime), ..Meta::new(stat.mode, stat.uid, stat.gid) };
        write_dir_meta(self.root, &meta, Managed { xattrs: false, ..self.managed })?;
        Ok(Moved::Done)
    }
}
