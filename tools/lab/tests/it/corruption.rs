//! Damage in the store: found, named, never installed.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use dominator_lab::{compare, wait_until};

use crate::site::{STEP_TIME_MAX, Site, V2};

#[test]
fn a_flipped_byte_in_a_pack_is_found_and_not_installed() -> Result<()> {
    let mut site = Site::new(&["a"])?;
    site.start_all()?;
    site.wait_equal("a", "v1")?;
    site.lab.imageserver.stop()?;
    let store = site.lab.store();
    let flipped = flip_everywhere(&packs(&store)?)?;
    site.lab.start_imageserver()?;
    site.lab.require("a", V2)?;
    let status = wait_until(STEP_TIME_MAX, || {
        let status = site.lab.detail("a")?.machine;
        Ok((status.status.contains("failed") && !status.converged).then_some(status))
    })
    .with_context(|| site.status_text("a"))?;
    let text = status.detail.to_lowercase();
    assert!(["corrupt", "checksum", "damaged"].iter().any(|word| text.contains(word)), "{status:?}");
    let root = site.lab.machine("a")?.root.clone();
    let compared = compare(&site.tree("v1"), &root)?;
    assert!(compared.is_equal(), "the old image must stay: {:?}", compared.lines);

    // What was damaged is whole again: nobody has to do anything else.
    site.lab.imageserver.stop()?;
    for (path, offset, byte) in flipped {
        File::options().write(true).open(path)?.write_all_at(&[byte], offset)?;
    }
    site.lab.start_imageserver()?;
    site.wait_equal("a", "v2")
}

fn packs(store: &Path) -> Result<Vec<PathBuf>> {
    let mut packs = Vec::new();
    for entry in fs::read_dir(store.join("packs"))? {
        packs.push(entry?.path());
    }
    assert!(!packs.is_empty());
    Ok(packs)
}

/// Flips one bit in many records of every pack, but leaves the trailers, so that the store opens; returns what was there.
fn flip_everywhere(packs: &[PathBuf]) -> Result<Vec<(PathBuf, u64, u8)>> {
    let mut flipped = Vec::new();
    for path in packs {
        let file = File::options().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        // Every 50 kB hits the chunks of every file of that size; small records mostly survive.
        for offset in (10_000..len.saturating_sub(len / 4)).step_by(50_000) {
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset)?;
            flipped.push((path.clone(), offset, byte[0]));
            file.write_all_at(&[byte[0] ^ 0x10], offset)?;
        }
    }
    assert!(!flipped.is_empty());
    Ok(flipped)
}
