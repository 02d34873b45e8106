//! Permissions: who may call what, as stated in certificates (`spec/permissions.md`).
//!
//! Owns the text form of a permission, matching, and the encoding of a grant in the certificate extension. Invariants: what
//! no permission names is denied; a scoped permission never allows a call without a scope; matching takes bounded time.
//!
//! Does not read certificates (`protocol/quic`) and does not know which names a call is about (`message`).

use std::{fmt, str::FromStr};

use crate::{
    DecodeError, Method,
    cbor::{self, Reader, Value, Writer, message},
    limits::{GRANT_MAX, HOST_LEN_MAX, PERMISSION_LEN_MAX},
    method::ScopeKind,
};

/// A pattern of methods, and for which names it holds.
///
/// Text form: `Noun.Verb`, `Noun.*` or `*`, optionally followed by `@` and a glob in which `*` stands for any run of
/// characters, `/` included, and `?` for any one byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission {
    method: String,
    scope: Option<String>,
}

/// Text that is not a permission.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a permission: expected Noun.Verb, Noun.* or *, with an optional @SCOPE")]
pub struct ParsePermissionError {
    text: String,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// Nothing that has a name.
    Nothing,
    /// One image or machine.
    Name(&'a str),
    /// All images whose names begin with this.
    Prefix(&'a str),
}

/// The outcome of a permission check, with its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This permission allows the call.
    Allowed(Permission),
    /// No permission does; the text says which one would.
    Denied {
        /// The permission that would be enough.
        needed: String,
    },
}

message! {
    /// All permissions and groups of one certificate.
    Grant {
        /// Permissions, in any order.
        1 permissions: Vec<Permission> = GRANT_MAX,
        /// Groups that the holder belongs to.
        2 groups: Vec<Group> = GRANT_MAX,
    }
}

/// Name of a group, bounded where it is read.
type Group = String;

impl Permission {
    /// Tells whether at least one method of this version matches.
    pub fn is_known(&self) -> bool {
        Method::ALL.iter().any(|method| self.matches_method(*method))
    }

    /// Tells whether the permission is about `method`, for whatever scope.
    pub fn matches_method(&self, method: Method) -> bool {
        match self.method.as_str() {
            "*" => true,
            pattern => match pattern.strip_suffix('*') {
                Some(noun) => method.name().starts_with(noun),
                None => method.name() == pattern,
            },
        }
    }

    /// Tells whether the permission allows `method` on `scope`.
    pub fn allows(&self, method: Method, scope: Scope<'_>) -> bool {
        if !self.matches_method(method) {
            return false;
        }
        match (&self.scope, scope) {
            (None, _) => true,
            (Some(_), Scope::Nothing) => false,
            (Some(glob), Scope::Name(name)) => glob_matches(glob.as_bytes(), name.as_bytes()),
            // Only a glob that ends in `*` also matches every longer name.
            (Some(glob), Scope::Prefix(prefix)) => {
                glob.ends_with('*') && glob_matches(glob.as_bytes(), prefix.as_bytes())
            }
        }
    }
}

impl Grant {
    /// Makes a grant.
    pub fn new(permissions: Vec<Permission>, groups: Vec<String>) -> Self {
        Self { permissions, groups }
    }

    /// Allows nothing.
    pub fn nothing() -> Self {
        Self { permissions: Vec::new(), groups: Vec::new() }
    }

    /// Tells whether some permission allows `method` on the name `scope`, or without any name.
    pub fn allows(&self, method: Method, scope: Option<&str>) -> bool {
        let scope = scope.map_or(Scope::Nothing, Scope::Name);
        matches!(self.decide(method, scope), Decision::Allowed(_))
    }

    /// Tells whether the call may begin: some permission allows it for some scope that the method can have.
    pub fn decide_begin(&self, method: Method) -> Decision {
        if method.scope() == ScopeKind::Nothing {
            return self.decide(method, Scope::Nothing);
        }
        self.first(method, Scope::Nothing, |permission| permission.matches_method(method))
    }

