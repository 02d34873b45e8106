//! Why bytes from a peer are not a frame, a message or a grant.
//!
//! Owns `DecodeError`. Invariant: every variant is the fault of whoever encoded the bytes, and none carries more than a
//! few words of them.
//!
//! Does not describe failed calls: that is `CallFailure`.

/// Bytes that are not what the protocol says they must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The length of a frame is above its limit.
    #[error("frame of {len} bytes is above the limit of {limit}")]
    FrameTooLong {
        /// Length that the peer announced.
        len: u64,
        /// The limit of `spec/wire.md`.
        limit: u64,
    },
    /// The tag of a frame is not known in this version.
    #[error("frame has unknown tag {tag}")]
    UnknownFrame {
        /// Tag that the peer sent.
        tag: u8,
    },
    /// A frame of another kind was due.
    #[error("expected a {expected} frame, found {found}")]
    UnexpectedFrame {
        /// What was due.
        expected: &'static str,
        /// What came.
        found: &'static str,
    },
    /// The bytes are not CBOR of the shape that the message has.
    #[error("{what} is malformed at byte {pos}")]
    Malformed {
        /// Message that was read.
        what: &'static str,
        /// Where reading stopped.
        pos: usize,
    },
    /// A field is missing, unknown, repeated or out of order.
    #[error("{what} lacks field {key} or has a field that is not known")]
    Field {
        /// Message that was read.
        what: &'static str,
        /// Key that was due.
        key: u8,
    },
    /// A count or length is above its limit.
    #[error("{what} has {found} items or bytes where {limit} is the limit")]
    Limit {
        /// Message that was read.
        what: &'static str,
        /// Count or length that the peer sent.
        found: u64,
        /// The limit of `spec/wire.md`.
        limit: u64,
    },
    /// A tag inside the message is not known in this version.
    #[error("{what} has unknown tag {tag}")]
    UnknownTag {
        /// Type of the tag.
        what: &'static str,
        /// Tag that the peer sent.
        tag: u64,
    },
    /// Bytes follow the message.
    #[error("{what} is followed by {len} more bytes")]
    Trailing {
        /// Message that was read.
        what: &'static str,
        /// How many bytes follow.
        len: usize,
    },
    /// The message can be read, but is not encoded in the one canonical way.
    #[error("{what} is not in canonical encoding")]
    NotCanonical {
        /// Message that was read.
        what: &'static str,
    },
}
