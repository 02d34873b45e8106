//! Capture, check out, capture: the same root.
//!
//! Owns the main promise, over made-up hostile trees and over a real Debian tree.
//! Does not say what each difference would be: `every_change` does.

use std::{path::Path, process::Command};

use dominator_store_core::{Item, Managed, diff};
use tempfile::tempdir;

use crate::support::{ALL, Captured};

fn check(source: &Path, managed: Managed) -> Captured {
    let dest = tempdir().expect("tempdir");
    let first = Captured::new(source, managed);
    let report = first.checkout(&dest.path().join("made"), managed).expect("checkout");
    let second = Captured::new(&dest.path().join("made"), managed);
    let mut differences = Vec::new();
    let mut get = |id| first.directory(id).or_else(|_| second.directory(id));
    diff(Some(first.root), Some(second.root), &mut get, &mut |difference| {
        differences.push((difference.path.clone(), difference.aspects(), difference));
    })
    .expect("diff");
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(first.root, second.root);
    assert_eq!(report.entry_count, first.items().count() as u64);
    first
}

#[test]
fn hostile_trees_come_back_as_they_were() {
    for seed in 0..12 {
        let source = tempdir().expect("tempdir");
        dominator_testkit::hostile_tree(source.path(), seed).expect("hostile tree");
        println!("seed {seed}");
        let captured = check(source.path(), ALL);
        let groups = captured.items().filter(|(_, item)| matches!(item, Item::Leaf(leaf) if leaf.link.is_some()));
        assert!(groups.count() > 10);
    }
}

#[test]
fn what_is_not_managed_is_neither_recorded_nor_compared() {
    for bits in 0..16 {
        let bit = |bit| bits & bit != 0;
        let managed = Managed { mtimes: bit(1), directory_mtimes: bit(2), xattrs: bit(4), holes: bit(8) };
        let source = tempdir().expect("tempdir");
        dominator_testkit::hostile_tree(source.path(), 1000 + bits).expect("hostile tree");
        let captured = check(source.path(), managed);
        for (path, item) in captured.items() {
            let meta = item.meta();
            let mtime = if item.is_dir() { managed.directory_mtimes } else { managed.mtimes };
            assert_eq!(meta.mtime.is_some(), mtime, "{path}");
            assert!(managed.xattrs || meta.xattrs.is_empty(), "{path}");
        }
    }
}

#[test]
fn a_debian_tree_comes_back_as_it_was() {
    let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/demo-images/v1"));
    if !source.join("usr").is_dir() {
        eprintln!("SKIPPED: no Debian tree at {}; 'make images' bakes it", source.display());
        return;
    }
    let dest = tempdir().expect("tempdir");
    let made = dest.path().join("made");
    let first = Captured::new(source, ALL);
    first.checkout(&made, ALL).expect("checkout");
    assert_eq!(Captured::new(&made, ALL).root, first.root);

    // A second opinion, by a program that knows nothing of ours.
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHAXSni", "--delete", "--checksum"]).arg(source.join("")).arg(made.join(""));
    match rsync.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.is_empty(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => eprintln!("SKIPPED the comparison with rsync: {error}"),
    }
}
