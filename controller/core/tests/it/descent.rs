//! The search for deviations against the comparison of whole trees.
//!
//! Owns random pairs of trees, directories of many pages, and hostile answers. Invariant: on honest trees the search finds
//! what `store_core::diff` finds, and that is what a comparison of two flat lists finds.
//!
//! Does not test the formats of trees: `store/core` does.

use std::collections::BTreeMap;

use dominator_controller_core::{Descent, DescentError, Deviations, describe};
use dominator_store_core::{
    BlobId, Content, Difference, Directory, Entry, FlatTree, Item, Leaf, Meta, Name, Node, TreeBody, TreeId,
    TreeObject, TreePath, diff, read_directory,
};
use proptest::prelude::*;

type Objects = BTreeMap<TreeId, Vec<u8>>;

fn store(tree: &FlatTree) -> (TreeId, Objects) {
    let mut objects = Objects::new();
    let root = tree.encode(&mut |id, bytes| drop(objects.insert(id, bytes))).expect("tree");
    (root, objects)
}

fn file(version: u8) -> Item {
    let content = Content::File { size: 1, blob: BlobId::of(&[version]), holes: Vec::new() };
    Item::Leaf(Leaf { meta: Meta::new(0o644, 0, 0), link: None, content })
}

fn dir(mode: u16) -> Item {
    Item::Dir(Meta::new(mode, 0, 0))
}

/// Makes a tree of the wishes that fit: a path under a file is left out.
fn plant(wishes: &BTreeMap<TreePath, Item>) -> FlatTree {
    let mut items: BTreeMap<TreePath, Item> = BTreeMap::from([(TreePath::root(), dir(0o755))]);
    for (path, item) in wishes {
        let parent = path.parent().unwrap_or_default();
        if path.is_root() || items.get(&parent).is_some_and(Item::is_dir) {
            items.insert(path.clone(), item.clone());
        }
    }
    FlatTree::new(items.into_iter().collect())
}

/// Searches, and returns how many bytes were asked of each side.
fn search(machine: (TreeId, &Objects), image: (TreeId, &Objects)) -> Result<(Deviations, [usize; 2]), DescentError> {
    let mut descent = Descent::new(machine.0, image.0);
    let mut lens = [0; 2];
    let mut round_count = 0;
    while let Some(wanted) = descent.poll_wanted()? {
        round_count += 1;
        assert!(round_count < 10_000, "the search ends");
        for (side, (ids, objects)) in [(&wanted.machine, machine.1), (&wanted.image, image.1)].into_iter().enumerate() {
            for id in ids {
                let bytes = objects.get(id).expect("only objects of its own side are asked for");
                lens[side] += bytes.len();
                descent.handle_object(*id, bytes)?;
            }
        }
    }
    Ok((descent.finish(), lens))
}

fn whole_diff(machine: (TreeId, &Objects), image: (TreeId, &Objects)) -> Vec<Difference> {
    let mut differences = Vec::new();
    let mut get = |id| {
        let bytes = |id: TreeId| machine.1.get(&id).or(image.1.get(&id)).cloned().ok_or("absent");
        read_directory(id, &mut |id| bytes(id))
    };
    diff(Some(machine.0), Some(image.0), &mut get, &mut |difference| differences.push(difference)).expect("diff");
    differences.sort_by(|a, b| a.path.cmp(&b.path));
    differences
}

fn flat_diff(machine: &FlatTree, image: &FlatTree) -> Vec<Difference> {
    let map = |tree: &FlatTree| -> BTreeMap<TreePath, Item> { tree.items.iter().cloned().collect() };
    let (machine, image) = (map(machine), map(image));
    let mut paths: Vec<_> = machine.keys().chain(image.keys()).cloned().collect();
    paths.sort();
    paths.dedup();
    let differences = paths.into_iter().map(|path| {
        let (old, new) = (machine.get(&path).cloned(), image.get(&path).cloned());
        Difference { path, old, new }
    });
    differences.filter(|difference| difference.old != difference.new).collect()
}

