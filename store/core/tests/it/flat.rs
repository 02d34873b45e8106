//! Whole trees: from a list to objects and back, and the bounds of a walk.
//!
//! Owns the round trip. Does not compare with another implementation: `oracle` does.

use dominator_store_core::{
    Directory, Entry, FlatTree, FlatTreeError, Item, Meta, Name, Node, ReadTreeError, TreePath, limits::TREE_DEPTH_MAX,
    walk,
};
use dominator_testkit::flat_tree;
use proptest::prelude::*;

use crate::support::Objects;

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_walk_visits_what_was_encoded(seed: u64, entry_count in 1usize..1500) {
        let tree = flat_tree(seed, entry_count).tree;
        let mut objects = Objects::default();
        let root = objects.put_tree(&tree);
        let items = objects.walk(root);
        prop_assert_eq!(&items, &tree.items);
        prop_assert_eq!(FlatTree::new(items).encode(&mut |_, _| {}), Ok(root));
    }

    #[test]
    fn any_single_change_changes_the_root(seed: u64, at: prop::sample::Index) {
        let (tree, donor) = (flat_tree(seed, 80).tree, flat_tree(!seed, 200).tree);
        let root = tree.encode(&mut |_, _| {}).expect("tree");
        let mut changed = tree.clone();
        let pos = at.index(changed.items.len());
        let (_, item) = changed.items.get_mut(pos).expect("item");
        let same_kind = |other: &&(TreePath, Item)| other.1.is_dir() == item.is_dir() && other.1 != *item;
        if let Some((_, other)) = donor.items.iter().find(same_kind) {
            *item = other.clone();
            prop_assert_ne!(changed.encode(&mut |_, _| {}).expect("tree"), root);
        }
    }
}

#[test]
fn a_list_that_is_no_tree_is_refused() {
    let path = |text: &str| TreePath::parse(text.as_bytes()).expect(text);
    let dir = |text: &str| (path(text), Item::Dir(Meta::new(0o755, 0, 0)));
    let leaf = |text: &str| flat_leaf(path(text));
    let encode = |items: Vec<(TreePath, Item)>| FlatTree::new(items).encode(&mut |_, _| {});
    assert_eq!(encode(vec![]), Err(FlatTreeError::NoRoot));
    assert_eq!(encode(vec![leaf("")]), Err(FlatTreeError::NoRoot));
    assert_eq!(encode(vec![dir("a")]), Err(FlatTreeError::Misplaced(path("a"))));
    assert_eq!(encode(vec![dir(""), dir("a/b")]), Err(FlatTreeError::Misplaced(path("a/b"))));
    assert_eq!(encode(vec![dir(""), leaf("a"), leaf("a/b")]), Err(FlatTreeError::Misplaced(path("a/b"))));
    assert_eq!(encode(vec![dir(""), dir("")]), Err(FlatTreeError::Misplaced(path(""))));
    assert!(matches!(encode(vec![dir(""), leaf("a"), leaf("a")]), Err(FlatTreeError::Directory(..))));
}

fn flat_leaf(path: TreePath) -> (TreePath, Item) {
    let tree = flat_tree(1, 50).tree;
    let leaf = tree.items.into_iter().find(|(_, item)| !item.is_dir()).expect("a leaf");
    (path, leaf.1)
}

/// A directory whose two entries are the same directory, and so on: 2^depth paths from few objects.
fn doubling(objects: &mut Objects, depth: usize) -> dominator_store_core::TreeId {
    let meta = Meta::new(0o755, 0, 0);
    let mut at = objects.put_directory(&Directory::new(meta.clone(), Vec::new()).expect("directory"));
    for _ in 0..depth {
        let entry = |name: &[u8]| Entry { name: Name::new(name).expect("name"), node: Node::Dir(at) };
        at = objects.put_directory(&Directory::new(meta.clone(), vec![entry(b"a"), entry(b"b")]).expect("directory"));
    }
    at
}

#[test]
fn a_walk_is_bounded_in_number_and_depth() {
    let mut objects = Objects::default();
    let wide = doubling(&mut objects, 100);
    let mut visited = 0;
    let found = walk(wide, 1000, &mut |id| objects.directory(id), &mut |_, _| visited += 1);
    assert_eq!(found, Err(ReadTreeError::TooLarge(1000)));
    assert_eq!(visited, 1000);
    let deep = doubling(&mut objects, TREE_DEPTH_MAX + 1);
    let found = walk(deep, u64::MAX, &mut |id| objects.directory(id), &mut |_, _| {});
    assert!(matches!(found, Err(ReadTreeError::TooDeep(_))));
}
