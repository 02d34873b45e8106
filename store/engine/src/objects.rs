//! Stored objects by id: the index and the packs together.
//!
//! Owns the way from an id to bytes. Invariants: a record is handed out only after its checksum matched and an object
//! only after its digest did; damage is an error that names pack and offset, absence is `None`.
//!
//! Does not know names of images (`read`) and writes nothing.

use dominator_store_core::{
    BlobId, Directory, ObjectId, ReadTreeError, Recipe, RecipeId, Record, TreeId, read_directory,
};
use dominator_store_pack::{Damage, Location, PackReader, open_record};

use crate::{Error, error::Result, index::Index, packs::Packs};

/// The index and the packs of one store.
#[derive(Debug)]
pub(crate) struct Objects {
    pub(crate) index: Index,
    pub(crate) packs: Packs,
}

impl Objects {
    /// Says whether the index has the object.
    pub(crate) fn has(&self, id: ObjectId) -> Result<bool> {
        Ok(self.index.location(id)?.is_some())
    }

    /// Returns the record of an object as it is stored.
    pub(crate) fn record(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        self.with_record(id, |record, _, _| Ok(record.as_bytes().to_vec()))
    }

    /// Returns the bytes of an object.
    pub(crate) fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        self.with_record(id, open)
    }

    fn with_record<T>(
        &self,
        id: ObjectId,
        read: impl FnOnce(&Record<'_>, &PackReader, Location) -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(location) = self.index.location(id)? else { return Ok(None) };
        let reader = self.packs.reader_of(location)?;
        let record = reader.record(id, location)?;
        read(&record, &reader, location).map(Some)
    }

    /// Returns the recipe of a blob.
    pub(crate) fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>> {
        match self.index.recipe(blob)? {
            Some(id) => self.recipe_by_id(id),
            None => Ok(None),
        }
    }

    /// Returns a recipe.
    pub(crate) fn recipe_by_id(&self, id: RecipeId) -> Result<Option<Recipe>> {
        let bytes = self.object(id.into())?;
        bytes.map(|bytes| Recipe::decode(&bytes)).transpose().map_err(Error::BadRecipe)
    }

    /// Returns a directory.
    pub(crate) fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<Box<Error>>> {
        let get = |id: TreeId| self.object(id.into())?.ok_or(Error::Absent { object: id.into() });
        read_directory(id, &mut |id| get(id).map_err(Box::new))
    }
}

/// Decompresses a record of a pack and checks the object's digest.
pub(crate) fn open(record: &Record<'_>, reader: &PackReader, location: Location) -> Result<Vec<u8>> {
    let corrupt = |error| dominator_store_pack::Error::Corrupt {
        pack: reader.pack(),
        offset: location.offset,
        source: Damage::Record(error),
    };
    Ok(open_record(record).map_err(corrupt)?)
}
