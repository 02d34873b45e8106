//! The file that says that a directory is a store, and which choices its writers keep (`spec/store.md#format`).
//!
//! Owns `Format`. Invariant: the file is accepted only if it is byte for byte what encoding its meaning gives, so a
//! damaged one is never obeyed.
//!
//! Does not open the store: `store` does.

use std::{fs, path::Path};

use dominator_store_core::{Digest, Profile};
use dominator_store_pack::durable;

use crate::{Error, error::Result, limits::FORMAT_LEN_MAX};

/// How a store cuts and compresses what is published into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreOptions {
    /// Where blobs are cut.
    pub profile: Profile,
    /// The zstd level of records, 1 to 19.
    pub zstd_level: i32,
}

impl Default for StoreOptions {
    /// The choice of `spec/decisions/0002-chunking-and-level.md`.
    fn default() -> Self {
        Self { profile: Profile::default_profile(), zstd_level: 2 }
    }
}

const FILE: &str = "format";
const VERSION: u32 = 1;
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=19;

/// Writes the format file into `dir`; the directory is a store from then on.
pub(crate) fn write(dir: &Path, options: &StoreOptions) -> Result<()> {
    if !ZSTD_LEVELS.contains(&options.zstd_level) {
        return Err(Error::Limit { what: "zstd level", limit: 19 });
    }
    Ok(durable::replace_file(dir, FILE, encode(options).as_bytes())?)
}

/// Reads the format file of `dir`.
pub(crate) fn read(dir: &Path) -> Result<StoreOptions> {
    let path = dir.join(FILE);
    let text = match fs::metadata(&path) {
        Ok(stat) if stat.len() <= FORMAT_LEN_MAX => fs::read_to_string(&path),
        Ok(_) => return Err(Error::FormatCorrupt { path }),
        Err(error) => Err(error),
    };
    let text = text.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::NotAStore { path: dir.to_owned() },
        std::io::ErrorKind::InvalidData => Error::FormatCorrupt { path: path.clone() },
        _ => Error::io("read", &path)(error),
    })?;
    let (options, version) = decode(&text).ok_or_else(|| Error::FormatCorrupt { path: path.clone() })?;
    match options {
        Some(options) if version == VERSION => Ok(options),
        _ if version > VERSION => Err(Error::Newer { version }),
        _ => Err(Error::FormatCorrupt { path }),
    }
}

fn encode(options: &StoreOptions) -> String {
    let body =
        format!("dominator store {VERSION}\nprofile {}\nzstd-level {}\n", options.profile.name(), options.zstd_level);
    seal(&body)
}

fn seal(body: &str) -> String {
    format!("{body}check {}\n", Digest::of(body.as_bytes()).short())
}

/// Returns what a whole file says; of another version than ours, only which one.
fn decode(text: &str) -> Option<(Option<StoreOptions>, u32)> {
    let (body, _) = text.split_once("check ")?;
    if seal(body) != text {
        return None;
    }
    let mut lines = body.lines();
    let version = lines.next()?.strip_prefix("dominator store ")?.parse().ok()?;
    let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let profile = field("profile").and_then(Profile::from_name);
    let zstd_level = field("zstd-level").and_then(|level| level.parse().ok());
    let options = match (profile, zstd_level) {
        (Some(profile), Some(zstd_level)) => Some(StoreOptions { profile, zstd_level }),
        _ => None,
    };
    let options = options.filter(|options| ZSTD_LEVELS.contains(&options.zstd_level) && encode(options) == text);
    Some((options, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_prefix_is_refused() {
        let options = StoreOptions::default();
        let text = encode(&options);
        assert_eq!(decode(&text), Some((Some(options), VERSION)));
        for pos in 0..text.len() {
            assert_eq!(decode(&text[..pos]), None);
            for bit in 0..7 {
                let mut flipped = text.clone().into_bytes();
                flipped[pos] ^= 1 << bit;
                let flipped = String::from_utf8(flipped).expect("ascii");
                assert_eq!(decode(&flipped), None, "{flipped}");
            }
        }
    }

    #[test]
    fn a_later_version_is_told_apart_from_damage() {
        assert_eq!(decode(&seal("dominator store 2\nother\n")), Some((None, 2)));
    }
}
