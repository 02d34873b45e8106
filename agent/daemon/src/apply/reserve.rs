//! Whether there is room for what is to be staged.
//!
//! Owns the estimate. Invariant: it is made before anything is written, and refuses rather than fills the disk.
//!
//! Staging may still run out of space, since others write too; then the stage is removed and nothing has changed.

use dominator_agent_core::{Plan, Source};
use dominator_store_core::{Content, Hole, Item, Leaf};
use dominator_store_fs::Dir;

use super::{
    error::ApplyError,
    limits::{BLOCK_LEN, ENTRY_LEN, INODE_SLACK_COUNT, SPACE_SLACK_LEN},
};

pub(super) fn reserve(root: &Dir, plan: &Plan) -> Result<(), ApplyError> {
    let found = rustix::fs::fstatvfs(root.fd()).map_err(|errno| ApplyError::io("look at the free space", errno))?;
    let (needed_len, inode_count) = needs(plan);
    let needed_len = needed_len.saturating_add(SPACE_SLACK_LEN);
    let needed_inode_count = inode_count + INODE_SLACK_COUNT;
    let free_len = found.f_bavail.saturating_mul(found.f_frsize);
    // File systems that make inodes as they go report none at all.
    let counts_inodes = found.f_files > 0;
    let free_inode_count = if counts_inodes { found.f_favail } else { u64::MAX };
    if needed_len > free_len || needed_inode_count > free_inode_count {
        return Err(ApplyError::NoSpace { needed_len, free_len, needed_inode_count, free_inode_count });
    }
    Ok(())
}

/// Returns the bytes and inodes that staging takes.
fn needs(plan: &Plan) -> (u64, u64) {
    let mut len: u64 = 0;
    let mut inode_count = 0;
    for staged in &plan.staged {
        inode_count += u64::from(!matches!(staged.source, Source::Link(_)));
        let content_len = match (&staged.item, &staged.source) {
            (Item::Dir(_), _) => BLOCK_LEN,
            (Item::Leaf(Leaf { content: Content::File { size, holes, .. }, .. }), Source::Blob { .. }) => {
                let hole_len = holes.iter().map(|hole: &Hole| hole.len).sum();
                size.saturating_sub(hole_len).checked_next_multiple_of(BLOCK_LEN).unwrap_or(u64::MAX)
            }
            _ => 0,
        };
        len = len.saturating_add(content_len).saturating_add(ENTRY_LEN);
    }
    (len.saturating_add(ENTRY_LEN * plan.steps.len() as u64), inode_count)
}
