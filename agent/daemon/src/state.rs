//! What the agent remembers over a restart (`spec/control.md#state`).
//!
//! Owns the state file: the last accepted directive, the required image and the image that was applied last. Invariants: a
//! crash leaves the old or the new file, whole; a file that is not exactly what was written is not used; a directive is
//! acknowledged only after it is in the file.
//!
//! Does not decide on directives (`machine`) and knows nothing of an apply that was cut short (the journal of `apply`).

use std::path::{Path, PathBuf};

use dominator_store_core::{
    Digest, Image, ImageId, ImageName,
    cbor::{self, Canonical, CborError, Reader, Writer},
    limits::{IMAGE_LEN_MAX, IMAGE_NAME_LEN_MAX},
};
use dominator_store_pack::durable;

use crate::limits::STATE_LEN_MAX;

/// An image that the controller named, decoded, with the bytes that it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// Name in the catalog.
    pub name: ImageName,
    /// Digest of `encoded`.
    pub id: ImageId,
    /// The image.
    pub image: Image,
    /// Its canonical encoding.
    pub encoded: Vec<u8>,
}

/// Why bytes of a directive are not the image that it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamedImageError {
    /// The name is not an image name.
    #[error("{0:?} is not an image name")]
    Name(String),
    /// The bytes have another digest.
    #[error("image {expected} was announced, but the bytes are image {found}")]
    Digest {
        /// The id in the directive.
        expected: ImageId,
        /// The id of the bytes.
        found: ImageId,
    },
    /// The bytes are not an image.
    #[error("image {0} cannot be decoded")]
    Decode(ImageId, #[source] CborError),
}

impl NamedImage {
    /// Checks that `encoded` is the image `id`.
    ///
    /// # Errors
    /// When it is not, or the name is not one.
    pub fn new(name: &str, id: ImageId, encoded: Vec<u8>) -> Result<Self, NamedImageError> {
        let name = name.parse().map_err(|_| NamedImageError::Name(name.to_owned()))?;
        let found = ImageId::of(&encoded);
        if found != id {
            return Err(NamedImageError::Digest { expected: id, found });
        }
        let image = Image::decode(&encoded).map_err(|error| NamedImageError::Decode(id, error))?;
        Ok(Self { name, id, image, encoded })
    }
}

/// What is remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Saved {
    /// Generation of the last accepted directive; 0 if none.
    pub generation: u64,
    /// Digest of that directive, by which a repetition is known.
    pub directive: Option<Digest>,
    /// What the machine must be.
    pub required: Option<NamedImage>,
    /// What it became last, whose triggers still count when it changes again.
    pub applied: Option<NamedImage>,
}

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file could not be replaced.
    #[error("cannot save the state of the agent")]
    Write(#[source] dominator_store_pack::Error),
    /// The file is not one that we wrote.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Damage,
    },
}

/// What is wrong with a state file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It is too short or too long.
    #[error("length {0}")]
    Length(u64),
    /// The bytes do not have the digest at its end.
    #[error("expected digest {expected}, found {found}")]
    Digest {
        /// At the end of the file.
        expected: Digest,
        /// Of its bytes.
        found: Digest,
    },
    /// The bytes are no state of this version.
    #[error(transparent)]
    Cbor(#[from] CborError),
}

const FILE: &str = "agent.state";
const CONTEXT: &str = "dominator 2026-11 agent state v1";
const VERSION: u64 = 1;
const DIGEST_LEN: usize = dominator_store_core::DIGEST_LEN;

