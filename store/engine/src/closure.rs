//! Whether every object of an image is there and says what the others say (`spec/store.md#closure`).
//!
//! Owns the walk over an image's objects. Invariants: nothing that a peer claims is believed: directories are canonical,
//! hard-link groups consistent, counts right, sizes those of the objects; the number of entries visited is bounded by
//! what the image states, which is bounded itself.
//!
//! Does not read chunks: their digests were checked when they were stored, and `verify` reads them again.

use std::collections::{HashMap, HashSet};

use dominator_store_core::{
    BlobId, Content, Image, ImageId, Item, Leaf, LinkGroup, ObjectId, ReadTreeError, Recipe, TreePath, walk,
};

use crate::{Error, error::Result, limits::ENTRY_COUNT_MAX, objects::Objects};

/// The content that an image needs.
#[derive(Debug, Default)]
pub(crate) struct Closure {
    /// Each blob with its size, empty ones left out.
    pub(crate) blobs: HashMap<BlobId, u64>,
}

/// Walks the trees of an image and checks them.
pub(crate) fn walk_image(objects: &Objects, id: ImageId, image: &Image) -> Result<Closure> {
    if image.entry_count > ENTRY_COUNT_MAX {
        return Err(Error::Limit { what: "entries of an image", limit: ENTRY_COUNT_MAX });
    }
    let mut walker = Walker::default();
    let walked = walk(image.root, image.entry_count, &mut |tree| objects.directory(tree), &mut |path, item| {
        walker.visit(&path, item);
    });
    match walked {
        Ok(()) => {}
        Err(ReadTreeError::Source(_, error)) => {
            return Err(match *error {
                Error::Absent { object } => Error::Incomplete { image: id, object },
                // Damage of our own packs is no fault of the image.
                error => error,
            });
        }
        Err(ReadTreeError::TooLarge(expected)) => {
            return Err(Error::ImageCounts { image: id, what: "entries", expected, found: expected.saturating_add(1) });
        }
        Err(source) => return Err(Error::BadTree { root: image.root, source: Box::new(source) }),
    }
    walker.finish(id, image)
}

#[derive(Default)]
struct Walker {
    closure: Closure,
    groups: HashMap<LinkGroup, (Leaf, u64)>,
    entry_count: u64,
    content_len: u64,
    error: Option<Error>,
}

impl Walker {
    fn visit(&mut self, path: &TreePath, item: Item) {
        self.entry_count += 1;
        let Item::Leaf(leaf) = item else { return };
        let counted = match leaf.link {
            Some(group) => self.join(group, path, &leaf),
            None => true,
        };
        if let Content::File { size, blob, .. } = leaf.content {
            if counted {
                self.content_len = self.content_len.saturating_add(size);
            }
            if size > 0 {
                match self.closure.blobs.insert(blob, size) {
                    Some(expected) if expected != size => {
                        self.fail(Error::BlobSize { blob, expected, found: size });
                    }
                    _ => {}
                }
            }
        }
    }

    /// Adds a member to its hard-link group; says whether it is the first one.
    fn join(&mut self, group: LinkGroup, path: &TreePath, leaf: &Leaf) -> bool {
        match self.groups.get_mut(&group) {
            Some((first, count)) => {
                *count += 1;
                if first != leaf {
                    self.fail(Error::BadLinkGroup { path: path.clone() });
                }
                false
            }
            None => {
                // The walk is in tree order, so the first member is the least, which names the group.
                if LinkGroup::of(path) != group {
                    self.fail(Error::BadLinkGroup { path: path.clone() });
                }
                self.groups.insert(group, (leaf.clone(), 1));
                true
            }
        }
    }

    fn fail(&mut self, error: Error) {
        self.error.get_or_insert(error);
    }

    fn finish(self, id: ImageId, image: &Image) -> Result<Closure> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let counts = [("entries", image.entry_count, self.entry_count), ("bytes", image.content_len, self.content_len)];
        for (what, expected, found) in counts {
            if expected != found {
                return Err(Error::ImageCounts { image: id, what, expected, found });
            }
        }
        Ok(self.closure)
    }
}

/// Checks that the single chunk of a blob is there with the right size; `false` if there is none.
pub(crate) fn has_single_chunk(objects: &Objects, blob: BlobId, size: u64) -> Result<bool> {
    let Some(location) = objects.index.location(blob.single_chunk().into())? else { return Ok(false) };
    let found = u64::from(location.raw_len);
    if found != size {
        return Err(Error::BlobSize { blob, expected: size, found });
    }
    Ok(true)
}

/// Checks that a recipe is of the right size and that its chunks are there; remembers chunks in `seen`.
pub(crate) fn check_recipe(
    objects: &Objects,
    image: ImageId,
    size: u64,
    recipe: &Recipe,
    seen: &mut HashSet<ObjectId>,
) -> Result<()> {
    let blob = recipe.blob();
    if recipe.size() != size {
        return Err(Error::BlobSize { blob, expected: size, found: recipe.size() });
    }
    let chunks: Vec<_> = recipe.chunks().iter().filter(|chunk| seen.insert(chunk.id.into())).collect();
    let ids: Vec<ObjectId> = chunks.iter().map(|chunk| chunk.id.into()).collect();
    for ((chunk, object), location) in chunks.into_iter().zip(&ids).zip(objects.index.locations(&ids)?) {
        let location = location.ok_or(Error::Incomplete { image, object: *object })?;
        if location.raw_len != chunk.len {
            return Err(Error::BlobSize { blob, expected: chunk.len.into(), found: location.raw_len.into() });
        }
    }
    Ok(())
}
