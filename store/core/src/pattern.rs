//! Patterns over paths, shared by filters and triggers (`spec/image.md#pattern`).
//!
//! Owns the kinds and their meaning. Invariants: a pattern without a star means exactly what it says and never a longer
//! name (a rule for `/etc/fstab` leaves `/etc/fstab.bak` alone); every pattern is anchored at both ends; matching time is
//! linear in the path (`regex` does not backtrack) and the compiled size is bounded.
//!
//! What a match means is `filter` and `trigger`.

use regex::bytes::{Regex, RegexBuilder};

use crate::{
    TreePath,
    cbor::{CborError, Reader, Writer},
    limits::{PATTERN_LEN_MAX, REGEX_COMPILED_LEN_MAX},
};

/// How the text of a pattern is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PatternKind {
    /// The path itself, and everything below it.
    Tree,
    /// The path itself only.
    Exact,
    /// `?` one byte, `*` any bytes but `/`, `**` any bytes; the rest literally.
    Glob,
    /// A regular expression for the whole path, which begins with `/`.
    Regex,
}

impl PatternKind {
    const fn tag(self) -> u64 {
        match self {
            Self::Tree => 1,
            Self::Exact => 2,
            Self::Glob => 3,
            Self::Regex => 4,
        }
    }

    const fn from_tag(tag: u64) -> Option<Self> {
        match tag {
            1 => Some(Self::Tree),
            2 => Some(Self::Exact),
            3 => Some(Self::Glob),
            4 => Some(Self::Regex),
            _ => None,
        }
    }

    /// Returns the word written before a pattern in a rule file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Tree => "tree",
            Self::Exact => "exact",
            Self::Glob => "glob",
            Self::Regex => "regex",
        }
    }

    /// Reads the word of a rule file.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Tree, Self::Exact, Self::Glob, Self::Regex].into_iter().find(|kind| kind.word() == word)
    }
}

/// Why text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Does not begin with `/`.
    #[error("pattern {0:?} does not begin with '/'")]
    Relative(String),
    /// Longer than the limit.
    #[error("pattern is longer than {PATTERN_LEN_MAX} bytes")]
    TooLong,
    /// Not a regular expression, or one that compiles to too much.
    #[error("pattern {text:?} cannot be compiled: {reason}")]
    Regex {
        /// The pattern.
        text: String,
        /// What the compiler says.
        reason: String,
    },
}

/// A pattern, checked and compiled.
#[derive(Debug, Clone)]
pub struct Pattern {
    kind: PatternKind,
    text: String,
    compiled: Option<Regex>,
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        (self.kind, &self.text) == (other.kind, &other.text)
    }
}

impl Eq for Pattern {}

impl Pattern {
    /// Checks and compiles a pattern, whose text begins with `/`.
    pub fn new(kind: PatternKind, text: &str) -> Result<Self, PatternError> {
        if text.len() > PATTERN_LEN_MAX {
            return Err(PatternError::TooLong);
        }
        if !text.starts_with('/') && kind != PatternKind::Regex {
            return Err(PatternError::Relative(text.to_owned()));
        }
        let expression = match kind {
            PatternKind::Tree | PatternKind::Exact => None,
            PatternKind::Glob => Some(glob_expression(text)),
            PatternKind::Regex => Some(format!("^(?:{text})$")),
        };
        let compile = |expression: String| {
            RegexBuilder::new(&expression)
                .dot_matches_new_line(true)
                .unicode(false)
                .size_limit(REGEX_COMPILED_LEN_MAX)
                .build()
        };
        let compiled = expression
            .map(compile)
            .transpose()
            .map_err(|error| PatternError::Regex { text: text.to_owned(), reason: error.to_string() })?;
        Ok(Self { kind, text: text.to_owned(), compiled })
    }

    /// Returns how the text is read.
    pub const fn kind(&self) -> PatternKind {
        self.kind
    }

    /// Returns the text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether the pattern matches `path`.
    pub fn matches(&self, path: &TreePath) -> bool {
        let own = self.text.as_bytes().strip_prefix(b"/").unwrap_or_default();
        let own = own.strip_suffix(b"/").unwrap_or(own);
        match (self.kind, &self.compiled) {
            (PatternKind::Exact, _) => path.as_bytes() == own,
            (PatternKind::Tree, _) => match path.as_bytes().strip_prefix(own) {
                Some(rest) => own.is_empty() || rest.first().is_none_or(|byte| *byte == b'/'),
                None => false,
            },
            (_, Some(regex)) => {
                let mut absolute = Vec::with_capacity(path.as_bytes().len() + 1);
                absolute.push(b'/');
                absolute.extend_from_slice(path.as_bytes());
                regex.is_match(&absolute)
            }
            (_, None) => false,
        }
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.array(2).uint(self.kind.tag()).text(&self.text);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.array("pattern", 2)? != 2 {
            return Err(reader.invalid("pattern"));
        }
        let kind = PatternKind::from_tag(reader.uint()?).ok_or_else(|| reader.invalid("kind of pattern"))?;
        let text = reader.text("pattern", PATTERN_LEN_MAX)?;
        Self::new(kind, text).map_err(|_| reader.invalid("pattern"))
    }
}

fn glob_expression(glob: &str) -> String {
    let mut expression = String::from("^");
    let mut chars = glob.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                expression.push_str(".*");
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            char => expression.push_str(&regex::escape(char.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push('$');
    expression
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_they_say_and_no_more() {
        let cases: [(PatternKind, &str, &[&str], &[&str]); 5] = [
            (PatternKind::Tree, "/var/log", &["/var/log", "/var/log/a/b"], &["/var/logs", "/var", "/x/var/log"]),
            (PatternKind::Exact, "/etc/fstab", &["/etc/fstab"], &["/etc/fstab.bak", "/etc/fstab/x", "/etc"]),
            (PatternKind::Glob, "/home/*/.cache", &["/home/a/.cache"], &["/home/a/b/.cache", "/home/a/.cache/x"]),
            (PatternKind::Glob, "/srv/**.tmp", &["/srv/a/b.tmp", "/srv/.tmp"], &["/srv/a.tmpx"]),
            (PatternKind::Regex, "/a(/b)?", &["/a", "/a/b"], &["/a/bc", "/x/a"]),
        ];
        for (kind, text, yes, no) in cases {
            let pattern = Pattern::new(kind, text).expect(text);
            for (paths, expected) in [(yes, true), (no, false)] {
                for path in paths {
                    let path = TreePath::parse(path.as_bytes()).expect("path");
                    assert_eq!(pattern.matches(&path), expected, "{text} on {path}");
                }
            }
        }
    }

    #[test]
    fn nonsense_and_giants_are_refused() {
        assert!(Pattern::new(PatternKind::Tree, "var/log").is_err());
        assert!(Pattern::new(PatternKind::Regex, "/(").is_err());
        assert!(Pattern::new(PatternKind::Regex, "/((a{1000}){1000}){1000}").is_err());
        assert!(Pattern::new(PatternKind::Exact, &"/".repeat(PATTERN_LEN_MAX + 1)).is_err());
    }
}