impl Saved {
    /// Reads the state from the private directory; no file is the state of a new machine.
    ///
    /// # Errors
    /// `Damaged` when the file is not one that `save` wrote.
    pub fn load(private: &Path) -> Result<Self, StateError> {
        let path = private.join(FILE);
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StateError::Read { path, source }),
        };
        Self::decode(&bytes).map_err(|source| StateError::Damaged { path, source })
    }

    /// Makes the state durable.
    ///
    /// # Errors
    /// When it may not be.
    pub fn save(&self, private: &Path) -> Result<(), StateError> {
        durable::replace_file(private, FILE, &self.encode()).map_err(StateError::Write)
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = cbor::encode(self);
        let digest = Digest::derive(CONTEXT, &bytes);
        bytes.extend_from_slice(digest.as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let len = bytes.len() as u64;
        let (body, end) = bytes.split_last_chunk::<DIGEST_LEN>().ok_or(Damage::Length(len))?;
        if len > STATE_LEN_MAX {
            return Err(Damage::Length(len));
        }
        let (expected, found) = (Digest::new(*end), Digest::derive(CONTEXT, body));
        if expected != found {
            return Err(Damage::Digest { expected, found });
        }
        Ok(cbor::decode(body)?)
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;

    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(STATE_LEN_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Canonical for Saved {
    fn write(&self, writer: &mut Writer) {
        writer.array(5).uint(VERSION).uint(self.generation);
        writer.array(usize::from(self.directive.is_some()));
        if let Some(digest) = &self.directive {
            writer.bytes(digest.as_bytes());
        }
        for image in [&self.required, &self.applied] {
            match image {
                None => {
                    writer.array(0);
                }
                Some(image) => {
                    writer.array(2).text(image.name.as_str()).bytes(&image.encoded);
                }
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.array("state", 5)? != 5 || reader.uint()? != VERSION {
            return Err(reader.invalid("version of state"));
        }
        let generation = reader.uint()?;
        let directive = match reader.array("directive", 1)? {
            0 => None,
            _ => Some(reader.digest()?),
        };
        Ok(Self { generation, directive, required: read_image(reader)?, applied: read_image(reader)? })
    }
}

fn read_image(reader: &mut Reader<'_>) -> Result<Option<NamedImage>, CborError> {
    match reader.array("image", 2)? {
        0 => Ok(None),
        2 => {
            let name = reader.text("image name", IMAGE_NAME_LEN_MAX)?;
            let encoded = reader.bytes("image", IMAGE_LEN_MAX)?.to_vec();
            let image = NamedImage::new(name, ImageId::of(&encoded), encoded);
            Ok(Some(image.map_err(|_| reader.invalid("image"))?))
        }
        _ => Err(reader.invalid("image")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use dominator_store_core::{Filter, Managed, TreeId};

    /// An image whose root is the tree `root`.
    pub(crate) fn image(name: &str, root: TreeId) -> NamedImage {
        let image = Image {
            root,
            managed: Managed::default(),
            filter: Filter::default(),
            triggers: Vec::new(),
            entry_count: 1,
            content_len: 0,
            created_ms: 0,
            created_by: "test".to_owned(),
            tags: std::collections::BTreeMap::new(),
        };
        NamedImage::new(name, image.id(), image.encode()).expect("image")
    }

    fn sample() -> Saved {
        Saved {
            generation: 7,
            directive: Some(Digest::of(b"directive")),
            required: Some(image("a/1", TreeId::of(b"1"))),
            applied: None,
        }
    }

    #[test]
    fn state_survives_and_a_missing_file_is_a_new_machine() {
        let dir = tempfile::tempdir().expect("directory");
        assert_eq!(Saved::load(dir.path()).expect("load"), Saved::default());
        for saved in [sample(), Saved { applied: Some(image("b", TreeId::of(b"2"))), ..sample() }] {
            saved.save(dir.path()).expect("save");
            assert_eq!(Saved::load(dir.path()).expect("load"), saved);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_prefix_is_damage() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Saved::decode(bytes.get(..len).expect("prefix")).is_err(), "{len}");
        }
        for pos in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[pos] ^= 1;
            assert!(Saved::decode(&flipped).is_err(), "{pos}");
        }
    }

    #[test]
    fn an_image_with_other_bytes_than_announced_is_refused() {
        let good = image("a", TreeId::of(b"1"));
        let other = image("a", TreeId::of(b"2"));
        assert!(matches!(NamedImage::new("a", good.id, other.encoded), Err(NamedImageError::Digest { .. })));
        assert!(matches!(NamedImage::new("../a", good.id, good.encoded), Err(NamedImageError::Name(_))));
    }
}
