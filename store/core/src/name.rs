//! Names of directory entries and paths made of them.
//!
//! Owns the check that one name is one component: not empty, not `.` or `..`, no `/`, no NUL, at most 255 bytes.
//! Invariant: a `Name` or `TreePath` value exists only if every component passed, so joining paths never leaves a root.
//!
//! Does not touch a file system: opening a name beneath a directory is `store/fs`.

use std::{borrow::Borrow, fmt};

use crate::limits::{NAME_LEN_MAX, PATH_LEN_MAX, TREE_DEPTH_MAX};

/// Why bytes are not a name or a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("empty name")]
    Empty,
    /// `.` or `..`.
    #[error("'.' and '..' are not names")]
    Dots,
    /// Contains `/` or NUL.
    #[error("name contains '/' or NUL")]
    Separator,
    /// Longer than the limit.
    #[error("name or path too long")]
    TooLong,
    /// More components than the limit.
    #[error("path too deep")]
    TooDeep,
}

/// One component of a path, as raw bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// Checks and copies `bytes`.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        match bytes {
            [] => Err(NameError::Empty),
            b"." | b".." => Err(NameError::Dots),
            _ if bytes.len() > NAME_LEN_MAX => Err(NameError::TooLong),
            _ if bytes.contains(&b'/') || bytes.contains(&0) => Err(NameError::Separator),
            _ => Ok(Self(bytes.into())),
        }
    }

    /// Returns the raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Name {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// A path below the root of a tree: components joined by `/`, without a leading one; the root itself is empty.
///
/// The order is that of a depth-first walk over sorted directories: component by component.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// Returns the path of the root.
    pub fn root() -> Self {
        Self::default()
    }

    /// Parses raw bytes; a leading `/` is accepted and dropped.
    pub fn parse(bytes: &[u8]) -> Result<Self, NameError> {
        let bytes = bytes.strip_prefix(b"/").unwrap_or(bytes);
        if bytes.is_empty() {
            return Ok(Self::root());
        }
        if bytes.len() > PATH_LEN_MAX {
            return Err(NameError::TooLong);
        }
        let mut depth = 0;
        for component in bytes.split(|byte| *byte == b'/') {
            Name::new(component)?;
            depth += 1;
        }
        if depth > TREE_DEPTH_MAX {
            return Err(NameError::TooDeep);
        }
        Ok(Self(bytes.into()))
    }

    /// Returns the path of `name` in this directory.
    pub fn join(&self, name: &Name) -> Self {
        if self.is_root() {
            return Self(name.0.clone());
        }
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.0.len());
        bytes.extend_from_slice(&self.0);
        bytes.push(b'/');
        bytes.extend_from_slice(&name.0);
        Self(bytes.into())
    }

    /// Returns the directory that holds this path; the root has none.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0.get(..end).unwrap_or_default().into()))
    }

    /// Returns the last component; the root has none.
    pub fn name(&self) -> Option<Name> {
        self.components().last().map(|bytes| Name(bytes.into()))
    }

    /// Returns the components from the root down.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|bytes| !bytes.is_empty())
    }

    /// Returns the number of components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Says whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Says whether this path is `ancestor` or lies below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(&*ancestor.0).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
    }

    /// Returns the raw bytes, without a leading `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("/")?;
        write_escaped(&self.0, f)
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// Writes raw bytes so that no control byte reaches a terminal or a log: what is not printable becomes `\xNN`.
fn write_escaped(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for piece in bytes.utf8_chunks() {
        for char in piece.valid().chars() {
            match char {
                '\\' => f.write_str("\\\\")?,
                char if char.is_control() => {
                    let mut buf = [0; 4];
                    for byte in char.encode_utf8(&mut buf).bytes() {
                        write!(f, "\\x{byte:02x}")?;
                    }
                }
                char => write!(f, "{char}")?,
            }
        }
        for byte in piece.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_components_are_names() {
        for good in [&b"a"[..], b"...", b"\xff\n", &[b'x'; 255]] {
            assert!(Name::new(good).is_ok(), "{good:?}");
        }
        for bad in [&b""[..], b".", b"..", b"a/b", b"a\0", &[b'x'; 256]] {
            assert!(Name::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn paths_refuse_every_way_out() {
        for bad in ["a//b", "a/../b", "..", "a/.", "a/", "//a"] {
            assert!(TreePath::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(TreePath::parse(b"/"), Ok(TreePath::root()));
        assert!(TreePath::parse("a/".repeat(200).trim_end_matches('/').as_bytes()).is_err());
    }

    #[test]
    fn order_is_that_of_a_walk() {
        let path = |text: &str| TreePath::parse(text.as_bytes()).expect(text);
        let mut paths = [path("a-b"), path("a/c"), path("a"), path("")];
        paths.sort();
        assert_eq!(paths, [path(""), path("a"), path("a/c"), path("a-b")]);
    }

    #[test]
    fn parents_and_joins_are_inverse() {
        let path = TreePath::parse(b"usr/lib/x").expect("path");
        let (parent, name) = (path.parent().expect("parent"), path.name().expect("name"));
        assert_eq!(parent.join(&name), path);
        assert!(path.starts_with(&parent) && !parent.starts_with(&path));
        assert!(!TreePath::parse(b"usr/libx").expect("path").starts_with(&TreePath::parse(b"usr/lib").expect("path")));
        assert_eq!(TreePath::parse(b"x").expect("path").parent(), Some(TreePath::root()));
    }

    #[test]
    fn control_bytes_never_reach_a_log() {
        let name = Name::new(b"a\x1b[2J\n\xff").expect("name");
        assert_eq!(name.to_string(), "a\\x1b[2J\\x0a\\xff");
    }
}
