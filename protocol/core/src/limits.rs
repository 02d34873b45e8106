//! Limits of everything a peer can send (`spec/wire.md#limits`).
//!
//! Owns the numbers. Invariant: every allocation that depends on a peer is bounded by one of these, and each is written
//! in the spec with the same name.
//!
//! Does not enforce them: decoders do, where they read.

use dominator_store_core::{RECORD_HEADER_LEN, limits::object_len_max};

pub use dominator_store_core::limits::{IMAGE_LEN_MAX, IMAGE_NAME_LEN_MAX, PATH_LEN_MAX};

/// Largest payload of one frame, except where records travel.
pub const FRAME_MAX: usize = 2 << 20;
/// Largest payload of an `Object` frame in the calls that carry records: the longest recipe and a record header.
pub const RECORD_LEN_MAX: usize = RECORD_HEADER_LEN + object_len_max(dominator_store_core::ObjectKind::Recipe);
/// Length of the length and the tag in front of every payload.
pub const FRAME_HEADER_LEN: usize = 5;
/// Most ids in one message.
pub const IDS_MAX: usize = 4096;
/// Most images in one reply to a list.
pub const LIST_MAX: usize = 1000;
/// Longest text written for people: a failure, a hint, a detail, the last error of a machine.
pub const TEXT_LEN_MAX: usize = 1024;
/// Longest host name, host and port, or group name.
pub const HOST_LEN_MAX: usize = 512;
/// Most deviations that are reported for one machine.
pub const DEVIATIONS_MAX: usize = 10_000;
/// Most history lines that are reported for one machine.
pub const HISTORY_MAX: usize = 256;
/// Most items in one frame of a reply that is spread over several frames.
pub const BATCH_MAX: usize = 4096;
/// Encoded length at which the sender of such a reply starts the next frame.
pub const BATCH_LEN: usize = 256 << 10;
/// Most permissions, and most groups, in one grant.
pub const GRANT_MAX: usize = 256;
/// Longest permission as text.
pub const PERMISSION_LEN_MAX: usize = 1280;
/// Longest encoded grant.
pub const GRANT_LEN_MAX: usize = 64 << 10;

/// Cuts `text` to at most `TEXT_LEN_MAX` bytes at a character boundary.
///
/// Whoever puts foreign text into a message calls this, because the receiver refuses longer text.
pub fn clip(text: &str) -> &str {
    clip_to(text, TEXT_LEN_MAX)
}

/// Cuts `text` to at most `len_max` bytes at a character boundary.
pub fn clip_to(text: &str, len_max: usize) -> &str {
    &text[..text.floor_char_boundary(len_max)]
}
