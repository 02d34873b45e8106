//! Triggers: what to do with services when paths change (`spec/image.md#trigger`).
//!
//! Owns the rules as data. Invariant: triggers keep their order; selecting those that match a set of changed paths is a
//! pure function.
//!
//! Stopping and starting services is the agent's service manager.

use crate::{
    Pattern, TreePath,
    cbor::{CborError, Reader, Writer},
    limits::{TEXT_LEN_MAX, TRIGGER_PATTERN_COUNT_MAX},
};

/// What a matching change does to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TriggerAction {
    /// Stop it before the change and start it after.
    Restart,
    /// Reload it after the change.
    Reload,
    /// Reboot the machine after the change.
    Reboot,
}

impl TriggerAction {
    const fn tag(self) -> u64 {
        match self {
            Self::Restart => 1,
            Self::Reload => 2,
            Self::Reboot => 3,
        }
    }

    const fn from_tag(tag: u64) -> Option<Self> {
        match tag {
            1 => Some(Self::Restart),
            2 => Some(Self::Reload),
            3 => Some(Self::Reboot),
            _ => None,
        }
    }
}

/// One rule: when a matching path changes, act on a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Which paths.
    pub patterns: Vec<Pattern>,
    /// Which service; empty for a reboot.
    pub service: String,
    /// What to do with it.
    pub action: TriggerAction,
    /// Orders services: lower first at start, last at stop.
    pub order: u32,
    /// Whether acting disturbs users enough to ask for permission first.
    pub high_impact: bool,
}

impl Trigger {
    /// Says whether a change of `path` sets the trigger off.
    pub fn matches(&self, path: &TreePath) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(path))
    }

    pub(crate) fn write(&self, writer: &mut Writer) {
        writer.array(5).array(self.patterns.len());
        for pattern in &self.patterns {
            pattern.write(writer);
        }
        writer.text(&self.service).uint(self.action.tag()).uint(self.order.into()).bool(self.high_impact);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CborError> {
        if reader.array("trigger", 5)? != 5 {
            return Err(reader.invalid("trigger"));
        }
        let count = reader.array("patterns of a trigger", TRIGGER_PATTERN_COUNT_MAX)?;
        let patterns = (0..count).map(|_| Pattern::read(reader)).collect::<Result<_, _>>()?;
        let service = reader.text("service", TEXT_LEN_MAX)?.to_owned();
        if service.starts_with('-') || service.bytes().any(|byte| byte.is_ascii_control() || byte == b'/') {
            return Err(reader.invalid("service name"));
        }
        let action = TriggerAction::from_tag(reader.uint()?).ok_or_else(|| reader.invalid("trigger action"))?;
        Ok(Self { patterns, service, action, order: reader.uint32()?, high_impact: reader.bool()? })
    }
}
