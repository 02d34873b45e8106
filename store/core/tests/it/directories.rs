//! Directories of every size: round trip, independence of history, cost of a change, refusal of other pages.
//!
//! Owns the properties of `spec/tree.md#pages`. Does not test whole trees: `flat` does.

use std::collections::BTreeMap;

use dominator_store_core::{
    BlobId, Content, Directory, DirectoryError, Entry, Leaf, Meta, Mtime, Name, Node, ReadTreeError, TreeBody, TreeId,
    TreeObject, Xattr, limits::TREE_LEN_MAX, read_directory,
};
use dominator_testkit::{Rng, name};
use proptest::prelude::*;

use crate::support::{Absent, Objects};

fn file(rng: &mut Rng) -> Node {
    let mut meta = Meta::new(0o644, 0, 0);
    meta.mtime = Some(Mtime { seconds: 1_700_000_000, nanoseconds: 123_456_789 });
    let content =
        Content::File { size: 1 + rng.below(1 << 20), blob: BlobId::of(&rng.bits().to_le_bytes()), holes: Vec::new() };
    Node::Leaf(Leaf { meta, link: None, content })
}

fn entries(seed: u64, count: usize) -> BTreeMap<Name, Node> {
    let mut rng = Rng::new(seed);
    let mut entries = BTreeMap::new();
    while entries.len() < count {
        let node = if rng.one_in(20) { Node::Dir(TreeId::of(&rng.bits().to_le_bytes())) } else { file(&mut rng) };
        entries.insert(name(&mut rng), node);
    }
    entries
}

fn directory(entries: &BTreeMap<Name, Node>) -> Directory {
    let entry = |(name, node): (&Name, &Node)| Entry { name: name.clone(), node: node.clone() };
    Directory::new(Meta::new(0o755, 0, 0), entries.iter().map(entry).collect()).expect("directory")
}

fn check_round_trip(entries: &BTreeMap<Name, Node>) {
    let directory = directory(entries);
    let mut objects = Objects::default();
    let id = objects.put_directory(&directory);
    assert!(objects.0.values().all(|bytes| bytes.len() <= TREE_LEN_MAX));
    assert_eq!(objects.directory(id), Ok(directory));
}

