//! Wherever the process ends, what was acknowledged is there and whole, and nothing else is visible in part.
//!
//! The child is this test binary again, started with a variable that says where the store is. It acknowledges on its
//! standard output; the parent kills it, opens the store and compares.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use dominator_store_core::ImageName;
use dominator_store_engine::{PreparedTree, Progress, Store};
use dominator_store_pack::fault;

use crate::support::{assert_is, faults, files, init, make_tree, name, options, publish};

const DIR: &str = "DOMINATOR_TEST_CRASH_DIR";
const POINT: &str = "DOMINATOR_TEST_CRASH_POINT";
const ROUND: &str = "DOMINATOR_TEST_CRASH_ROUND";
/// Trees that the child publishes, made before.
const TREE_COUNT: u64 = 4;

/// What the child does with a store; not a test of its own.
#[test]
fn child() {
    let Ok(dir) = env::var(DIR) else { return };
    let dir = PathBuf::from(dir);
    if let Some(point) = env::var(POINT).ok().and_then(|point| point.parse().ok()) {
        fault::crash_at(point);
    }
    let store = Store::open(&dir.join("store")).expect("open");
    let first = env::var(ROUND).ok().and_then(|round| round.parse().ok()).unwrap_or(0u64);
    for round in first.. {
        let at = round % TREE_COUNT;
        let (tree, image) = (dir.join(format!("tree-{at}")), format!("round-{round}"));
        if store.image(&name(&image)).expect("read").is_some() {
            continue;
        }
        if round.is_multiple_of(2) {
            publish(&store, &image, &tree);
        } else {
            upload(&store, &image, &tree);
        }
        acknowledge(&format!("published {image}"));
        if round % 3 == 2 {
            store.delete_image(&name(&image)).expect("delete");
            acknowledge(&format!("deleted {image}"));
        }
        if env::var(POINT).is_ok() && round == 3 {
            acknowledge("done");
            return;
        }
    }
}

fn upload(store: &Store, image: &str, tree: &Path) {
    let prepared = PreparedTree::new(tree, store.profile(), 1, &options(), &Progress::default()).expect("prepare");
    let upload = store.begin_upload().expect("begin");
    for id in prepared.ids() {
        if upload.missing(&[*id]).expect("missing")[0] {
            upload.put(&prepared.record(*id).expect("record")).expect("put");
        }
    }
    upload.commit(&name(image), prepared.image_id()).expect("commit");
}

fn acknowledge(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "ack {what}").and_then(|()| out.flush()).expect("stdout");
}

fn start(dir: &Path, point: Option<u64>, first_round: u64) -> Child {
    let mut command = Command::new(env::current_exe().expect("own path"));
    command.args(["crash::child", "--exact", "--nocapture", "--test-threads=1"]).env(DIR, dir);
    command.env(ROUND, first_round.to_string());
    if let Some(point) = point {
        command.env(POINT, point.to_string());
    }
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawn")
}

/// Reads what was acknowledged: each name with whether it was published (or deleted since).
fn acknowledged(child: &mut Child, known: &mut BTreeMap<String, bool>) -> bool {
    let mut done = false;
    for line in BufReader::new(child.stdout.take().expect("piped")).lines() {
        // Text of the test harness may come before on the same line; a torn line was not acknowledged.
        let Ok(line) = line else { break };
        let Some((_, what)) = line.split_once("ack ") else { continue };
        match what.split_once(' ') {
            Some(("published", image)) => drop(known.insert(image.to_owned(), true)),
            Some(("deleted", image)) => drop(known.insert(image.to_owned(), false)),
            _ => done = what == "done",
        }
    }
    done
}

fn round_of(image: &str) -> u64 {
    image.strip_prefix("round-").and_then(|round| round.parse().ok()).expect("round")
}

fn next_round(known: &BTreeMap<String, bool>) -> u64 {
    known.keys().map(|image| round_of(image) + 1).max().unwrap_or(0)
}

/// Opens the store and checks it against what was acknowledged.
fn check(dir: &Path, known: &mut BTreeMap<String, bool>, seen: &mut BTreeSet<ImageName>, context: &str) {
    let store = Store::open(&dir.join("store")).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    assert_eq!(faults(&store), [""; 0], "{context}");
    assert!(files(&dir.join("store/packs"), "part").is_empty(), "{context}");
    let visible = store.images("", None, 10_000).expect("list");
    // Those seen in an earlier run were compared then, and the check above read everything again.
    for image in visible.iter().filter(|image| seen.insert(image.name.clone())) {
        let at = round_of(image.name.as_str()) % TREE_COUNT;
        assert_is(&store, image.name.as_str(), &dir.join(format!("tree-{at}")));
    }
    for (image, published) in known.iter() {
        let is_visible = visible.iter().any(|visible| visible.name.as_str() == image);
        // The last thing done may be durable without having been acknowledged; that is a deletion here.
        let may_be_gone = round_of(image) % 3 == 2;
        assert!(is_visible == *published || (*published && may_be_gone), "{context}: {image}");
    }
    let unacknowledged = visible.iter().filter(|image| !known.contains_key(image.name.as_str())).count();
    assert!(unacknowledged <= 1, "{context}: only the one in flight can be done without being acknowledged");
    for image in visible {
        known.entry(image.name.as_str().to_owned()).or_insert(true);
    }
}

