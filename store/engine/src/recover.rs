//! Settling what a crash left, before a store is opened for writing (`spec/store.md#recovery`).
//!
//! Owns bringing the index up to the packs and the catalog log; an index that was deleted is one that shows nothing yet.
//! Invariants: packs are indexed before events are shown; rows of packs that are gone, and recipes that lost a chunk, are
//! removed, so that nothing new is built on what was lost; running it again changes nothing.
//!
//! Does not delete objects that no image needs: collecting garbage will.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt, path::Path};

use dominator_store_core::{BlobId, ObjectId, ObjectKind, Recipe, RecipeId};
use dominator_store_pack::{PackId, PackReader, PackWriter, Row, durable, open_record, scan};

use crate::{
    Error,
    catalog::{CatalogLog, Replay, read_log},
    error::Result,
    index::{Batch, Durability, Index},
    limits::{BATCH_ROW_COUNT, SALVAGE_LEN_MIN},
    objects::Objects,
    packs::Packs,
};

/// Settles what a crash left and returns the catalog log, open for appending.
pub(crate) fn recover(objects: &Objects, log_path: &Path) -> Result<CatalogLog> {
    let (index, packs) = (&objects.index, &objects.packs);
    let replay = read_log(log_path, index.log_state()?)?;
    for pack in Packs::list(packs.dir())?.unsealed {
        salvage(packs.dir(), pack)?;
    }
    let known = index.packs()?;
    let present: BTreeSet<PackId> = Packs::list(packs.dir())?.sealed.into_iter().collect();
    let lost: BTreeSet<PackId> = known.difference(&present).copied().collect();
    let mut whole = lost.is_empty() && !known.is_empty();
    for pack in present.difference(&known) {
        whole &= index_pack(objects, *pack)?;
    }
    // A fresh index cannot know what is gone, so it is checked as well.
    if !whole {
        if !lost.is_empty() {
            tracing::error!(pack_count = lost.len(), "packs are gone; what only they held must be published again");
        }
        forget(objects, &lost)?;
    }
    let log = CatalogLog::open(log_path, &replay)?;
    show_events(index, &replay)?;
    Ok(log)
}

/// Seals an unsealed pack if enough of it is whole to be worth it: a publish that is tried again finds its objects.
///
/// Nothing acknowledged lies in an unsealed pack, because the barrier seals every pack before an event is logged.
fn salvage(dir: &Path, pack: PackId) -> Result<()> {
    let path = dir.join(pack.unsealed_name());
    let found = scan(&path, pack)?;
    if found.good_len >= SALVAGE_LEN_MIN && !found.rows.is_empty() {
        PackWriter::recover(dir, pack)?.seal()?;
        return Ok(());
    }
    Ok(durable::remove_file(&path)?)
}

/// Adds the rows of a sealed pack to the index, all at once; says whether the pack was whole.
fn index_pack(objects: &Objects, pack: PackId) -> Result<bool> {
    let reader = match objects.packs.reader(pack) {
        Ok(reader) => reader,
        Err(Error::Pack(
            dominator_store_pack::Error::Corrupt { .. } | dominator_store_pack::Error::Unsealed { .. },
        )) => {
            let replacement = rewrite(&objects.packs, pack)?;
            tracing::error!(%pack, "pack is corrupt; its whole records were copied and it was put aside");
            if let Some(replacement) = replacement {
                index_pack(objects, replacement)?;
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let mut batch = objects.index.batch();
    for row in reader.rows() {
        batch.put_object(row.id, row.location(pack));
        if let Some((blob, recipe)) = recipe_of(&reader, &row) {
            batch.put_recipe(blob, recipe);
        }
    }
    batch.put_pack(pack);
    batch.write(Durability::Volatile)?;
    Ok(true)
}

/// Copies the whole records of a sealed pack whose header or trailer is damaged into a new one, and puts it aside.
fn rewrite(packs: &Packs, pack: PackId) -> Result<Option<PackId>> {
    let path = packs.path(pack);
    let file = File::open(&path).map_err(Error::io("open", &path))?;
    let rows = scan(&path, pack)?.rows;
    let mut replacement = None;
    if !rows.is_empty() {
        let mut writer = packs.create()?;
        let mut record = Vec::new();
        for row in rows {
            record.resize(usize::try_from(row.location(pack).record_len()).unwrap_or(usize::MAX), 0);
            file.read_exact_at(&mut record, row.offset).map_err(Error::io("read", &path))?;
            writer.append(&record)?;
        }
        replacement = Some(writer.seal()?.pack());
    }
    packs.put_aside(pack)?;
    Ok(replacement)
}

fn recipe_of(reader: &PackReader, row: &Row) -> Option<(BlobId, RecipeId)> {
    if row.id.kind != ObjectKind::Recipe {
        return None;
    }
    // A damaged recipe is left out: its blob is cut again when it is published again.
    let record = reader.record(row.id, row.location(reader.pack())).ok()?;
    let recipe = Recipe::decode(&open_record(&record).ok()?).ok()?;
    Some((recipe.blob(), RecipeId::new(row.id.digest)))
}

/// Removes the recipes that need an object which is absent or lies in a lost pack, then the rows that point into lost
/// packs. A crash in between leaves no recipe without its chunks, and the next open goes on.
fn forget(objects: &Objects, lost: &BTreeSet<PackId>) -> Result<()> {
    let index = &objects.index;
    let mut batch = index.batch();
    index.recipes(&mut |blob, recipe| {
        if !is_whole(objects, recipe, lost)? {
            batch.remove_recipe(blob);
            // The object too, so that it is asked for again by whoever publishes the blob.
            batch.remove_object(recipe.into());
        }
        write_long(&mut batch, index)
    })?;
    if !lost.is_empty() {
        index.objects(&mut |id, location| {
            if lost.contains(&location.pack) {
                batch.remove_object(id);
            }
            write_long(&mut batch, index)
        })?;
    }
    for pack in lost {
        batch.remove_pack(*pack);
    }
    batch.write(Durability::Synced)
}

fn is_whole(objects: &Objects, recipe: RecipeId, lost: &BTreeSet<PackId>) -> Result<bool> {
    let is_there = |id: ObjectId| -> Result<bool> {
        Ok(objects.index.location(id)?.is_some_and(|location| !lost.contains(&location.pack)))
    };
    if !is_there(recipe.into())? {
        return Ok(false);
    }
    match objects.recipe_by_id(recipe) {
        Ok(Some(recipe)) => {
            for chunk in recipe.chunks() {
                if !is_there(chunk.id.into())? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Ok(None) | Err(Error::Pack(_) | Error::PackLost { .. } | Error::BadRecipe(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

fn write_long<'a>(batch: &mut Batch<'a>, index: &'a Index) -> Result<()> {
    if batch.row_count() < BATCH_ROW_COUNT {
        return Ok(());
    }
    std::mem::replace(batch, index.batch()).write(Durability::Volatile)
}

/// Applies the events that the index does not show yet.
fn show_events(index: &Index, replay: &Replay) -> Result<()> {
    let shown = index.log_state()?;
    if shown == Some(replay.state) {
        return Ok(());
    }
    let shown_len = shown.map_or(0, |state| state.len);
    let mut batch = index.batch();
    for (event, _) in replay.events.iter().filter(|(_, state)| state.len > shown_len) {
        batch.put_event(event);
    }
    batch.put_log_state(replay.state);
    batch.write(Durability::Synced)
}