#[test]
fn directories_of_every_small_size_round_trip() {
    for count in 0..=300 {
        check_round_trip(&entries(count as u64, count));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn directories_of_any_size_round_trip(seed: u64, count in 1usize..5000) {
        check_round_trip(&entries(seed, count));
    }

    #[test]
    fn the_id_knows_the_set_of_entries_and_not_its_history(seed: u64, count in 1usize..2000) {
        let wanted = entries(seed, count);
        let id = directory(&wanted).id();
        // Made in another order.
        let mut rng = Rng::new(!seed);
        let mut shuffled: Vec<Entry> = directory(&wanted).into_parts().1;
        shuffled.sort_by_cached_key(|_| rng.bits());
        prop_assert_eq!(Directory::new(Meta::new(0o755, 0, 0), shuffled).expect("directory").id(), id);
        // Other entries come and go; each time the directory is made from what was stored, and stored again.
        let mut objects = Objects::default();
        let mut at = objects.put_directory(&directory(&wanted));
        let mut added = Vec::new();
        for round in 0..6 {
            let (meta, mut now) = objects.directory(at).expect("read").into_parts();
            if round < 3 {
                let extra = entries(seed ^ (round + 1), 1 + count / 3);
                let new: Vec<_> = extra.into_iter().filter(|(name, _)| now.iter().all(|entry| entry.name != *name)).collect();
                added.push(new.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>());
                now.extend(new.into_iter().map(|(name, node)| Entry { name, node }));
            } else {
                let names = added.remove(rng.pos(added.len()));
                now.retain(|entry| !names.contains(&entry.name));
            }
            at = objects.put_directory(&Directory::new(meta, now).expect("directory"));
        }
        prop_assert_eq!(at, id);
    }
}

#[test]
fn entries_with_large_attributes_cut_pages_early() {
    let mut rng = Rng::new(7);
    let mut entries = BTreeMap::new();
    for _ in 0..200 {
        let mut meta = Meta::new(0o644, 0, 0);
        let value = |rng: &mut Rng, at: u64| Xattr {
            name: format!("user.{at}").into_bytes().into(),
            value: rng.bytes(65_000).into(),
        };
        meta.xattrs = (0..1 + rng.below(2)).map(|at| value(&mut rng, at)).collect();
        entries.insert(name(&mut rng), Node::Leaf(Leaf { meta, link: None, content: Content::Fifo }));
    }
    check_round_trip(&entries);
}

#[test]
fn a_name_occurs_once() {
    let entry = Entry { name: Name::new(b"x").expect("name"), node: Node::Dir(TreeId::of(b"")) };
    let twice = Directory::new(Meta::new(0, 0, 0), vec![entry.clone(), entry.clone()]);
    assert_eq!(twice, Err(DirectoryError::Duplicate(entry.name)));
}

#[test]
fn a_change_in_a_directory_of_100_000_costs_less_than_10_kb() {
    let mut rng = Rng::new(11);
    let mut all = BTreeMap::new();
    for at in 0..100_000 {
        let name = format!("package-{:x}_{at}.list", rng.below(1 << 24));
        all.insert(Name::new(name.as_bytes()).expect("name"), file(&mut rng));
    }
    let mut objects = Objects::default();
    objects.put_directory(&directory(&all));
    let names: Vec<Name> = all.keys().cloned().collect();
    let mut lens = Vec::new();
    let rounds = 45;
    for round in 0..rounds {
        let mut changed = all.clone();
        match round % 3 {
            0 => drop(changed.insert(rng.pick(&names).clone(), file(&mut rng))),
            1 => drop(changed.remove(rng.pick(&names))),
            _ => drop(changed.insert(name(&mut rng), file(&mut rng))),
        }
        let mut new_len = 0;
        directory(&changed).encode(&mut |id, bytes| {
            if !objects.0.contains_key(&id) {
                new_len += bytes.len();
            }
        });
        lens.push(new_len);
    }
    lens.sort_unstable();
    let (mean, longest) = (lens.iter().sum::<usize>() / rounds, lens.last().copied().unwrap_or_default());
    assert!(longest < 10_000 && mean < 5_000, "{lens:?}");
}

/// Objects of a directory that is cut in many pages, its id, and the id of the page that holds the first entry.
fn paged() -> (Objects, TreeId, TreeId) {
    let mut objects = Objects::default();
    let id = objects.put_directory(&directory(&entries(3, 500)));
    let mut at = id;
    loop {
        match TreeObject::decode(&objects.get(at).expect("object")).expect("tree object").body {
            TreeBody::Entries(_) => return (objects, id, at),
            TreeBody::Pages(pages) => at = pages.first().expect("page").page,
        }
    }
}

fn replace(objects: &mut Objects, top: TreeId, change: impl Fn(&mut TreeObject)) -> TreeId {
    let mut object = TreeObject::decode(&objects.get(top).expect("object")).expect("tree object");
    change(&mut object);
    let bytes = object.encode();
    let id = TreeId::of(&bytes);
    objects.put(id, bytes);
    id
}

#[test]
fn other_pages_of_the_same_entries_are_refused() {
    type Change = fn(&mut TreeObject);
    let changes: [(&str, Change); 4] = [
        ("another count", |object| {
            if let TreeBody::Pages(pages) = &mut object.body {
                pages.last_mut().expect("page").entry_count += 1;
            }
        }),
        ("another first name", |object| {
            if let TreeBody::Pages(pages) = &mut object.body {
                pages.first_mut().expect("page").first = Name::new(b"\x01").expect("name");
            }
        }),
        ("no metadata", |object| object.meta = None),
        ("pages in another order", |object| {
            if let TreeBody::Pages(pages) = &mut object.body {
                let (a, b) = (pages.first().expect("page").clone(), pages.get(1).expect("page").clone());
                if let [first, second, ..] = pages.as_mut_slice() {
                    (first.page, second.page) = (b.page, a.page);
                    (first.entry_count, second.entry_count) = (b.entry_count, a.entry_count);
                }
            }
        }),
    ];
    let (mut objects, top, leaf_page) = paged();
    for (what, change) in changes {
        let id = replace(&mut objects, top, change);
        assert!(matches!(objects.directory(id), Err(ReadTreeError::NotCanonical(_))), "{what}");
    }
    // A page taken for a directory, and a directory whose entries should have been cut.
    assert_eq!(objects.directory(leaf_page), Err(ReadTreeError::NotCanonical(leaf_page)));
    let few: Vec<Entry> = directory(&entries(3, 500)).into_parts().1.into_iter().take(16).collect();
    let uncut = TreeObject { meta: Some(Meta::new(0o755, 0, 0)), body: TreeBody::Entries(few) }.encode();
    let id = TreeId::of(&uncut);
    objects.put(id, uncut);
    assert_eq!(objects.directory(id), Err(ReadTreeError::NotCanonical(id)));
    // A page that is not there, and one that is no page.
    objects.0.remove(&leaf_page);
    assert_eq!(objects.directory(top), Err(ReadTreeError::Source(leaf_page, Absent)));
    let nonsense = read_directory(top, &mut |_| Ok::<_, Absent>(b"nonsense".to_vec()));
    assert!(matches!(nonsense, Err(ReadTreeError::Corrupt(id, _)) if id == top));
}

#[test]
fn every_prefix_of_an_object_is_refused_and_every_flipped_bit_is_refused_or_another_object() {
    let mut objects = Objects::default();
    for count in [0, 1, 5, 40] {
        objects.put_directory(&directory(&entries(count as u64, count)));
    }
    objects.put_tree(&dominator_testkit::flat_tree(5, 60).tree);
    for bytes in objects.0.values() {
        for len in 0..bytes.len() {
            assert!(TreeObject::decode(bytes.get(..len).expect("prefix")).is_err(), "{len}");
        }
        for pos in 0..bytes.len().min(2000) {
            for bit in 0..8 {
                let mut flipped = bytes.clone();
                *flipped.get_mut(pos).expect("byte") ^= 1 << bit;
                if let Ok(object) = TreeObject::decode(&flipped) {
                    assert_eq!(object.encode(), flipped, "byte {pos} bit {bit}");
                }
            }
        }
    }
}