fn wishes() -> impl Strategy<Value = BTreeMap<TreePath, Item>> {
    let path = proptest::collection::vec(0u8..6, 1..4).prop_map(|parts| {
        let text: Vec<_> = parts.iter().map(|part| format!("n{part}")).collect();
        TreePath::parse(text.join("/").as_bytes()).expect("path")
    });
    let item = prop_oneof![3 => Just(dir(0o755)), 1 => Just(dir(0o700)), 3 => (0u8..3).prop_map(file)];
    proptest::collection::btree_map(path, item, 0..60)
}

/// A directory of numbered files, of which some are changed, gone or new.
fn wide(names: impl Iterator<Item = u32>, version: impl Fn(u32) -> u8) -> FlatTree {
    let mut items = vec![(TreePath::root(), dir(0o755)), (TreePath::parse(b"d").expect("path"), dir(0o755))];
    items.extend(
        names.map(|name| (TreePath::parse(format!("d/file-{name:06}").as_bytes()).expect("path"), file(version(name)))),
    );
    FlatTree::new(items)
}

fn check(machine: &FlatTree, image: &FlatTree) -> [usize; 2] {
    let ((machine_root, machine_objects), (image_root, image_objects)) = (store(machine), store(image));
    let sides = ((machine_root, &machine_objects), (image_root, &image_objects));
    let (found, lens) = search(sides.0, sides.1).expect("search");
    assert!(!found.truncated && !found.first_fill);
    assert_eq!(found.differences, flat_diff(machine, image));
    assert_eq!(found.differences, whole_diff(sides.0, sides.1));
    assert!(found.differences.iter().all(|difference| !describe(difference).is_empty()));
    lens
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn the_search_finds_what_whole_comparisons_find(machine in wishes(), image in wishes()) {
        let (mut machine, image) = (plant(&machine), plant(&image));
        if machine.items.len() == 1 {
            machine.items.push((TreePath::parse(b"x").expect("path"), file(0)));
        }
        check(&machine, &image);
    }

    #[test]
    fn directories_of_many_pages_are_compared_page_by_page(
        gone in proptest::collection::btree_set(0u32..3000, 0..20),
        changed in proptest::collection::btree_set(0u32..3000, 0..20),
        extra in proptest::collection::btree_set(3000u32..9000, 0..40),
        count in 0u32..3000,
    ) {
        let machine = wide((0..count).filter(|name| !gone.contains(name)).chain(extra.iter().copied()), |_| 0);
        let image = wide(0..count, |name| u8::from(changed.contains(&name)));
        check(&machine, &image);
    }

    #[test]
    fn flipped_bits_are_refused(machine in wishes(), pos in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (root, objects) = store(&plant(&machine));
        let mut descent = Descent::new(root, TreeId::of(b"other"));
        let wanted = descent.poll_wanted().expect("wanted").expect("some");
        prop_assert_eq!(&wanted.machine, &vec![root]);
        let mut bytes = objects[&root].clone();
        let pos = pos.index(bytes.len());
        bytes[pos] ^= 1 << bit;
        let refused = matches!(descent.handle_object(root, &bytes), Err(DescentError::Digest { .. }));
        prop_assert!(refused);
    }
}

#[test]
fn one_file_in_a_large_directory_costs_a_page_per_level() {
    let lens = check(&wide(0..100_000, |name| u8::from(name == 54_321)), &wide(0..100_000, |_| 0));
    assert!(lens.iter().all(|len| *len < 10_000), "{lens:?}");
    // A name more, and a name less, which moves the pages behind them at most.
    let lens = check(&wide(0..100_000, |_| 0), &wide((0..100_000).filter(|name| *name != 77_777), |_| 0));
    assert!(lens.iter().all(|len| *len < 10_000), "{lens:?}");
    // The directories have different numbers of page levels.
    let lens = check(&wide(0..100_000, |_| 0), &wide(0..99_000, |_| 0));
    assert!(lens[1] < 20_000, "{lens:?}");
}

#[test]
fn an_empty_root_is_a_first_fill_and_nothing_is_listed() {
    let (machine_root, machine_objects) = store(&plant(&BTreeMap::new()));
    let (image_root, image_objects) = store(&wide(0..5000, |_| 0));
    let (found, lens) = search((machine_root, &machine_objects), (image_root, &image_objects)).expect("search");
    assert!(found.first_fill && found.differences.is_empty());
    assert!(lens[1] < 10_000, "{lens:?}");
}

