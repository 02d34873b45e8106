//! Every bound on what a format may say (`spec/limits.md`).
//!
//! Owns the numbers and nothing else. Invariant: each decoder checks its bound before it allocates, and each encoder
//! refuses to make what its decoder would refuse.
//!
//! Bounds of messages and streams are in `protocol/core`.

/// Longest name of a directory entry, in bytes (`NAME_MAX` of Linux).
pub const NAME_LEN_MAX: usize = 255;
/// Longest path from the root of a tree, in bytes (`PATH_MAX` of Linux, with its terminator).
pub const PATH_LEN_MAX: usize = 4095;
/// Deepest nesting of directories.
pub const TREE_DEPTH_MAX: usize = 128;
/// Longest target of a symbolic link, in bytes.
pub const SYMLINK_LEN_MAX: usize = 4095;
/// Longest name of an extended attribute, in bytes (`XATTR_NAME_MAX` of Linux).
pub const XATTR_NAME_LEN_MAX: usize = 255;
/// Longest sum of names and values of the extended attributes of one entry, in bytes.
pub const XATTRS_LEN_MAX: usize = 128 * 1024;
/// Most extended attributes of one entry.
pub const XATTR_COUNT_MAX: usize = 256;
/// Most holes recorded for one file; finer maps are coarsened before they are recorded.
pub const HOLE_COUNT_MAX: usize = 1024;
/// Most entries (or page references) of one tree object.
pub const PAGE_ENTRY_COUNT_MAX: usize = 16;
/// Encoded entries of one tree object after which a page is cut, in bytes.
pub const PAGE_LEN_CUT: usize = 64 * 1024;
/// Deepest nesting of pages of one directory.
pub const PAGE_DEPTH_MAX: usize = 32;
/// Most entries of one directory.
pub const DIRECTORY_ENTRY_COUNT_MAX: u64 = 16 * 1024 * 1024;
/// Longest tree object, in bytes: a page cut at its limit plus the largest entry.
pub const TREE_LEN_MAX: usize = 512 * 1024;
/// Longest chunk, in bytes.
pub const CHUNK_LEN_MAX: usize = 1024 * 1024;
/// A blob of at most this many bytes is one chunk under every profile.
pub const SINGLE_CHUNK_LEN_MAX: u64 = 16 * 1024;
/// Longest recipe, in bytes: about 54,000 chunks, so that a recipe travels in one frame.
pub const RECIPE_LEN_MAX: usize = 15 * 128 * 1024;
/// Longest image object, in bytes.
pub const IMAGE_LEN_MAX: usize = 1024 * 1024;
/// Longest blob, in bytes.
pub const BLOB_LEN_MAX: u64 = 1 << 44;
/// Most rules of a filter.
pub const FILTER_RULE_COUNT_MAX: usize = 4096;
/// Most triggers of an image.
pub const TRIGGER_COUNT_MAX: usize = 4096;
/// Most patterns of one trigger.
pub const TRIGGER_PATTERN_COUNT_MAX: usize = 256;
/// Longest pattern, in bytes.
pub const PATTERN_LEN_MAX: usize = 4096;
/// Largest compiled form of one regular expression, in bytes.
pub const REGEX_COMPILED_LEN_MAX: usize = 1024 * 1024;
/// Longest text field of an image, in bytes.
pub const TEXT_LEN_MAX: usize = 4096;
/// Most tags of an image.
pub const TAG_COUNT_MAX: usize = 256;
/// Longest name of an image, in bytes.
pub const IMAGE_NAME_LEN_MAX: usize = 512;

/// Returns the longest uncompressed object of `kind`, in bytes.
pub const fn object_len_max(kind: crate::ObjectKind) -> usize {
    match kind {
        crate::ObjectKind::Chunk => CHUNK_LEN_MAX,
        crate::ObjectKind::Recipe => RECIPE_LEN_MAX,
        crate::ObjectKind::Tree => TREE_LEN_MAX,
        crate::ObjectKind::Image => IMAGE_LEN_MAX,
    }
}
