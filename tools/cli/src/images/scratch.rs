//! Content fetched for one checkout.
//!
//! Owns a chunk cache beside the destination, on the same file system. Everything is asked for in two rounds, recipes and
//! then chunks, so a long link costs bandwidth and not round trips; each chunk is fetched once, however many files share it.
//! Invariants: nothing unverified is kept; the directory is gone when the checkout is over.
//!
//! Assembling blobs from it is `store/pack`.

use std::{collections::HashSet, io, path::Path};

use dominator_store_core::{BlobId, ObjectId, Recipe, Record, limits::SINGLE_CHUNK_LEN_MAX};
use dominator_store_fs::BlobSource;
use dominator_store_pack::{Cache, assemble, open_record};
use tempfile::TempDir;

use super::{Remote, SourceError};
use crate::progress::Meter;

/// A directory of packs that ends with the checkout.
pub(crate) struct Scratch {
    cache: Cache,
    /// Held for its removal only; dropped after the cache.
    _dir: TempDir,
}

impl Scratch {
    /// Fetches all that these files consist of.
    pub(super) fn fetch(
        remote: &Remote,
        files: &[(BlobId, u64)],
        dest: &Path,
        meter: &Meter,
    ) -> Result<Self, SourceError> {
        let beside = dest.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let dir = tempfile::Builder::new().prefix(".domtool-").tempdir_in(beside).map_err(SourceError::Io)?;
        let cache =
            Cache::open(&dir.path().join("packs"), u64::MAX).map_err(|error| SourceError::Scratch(Box::new(error)))?;
        let put = |record: &[u8]| cache.put(record).map(|_| ()).map_err(|error| SourceError::Scratch(Box::new(error)));

        let mut chunks: Vec<(ObjectId, u64)> = Vec::new();
        let mut seen = HashSet::new();
        let mut want = |id: ObjectId, len: u64| {
            if seen.insert(id) {
                chunks.push((id, len));
            }
        };
        let (mut large, mut large_sizes) = (Vec::new(), std::collections::HashMap::new());
        for (blob, size) in files {
            match *size {
                0 => {}
                size if size <= SINGLE_CHUNK_LEN_MAX => want(blob.single_chunk().into(), size),
                size => {
                    if large_sizes.insert(*blob, size).is_none() {
                        large.push(*blob);
                    }
                }
            }
        }
        remote.recipes(&large, |blob, record| {
            let Some(record) = record else {
                want(blob.single_chunk().into(), large_sizes.get(&blob).copied().unwrap_or(0));
                return Ok(());
            };
            put(record)?;
            let bytes =
                open_record(&Record::parse(record).map_err(SourceError::Record)?).map_err(SourceError::Record)?;
            let recipe = Recipe::decode(&bytes).map_err(|source| SourceError::Recipe { blob, source })?;
            if recipe.blob() != blob {
                return Err(SourceError::OtherBlob { asked: blob, found: recipe.blob() });
            }
            for chunk in recipe.chunks() {
                want(chunk.id.into(), chunk.len.into());
            }
            Ok(())
        })?;
        meter.set_total_len(chunks.iter().map(|(_, len)| len).sum());
        let ids: Vec<ObjectId> = chunks.iter().map(|(id, _)| *id).collect();
        let mut lens = chunks.iter().map(|(_, len)| *len);
        remote.fetch(&ids, |_, record| {
            meter.add_len(lens.next().unwrap_or(0));
            meter.add_count(1);
            put(record)
        })?;
        Ok(Self { cache, _dir: dir })
    }
}

impl BlobSource for Scratch {
    fn read_blob(&self, id: BlobId, size: u64, out: &mut dyn io::Write) -> io::Result<()> {
        assemble(&self.cache, id, size, out).map_err(io::Error::other)
    }
}
