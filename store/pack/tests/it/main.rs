//! Properties of packs and of the cache, on real files.

mod assembly;
mod cache;
mod damage;
mod recovery;
mod support;