#[test]
fn killed_at_any_time_a_store_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().expect("dir");
    drop(init(dir.path()));
    (0..TREE_COUNT).for_each(|at| drop(make_tree(dir.path(), at)));
    let (mut known, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut rng = dominator_testkit::Rng::new(u64::from(std::process::id()));
    for kill in 0..25 {
        let mut child = start(dir.path(), None, next_round(&known));
        let wait = Duration::from_micros(20_000 + rng.below(400_000));
        // Not waiting for a state but choosing a random moment.
        std::thread::sleep(wait);
        child.kill().expect("kill");
        acknowledged(&mut child, &mut known);
        child.wait().expect("wait");
        check(dir.path(), &mut known, &mut seen, &format!("kill {kill} after {wait:?}"));
    }
    println!("{} acknowledged in 25 runs", known.len());
    assert!(!known.is_empty());
}

#[test]
fn ended_at_each_durable_step_a_store_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().expect("dir");
    for at in 0..TREE_COUNT {
        // Small, so that every step can be tried.
        let root = dir.path().join(format!("tree-{at}"));
        fs::create_dir_all(root.join("sub")).expect("mkdir");
        fs::write(root.join("file"), format!("file {at}")).expect("write");
        fs::write(root.join("sub/long"), crate::support::noise(at, 200_000)).expect("write");
    }
    let mut points = 0;
    for point in 1u64.. {
        let store = dir.path().join("store");
        let _ = fs::remove_dir_all(&store);
        drop(init(dir.path()));
        let mut known = BTreeMap::new();
        let mut child = start(dir.path(), Some(point), 0);
        let done = acknowledged(&mut child, &mut known);
        let status = child.wait().expect("wait");
        check(dir.path(), &mut known, &mut BTreeSet::new(), &format!("point {point}"));
        if done {
            assert!(status.success());
            break;
        }
        points = point;
    }
    println!("{points} crash points");
    assert!(points > 40, "{points}");
}

#[test]
fn ended_at_each_step_of_opening_a_store_loses_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let store = init(dir.path());
    let trees: Vec<_> = (0..2).map(|at| make_tree(dir.path(), at)).collect();
    publish(&store, "round-0", &trees[0]);
    publish(&store, "round-1", &trees[1]);
    drop(store);
    for point in 1u64.. {
        // Everything is to be done: no index, and an unsealed pack worth keeping.
        let path = dir.path().join("store");
        let _ = fs::remove_dir_all(path.join("index"));
        let packs = files(&path.join("packs"), "pack");
        let part = path.join("packs/00000000000000f0.part");
        let mut bytes =
            fs::read(packs.iter().max_by_key(|pack| fs::metadata(pack).expect("stat").len()).expect("packs"))
                .expect("read");
        bytes[16..24].copy_from_slice(&0xf0u64.to_le_bytes());
        let check_value = dominator_store_core::Digest::of(&bytes[..24]);
        bytes[24..32].copy_from_slice(&check_value.as_bytes()[..8]);
        let _ = fs::remove_file(path.join("packs/00000000000000f0.pack"));
        fs::write(&part, &bytes).expect("write");
        let mut child = start_open(dir.path(), point);
        let mut known = BTreeMap::from([("round-0".to_owned(), true), ("round-1".to_owned(), true)]);
        let done = acknowledged(&mut child, &mut known);
        child.wait().expect("wait");
        let store = Store::open(&path).expect("open");
        assert_eq!(faults(&store), [""; 0], "point {point}");
        assert_is(&store, "round-0", &trees[0]);
        assert_is(&store, "round-1", &trees[1]);
        drop(store);
        if done {
            assert!(point > 8, "{point}");
            break;
        }
    }
}

const OPEN_ONLY: &str = "DOMINATOR_TEST_OPEN_ONLY";

fn start_open(dir: &Path, point: u64) -> Child {
    let mut command = Command::new(env::current_exe().expect("own path"));
    command.args(["crash::child_that_opens", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(OPEN_ONLY, dir).env(POINT, point.to_string());
    command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawn")
}

/// What another child does; not a test of its own.
#[test]
fn child_that_opens() {
    let Ok(dir) = env::var(OPEN_ONLY) else { return };
    let point = env::var(POINT).ok().and_then(|point| point.parse().ok()).expect("point");
    fault::crash_at(point);
    drop(Store::open(&PathBuf::from(dir).join("store")).expect("open"));
    acknowledge("done");
}
