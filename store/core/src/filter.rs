//! Filters: which paths an image manages (`spec/image.md#filter`).
//!
//! Owns the ordered rules. Invariants: the first rule that matches a path decides, and a path that none matches is
//! managed; what an excluded directory holds is excluded with it; the root is always managed; the agent's private
//! directory never is.
//!
//! Does not walk trees: capture and scan ask for every path they meet.

use std::fmt;

use crate::{
    Pattern, PatternError, PatternKind, TreePath,
    cbor::{CborError, Reader, Writer},
    limits::FILTER_RULE_COUNT_MAX,
};

/// Name of the directory in a managed root that belongs to the agent and is never part of an image.
pub const PRIVATE_DIR: &str = ".subd";

/// What a rule does with the paths it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Manage them.
    Include,
    /// Leave them alone.
    Exclude,
}

/// One rule of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What to do.
    pub action: Action,
    /// With which paths.
    pub pattern: Pattern,
}

/// Which paths an image manages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    rules: Vec<Rule>,
}

/// Why text is not a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A line that is not a rule.
    #[error("line {line}: expected 'include' or 'exclude', a kind (tree, exact, glob, regex) and a pattern")]
    Syntax {
        /// Line number from 1.
        line: usize,
    },
    /// A line whose pattern is wrong.
    #[error("line {line}")]
    Pattern {
        /// Line number from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: PatternError,
    },
    /// More rules than the limit.
    #[error("more than {FILTER_RULE_COUNT_MAX} rules")]
    TooMany,
}

impl Filter {
    /// Makes a filter of ordered rules.
    pub fn new(rules: Vec<Rule>) -> Result<Self, FilterError> {
        if rules.len() > FILTER_RULE_COUNT_MAX {
            return Err(FilterError::TooMany);
        }
        Ok(Self { rules })
    }

    /// Parses a rule file: one rule a line, such as `exclude tree /var/log`; `#` begins a comment line.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let mut rules = Vec::new();
        for (pos, line) in text.lines().enumerate() {
            let (number, line) = (pos + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.splitn(3, char::is_whitespace);
            let action = match words.next() {
                Some("include") => Action::Include,
                Some("exclude") => Action::Exclude,
                _ => return Err(FilterError::Syntax { line: number }),
            };
            let kind = words.next().and_then(PatternKind::from_word);
            let (Some(kind), Some(text)) = (kind, words.next()) else {
                return Err(FilterError::Syntax { line: number });
            };
            let pattern =
                Pattern::new(kind, text.trim()).map_err(|source| FilterError::Pattern { line: number, source })?;
            rules.push(Rule { action, pattern });
        }
        Self::new(rules)
    }

    /// Returns the rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns the rule that decides about `path` alone, without regard to the directories above it.
    pub fn explain(&self, path: &TreePath) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.pattern.matches(path))
    }

    /// Says whether `path` is managed, given that the directory it lies in is.
    pub fn manages(&self, path: &TreePath) -> bool {
        if path.is_root() {
            return true;
        }
        if path.as_bytes() == PRIVATE_DIR.as_bytes() {
            return false;
        }
        self.explain(path).is_none_or(|rule| rule.action == Action::Include)
    }

    /// Says whether `path` is managed, looking at every directory above it too.
    pub fn manages_deep(&self, path: &TreePath) -> bool {
        let mut at = Some(path.clone());
        while let Some(path) = at {
            if !self.manages(&path) {
                return false;
            }
            at = path.parent();
        }
        true
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.array(self.rules.len());
        for rule in &self.rules {
            writer.array(2).bool(rule.action == Action::Include);
            rule.pattern.write(writer);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        let count = reader.array("rules", FILTER_RULE_COUNT_MAX)?;
        let mut rules = Vec::new();
        for _ in 0..count {
            if reader.array("rule", 2)? != 2 {
                return Err(reader.invalid("rule"));
            }
            let action = if reader.bool()? { Action::Include } else { Action::Exclude };
            rules.push(Rule { action, pattern: Pattern::read(reader)? });
        }
        Ok(Self { rules })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Include => "include",
            Action::Exclude => "exclude",
        };
        write!(f, "{action} {} {}", self.pattern.kind().word(), self.pattern.text())
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rules.iter().try_for_each(|rule| writeln!(f, "{rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::parse(text.as_bytes()).expect(text)
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let filter =
            Filter::parse("# logs\ninclude exact /var/log/keep\nexclude tree /var/log/keep\nexclude glob /tmp/*\n")
                .expect("filter");
        assert!(filter.manages(&path("var/log/keep")));
        assert!(!filter.manages(&path("var/log/keep/x")));
        assert!(filter.manages(&path("tmp")) && !filter.manages(&path("tmp/x")));
        assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn root_is_managed_and_the_private_directory_is_not() {
        let everything_excluded = Filter::parse("exclude regex .*").expect("filter");
        assert!(everything_excluded.manages(&TreePath::root()));
        let everything_included = Filter::parse("include regex .*").expect("filter");
        assert!(!everything_included.manages(&path(PRIVATE_DIR)));
        assert!(!everything_included.manages_deep(&path(".subd/stage")));
        assert!(everything_included.manages(&path("home/.subd")));
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(Filter::parse("\nexclude"), Err(FilterError::Syntax { line: 2 }));
        assert!(matches!(Filter::parse("exclude tree x"), Err(FilterError::Pattern { line: 1, .. })));
    }
}
