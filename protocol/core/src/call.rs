//! The beginning and the end of a call (`spec/wire.md#call`).
//!
//! Owns the request header and `CallFailure` with its codes. Invariants: every failure has a code that a program can act on
//! and a text that a person can read; codes and tags are total in both directions.
//!
//! Does not run calls: that is `protocol/quic`.

use std::fmt;

use crate::{
    DecodeError, Method,
    cbor::{Reader, Value, Writer, message},
    limits::{TEXT_LEN_MAX, clip},
};

message! {
    /// First frame of every call.
    Request {
        /// What is asked.
        1 method: Method = 0,
        /// Time after which the caller no longer waits, counted from the arrival of this frame.
        2 deadline_ms: Option<u64> = 0,
        /// The caller asks the peer to send no faster than this on the whole connection; 0 lifts an earlier cap.
        3 rate_bytes_per_s: Option<u64> = 0,
    }
}

message! {
    /// How a call failed, as told to the caller.
    CallFailure {
        /// What a program should make of it.
        1 code: ErrorCode = 0,
        /// What failed, for people.
        2 message: String = TEXT_LEN_MAX,
        /// What a person could do about it.
        3 hint: Option<String> = TEXT_LEN_MAX,
    }
}

macro_rules! error_codes {
    ($( $(#[$doc:meta])* $code:ident = $tag:literal $text:literal ),* $(,)?) => {
        /// What a program should make of a failed call.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $( $(#[$doc])* $code, )* }

        impl ErrorCode {
            /// Every code, in tag order.
            pub const ALL: &'static [Self] = &[ $( Self::$code, )* ];

            /// Returns the tag on the wire.
            pub const fn tag(self) -> u8 {
                match self { $( Self::$code => $tag, )* }
            }

            /// Reads a tag; unknown tags are `None`.
            pub const fn from_tag(tag: u8) -> Option<Self> {
                match tag { $( $tag => Some(Self::$code), )* _ => None }
            }

            /// Returns the text for people and logs.
            pub const fn text(self) -> &'static str {
                match self { $( Self::$code => $text, )* }
            }

            /// Finds a code by its text.
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $( $text => Some(Self::$code), )* _ => None }
            }
        }
    };
}

error_codes! {
    /// The caller lacks the permission; asking again will not help.
    Denied = 1 "denied",
    /// What the call names does not exist.
    NotFound = 2 "not found",
    /// The call contradicts the state: a stale generation, a name that is taken.
    Conflict = 3 "conflict",
    /// Bytes do not match their digest or format.
    Corrupt = 4 "corrupt",
    /// The peer does too much at the moment; ask again later.
    Busy = 5 "busy",
    /// The peer does not understand the call.
    BadRequest = 6 "bad request",
    /// A message, list or object is above its limit.
    TooLarge = 7 "too large",
    /// The peer has a fault of its own.
    Internal = 8 "internal",
    /// The peer, or something it needs, is not there at the moment.
    Unavailable = 9 "unavailable",
    /// The peer does not speak the version that the call needs.
    Version = 10 "version",
    /// The deadline passed, or the call made no progress for too long.
    Timeout = 11 "timeout",
    /// The peer has no space left for what the call would store.
    NoSpace = 12 "no space",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl CallFailure {
    /// Makes a failure; text above the limit is cut.
    pub fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        Self { code, message: clip(message.as_ref()).to_owned(), hint: None }
    }

    /// Adds what a person could do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl AsRef<str>) -> Self {
        self.hint = Some(clip(hint.as_ref()).to_owned());
        self
    }

    /// What the call names does not exist.
    pub fn not_found(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The peer does not understand the call.
    pub fn bad_request(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// The call contradicts the state.
    pub fn conflict(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// Bytes do not match their digest or format.
    pub fn corrupt(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Corrupt, message)
    }

    /// The peer has a fault of its own.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for CallFailure {}

impl From<DecodeError> for CallFailure {
    fn from(error: DecodeError) -> Self {
        let code = match error {
            DecodeError::FrameTooLong { .. } | DecodeError::Limit { .. } => ErrorCode::TooLarge,
            _ => ErrorCode::BadRequest,
        };
        Self::new(code, error.to_string())
    }
}

impl Value for ErrorCode {
    fn write(&self, writer: &mut Writer) {
        writer.uint(u64::from(self.tag()));
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let tag = reader.uint()?;
        let code = u8::try_from(tag).ok().and_then(Self::from_tag);
        code.ok_or(DecodeError::UnknownTag { what: "error code", tag })
    }
}

impl Value for Method {
    fn write(&self, writer: &mut Writer) {
        writer.uint(u64::from(self.tag()));
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let tag = reader.uint()?;
        let method = u8::try_from(tag).ok().and_then(Self::from_tag);
        method.ok_or(DecodeError::UnknownTag { what: "method", tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_codes_tags_and_texts_are_total_and_distinct() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_tag(code.tag()), Some(code));
            assert_eq!(ErrorCode::from_text(code.text()), Some(code));
        }
        assert_eq!((0..=u8::MAX).filter_map(ErrorCode::from_tag).count(), ErrorCode::ALL.len());
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let failure = CallFailure::internal("é".repeat(TEXT_LEN_MAX));
        assert_eq!(failure.message.len(), TEXT_LEN_MAX);
    }
}
