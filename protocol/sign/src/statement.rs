//! What a publisher signs.
//!
//! Owns `Statement` and its text. Invariant: there is one text for each statement, and no other text is read, so that two
//! readers never see different things in what was signed.
//!
//! Does not say whether it is true: that is `decide`.

use std::fmt;

use dominator_store_core::{ImageId, ImageName};

use crate::{Error, error::check_limit, limits::STATEMENT_LEN_MAX};

const FIRST_LINE: &str = "dominator image statement 1\n";

/// That an image with this id may be used under this name, and how new that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The image.
    pub image: ImageId,
    /// Under which name.
    pub name: ImageName,
    /// Number of the state of things in which this is said. Once an agent has accepted an epoch in a directory, it accepts no
    /// earlier one there.
    pub epoch: u64,
}

impl Statement {
    /// Returns the bytes to be signed.
    pub fn encode(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }

    /// Reads the bytes that were signed.
    ///
    /// # Errors
    /// When they are anything but the text of a statement.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        check_limit("bytes of a statement", bytes.len(), STATEMENT_LEN_MAX)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Error::Statement("it is not text"))?;
        let rest = text.strip_prefix(FIRST_LINE).ok_or(Error::Statement("its first line is another"))?;
        let mut lines = rest.split('\n');
        let mut field = |key: &str, what| {
            let line = lines.next().ok_or(Error::Statement(what))?;
            line.strip_prefix(key).ok_or(Error::Statement(what))
        };
        let image = field("image: ", "the second line should be the image")?;
        let name = field("name: ", "the third line should be the name")?;
        let epoch = field("epoch: ", "the fourth line should be the epoch")?;
        let statement = Self {
            image: image.parse().map_err(|_| Error::Statement("the image is not an image id"))?,
            name: name.parse().map_err(|_| Error::Statement("the name is not an image name"))?,
            epoch: epoch.parse().map_err(|_| Error::Statement("the epoch is not a number"))?,
        };
        // Signs before numbers, leading zeros, lines behind the last: whatever the parsers above let through.
        if statement.encode() != bytes {
            return Err(Error::Statement("it is not written as statements are"));
        }
        Ok(statement)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { image, name, epoch } = self;
        write!(f, "{FIRST_LINE}image: {image}\nname: {name}\nepoch: {epoch}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Statement {
        Statement { image: ImageId::of(b"image"), name: "debian/v1".parse().unwrap(), epoch: 42 }
    }

    #[test]
    fn a_statement_is_four_lines() {
        let expected =
            format!("dominator image statement 1\nimage: {}\nname: debian/v1\nepoch: 42\n", ImageId::of(b"image"));
        assert_eq!(sample().to_string(), expected);
        assert_eq!(Statement::decode(expected.as_bytes()).unwrap(), sample());
        let longest = Statement { name: "x".repeat(512).parse().unwrap(), epoch: u64::MAX, ..sample() };
        assert_eq!(Statement::decode(&longest.encode()).unwrap(), longest);
    }

    #[test]
    fn every_other_text_is_refused() {
        let text = sample().to_string();
        for (from, to) in [
            ("epoch: 42", "epoch: +42"),
            ("epoch: 42", "epoch: 042"),
            ("epoch: 42", "epoch: 42 "),
            ("epoch: 42", "epoch: -1"),
            ("epoch: 42", "epoch: 18446744073709551616"),
            ("epoch: 42\n", "epoch: 42"),
            ("epoch: 42\n", "epoch: 42\n\n"),
            ("epoch: 42\n", "epoch: 42\nepoch: 43\n"),
            ("debian/v1", "debian//v1"),
            ("debian/v1", "../v1"),
            ("debian/v1", "debian/v1\r"),
            ("statement 1", "statement 2"),
            ("image: ", "image:  "),
            ("name: ", "Name: "),
        ] {
            let other = text.replace(from, to);
            assert_ne!(other, text);
            assert!(Statement::decode(other.as_bytes()).is_err(), "{other:?}");
        }
        assert!(Statement::decode(text.to_uppercase().as_bytes()).is_err());
        let upper = text.replace(&sample().image.to_string(), &sample().image.to_string().to_uppercase());
        assert!(Statement::decode(upper.as_bytes()).is_err());
        for len in 0..text.len() {
            assert!(Statement::decode(&text.as_bytes()[..len]).is_err());
        }
        assert!(Statement::decode(&[b'x'; STATEMENT_LEN_MAX + 1]).is_err());
    }
}
