//! What a caller is told when the store fails.
//!
//! Owns the mapping of store errors to failures of calls. Invariant: the code says what a program can do about it; the text
//! names the object or image, and the whole chain of causes.
//!
//! Logging is done where a call ends.

use std::{error::Error as _, io};

use dominator_protocol_core::{CallFailure, ErrorCode};
use dominator_store_engine::Error;
use dominator_store_pack as pack;

/// Makes the failure that tells of `error`.
pub(crate) fn failure(error: &Error) -> CallFailure {
    let code = match error {
        Error::NoSuchImage { .. } => ErrorCode::NotFound,
        Error::Conflict { .. } | Error::NameUsed { .. } => ErrorCode::Conflict,
        Error::Incomplete { .. } => ErrorCode::BadRequest,
        Error::Refused(_)
        | Error::BadRecipe(_)
        | Error::WrongRecipe { .. }
        | Error::BlobSize { .. }
        | Error::BadTree { .. }
        | Error::BadLinkGroup { .. }
        | Error::BadImage { .. }
        | Error::ImageCounts { .. }
        | Error::PackLost { .. }
        | Error::Pack(pack::Error::Corrupt { .. }) => ErrorCode::Corrupt,
        Error::Limit { .. } => ErrorCode::TooLarge,
        error if is_full(error) => ErrorCode::NoSpace,
        _ => ErrorCode::Internal,
    };
    CallFailure::new(code, chain(error))
}

/// A piece of store work that panicked.
pub(crate) fn lost(error: &tokio::task::JoinError) -> CallFailure {
    tracing::error!(%error, "store work failed");
    CallFailure::internal("store work failed")
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn is_full(error: &Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::StorageFull) {
            return true;
        }
        source = cause.source();
    }
    false
}
