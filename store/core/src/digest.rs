//! Digests and the typed ids made of them (`spec/digest.md`).
//!
//! Owns `Digest` and one newtype per kind of object. Invariant: an id of one kind never becomes an id of another kind
//! without a visible conversion, and a `TreeId`, `RecipeId` or `ImageId` is always over the encoded bytes under the
//! context string of its kind, so that no object passes for an object of another kind.
//!
//! Does not say what the hashed bytes mean: that is `tree`, `recipe` and `image`.

use std::{fmt, str::FromStr};

/// Length of a digest in bytes.
pub const DIGEST_LEN: usize = 32;

/// A BLAKE3-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; DIGEST_LEN]);

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest: expected 64 hexadecimal digits")]
pub struct ParseDigestError;

impl Digest {
    /// Wraps 32 bytes that are already a digest.
    pub const fn new(bytes: [u8; DIGEST_LEN]) -> Self {
        Self(bytes)
    }

    /// Computes the plain BLAKE3 digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Computes the BLAKE3 digest of `bytes` in key-derivation mode under `context`.
    pub fn derive(context: &str, bytes: &[u8]) -> Self {
        Self(blake3::derive_key(context, bytes))
    }

    /// Reads a digest from a slice of exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
        &self.0
    }

    /// Returns the first 12 hexadecimal digits, the form used in tables for people.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        fn nibble(byte: u8) -> Option<u8> {
            char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
        }
        let text = text.as_bytes();
        if text.len() != 2 * DIGEST_LEN {
            return Err(ParseDigestError);
        }
        let mut bytes = [0; DIGEST_LEN];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            let [high, low] = pair else { return Err(ParseDigestError) };
            let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) else { return Err(ParseDigestError) };
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

/// Hashes the content of a file piece by piece.
#[derive(Debug, Clone, Default)]
pub struct BlobHasher(blake3::Hasher);

impl BlobHasher {
    /// Starts an empty blob.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends `bytes` to the blob.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Returns the id of what was appended so far.
    pub fn finish(&self) -> BlobId {
        BlobId(Digest(*self.0.finalize().as_bytes()))
    }
}

/// What an object is; the tag is the one used in packs and on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// A piece of a blob.
    Chunk,
    /// The list of chunks of one blob.
    Recipe,
    /// A directory or a page of one.
    Tree,
    /// An image.
    Image,
}

impl ObjectKind {
    /// Every kind, in tag order.
    pub const ALL: [Self; 4] = [Self::Chunk, Self::Recipe, Self::Tree, Self::Image];

    /// Returns the tag byte of `spec/digest.md#kinds`.
    pub const fn tag(self) -> u8 {
        match self {
            Self::Chunk => 1,
            Self::Recipe => 2,
            Self::Tree => 3,
            Self::Image => 4,
        }
    }

    /// Reads a tag byte; unknown tags are `None`.
    pub const fn from_tag(tag: u8) -> Option<Self> {
        match tag {
            1 => Some(Self::Chunk),
            2 => Some(Self::Recipe),
            3 => Some(Self::Tree),
            4 => Some(Self::Image),
            _ => None,
        }
    }

    /// Computes the digest that an object of this kind with these (uncompressed) bytes has.
    pub fn digest_of(self, bytes: &[u8]) -> Digest {
        match self {
            Self::Chunk => Digest::of(bytes),
            Self::Recipe => Digest::derive(RECIPE_CONTEXT, bytes),
            Self::Tree => Digest::derive(TREE_CONTEXT, bytes),
            Self::Image => Digest::derive(IMAGE_CONTEXT, bytes),
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Chunk => "chunk",
            Self::Recipe => "recipe",
            Self::Tree => "tree",
            Self::Image => "image",
        })
    }
}

/// Names one stored object: its kind and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    /// What the object is.
    pub kind: ObjectKind,
    /// The digest of its uncompressed bytes under the rule of its kind.
    pub digest: Digest,
}

impl ObjectId {
    /// Computes the id of an object of `kind` with these uncompressed bytes.
    pub fn of(kind: ObjectKind, bytes: &[u8]) -> Self {
        Self { kind, digest: kind.digest_of(bytes) }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.digest)
    }
}

const RECIPE_CONTEXT: &str = "dominator 2026-11 recipe v1";
const TREE_CONTEXT: &str = "dominator 2026-11 tree v1";
const IMAGE_CONTEXT: &str = "dominator 2026-11 image v1";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digest);

        impl $name {
            /// Wraps a digest that is known to be of this kind.
            pub const fn new(digest: Digest) -> Self {
                Self(digest)
            }

            /// Returns the digest.
            pub const fn digest(&self) -> Digest {
                self.0
            }

            /// Returns the 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; DIGEST_LEN] {
                self.0.as_bytes()
            }

            /// Returns the first 12 hexadecimal digits.
            pub fn short(&self) -> String {
                self.0.short()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! object_id {
    ($name:ident, $kind:ident) => {
        impl $name {
            /// Computes the id of the object with these uncompressed bytes.
            pub fn of(bytes: &[u8]) -> Self {
                Self(ObjectKind::$kind.digest_of(bytes))
            }
        }

        impl From<$name> for ObjectId {
            fn from(id: $name) -> Self {
                Self { kind: ObjectKind::$kind, digest: id.0 }
            }
        }
    };
}

id! {
    /// Names the content of one regular file: plain BLAKE3 of its bytes, whatever the chunking.
    BlobId
}
id! {
    /// Names a piece of a blob: plain BLAKE3 of its uncompressed bytes.
    ChunkId
}
id! {
    /// Names a recipe.
    RecipeId
}
id! {
    /// Names a directory, or a page of one.
    TreeId
}
id! {
    /// Names an image.
    ImageId
}
object_id!(ChunkId, Chunk);
object_id!(RecipeId, Recipe);
object_id!(TreeId, Tree);
object_id!(ImageId, Image);

impl BlobId {
    /// Computes the id of a blob with these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Digest::of(bytes))
    }

    /// Returns the chunk that a blob of one chunk consists of.
    ///
    /// Both ids are the plain BLAKE3 of the same bytes, so a blob in one chunk needs no recipe.
    pub const fn single_chunk(&self) -> ChunkId {
        ChunkId(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_rejects_what_is_not_hex() {
        let digest = Digest::of(b"dominator");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(63), &"0".repeat(65), &"é".repeat(32)] {
            assert_eq!(bad.parse::<Digest>(), Err(ParseDigestError), "{bad}");
        }
    }

    #[test]
    fn kinds_have_stable_tags_and_separate_digests() {
        let digests: std::collections::BTreeSet<_> = ObjectKind::ALL.map(|kind| kind.digest_of(b"same")).into();
        assert_eq!(digests.len(), 4);
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::from_tag(kind.tag()), Some(kind));
        }
        assert_eq!(ObjectKind::from_tag(0), None);
        assert_eq!(ObjectKind::from_tag(5), None);
    }
}
