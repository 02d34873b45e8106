//! Reading everything a store holds and comparing it with what it should be (`spec/store.md#verify`).
//!
//! Owns the full check. Invariants: the index is not trusted: every record of every pack is read, decompressed and hashed,
//! then the index is compared with the packs, the catalog with its log, and every image with its objects; a fault never
//! ends the check; nothing is changed.
//!
//! Does not repair: opening a store settles what a crash left, and publishing again stores what is lost.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use dominator_store_core::{Image, ImageId, ImageName, ObjectId, Recipe, RecipeId};
use dominator_store_pack::{PackId, Row};
use parking_lot::Mutex;

use crate::{
    Error, Store,
    catalog::{Event, EventKind, read_log},
    closure::{Closure, check_recipe, has_single_chunk, walk_image},
    error::Result,
    limits::THREAD_COUNT_MAX,
    objects::{Objects, open},
    packs::Packs,
};

/// One thing that is wrong with a store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A pack or a record of it is damaged; the error says where, what was expected and what was found.
    #[error("{}", object.map_or("a pack is damaged".to_owned(), |object| format!("{object} is damaged")))]
    Damaged {
        /// The object, if the damage is inside one record.
        object: Option<ObjectId>,
        /// Pack, offset, expected and found.
        source: Error,
    },
    /// The index has rows of a pack that is gone.
    #[error("pack {pack} is gone")]
    PackLost {
        /// The pack.
        pack: PackId,
    },
    /// The index does not have an object that a pack holds.
    #[error("{object} at byte {offset} of pack {pack} is not in the index")]
    Unindexed {
        /// The object.
        object: ObjectId,
        /// The pack.
        pack: PackId,
        /// Where in the pack.
        offset: u64,
    },
    /// The index says that an object lies where it does not.
    #[error("the index has {object} at byte {offset} of pack {pack}, where it is not")]
    Misplaced {
        /// The object.
        object: ObjectId,
        /// The pack.
        pack: PackId,
        /// Where in the pack.
        offset: u64,
    },
    /// The index says that a recipe is of another blob than it is.
    #[error("the index has the wrong recipe {recipe} for a blob")]
    WrongRecipeRow {
        /// The recipe.
        recipe: RecipeId,
    },
    /// The index cannot be read.
    #[error("the index cannot be read")]
    Index(#[source] Error),
    /// The catalog log is damaged.
    #[error("the catalog log is damaged")]
    Catalog(#[source] Error),
    /// What the index says about an image name is not what the catalog log says.
    #[error("the index shows image name {name} otherwise than the catalog log")]
    CatalogRow {
        /// The name.
        name: ImageName,
    },
    /// An image is not whole.
    #[error("image {name} ({image}) is not whole")]
    Image {
        /// Its name.
        name: ImageName,
        /// The image.
        image: ImageId,
        /// What is missing or wrong.
        source: Error,
    },
}

/// What a verification read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifyReport {
    /// Packs read.
    pub pack_count: u64,
    /// Records read.
    pub record_count: u64,
    /// Bytes of packs.
    pub stored_len: u64,
    /// Bytes of objects.
    pub raw_len: u64,
    /// Images whose objects were all looked for.
    pub image_count: u64,
    /// Faults found.
    pub fault_count: u64,
}

impl Store {
    /// Reads and checks everything; calls `on` for every fault.
    ///
    /// # Errors
    /// Only if the directory of packs cannot be listed; everything else is a fault.
    pub fn verify(&self, on: &mut dyn FnMut(&Fault)) -> Result<VerifyReport> {
        let objects = &self.inner.objects;
        let mut verifier = Verifier { objects, report: VerifyReport::default(), on };
        verifier.check_packs()?;
        verifier.check_index();
        match self.read_catalog() {
            Ok(events) => verifier.check_catalog(&events),
            Err(error) => verifier.fault(&Fault::Catalog(error)),
        }
        Ok(verifier.report)
    }

    /// Returns the last event of every name, as the log says.
    fn read_catalog(&self) -> Result<Vec<Event>> {
        // A reader may be behind the owner; what it shows is judged by what it shows.
        let shown = self.inner.objects.index.log_state()?;
        let replay = read_log(&self.inner.log_path(), shown)?;
        let shown_len = shown.map_or(0, |state| state.len);
        let events = replay.events.into_iter().filter(|(_, state)| state.len <= shown_len);
        let last: BTreeMap<ImageName, Event> = events.map(|(event, _)| (event.name.clone(), event)).collect();
        Ok(last.into_values().collect())
    }
}

struct Verifier<'a> {
    objects: &'a Objects,
    report: VerifyReport,
    on: &'a mut dyn FnMut(&Fault),
}

/// What one thread found in packs.
#[derive(Default)]
struct Tally {
    report: VerifyReport,
    faults: Vec<Fault>,
}

