//! Publishing from elsewhere: objects arrive one by one, in any order.
//!
//! Owns an upload. Invariants: a record is stored only after its checksum, decompression and digest were checked; a
//! recipe only after its chunks assembled the blob it names; a name changes only if the whole closure of the image is
//! durable. Nothing that the peer says is believed. A dropped upload leaves nothing visible.
//!
//! Does not receive anything: the server passes on what it gets.

use std::{collections::HashSet, io, sync::Arc};

use dominator_store_core::{BlobId, Image, ImageId, ImageName, ObjectId, ObjectKind, Recipe, RecipeId, Record};
use dominator_store_pack::{ObjectSource, SourceError, assemble, open_record};

use crate::{
    Error, Published, Store,
    closure::{Closure, check_recipe, has_single_chunk, walk_image},
    error::Result,
    objects::Objects,
    session::{Added, Session},
    store::Inner,
};

/// An upload; several threads may use it at once.
pub struct Upload {
    inner: Arc<Inner>,
    session: Session,
}

impl Store {
    /// Begins an upload.
    ///
    /// # Errors
    /// `ReadOnly` if this process does not own the store.
    pub fn begin_upload(&self) -> Result<Upload> {
        Ok(Upload { inner: self.inner.clone(), session: Session::new(self.inner.clone())? })
    }
}

impl Upload {
    /// Says of each object whether it must be put: neither the store nor this upload has it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn missing(&self, ids: &[ObjectId]) -> Result<Vec<bool>> {
        ids.iter().map(|id| Ok(!self.session.has(*id)?)).collect()
    }

    /// Checks a record (checksum, decompression, digest) and stores it, unless it is there already.
    ///
    /// # Errors
    /// `Refused` if it is not the object it claims to be, `BadRecipe` for a malformed recipe, or why it cannot be
    /// written.
    pub fn put(&self, record: &[u8]) -> Result<ObjectId> {
        let parsed = Record::parse(record).map_err(Error::Refused)?;
        parsed.verify_checksum().map_err(Error::Refused)?;
        let raw = open_record(&parsed).map_err(Error::Refused)?;
        let id = parsed.header().id;
        let recipe = match id.kind {
            ObjectKind::Recipe => Some(Recipe::decode(&raw).map_err(Error::BadRecipe)?),
            _ => None,
        };
        if !self.session.claim(id)? {
            return Ok(id);
        }
        let stored = match recipe {
            Some(recipe) => self.session.keep_recipe(RecipeId::new(id.digest), recipe.blob(), record.to_vec()),
            None => self.session.append(record),
        };
        if stored.is_err() {
            self.session.unclaim(id);
        }
        stored.map(|()| id)
    }

    /// Checks that the image is whole, makes all of it durable, and then makes `name` stand for it.
    ///
    /// # Errors
    /// `Incomplete` names an object to put before trying again; `Conflict` or `NameUsed` if the name is taken; others say
    /// what the image gets wrong.
    pub fn commit(&self, name: &ImageName, image: ImageId) -> Result<Published> {
        self.inner.check_name(name, image)?;
        self.session.seal()?;
        let objects = &self.inner.objects;
        let encoded = objects.object(image.into())?.ok_or(Error::Incomplete { image, object: image.into() })?;
        let decoded = Image::decode(&encoded).map_err(|source| Error::BadImage { image, source })?;
        let closure = walk_image(objects, image, &decoded)?;
        let needed = self.check_blobs(image, &closure)?;
        self.session.retain_recipes(|recipe| needed.contains(&recipe));
        let Added { object_count, stored_len } = self.session.finish([])?;
        let added = self.inner.publish(name, image, &decoded)?;
        Ok(Published {
            image,
            root: decoded.root,
            entry_count: decoded.entry_count,
            content_len: decoded.content_len,
            new_object_count: object_count,
            new_stored_len: stored_len,
            added,
            skipped: Vec::new(),
        })
    }

    /// Checks the content of an image; returns the recipes of this upload that it needs.
    fn check_blobs(&self, image: ImageId, closure: &Closure) -> Result<HashSet<RecipeId>> {
        let objects = &self.inner.objects;
        let kept = self.session.kept_recipes();
        let mut seen = HashSet::new();
        let mut needed = HashSet::new();
        for (blob, size) in &closure.blobs {
            if has_single_chunk(objects, *blob, *size)? {
                continue;
            }
            if let Some(recipe) = objects.recipe(*blob)? {
                check_recipe(objects, image, *size, &recipe, &mut seen)?;
                continue;
            }
            let chunk = ObjectId::from(blob.single_chunk());
            let id = kept.get(blob).ok_or(Error::Incomplete { image, object: chunk })?;
            let recipe = self.kept_recipe(*id)?.ok_or(Error::Incomplete { image, object: chunk })?;
            check_recipe(objects, image, *size, &recipe, &mut seen)?;
            // The chunks are all right, but whether they are this blob only the whole of them tells.
            let source = OneRecipe { objects, recipe: &recipe };
            assemble(&source, *blob, *size, &mut io::sink())
                .map_err(|source| Error::WrongRecipe { blob: *blob, source })?;
            needed.insert(*id);
        }
        Ok(needed)
    }

    fn kept_recipe(&self, id: RecipeId) -> Result<Option<Recipe>> {
        let Some(record) = self.session.kept_recipe(id) else { return Ok(None) };
        let record = Record::parse(&record).map_err(Error::Refused)?;
        let raw = open_record(&record).map_err(Error::Refused)?;
        Recipe::decode(&raw).map(Some).map_err(Error::BadRecipe)
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Upload")
    }
}

/// The stored chunks, and one recipe that is not stored yet.
struct OneRecipe<'a> {
    objects: &'a Objects,
    recipe: &'a Recipe,
}

impl ObjectSource for OneRecipe<'_> {
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError> {
        self.objects.object(id).map_err(SourceError::new)
    }

    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError> {
        Ok((self.recipe.blob() == blob).then(|| self.recipe.clone()))
    }
}
