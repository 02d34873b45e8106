//! From a walk to a tree.
//!
//! Owns finding hard links. Invariant: names with one inode form a group only if at least two of them are in the tree,
//! so that links outside of what is managed change nothing.
//!
//! Does not read content: the caller knows the blobs.

use std::collections::HashMap;

use dominator_store_core::{BlobId, Content, Device, FlatTree, Hole, Item, Leaf, LinkGroup};

use crate::{Found, Listed, Listing};

/// Makes a tree of `listing`; `blobs` gives the content of each regular file, or `None` to leave it out.
///
/// A mounted directory becomes an empty directory; mounted files, sockets and what a tree cannot record are left out.
pub fn flatten(listing: &Listing, mut blobs: impl FnMut(&Listed) -> Option<(BlobId, u64, Vec<Hole>)>) -> FlatTree {
    let mut items = Vec::with_capacity(listing.entries.len());
    let mut inodes: HashMap<(u32, u32, u64), Vec<usize>> = HashMap::new();
    for listed in &listing.entries {
        let item = match &listed.found {
            Found::Dir(meta) | Found::ForeignMount(Some(meta)) => Item::Dir(meta.clone()),
            Found::Other(leaf) => Item::Leaf(leaf.clone()),
            Found::File(meta) => match blobs(listed) {
                Some((blob, size, holes)) => {
                    let content = Content::File { size, blob, holes };
                    Item::Leaf(Leaf { meta: meta.clone(), link: None, content })
                }
                None => continue,
            },
            Found::ForeignMount(None) | Found::Socket | Found::Beyond(_) => continue,
        };
        if listed.stat.nlink > 1 && !item.is_dir() {
            let Device { major, minor } = listed.stat.dev;
            inodes.entry((major, minor, listed.stat.ino)).or_default().push(items.len());
        }
        items.push((listed.path.clone(), item));
    }
    for members in inodes.into_values().filter(|members| members.len() > 1) {
        let least = members.iter().filter_map(|pos| items.get(*pos)).map(|(path, _)| path).min();
        let Some(link) = least.map(LinkGroup::of) else { continue };
        for pos in members {
            if let Some((_, Item::Leaf(leaf))) = items.get_mut(pos) {
                leaf.link = Some(link);
            }
        }
    }
    FlatTree::new(items)
}
