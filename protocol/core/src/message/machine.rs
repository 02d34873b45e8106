//! Messages of a machine's agent: its state, its tree, and the directives of the controller (`spec/wire.md#machine`).
//!
//! Owns their fields and encodings, and the digest by which a poll finds out that nothing changed. Invariant: the state of
//! a converged machine does not change its digest, however long it goes on scanning.
//!
//! Does not decide on directives: that is `agent/core` and `controller/core`.

use dominator_store_core::{Digest, ImageId, TreeId};

use crate::{
    DecodeError, Payload,
    cbor::{Reader, Value, Writer, message},
    limits::{HOST_LEN_MAX, IDS_MAX, IMAGE_LEN_MAX, IMAGE_NAME_LEN_MAX, TEXT_LEN_MAX},
};

message! {
    /// Asks for the state of the machine.
    Poll {
        /// `PollReply::digest` of the last full reply; if it still holds, the answer is `Unchanged`.
        1 known: Option<Digest> = 0,
    }
}

message! {
    /// State of a machine.
    PollReply {
        /// Drawn anew at each start of the agent.
        1 instance: u64 = 0,
        /// Generation of the last directive that was accepted; 0 if none.
        2 generation: u64 = 0,
        /// The required image.
        3 required: Option<ImageId> = 0,
        /// Root of the machine's tree under the filter of the required image; absent before the first scan is complete.
        4 root: Option<TreeId> = 0,
        /// Scans completed since the agent started; not part of the digest.
        5 scan_count: u64 = 0,
        /// What the agent is doing.
        6 phase: Phase = 0,
        /// How far the phase is, where that is known.
        7 progress: Option<Progress> = 0,
        /// Last thing that went wrong, until it goes well.
        8 last_error: Option<String> = TEXT_LEN_MAX,
        /// Everything that the planned image needs is in the cache.
        9 planned_ready: Option<ImageId> = 0,
        /// How long services and files were in transition in the last apply.
        10 last_window_us: Option<u64> = 0,
        /// How many paths the last apply changed.
        11 last_changed_count: u64 = 0,
        /// Bytes received from image servers since the agent started.
        12 fetched_len: u64 = 0,
    }
}

message! {
    /// How much of a known amount is done.
    Progress {
        /// Bytes done.
        1 done_len: u64 = 0,
        /// Bytes in all.
        2 total_len: u64 = 0,
    }
}

message! {
    /// Answers `Poll` when the digest of the state is the one that the caller knows.
    Unchanged {
        /// Scans completed since the agent started.
        1 scan_count: u64 = 0,
    }
}

message! {
    /// Asks for tree objects of the machine's own scan; each is answered in order by `TreeObject` or `Absent`.
    Trees {
        /// The trees.
        1 ids: Vec<TreeId> = IDS_MAX,
    }
}

/// One encoded tree, uninterpreted here; the receiver compares its digest with the id that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeObject(pub Vec<u8>);

message! {
    /// Says which image is required.
    Require {
        /// Number of the directive; one that is not above the last accepted one is refused as a conflict.
        1 generation: u64 = 0,
        /// Name of the image.
        2 name: String = IMAGE_NAME_LEN_MAX,
        /// Its id, which the receiver compares with the digest of `encoded`.
        3 image: ImageId = 0,
        /// The encoded image.
        4 encoded: Vec<u8> = IMAGE_LEN_MAX,
    }
}

message! {
    /// Accepts a directive.
    Ack {
        /// Generation of the directive.
        1 generation: u64 = 0,
    }
}

message! {
    /// Tells to fetch what is lacking of an image.
    Fetch {
        /// Number of the directive.
        1 generation: u64 = 0,
        /// Name of the image.
        2 name: String = IMAGE_NAME_LEN_MAX,
        /// Its id, which the receiver compares with the digest of `encoded`.
        3 image: ImageId = 0,
        /// The encoded image.
        4 encoded: Vec<u8> = IMAGE_LEN_MAX,
        /// Host and port of the image server.
        5 server: String = HOST_LEN_MAX,
        /// Name that the image server's certificate must have.
        6 server_name: String = HOST_LEN_MAX,
        /// Cap on the fetch; no cap if absent.
        7 rate_bytes_per_s: Option<u64> = 0,
        /// The image is planned, not required: keep it in the cache only.
        8 planned: bool = 0,
    }
}

message! {
    /// Tells to become the image.
    Update {
        /// Number of the directive.
        1 generation: u64 = 0,
        /// The image.
        2 image: ImageId = 0,
        /// Go on even where the safety rules of the agent say no.
        3 force_unsafe: bool = 0,
    }
}

impl PollReply {
    /// Computes the digest that the caller sends in its next `Poll`.
    ///
    /// The heartbeat (`scan_count`) is left out, so that a machine where nothing happens stays `Unchanged`.
    pub fn digest(&self) -> Digest {
        Digest::of(&Self { scan_count: 0, ..self.clone() }.encode())
    }
}

macro_rules! phases {
    ($( $(#[$doc:meta])* $phase:ident = $tag:literal $text:literal ),* $(,)?) => {
        /// What an agent is doing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Phase { $( $(#[$doc])* $phase, )* }

        impl Phase {
            /// Every phase, in tag order.
            pub const ALL: &'static [Self] = &[ $( Self::$phase, )* ];

            /// Returns the tag on the wire.
            pub const fn tag(self) -> u8 {
                match self { $( Self::$phase => $tag, )* }
            }

            /// Reads a tag; unknown tags are `None`.
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag { $( $tag => Some(Self::$phase), )* _ => None }
            }

            /// Returns the text for people and logs.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$phase => $text, )* }
            }
        }

        impl std::fmt::Display for Phase {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.text())
            }
        }
    };
}

phases! {
    /// Nothing is under way but the background scan.
    Idle = 1 "idle",
    /// The first scan since the start is not complete.
    Scanning = 2 "scanning",
    /// Objects are on their way.
    Fetching = 3 "fetching",
    /// Complete files are written beside the tree.
    Staging = 4 "staging",
    /// Services are being stopped.
    Stopping = 5 "stopping",
    /// Names are being exchanged.
    Applying = 6 "applying",
    /// Services are being started.
    Starting = 7 "starting",
    /// The result is being compared with the image.
    Verifying = 8 "verifying",
    /// An apply that was cut short is being finished or undone.
    Recovering = 9 "recovering",
}

impl Value for Phase {
    fn write(&self, writer: &mut Writer) {
        writer.uint(u64::from(self.tag()));
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let tag = reader.uint()?;
        let phase = u8::try_from(tag).ok().and_then(Self::from_tag);
        phase.ok_or(DecodeError::UnknownTag { what: "phase", tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heartbeat_does_not_change_the_digest_and_everything_else_does() {
        let reply = PollReply {
            instance: 1,
            generation: 2,
            required: None,
            root: None,
            scan_count: 3,
            phase: Phase::Idle,
            progress: None,
            last_error: None,
            planned_ready: None,
            last_window_us: None,
            last_changed_count: 0,
            fetched_len: 0,
        };
        assert_eq!(PollReply { scan_count: 4, ..reply.clone() }.digest(), reply.digest());
        assert_ne!(PollReply { instance: 2, ..reply.clone() }.digest(), reply.digest());
        assert_ne!(PollReply { phase: Phase::Applying, ..reply.clone() }.digest(), reply.digest());
    }
}
