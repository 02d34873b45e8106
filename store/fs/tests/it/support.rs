//! What the tests share: capture a directory, keep its objects, give its content back.
//!
//! Owns a store in memory for one captured directory. Invariant: content read back is checked against its id.
//! Does not compare trees: the tests do.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    num::NonZeroUsize,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use dominator_store_core::{
    BlobHasher, BlobId, Directory, Filter, Item, Managed, ReadTreeError, TreeId, TreePath, read_directory,
};
use dominator_store_fs::{BlobSource, Capture, CheckoutOptions, CheckoutReport, Result, capture, checkout};

/// Everything that can be managed.
pub(crate) const ALL: Managed = Managed { mtimes: true, directory_mtimes: true, xattrs: true, holes: true };

pub(crate) fn threads() -> NonZeroUsize {
    NonZeroUsize::new(3).expect("three")
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).expect(text)
}

pub(crate) fn name(text: &str) -> dominator_store_core::Name {
    dominator_store_core::Name::new(text.as_bytes()).expect(text)
}

pub(crate) fn capture_all(root: &Path) -> Capture {
    capture(root, &Filter::default(), ALL, threads(), &|_, _| {}).expect("capture")
}

pub(crate) fn root_of(root: &Path) -> TreeId {
    capture_all(root).tree.encode(&mut |_, _| {}).expect("tree")
}

/// A captured directory with its objects, and the directory itself as the source of content.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) root: TreeId,
    pub(crate) capture: Capture,
    objects: BTreeMap<TreeId, Vec<u8>>,
    files: BTreeMap<BlobId, PathBuf>,
}

impl Captured {
    pub(crate) fn new(dir: &Path, managed: Managed) -> Self {
        let capture = capture(dir, &Filter::default(), managed, threads(), &|_, _| {}).expect("capture");
        let mut objects = BTreeMap::new();
        let root = capture.tree.encode(&mut |id, bytes| drop(objects.insert(id, bytes))).expect("tree");
        let files = capture.tree.items.iter().filter_map(|(path, item)| {
            let (blob, _) = item.blob()?;
            Some((blob, dir.join(std::ffi::OsStr::from_bytes(path.as_bytes()))))
        });
        let files = files.collect();
        Self { root, capture, objects, files }
    }

    pub(crate) fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<Arc<io::Error>>> {
        read_directory(id, &mut |id| {
            self.objects.get(&id).cloned().ok_or_else(|| Arc::new(io::Error::from(io::ErrorKind::NotFound)))
        })
    }

    pub(crate) fn checkout(&self, dest: &Path, managed: Managed) -> Result<CheckoutReport> {
        let options = CheckoutOptions { managed, threads: threads() };
        checkout(dest, self.root, |id| self.directory(id), self, options, &|_, _| {})
    }

    pub(crate) fn items(&self) -> impl Iterator<Item = &(TreePath, Item)> {
        self.capture.tree.items.iter()
    }
}

impl BlobSource for Captured {
    fn read_blob(&self, id: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        let path = self.files.get(&id).ok_or(io::ErrorKind::NotFound)?;
        let bytes = fs::read(path)?;
        let mut hasher = BlobHasher::new();
        hasher.update(&bytes);
        assert_eq!((hasher.finish(), bytes.len() as u64), (id, size), "{}", path.display());
        // Pieces of an odd length, so that holes and pieces do not end together.
        bytes.chunks(99_991).try_for_each(|piece| out.write_all(piece))
    }
}
