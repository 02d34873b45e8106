//! Reading a store: images by name, objects by id.
//!
//! Owns the public look-ups. Invariant: what is returned was verified on the way out, by checksum where it is sent on as
//! stored and by digest where its bytes are used.
//!
//! Does not change anything; changing what a name stands for is `commit`.

use std::io::{self, Write};

use dominator_store_core::{BlobId, Directory, Image, ImageId, ImageName, ObjectId, ReadTreeError, Recipe, TreeId};
use dominator_store_fs::BlobSource;
use dominator_store_pack::{ObjectSource, SourceError, assemble};

use crate::{
    Error, Store,
    catalog::{Event, EventKind},
    error::Result,
    limits::LIST_COUNT_MAX,
};

/// An image of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// Its id.
    pub id: ImageId,
    /// The image.
    pub image: Image,
    /// Its encoding, over which the id is.
    pub encoded: Vec<u8>,
}

/// What a list of images says about one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSummary {
    /// The name.
    pub name: ImageName,
    /// What it stands for.
    pub image: ImageId,
    /// When the image was made, in milliseconds since 1970-01-01 UTC.
    pub created_ms: u64,
    /// When it was published here, in milliseconds since 1970-01-01 UTC.
    pub published_ms: u64,
    /// Number of paths in its tree, the root included.
    pub entry_count: u64,
    /// Sum of the sizes of its files in bytes.
    pub content_len: u64,
}

impl Store {
    /// Returns the image that `name` stands for.
    ///
    /// # Errors
    /// If the index or the image object cannot be read.
    pub fn image(&self, name: &ImageName) -> Result<Option<StoredImage>> {
        let Some(event) = self.inner.visible(name)? else { return Ok(None) };
        // The catalog says that it is there, so absence is an error here.
        self.image_by_id(event.image)?.map(Some).ok_or(Error::Absent { object: event.image.into() })
    }

    /// Returns an image, whether a name stands for it or not.
    ///
    /// # Errors
    /// If the index or the image object cannot be read.
    pub fn image_by_id(&self, id: ImageId) -> Result<Option<StoredImage>> {
        let Some(encoded) = self.inner.objects.object(id.into())? else { return Ok(None) };
        let image = Image::decode(&encoded).map_err(|source| Error::BadImage { image: id, source })?;
        Ok(Some(StoredImage { id, image, encoded }))
    }

    /// Lists at most `limit` images whose name begins with `prefix`, behind `after`, in order of names.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn images(&self, prefix: &str, after: Option<&ImageName>, limit: usize) -> Result<Vec<ImageSummary>> {
        let limit = limit.min(LIST_COUNT_MAX);
        let mut images = Vec::new();
        if limit == 0 {
            return Ok(images);
        }
        self.inner.objects.index.events(prefix, after, &mut |event| {
            images.extend(summary(event));
            images.len() < limit
        })?;
        Ok(images)
    }

    /// Says whether the store has an object.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn has(&self, id: ObjectId) -> Result<bool> {
        self.inner.objects.has(id)
    }

    /// Returns an object's record as it is stored, its checksum verified: ready to be sent.
    ///
    /// # Errors
    /// `Pack(Corrupt)` if the record is damaged.
    pub fn record(&self, id: ObjectId) -> Result<Option<Vec<u8>>> {
        self.inner.objects.record(id)
    }

    /// Returns the record of a blob's recipe; a blob of one chunk has none.
    ///
    /// # Errors
    /// `Pack(Corrupt)` if the record is damaged.
    pub fn recipe_record(&self, blob: BlobId) -> Result<Option<Vec<u8>>> {
        match self.inner.objects.index.recipe(blob)? {
            Some(recipe) => self.record(recipe.into()),
            None => Ok(None),
        }
    }

    /// Returns a directory.
    ///
    /// # Errors
    /// If an object of it is absent, damaged or not canonical.
    pub fn directory(&self, id: TreeId) -> Result<Directory, ReadTreeError<Box<Error>>> {
        self.inner.objects.directory(id)
    }
}

impl crate::store::Inner {
    /// Returns the event by which `name` stands for an image, if it does.
    pub(crate) fn visible(&self, name: &ImageName) -> Result<Option<Event>> {
        Ok(self.objects.index.event(name)?.filter(|event| event.kind == EventKind::Published))
    }
}

fn summary(event: Event) -> Option<ImageSummary> {
    (event.kind == EventKind::Published).then_some(ImageSummary {
        name: event.name,
        image: event.image,
        created_ms: event.created_ms,
        published_ms: event.at_ms,
        entry_count: event.entry_count,
        content_len: event.content_len,
    })
}

impl ObjectSource for Store {
    fn object(&self, id: ObjectId) -> Result<Option<Vec<u8>>, SourceError> {
        self.inner.objects.object(id).map_err(SourceError::new)
    }

    fn recipe(&self, blob: BlobId) -> Result<Option<Recipe>, SourceError> {
        self.inner.objects.recipe(blob).map_err(SourceError::new)
    }
}

impl BlobSource for Store {
    fn read_blob(&self, id: BlobId, size: u64, out: &mut dyn Write) -> io::Result<()> {
        assemble(self, id, size, out).map_err(io::Error::other)
    }
}
