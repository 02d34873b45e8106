//! Plans for single cases, and what is refused.
//!
//! Owns one test per promise of the planner that random trees do not show by themselves. Invariant: trees are written as
//! short lines, so that a case can be read at a glance.
//!
//! Performing plans on random trees is in `steps`.

use dominator_agent_core::{Op, Plan, PlanError, PlanInput, Safety, Source, Swap, plan};
use dominator_store_core::{BlobId, Content, Filter, FlatTree, Item, Leaf, LinkGroup, Managed, Meta, Mtime, TreePath};

use crate::forest::root_id;

fn path(text: &str) -> TreePath {
    TreePath::parse(text.as_bytes()).expect(text)
}

/// Makes a tree of lines: `dir/`, `file=content`, `file=content@seconds`, `link->target`, `name&least=content` for one
/// of several names of a file. Directories above are made.
fn tree(lines: &[&str]) -> FlatTree {
    let dir = || Item::Dir(Meta::new(0o755, 0, 0));
    let mut items = std::collections::BTreeMap::from([(TreePath::root(), dir())]);
    for line in lines {
        let meta = |seconds| Meta { mtime: Some(Mtime { seconds, nanoseconds: 0 }), ..Meta::new(0o644, 0, 0) };
        let (at, item) = if let Some(at) = line.strip_suffix('/') {
            (at, dir())
        } else if let Some((at, target)) = line.split_once("->") {
            let content = Content::Symlink { target: target.as_bytes().into() };
            (at, Item::Leaf(Leaf { meta: Meta { mode: 0o777, ..meta(0) }, link: None, content }))
        } else {
            let (at, content) = line.split_once('=').expect("a file has content");
            let (content, seconds) = content.split_once('@').unwrap_or((content, "0"));
            let (at, least) = at.split_once('&').map_or((at, None), |(at, least)| (at, Some(least)));
            let blob = BlobId::of(content.as_bytes());
            let content = Content::File { size: content.len() as u64, blob, holes: Vec::new() };
            let link = least.map(|least| LinkGroup::of(&path(least)));
            (at, Item::Leaf(Leaf { meta: meta(seconds.parse().expect("seconds")), link, content }))
        };
        let mut above = path(at).parent();
        while let Some(at) = above {
            items.entry(at.clone()).or_insert_with(dir);
            above = at.parent();
        }
        items.insert(path(at), item);
    }
    FlatTree { items: items.into_iter().collect() }
}

