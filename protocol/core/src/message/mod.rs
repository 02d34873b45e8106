//! Messages: the payloads of frames (`spec/wire.md#messages`).
//!
//! Owns the table of frame tags and the one type that can hold any message. Invariants: tags are total, distinct and never
//! reused; every payload except stored records and encoded trees is deterministic CBOR that decodes in exactly one way.
//!
//! Does not decide which message may come when: the daemons do, with the order written in the spec.

mod fleet;
mod image;
mod machine;

pub use fleet::{
    Deviation, Deviations, FleetList, HistoryLine, ListMachines, MachineDetail, MachineStatus, ShowMachine,
};
pub use image::{
    Absent, Commit, Delete, Get, GetImage, GetImageReply, ImageSummary, List, ListReply, Object, Offer, Published,
    Recipes, Single, Want,
};
pub use machine::{Ack, Fetch, Phase, Poll, PollReply, Progress, Require, TreeObject, Trees, Unchanged, Update};

use crate::{CallFailure, DecodeError, Frame, Request, Scope, cbor};

/// A message that travels as the payload of one frame.
pub trait Payload: Sized {
    /// Tag of its frame.
    const TAG: FrameTag;

    /// Returns the payload.
    fn encode(&self) -> Vec<u8>;

    /// Reads a payload.
    ///
    /// # Errors
    /// When the bytes are anything but the canonical encoding of one message.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

cbor::message! {
    /// The sender has said all that belongs to the call.
    End {}
}

macro_rules! messages {
    ($( $(#[$doc:meta])* $name:ident = $tag:literal $kind:ident ),* $(,)?) => {
        /// What the payload of a frame is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FrameTag { $( $(#[$doc])* $name, )* }

        impl FrameTag {
            /// Every tag, in ascending order.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )* ];

            /// Returns the tag byte.
            pub const fn tag(self) -> u8 {
                match self { $( Self::$name => $tag, )* }
            }

            /// Reads a tag byte; unknown tags are `None`.
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag { $( $tag => Some(Self::$name), )* _ => None }
            }

            /// Returns the name, as the spec has it.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$name => stringify!($name), )* }
            }
        }

        /// Any message.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message { $( $(#[$doc])* $name($name), )* }

        impl Message {
            /// Decodes the payload of a frame.
            ///
            /// # Errors
            /// When the payload is anything but the canonical encoding of the message that the tag names.
            pub fn from_frame(frame: Frame) -> Result<Self, DecodeError> {
                Ok(match frame.tag { $( FrameTag::$name => Self::$name(messages!(@owned $kind $name frame)), )* })
            }

            /// Returns the tag of the message's frame.
            pub const fn tag(&self) -> FrameTag {
                match self { $( Self::$name(_) => FrameTag::$name, )* }
            }

            /// Encodes the message as a frame.
            pub fn into_frame(self) -> Frame {
                match self { $( Self::$name(message) => Frame { tag: FrameTag::$name, payload: message.encode() }, )* }
            }
        }

        $( messages!(@payload $kind $name); )*

        $(
            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }

            impl TryFrom<Message> for $name {
                type Error = DecodeError;

                fn try_from(message: Message) -> Result<Self, DecodeError> {
                    match message {
                        Message::$name(message) => Ok(message),
                        other => Err(DecodeError::UnexpectedFrame {
                            expected: stringify!($name),
                            found: other.tag().name(),
                        }),
                    }
                }
            }
        )*
    };
    (@owned raw $name:ident $frame:ident) => { $name($frame.payload) };
    (@owned cbor $name:ident $frame:ident) => { <$name as Payload>::decode(&$frame.payload)? };
    (@payload cbor $name:ident) => {
        impl Payload for $name {
            const TAG: FrameTag = FrameTag::$name;

            fn encode(&self) -> Vec<u8> {
                cbor::encode(self)
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                cbor::decode_canonical(stringify!($name), bytes, 0)
            }
        }
    };
    (@payload raw $name:ident) => {
        impl Payload for $name {
            const TAG: FrameTag = FrameTag::$name;

            fn encode(&self) -> Vec<u8> {
                self.0.clone()
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                Ok(Self(bytes.to_vec()))
            }
        }
    };
}

