//! The cache behaves as a map that may forget, never as one that lies; and keeps its limit and what is pinned.

use std::{collections::BTreeMap, fs, path::Path};

use dominator_store_core::{BlobId, ObjectId, ObjectKind, Profile, Recipe, RecipeChunk};
use dominator_store_pack::{Cache, Error, ObjectSource, Put, assemble};
use proptest::prelude::*;

use crate::support::{Sample, bytes, sample, sample_of};

const LIMIT: u64 = 4 * 1024 * 1024;

fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).expect("list").map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

fn disk_len(dir: &Path) -> u64 {
    files(dir).iter().map(|path| fs::metadata(path).expect("stat").len()).sum()
}

#[test]
fn what_was_put_is_found_after_opening_again() {
    let dir = tempfile::tempdir().expect("dir");
    let samples: Vec<Sample> = (0..40).map(|seed| sample(seed, 1000 * seed as usize)).collect();
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    for sample in &samples {
        assert_eq!(cache.put(&sample.record).expect("put"), Put::Added);
        assert_eq!(cache.put(&sample.record).expect("put"), Put::Known);
    }
    cache.sync().expect("sync");
    drop(cache);
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    for sample in &samples {
        assert_eq!(cache.get(sample.id).expect("get").expect("there"), sample.raw);
    }
    assert_eq!(cache.counts().object_count, 40);
    assert_eq!(cache.get(sample(99, 5).id).expect("get"), None);
}

#[test]
fn forged_records_are_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    let record = sample(2, 500).record;
    for pos in 0..record.len() {
        let mut forged = record.clone();
        forged[pos] ^= 1;
        assert!(matches!(cache.put(&forged), Err(Error::Record(_))), "byte {pos}");
    }
    assert_eq!(cache.counts().object_count, 0);
}

#[test]
fn the_limit_holds_and_the_oldest_go_first() {
    let dir = tempfile::tempdir().expect("dir");
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    let samples: Vec<Sample> = (0..200).map(|seed| sample(2 * seed, 60_000)).collect();
    for sample in &samples {
        cache.put(&sample.record).expect("put");
        assert!(cache.counts().file_len <= LIMIT);
        assert!(disk_len(dir.path()) <= LIMIT);
    }
    assert!(cache.counts().evicted_record_count > 0);
    assert!(!cache.has(samples[0].id) && cache.has(samples[199].id));
    // A smaller limit is kept from the start.
    cache.sync().expect("sync");
    drop(cache);
    let cache = Cache::open(dir.path(), LIMIT / 2).expect("open");
    assert!(cache.counts().file_len <= LIMIT / 2 && disk_len(dir.path()) <= LIMIT / 2);
    assert_eq!(cache.get(samples[199].id).expect("get").expect("there"), samples[199].raw);
}

#[test]
fn pinned_objects_stay_until_nothing_else_is_left() {
    let dir = tempfile::tempdir().expect("dir");
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    let pinned: Vec<Sample> = (0..20).map(|seed| sample(2 * seed, 60_000)).collect();
    cache.pin(pinned.iter().map(|sample| sample.id));
    for (at, pinned) in pinned.iter().enumerate() {
        cache.put(&pinned.record).expect("put");
        for seed in 0..10 {
            cache.put(&sample(1000 + 2 * (10 * at as u64 + seed), 60_000).record).expect("put");
        }
    }
    assert!(disk_len(dir.path()) <= LIMIT);
    for sample in &pinned {
        assert_eq!(cache.get(sample.id).expect("get").expect("pinned"), sample.raw);
    }
    let mut full = false;
    for seed in 0..200 {
        let sample = sample(10_000 + 2 * seed, 60_000);
        cache.pin([sample.id]);
        full |= matches!(cache.put(&sample.record), Err(Error::Full { .. }));
        assert!(disk_len(dir.path()) <= LIMIT);
    }
    assert!(full);
    for sample in &pinned {
        assert!(cache.has(sample.id));
    }
    cache.unpin_all();
    cache.put(&sample(50_000, 60_000).record).expect("room again");
}

#[test]
fn damaged_records_and_packs_are_dropped_counted_and_can_be_put_again() {
    let dir = tempfile::tempdir().expect("dir");
    let samples: Vec<Sample> = (0..30).map(|seed| sample(2 * seed, 60_000)).collect();
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    for sample in &samples {
        cache.put(&sample.record).expect("put");
    }
    cache.sync().expect("sync");
    drop(cache);
    let sealed: Vec<_> =
        files(dir.path()).into_iter().filter(|path| path.extension() == Some("pack".as_ref())).collect();
    // A record of the first pack, and the trailer of the second.
    let mut bytes = fs::read(&sealed[0]).expect("read");
    bytes[5000] ^= 1;
    fs::write(&sealed[0], &bytes).expect("write");
    let mut bytes = fs::read(&sealed[1]).expect("read");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&sealed[1], &bytes).expect("write");
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    assert_eq!(cache.counts().damaged_pack_count, 1);
    let mut lost = 0;
    for sample in &samples {
        match cache.get(sample.id).expect("never fatal") {
            Some(raw) => assert_eq!(raw, sample.raw),
            None => {
                lost += 1;
                assert!(!cache.has(sample.id));
                assert_eq!(cache.put(&sample.record).expect("put"), Put::Added);
                assert_eq!(cache.get(sample.id).expect("get").expect("again"), sample.raw);
            }
        }
    }
    assert!(lost >= 2);
    assert_eq!(cache.counts().damaged_record_count, 1);
    cache.sync().expect("sync");
    drop(cache);
    // The good copy wins over the damaged one that is still on disk.
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    for sample in &samples {
        assert_eq!(cache.get(sample.id).expect("get").expect("there"), sample.raw);
    }
}

