//! Messages of the image server: images by name, objects by id, publishing (`spec/wire.md#image-server`).
//!
//! Owns their fields and encodings. Invariant: every list is bounded by a constant of `limits`.
//!
//! Does not look into records or encoded images: those are formats of `store/core`.

use dominator_store_core::{BlobId, Digest, ImageId, ObjectId};

use crate::{
    DecodeError,
    cbor::message,
    limits::{IDS_MAX, IMAGE_LEN_MAX, IMAGE_NAME_LEN_MAX, LIST_MAX},
};

message! {
    /// What a list says about one image.
    ImageSummary {
        /// Name of the image.
        1 name: String = IMAGE_NAME_LEN_MAX,
        /// Its id.
        2 image: ImageId = 0,
        /// When it was published, in milliseconds since 1970.
        3 created_ms: u64 = 0,
        /// Number of entries in its tree.
        4 entry_count: u64 = 0,
        /// Sum of the lengths of its files.
        5 content_len: u64 = 0,
    }
}

message! {
    /// Asks for the images whose names begin with `prefix`, in order of their names.
    List {
        /// Beginning of the names; empty for all.
        1 prefix: String = IMAGE_NAME_LEN_MAX,
        /// Only names behind this one.
        2 after: Option<String> = IMAGE_NAME_LEN_MAX,
        /// At most so many, and at most `LIST_MAX`.
        3 limit: u64 = 0,
    }
}

message! {
    /// Images in order of their names.
    ListReply {
        /// The images.
        1 images: Vec<ImageSummary> = LIST_MAX,
        /// More images follow behind the last one.
        2 more: bool = 0,
    }
}

message! {
    /// Asks for one image by name.
    GetImage {
        /// Name of the image.
        1 name: String = IMAGE_NAME_LEN_MAX,
    }
}

message! {
    /// One image.
    GetImageReply {
        /// Name of the image.
        1 name: String = IMAGE_NAME_LEN_MAX,
        /// Its id, which the receiver compares with the digest of `encoded`.
        2 image: ImageId = 0,
        /// The encoded image.
        3 encoded: Vec<u8> = IMAGE_LEN_MAX,
    }
}

message! {
    /// Names objects that the sender could send.
    Offer {
        /// The objects; each offer is answered by one `Want`.
        1 ids: Vec<ObjectId> = IDS_MAX,
    }
}

message! {
    /// Answers one `Offer`: bit `n` (bit `n % 8`, lowest first, of byte `n / 8`) asks for object `n` of the offer.
    Want {
        /// The bits; unused ones are zero.
        1 bitmap: Vec<u8> = IDS_MAX / 8,
    }
}

message! {
    /// Asks the server to make the image visible, after all wanted objects.
    Commit {
        /// Name that the image gets.
        1 name: String = IMAGE_NAME_LEN_MAX,
        /// The image, itself one of the objects.
        2 image: ImageId = 0,
    }
}

message! {
    /// The image is visible and durable.
    Published {
        /// Bytes that the publish added to the store.
        1 stored_len: u64 = 0,
        /// Objects that the publish added to the store.
        2 new_object_count: u64 = 0,
    }
}

message! {
    /// Asks the server to make the image invisible.
    Delete {
        /// Name of the image.
        1 name: String = IMAGE_NAME_LEN_MAX,
    }
}

message! {
    /// Asks for objects; each is answered in order by one `Object` or one `Absent`.
    Get {
        /// The objects.
        1 ids: Vec<ObjectId> = IDS_MAX,
    }
}

message! {
    /// The object, recipe or tree that is due is not there.
    Absent {
        /// Digest of what was asked for.
        1 digest: Digest = 0,
    }
}

message! {
    /// Asks for the recipes of blobs; each is answered in order by `Object` (its recipe), `Single` or `Absent`.
    Recipes {
        /// The blobs.
        1 blobs: Vec<BlobId> = IDS_MAX,
    }
}

message! {
    /// The blob that is due is one chunk with the digest of the blob.
    Single {}
}

/// One record as it is stored in a pack: header and body, uninterpreted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object(pub Vec<u8>);

impl Want {
    /// Makes the answer to an offer of `flags.len()` objects.
    pub fn from_flags(flags: impl IntoIterator<Item = bool>) -> Self {
        let mut bitmap = Vec::new();
        for (pos, wanted) in flags.into_iter().enumerate() {
            if pos % 8 == 0 {
                bitmap.push(0);
            }
            if let Some(byte) = bitmap.last_mut() {
                *byte |= u8::from(wanted) << (pos % 8);
            }
        }
        Self { bitmap }
    }

    /// Returns for each of the `count` objects of the offer whether it is wanted.
    ///
    /// # Errors
    /// When the bitmap is not one for `count` objects.
    pub fn flags(&self, count: usize) -> Result<Vec<bool>, DecodeError> {
        let flags: Vec<bool> =
            (0..count).map(|pos| self.bitmap.get(pos / 8).is_some_and(|byte| byte >> (pos % 8) & 1 == 1)).collect();
        if Self::from_flags(flags.iter().copied()) == *self {
            return Ok(flags);
        }
        Err(DecodeError::NotCanonical { what: "Want" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_has_one_bit_for_each_offered_object() {
        for count in [0, 1, 7, 8, 9, 4096] {
            let flags: Vec<bool> = (0..count).map(|pos| pos % 3 == 0).collect();
            let want = Want::from_flags(flags.iter().copied());
            assert_eq!(want.flags(count), Ok(flags));
            assert!(want.flags(count + 8).is_err());
        }
        assert!(Want { bitmap: vec![0b10] }.flags(1).is_err(), "a bit beyond the offer");
    }
}