fn try_plan(old: &[&str], new: &[&str], filter: &str, unmanaged: &[&str], safety: Safety) -> Result<Plan, PlanError> {
    let (have, want) = (tree(old), tree(new));
    let unmanaged: Vec<TreePath> = unmanaged.iter().map(|at| path(at)).collect();
    plan(&PlanInput {
        have: &have,
        from: root_id(&have),
        want: &want,
        to: root_id(&want),
        filter: &Filter::parse(filter).expect("filter"),
        managed: Managed::default(),
        unmanaged: &unmanaged,
        safety,
    })
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(old: &[&str], new: &[&str], expected: &[&str]) -> Plan {
    let plan = try_plan(old, new, "", &[], Safety::Guarded).expect("plan");
    assert_eq!(steps(&plan), expected);
    plan
}

#[test]
fn steps_come_in_the_order_of_need() {
    check(
        &["usr/lib/libz.so.1=old", "usr/bin/ls=old", "etc/passwd=old", "etc/x=old", "lib->usr/lib", "gone=x", "d/x=x"],
        &[
            "usr/lib/libz.so.1=new",
            "usr/bin/ls=new",
            "usr/bin/new=new",
            "etc/passwd=new",
            "etc/x=new",
            "lib->usr/lib64",
            "usr/lib64/liba.so=a",
            "usr/lib/libb.so=b",
        ],
        &[
            "replace /etc/passwd (content)",
            "create /usr/lib64",
            "create /usr/lib/libb.so",
            "create /usr/bin/new",
            "replace /usr/lib/libz.so.1 (content)",
            "replace /usr/bin/ls (content)",
            "replace /etc/x (content)",
            "replace /lib (target)",
            "remove /d/x",
            "remove /gone",
            "remove directory /d",
        ],
    );
}

#[test]
fn a_new_directory_comes_with_all_that_is_in_it() {
    let plan = check(&["a=a"], &["a=a", "d/e/f=f", "d/g=a"], &["create /d"]);
    assert_eq!(plan.staged.len(), 4);
    assert_eq!(plan.needs(), [(BlobId::of(b"f"), 1)]);
    assert_eq!(plan.blobs().len(), 2);
    assert_eq!(plan.changed().count(), 4);
    let local = plan.staged.iter().find(|staged| staged.path == path("d/g")).expect("staged");
    assert_eq!(local.source, Source::Blob { blob: BlobId::of(b"a"), local: Some(path("a")) });
    assert_eq!(local.below, path("g"));
}

#[test]
fn a_directory_is_emptied_before_it_becomes_a_file() {
    let plan = check(
        &["d/e/f=f", "d/g=g", "x=x"],
        &["d=now a file", "x/y=z"],
        &["replace /x (type)", "remove /d/e/f", "remove /d/g", "remove directory /d/e", "replace /d (type)"],
    );
    assert!(matches!(plan.steps[4].op, Op::Replace { swap: Swap::Shrink { .. }, .. }));
    assert!(matches!(plan.steps[0].op, Op::Replace { swap: Swap::Grow, .. }));
}

#[test]
fn times_are_set_in_place_and_other_metadata_is_not() {
    let plan = check(&["a=a@1", "l->x"], &["a=a@2", "l->x"], &["set time /a (mtime)"]);
    assert!(plan.staged.is_empty());
    let have = tree(&["a=a"]);
    let mut want = have.clone();
    let Item::Leaf(leaf) = &mut want.items[1].1 else { panic!("a leaf") };
    leaf.meta.mode = 0o4755;
    let plan = plan_of(&have, &want);
    assert_eq!(steps(&plan), ["replace /a (mode)"]);
    assert_eq!(plan.staged[0].source, Source::Blob { blob: BlobId::of(b"a"), local: Some(path("a")) });
}

fn plan_of(have: &FlatTree, want: &FlatTree) -> Plan {
    let (filter, managed) = (Filter::default(), Managed::default());
    let (from, to) = (root_id(have), root_id(want));
    let input = PlanInput { have, from, want, to, filter: &filter, managed, unmanaged: &[], safety: Safety::Forced };
    plan(&input).expect("plan")
}

#[test]
fn hard_links_are_broken_and_made_by_replacing_names() {
    // One name leaves, the others keep their file.
    check(&["a&a=x", "b&a=x", "c&a=x"], &["a&a=x", "b&a=x"], &["remove /c"]);
    check(&["a&a=x", "b&a=x", "c&a=x"], &["b&b=x", "c&b=x"], &["remove /a"]);
    // A split leaves the file with its first name.
    check(&["a&a=x", "b&a=x"], &["a=x", "b=x"], &["replace /b (links)"]);
    // What is to be linked is made anew as a whole, from what is there.
    let plan = check(&["a=x", "b=x"], &["a&a=x", "b&a=x"], &["replace /a (links)", "replace /b (links)"]);
    assert_eq!(plan.staged[1].source, Source::Link(0));
    assert!(plan.needs().is_empty());
    // One file has one time.
    check(&["a&a=x@1", "b&a=x@1"], &["a&a=x@2", "b&a=x@2"], &["set time /a (mtime)"]);
    // A new name of it is in a new directory.
    let plan =
        check(&["a&a=x", "b&a=x"], &["a&a=x", "b&a=x", "d/c&a=x"], &["create /d", "replace /a ()", "replace /b ()"]);
    assert_eq!(plan.staged.iter().filter(|staged| matches!(staged.source, Source::Link(0))).count(), 2);
}

#[test]
fn what_is_not_managed_keeps_its_directory() {
    let plan = try_plan(&["d/e/f=f", "d/x/y=y"], &["a=a"], "", &["d/e/socket"], Safety::Guarded).expect("plan");
    assert_eq!(steps(&plan), ["create /a", "remove /d/e/f", "remove /d/x/y", "remove directory /d/x"]);
    assert_eq!(plan.kept, [path("d"), path("d/e")]);
    // A directory that cannot go cannot become a file either.
    let plan = try_plan(&["d/f=f"], &["d=x"], "", &["d/socket"], Safety::Guarded).expect("plan");
    assert_eq!(steps(&plan), ["remove /d/f"]);
    assert_eq!(plan.blocked, [path("d")]);
    // A mount point is in the way of what should be at or below it, and stays as it is.
    let plan = try_plan(&["mnt/"], &["mnt/x=x", "y=y"], "", &["mnt"], Safety::Guarded).expect("plan");
    assert_eq!(steps(&plan), ["create /y"]);
    assert_eq!(plan.blocked, [path("mnt")]);
}

#[test]
fn the_private_directory_is_in_no_plan() {
    let plan = try_plan(&[".subd/journal=x", "a=a"], &["a=a"], "", &[], Safety::Guarded).expect("plan");
    assert!(plan.is_empty());
    let refused = try_plan(&["a=a"], &["a=a", ".subd/journal=x"], "", &[], Safety::Forced);
    assert_eq!(refused, Err(PlanError::Excluded(path(".subd"))));
    let refused = try_plan(&["a=a"], &["log/x=x"], "exclude exact /log/x", &[], Safety::Forced);
    assert_eq!(refused, Err(PlanError::Excluded(path("log/x"))));
}

#[test]
fn a_plan_that_removes_most_of_a_machine_is_refused_unless_forced() {
    let files: Vec<String> = (0..30).map(|at| format!("f{at}=x")).collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let others: Vec<String> = (0..30).map(|at| format!("g{at}=x")).collect();
    let others: Vec<&str> = others.iter().map(String::as_str).collect();
    let guarded = |old: &[&str], new: &[&str]| try_plan(old, new, "", &[], Safety::Guarded).map(|_| ());
    assert_eq!(guarded(&files, &files[..15]), Ok(()));
    let removes_most = PlanError::RemovesMost { removed_count: 16, have_count: 30 };
    assert_eq!(guarded(&files, &files[..14]), Err(removes_most));
    assert!(matches!(guarded(&files, &others), Err(PlanError::RemovesMost { removed_count: 30, .. })));
    assert_eq!(guarded(&files[..19], &[]), Ok(()), "small trees are exempt");
    assert_eq!(guarded(&[], &files), Ok(()));
    assert!(try_plan(&files, &[], "", &[], Safety::Forced).is_ok());
}

#[test]
fn input_that_is_no_tree_is_refused() {
    let good = tree(&["a/b=x"]);
    let check = |want: FlatTree, expected: PlanError| {
        let (filter, managed) = (Filter::default(), Managed::default());
        let (from, to) = (root_id(&good), root_id(&good));
        let safety = Safety::Forced;
        let input = PlanInput { have: &good, from, want: &want, to, filter: &filter, managed, unmanaged: &[], safety };
        assert_eq!(plan(&input), Err(expected));
    };
    check(FlatTree::default(), PlanError::NotATree(path("")));
    check(FlatTree { items: good.items[1..].to_vec() }, PlanError::NotATree(path("a")));
    let orphan = FlatTree { items: vec![good.items[0].clone(), good.items[2].clone()] };
    check(orphan, PlanError::NotATree(path("a/b")));
    let twice = FlatTree { items: [&good.items[..], &good.items[2..]].concat() };
    check(twice, PlanError::NotATree(path("a/b")));
    check(tree(&["a&a=x", "b=x"]), PlanError::LinkGroup(path("a")));
    check(tree(&["a&a=x", "b&a=y"]), PlanError::LinkGroup(path("b")));
}

#[test]
fn a_plan_can_be_printed() {
    let plan = try_plan(&["a=a", "d/s/x=x"], &["a=b", "n/x=x"], "", &["d/s"], Safety::Guarded).expect("plan");
    let text = plan.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..4],
        [
            "create /n, 1 entries in it",
            "replace /a (content)",
            "keep directory /d (not all of it is managed)",
            "keep directory /d/s (not all of it is managed)",
        ]
    );
    assert!(lines[4].starts_with(&format!("plan {}: 2 steps, 3 entries and 2 bytes to stage", plan.id.0.short())));
}
