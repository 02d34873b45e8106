//! The naive reader in `spec/reference/tree.py` agrees with ours.
//!
//! Owns running it. It shares no code with us, down to its own BLAKE3, so agreement means that the specification alone
//! suffices to read a tree. Does not fix bytes: `vectors` does.

use std::path::Path;

use dominator_store_core::{Entry, FlatTree, TreeBody, TreeId, TreeObject};
use dominator_testkit::flat_tree;

use crate::support::{Objects, line};

/// Runs the naive reader: its lines, or its last line of complaint; `None` if there is no Python.
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the test runs a program; the library must not"
)]
fn run(objects: &Objects, root: TreeId) -> Option<Result<Vec<String>, String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/reference/tree.py");
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), objects.to_json(root).to_string()).expect("write");
    let output = match std::process::Command::new("python3").arg("-B").arg(script).arg(file.path()).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: no python3 to run the naive reader: {error}");
            return None;
        }
    };
    let lines = |bytes: &[u8]| -> Vec<String> { String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect() };
    Some(match output.status.success() {
        true => Ok(lines(&output.stdout)),
        false => Err(lines(&output.stderr).pop().unwrap_or_default()),
    })
}

fn check(tree: &FlatTree) {
    let mut objects = Objects::default();
    let root = objects.put_tree(tree);
    let expected: Vec<String> = objects.walk(root).iter().map(|(path, item)| line(path, item)).collect();
    if let Some(found) = run(&objects, root) {
        assert_eq!(found, Ok(expected));
    }
}

#[test]
fn the_naive_reader_reads_what_we_write() {
    for seed in 0..6 {
        check(&flat_tree(seed, 120).tree);
    }
}

#[test]
fn the_naive_reader_cuts_pages_as_we_do() {
    // Few directories, so that they are large: two levels of pages and more.
    let mut tree = flat_tree(77, 2500).tree;
    tree.items.retain(|(path, item)| path.depth() <= 1 && (path.is_root() || !item.is_dir()));
    for (_, item) in &mut tree.items {
        if let dominator_store_core::Item::Leaf(leaf) = item {
            leaf.link = None;
        }
    }
    check(&tree);
}

#[test]
fn the_naive_reader_refuses_what_we_refuse() {
    let tree = flat_tree(3, 400).tree;
    let mut objects = Objects::default();
    let root = objects.put_tree(&tree);
    let change = |change: &dyn Fn(&mut TreeObject)| {
        let mut objects = objects.clone();
        let mut top = TreeObject::decode(&objects.get(root).expect("object")).expect("tree object");
        change(&mut top);
        let bytes = top.encode();
        let id = TreeId::of(&bytes);
        objects.put(id, bytes);
        (objects, id)
    };
    let entries = |object: &TreeObject| -> Vec<Entry> {
        let mut found = Vec::new();
        let mut pending = vec![object.clone()];
        while let Some(object) = pending.pop() {
            match object.body {
                TreeBody::Entries(entries) => found.extend(entries),
                TreeBody::Pages(pages) => pending.extend(
                    pages.iter().map(|page| TreeObject::decode(&objects.get(page.page).expect("page")).expect("page")),
                ),
            }
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found
    };
    let changes: [&dyn Fn(&mut TreeObject); 4] = [
        &|object| object.meta = None,
        &|object| object.body = TreeBody::Entries(entries(object).into_iter().take(16).collect()),
        &|object| object.body = TreeBody::Entries(entries(object).into_iter().rev().take(10).collect()),
        &|object| {
            if let TreeBody::Pages(pages) = &mut object.body {
                pages.last_mut().expect("page").entry_count += 1;
            }
        },
    ];
    for (pos, made) in changes.iter().enumerate() {
        let (objects, id) = change(made);
        assert!(objects.directory(id).is_err(), "{pos}");
        if let Some(found) = run(&objects, id) {
            assert!(found.as_ref().is_err_and(|last| last.starts_with("ValueError")), "{pos}: {found:?}");
        }
    }
}