#[test]
fn blobs_are_assembled_from_a_cache_that_was_opened_again() {
    let dir = tempfile::tempdir().expect("dir");
    let content = bytes(2, 500_000);
    let blob = BlobId::of(&content);
    let profile = Profile::default_profile();
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    let mut chunks = Vec::new();
    for chunk in profile.chunks(&content) {
        let sample = sample_of(ObjectKind::Chunk, chunk);
        cache.put(&sample.record).expect("put");
        chunks.push(RecipeChunk { id: dominator_store_core::ChunkId::new(sample.id.digest), len: chunk.len() as u32 });
    }
    let recipe = Recipe::new(blob, &profile, chunks).expect("recipe");
    cache.put(&sample_of(ObjectKind::Recipe, &recipe.encode()).record).expect("put");
    cache.sync().expect("sync");
    assert_eq!(cache.recipe(blob).expect("recipe"), Some(recipe.clone()));
    drop(cache);
    let cache = Cache::open(dir.path(), LIMIT).expect("open");
    assert_eq!(cache.recipe(blob).expect("recipe"), Some(recipe));
    let mut out = Vec::new();
    assemble(&cache, blob, content.len() as u64, &mut out).expect("assemble");
    assert_eq!(out, content);
}

/// One thing done to a cache.
#[derive(Debug, Clone)]
enum Op {
    Put(u64),
    Get(u64),
    Sync,
    /// The process ends: what was not synced may be there or not.
    Kill {
        torn_len: u64,
    },
    Pin(u64),
    Unpin(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let seed = 0..60u64;
    prop_oneof![
        8 => seed.clone().prop_map(Op::Put),
        6 => seed.clone().prop_map(Op::Get),
        1 => Just(Op::Sync),
        1 => (0..200_000u64).prop_map(|torn_len| Op::Kill { torn_len }),
        1 => seed.clone().prop_map(Op::Pin),
        1 => seed.prop_map(Op::Unpin),
    ]
}

fn sample_for(seed: u64) -> Sample {
    sample(seed, 500 + (seed as usize * 7919) % 90_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_is_a_map_that_may_forget(ops in prop::collection::vec(op(), 1..120)) {
        let dir = tempfile::tempdir().expect("dir");
        let limit = 1024 * 1024;
        let mut cache = Cache::open(dir.path(), limit).expect("open");
        // What must be there: synced and not evicted since. Eviction is seen through `has`.
        let mut synced: BTreeMap<ObjectId, u64> = BTreeMap::new();
        let mut volatile: BTreeMap<ObjectId, u64> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Put(seed) => {
                    let sample = sample_for(seed);
                    match cache.put(&sample.record) {
                        Ok(_) => {
                            prop_assert!(cache.has(sample.id));
                            if !synced.contains_key(&sample.id) {
                                volatile.insert(sample.id, seed);
                            }
                        }
                        Err(Error::Full { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                Op::Get(seed) => {
                    let sample = sample_for(seed);
                    let had = cache.has(sample.id);
                    let found = cache.get(sample.id).expect("get");
                    prop_assert_eq!(found.is_some(), had);
                    if let Some(raw) = found {
                        prop_assert_eq!(raw, sample.raw);
                    }
                }
                Op::Sync => {
                    cache.sync().expect("sync");
                    synced.append(&mut volatile);
                }
                Op::Kill { torn_len } => {
                    synced.retain(|id, _| cache.has(*id));
                    drop(cache);
                    // The unsealed pack may lose any part that was not synced; nothing synced may be touched.
                    if volatile.is_empty() && torn_len % 2 == 0 {
                        for path in files(dir.path()) {
                            if path.extension() == Some("part".as_ref()) {
                                let mut bytes = fs::read(&path).expect("read");
                                bytes.extend_from_slice(&vec![0xa5; (torn_len % 5000) as usize]);
                                fs::write(&path, &bytes).expect("write");
                            }
                        }
                    } else if synced.is_empty() {
                        for path in files(dir.path()) {
                            if path.extension() == Some("part".as_ref()) {
                                let len = fs::metadata(&path).expect("stat").len();
                                let file = fs::File::options().write(true).open(&path).expect("open");
                                file.set_len(len.saturating_sub(torn_len)).expect("truncate");
                            }
                        }
                    }
                    cache = Cache::open(dir.path(), limit).expect("open");
                    for (id, seed) in &synced {
                        let found = cache.get(*id).expect("get");
                        prop_assert_eq!(found.as_ref(), Some(&sample_for(*seed).raw), "synced and not evicted");
                    }
                    volatile.clear();
                }
                Op::Pin(seed) => cache.pin([sample_for(seed).id]),
                Op::Unpin(seed) => cache.unpin([sample_for(seed).id]),
            }
            prop_assert!(disk_len(dir.path()) <= limit);
            synced.retain(|id, _| cache.has(*id));
        }
    }
}
