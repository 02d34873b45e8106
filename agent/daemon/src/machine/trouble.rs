//! What is wrong with a machine, as its agent tells.
//!
//! Owns the texts and their order. Invariants: there is at most one of each sort; the latest is told, and the one before
//! it when it is over.
//!
//! Does not judge what is wrong: `Machine` says when a trouble begins and ends.

/// What is wrong: at most one text of each sort, the latest last.
#[derive(Debug, Default)]
pub(super) struct Troubles(Vec<(Trouble, String)>);

/// What something that went wrong concerns; it is over when the same goes well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Recovery,
    Update,
    Services,
    Fetch,
    Planned,
    Scan,
}

impl Troubles {
    pub(super) fn set(&mut self, trouble: Trouble, text: Option<String>) {
        // What is found again and again stays where it was, so that it does not hide what happened since.
        if self.0.iter().any(|(known, old)| *known == trouble && Some(old) == text.as_ref()) {
            return;
        }
        self.0.retain(|(known, _)| *known != trouble);
        self.0.extend(text.map(|text| (trouble, text)));
    }

    pub(super) fn clear(&mut self, troubles: &[Trouble]) {
        self.0.retain(|(known, _)| !troubles.contains(known));
    }

    pub(super) fn latest(&self) -> Option<&str> {
        self.0.last().map(|(_, text)| text.as_str())
    }
}