messages! {
    /// First frame of a call.
    Request = 0x01 cbor,
    /// Last frame of a direction that went well.
    End = 0x02 cbor,
    /// Last frame of a call that failed.
    CallFailure = 0x03 cbor,
    /// Asks for images by name.
    List = 0x10 cbor,
    /// Answers `List`.
    ListReply = 0x11 cbor,
    /// Asks for one image.
    GetImage = 0x12 cbor,
    /// Answers `GetImage`.
    GetImageReply = 0x13 cbor,
    /// Names objects that the sender could send.
    Offer = 0x14 cbor,
    /// Answers `Offer`.
    Want = 0x15 cbor,
    /// One stored record, raw.
    Object = 0x16 raw,
    /// Makes an image visible.
    Commit = 0x17 cbor,
    /// Answers `Commit`.
    Published = 0x18 cbor,
    /// Makes an image invisible.
    Delete = 0x19 cbor,
    /// Asks for objects.
    Get = 0x1a cbor,
    /// Stands for something that is not there.
    Absent = 0x1b cbor,
    /// Asks for the recipes of blobs.
    Recipes = 0x1c cbor,
    /// Stands for a blob that is one chunk.
    Single = 0x1d cbor,
    /// Asks for the state of a machine.
    Poll = 0x30 cbor,
    /// Answers `Poll`.
    PollReply = 0x31 cbor,
    /// Answers `Poll` when nothing changed.
    Unchanged = 0x32 cbor,
    /// Asks for tree objects.
    Trees = 0x33 cbor,
    /// One encoded tree, raw.
    TreeObject = 0x34 raw,
    /// Tells which image is required.
    Require = 0x35 cbor,
    /// Accepts a directive.
    Ack = 0x36 cbor,
    /// Tells to fetch an image.
    Fetch = 0x37 cbor,
    /// Tells to become an image.
    Update = 0x38 cbor,
    /// Asks for all machines.
    ListMachines = 0x50 cbor,
    /// Answers `ListMachines`, in as many frames as it takes.
    FleetList = 0x51 cbor,
    /// Asks for one machine.
    ShowMachine = 0x52 cbor,
    /// Answers `ShowMachine`; deviations follow.
    MachineDetail = 0x53 cbor,
    /// Deviations of one machine, in as many frames as it takes.
    Deviations = 0x54 cbor,
}

impl Message {
    /// Returns what the message names for the scope of a permission.
    pub fn scope(&self) -> Scope<'_> {
        match self {
            Self::List(message) => Scope::Prefix(&message.prefix),
            Self::GetImage(message) => Scope::Name(&message.name),
            Self::Commit(message) => Scope::Name(&message.name),
            Self::Delete(message) => Scope::Name(&message.name),
            Self::ShowMachine(message) => Scope::Name(&message.host),
            _ => Scope::Nothing,
        }
    }
}

/// Cuts `items` into messages of bounded encoded length; no items make one empty message.
fn batches<T: cbor::Value, M>(items: impl IntoIterator<Item = T>, message: impl Fn(Vec<T>) -> M) -> Vec<M> {
    use crate::limits::{BATCH_LEN, BATCH_MAX};

    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut batch_len = 0;
    for item in items {
        let item_len = cbor::encode(&item).len();
        if !batch.is_empty() && (batch_len + item_len > BATCH_LEN || batch.len() == BATCH_MAX) {
            batches.push(message(std::mem::take(&mut batch)));
            batch_len = 0;
        }
        batch_len += item_len;
        batch.push(item);
    }
    if !batch.is_empty() || batches.is_empty() {
        batches.push(message(batch));
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_tags_are_total_and_distinct() {
        for &tag in FrameTag::ALL {
            assert_eq!(FrameTag::from_tag(tag.tag()), Some(tag));
        }
        assert_eq!((0..=u8::MAX).filter_map(FrameTag::from_tag).count(), FrameTag::ALL.len());
    }
}