impl Verifier<'_> {
    fn fault(&mut self, fault: &Fault) {
        self.report.fault_count += 1;
        (self.on)(fault);
    }

    fn check_packs(&mut self) -> Result<()> {
        let packs = Packs::list(self.objects.packs.dir())?.sealed;
        let known = match self.objects.index.packs() {
            Ok(known) => known,
            Err(error) => {
                self.fault(&Fault::Index(error));
                BTreeSet::new()
            }
        };
        for pack in known.difference(&packs.iter().copied().collect()) {
            self.fault(&Fault::PackLost { pack: *pack });
        }
        let objects = self.objects;
        let next = AtomicUsize::new(0);
        let tallies = Mutex::new(Vec::new());
        let work = || {
            while let Some(pack) = packs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let tally = check_pack(objects, *pack, known.contains(pack));
                tallies.lock().push((*pack, tally));
            }
        };
        thread::scope(|scope| {
            let count = thread::available_parallelism().map_or(1, usize::from).min(THREAD_COUNT_MAX);
            let workers: Vec<_> = (0..count.min(packs.len())).map(|_| scope.spawn(work)).collect();
            for worker in workers {
                worker.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
            }
        });
        let mut tallies = tallies.into_inner();
        tallies.sort_by_key(|(pack, _)| *pack);
        for (_, Tally { report, faults }) in tallies {
            self.report.pack_count += report.pack_count;
            self.report.record_count += report.record_count;
            self.report.stored_len += report.stored_len;
            self.report.raw_len += report.raw_len;
            faults.iter().for_each(|fault| self.fault(fault));
        }
        Ok(())
    }

    /// Checks that every row of the index is of a record that is there, and every recipe row of its recipe.
    fn check_index(&mut self) {
        let objects = self.objects;
        let mut faults = Vec::new();
        let read = objects.index.objects(&mut |object, location| {
            // Lost and unreadable packs are faults already.
            if let Ok(reader) = objects.packs.reader_of(location)
                && !reader.is_record(object, location)
            {
                faults.push(Fault::Misplaced { object, pack: location.pack, offset: location.offset });
            }
            Ok(())
        });
        let recipes = objects.index.recipes(&mut |blob, recipe| {
            match objects.recipe_by_id(recipe) {
                Ok(Some(found)) if found.blob() == blob => {}
                // A damaged record is a fault already.
                Err(Error::Pack(_) | Error::PackLost { .. }) => {}
                _ => faults.push(Fault::WrongRecipeRow { recipe }),
            }
            Ok(())
        });
        faults.iter().for_each(|fault| self.fault(fault));
        for error in [read, recipes].into_iter().filter_map(Result::err) {
            self.fault(&Fault::Index(error));
        }
    }

    fn check_catalog(&mut self, events: &[Event]) {
        let mut shown = Vec::new();
        let read = self.objects.index.events("", None, &mut |event| {
            shown.push(event);
            true
        });
        if let Err(error) = read {
            self.fault(&Fault::Index(error));
        }
        let names: BTreeSet<&ImageName> = events.iter().chain(&shown).map(|event| &event.name).collect();
        let find = |events: &[Event], name: &ImageName| events.iter().find(|event| event.name == *name).cloned();
        for name in names {
            if find(events, name) != find(&shown, name) {
                self.fault(&Fault::CatalogRow { name: name.clone() });
            }
        }
        let mut seen = HashSet::new();
        for event in events.iter().filter(|event| event.kind == EventKind::Published) {
            self.report.image_count += 1;
            if let Err(source) = check_image(self.objects, event, &mut seen) {
                self.fault(&Fault::Image { name: event.name.clone(), image: event.image, source });
            }
        }
    }
}

fn check_pack(objects: &Objects, pack: PackId, indexed: bool) -> Tally {
    let mut tally = Tally::default();
    let reader = match objects.packs.reader(pack) {
        Ok(reader) => reader,
        Err(source) => {
            tally.faults.push(Fault::Damaged { object: None, source });
            return tally;
        }
    };
    tally.report.pack_count = 1;
    tally.report.stored_len = reader.file_len();
    for (row, record) in reader.records() {
        tally.report.record_count += 1;
        tally.report.raw_len += u64::from(row.raw_len);
        let checked = record.map_err(Error::from).and_then(|record| open(&record, &reader, row.location(pack)));
        if let Err(source) = checked {
            tally.faults.push(Fault::Damaged { object: Some(row.id), source });
        }
        if indexed {
            tally.faults.extend(check_row(objects, pack, &row));
        }
    }
    tally
}

/// Checks that the index knows the object of a row, here or in another pack.
fn check_row(objects: &Objects, pack: PackId, row: &Row) -> Option<Fault> {
    match objects.index.location(row.id) {
        Ok(Some(_)) => None,
        Ok(None) => Some(Fault::Unindexed { object: row.id, pack, offset: row.offset }),
        Err(error) => Some(Fault::Index(error)),
    }
}

fn check_image(objects: &Objects, event: &Event, seen: &mut HashSet<ObjectId>) -> Result<()> {
    let image = event.image;
    let encoded = objects.object(image.into())?.ok_or(Error::Incomplete { image, object: image.into() })?;
    let decoded = Image::decode(&encoded).map_err(|source| Error::BadImage { image, source })?;
    let Closure { blobs } = walk_image(objects, image, &decoded)?;
    for (blob, size) in blobs {
        if has_single_chunk(objects, blob, size)? {
            continue;
        }
        let object = blob.single_chunk().into();
        let recipe: Recipe = objects.recipe(blob)?.ok_or(Error::Incomplete { image, object })?;
        check_recipe(objects, image, size, &recipe, seen)?;
    }
    Ok(())
}