    /// Decides whether some permission allows `method` on `scope`, and says which.
    pub fn decide(&self, method: Method, scope: Scope<'_>) -> Decision {
        self.first(method, scope, |permission| permission.allows(method, scope))
    }

    /// Describes for people which permission decides about `method` on `scope`.
    pub fn explain(&self, method: Method, scope: Scope<'_>) -> String {
        match self.decide(method, scope) {
            Decision::Allowed(permission) => format!("{method} is allowed by the permission {permission}"),
            Decision::Denied { needed } => format!("{method} is denied: no permission such as {needed}"),
        }
    }

    /// Returns the bytes of the certificate extension.
    pub fn encode(&self) -> Vec<u8> {
        cbor::encode(self)
    }

    /// Reads the bytes of the certificate extension.
    ///
    /// # Errors
    /// When the bytes are anything but the canonical encoding of a grant within its limits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > crate::limits::GRANT_LEN_MAX {
            let (found, limit) = (bytes.len() as u64, crate::limits::GRANT_LEN_MAX as u64);
            return Err(DecodeError::Limit { what: "Grant", found, limit });
        }
        let grant: Self = cbor::decode_canonical("Grant", bytes, 0)?;
        match grant.groups.iter().find(|group| group.len() > HOST_LEN_MAX) {
            None => Ok(grant),
            Some(group) => {
                Err(DecodeError::Limit { what: "group", found: group.len() as u64, limit: HOST_LEN_MAX as u64 })
            }
        }
    }

    fn first(&self, method: Method, scope: Scope<'_>, allows: impl Fn(&Permission) -> bool) -> Decision {
        match self.permissions.iter().find(|permission| allows(permission)) {
            Some(permission) => Decision::Allowed(permission.clone()),
            None => Decision::Denied {
                needed: match scope {
                    Scope::Nothing => method.to_string(),
                    Scope::Name(name) => format!("{method}@{name}"),
                    Scope::Prefix(prefix) => format!("{method}@{prefix}*"),
                },
            },
        }
    }
}

impl FromStr for Permission {
    type Err = ParsePermissionError;

    fn from_str(text: &str) -> Result<Self, ParsePermissionError> {
        let error = || ParsePermissionError { text: text.chars().take(80).collect() };
        let (method, scope) = match text.split_once('@') {
            Some((method, scope)) => (method, Some(scope)),
            None => (text, None),
        };
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_method = method == "*"
            || method.split_once('.').is_some_and(|(noun, verb)| is_word(noun) && (verb == "*" || is_word(verb)));
        let is_scope = scope.is_none_or(|scope| !scope.is_empty() && !scope.chars().any(char::is_control));
        if text.len() > PERMISSION_LEN_MAX || !is_method || !is_scope {
            return Err(error());
        }
        Ok(Self { method: method.to_owned(), scope: scope.map(str::to_owned) })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        match &self.scope {
            Some(scope) => write!(f, "@{scope}"),
            None => Ok(()),
        }
    }
}

/// A permission is its text.
impl Value for Permission {
    fn write(&self, writer: &mut Writer) {
        writer.text(&self.to_string());
    }

    fn read(reader: &mut Reader<'_>, _limit: usize) -> Result<Self, DecodeError> {
        let text = reader.text(PERMISSION_LEN_MAX)?;
        text.parse().map_err(|_| DecodeError::NotCanonical { what: "permission" })
    }
}

/// Matches in time bounded by the product of both lengths: only the last `*` is ever tried again.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut glob_pos, mut name_pos) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = name.get(name_pos) {
        match glob.get(glob_pos) {
            Some(b'*') => {
                star = Some((glob_pos, name_pos));
                glob_pos += 1;
            }
            Some(&wanted) if wanted == b'?' || wanted == byte => {
                glob_pos += 1;
                name_pos += 1;
            }
            _ => match star {
                Some((star_pos, tried_pos)) => {
                    star = Some((star_pos, tried_pos + 1));
                    glob_pos = star_pos + 1;
                    name_pos = tried_pos + 1;
                }
                None => return false,
            },
        }
    }
    glob.get(glob_pos..).is_some_and(|rest| rest.iter().all(|&byte| byte == b'*'))
}
