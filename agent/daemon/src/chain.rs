//! One line of text for an error and everything below it.
//!
//! Owns the form in which errors reach logs and the controller. Invariant: what a cause says is not said twice.
//!
//! Does not cut text: messages have their own limits.

use std::error::Error;

/// Returns what failed and why, from the outside in.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        // A transparent error says what its cause says.
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_follow_what_failed() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot start")]
        struct Outer(#[source] std::io::Error);
        assert_eq!(chain(&Outer(std::io::Error::other("no disk"))), "cannot start: no disk");
    }
}