#[test]
fn long_lists_are_cut_and_say_so() {
    let (machine_root, machine_objects) = store(&wide(0..30_000, |_| 1));
    let (image_root, image_objects) = store(&wide(0..30_000, |_| 0));
    let (found, _) = search((machine_root, &machine_objects), (image_root, &image_objects)).expect("search");
    assert!(found.truncated);
    assert_eq!(found.differences.len(), dominator_controller_core::limits::DEVIATION_COUNT_MAX);
}

#[test]
fn a_directory_nested_deeper_than_any_path_costs_its_own_listing_only() {
    let mut objects = Objects::new();
    let mut emit = |id, bytes| drop(objects.insert(id, bytes));
    let name = |text: &str| Name::new(text.as_bytes()).expect("name");
    let mut tree = Directory::new(Meta::new(0o755, 0, 0), Vec::new()).expect("directory").encode(&mut emit);
    for _ in 0..300 {
        let entries = vec![Entry { name: name("d"), node: Node::Dir(tree) }];
        tree = Directory::new(Meta::new(0o755, 0, 0), entries).expect("directory").encode(&mut emit);
    }
    let (image_root, image_objects) = store(&plant(&BTreeMap::from([(TreePath::parse(b"f").expect("path"), file(0))])));
    let (found, _) = search((tree, &objects), (image_root, &image_objects)).expect("search");
    assert!(found.truncated);
    assert_eq!(found.differences.last().map(|last| last.path.clone()), Some(TreePath::parse(b"f").expect("path")));
}

#[test]
fn pages_that_are_not_what_their_reference_says_are_refused() {
    let (image_root, image_objects) = store(&wide(0..100, |_| 0));
    let (root, honest) = store(&wide(0..2000, |_| 1));
    let top = TreeObject::decode(&honest[&root]).expect("root");
    let TreeBody::Entries(entries) = &top.body else { panic!("the root is one object") };
    let Node::Dir(wide_id) = entries[0].node else { panic!("the root lists a directory") };
    let forge = |change: &dyn Fn(&mut TreeObject)| {
        let mut objects = honest.clone();
        let mut object = TreeObject::decode(&honest[&wide_id]).expect("object");
        change(&mut object);
        let bytes = object.encode();
        let forged = TreeId::of(&bytes);
        objects.insert(forged, bytes);
        let mut root = top.clone();
        if let TreeBody::Entries(entries) = &mut root.body {
            entries[0].node = Node::Dir(forged);
        }
        let bytes = root.encode();
        let root = TreeId::of(&bytes);
        objects.insert(root, bytes);
        search((root, &objects), (image_root, &image_objects)).err()
    };
    let pages = |object: &mut TreeObject, change: &dyn Fn(&mut Vec<dominator_store_core::PageRef>)| {
        if let TreeBody::Pages(pages) = &mut object.body {
            change(pages);
        }
    };
    let misplaced = |error: Option<DescentError>| matches!(error, Some(DescentError::Misplaced(_)));
    assert_eq!(forge(&|_| {}), None);
    assert!(misplaced(forge(&|object| object.meta = None)));
    assert!(misplaced(forge(&|object| pages(object, &|pages| pages[0].entry_count += 1))));
    assert!(misplaced(forge(&|object| pages(object, &|pages| pages[1].page = pages[0].page))));
    // A page that lists itself cannot be made; one that has metadata like a directory can.
    assert!(misplaced(forge(&|object| pages(object, &|pages| pages[0].page = wide_id))));
}

#[test]
fn objects_that_were_not_asked_for_are_refused() {
    let mut descent = Descent::new(TreeId::of(b"a"), TreeId::of(b"b"));
    assert_eq!(descent.handle_object(TreeId::of(b"a"), b"a"), Err(DescentError::Unwanted(TreeId::of(b"a"))));
    descent.poll_wanted().expect("wanted");
    assert!(matches!(descent.handle_object(TreeId::of(b"a"), b"a"), Err(DescentError::Corrupt(..))));
}
