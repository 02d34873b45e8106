//! The search for deviations: down two trees, only where they differ.
//!
//! Owns the order of the search and its bounds. Call order: [`Descent::poll_wanted`] until it returns `None`, each time
//! followed by one [`Descent::handle_object`] per id; then [`Descent::finish`]. Invariants: an object is taken only if it
//! was asked for and has its digest; at most a batch of objects is held; the list is cut at its limit and says so.
//!
//! Does not compare directories itself: that is `directory`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dominator_store_core::{
    Difference, TreeId, TreeObject, TreePath,
    limits::{PATH_LEN_MAX, TREE_DEPTH_MAX},
};

use super::{
    DescentError,
    directory::{Comparison, Side, Standing},
};
use crate::limits::{
    DESCENT_BATCH_COUNT_MAX, DESCENT_BATCH_LEN_MAX, DESCENT_LEN_MAX, DESCENT_OBJECT_COUNT_MAX,
    DESCENT_PENDING_COUNT_MAX, DEVIATION_COUNT_MAX,
};

/// Objects that the search needs next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of the machine's tree.
    pub machine: Vec<TreeId>,
    /// Of the image's tree.
    pub image: Vec<TreeId>,
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deviations {
    /// Where the machine (old) differs from the image (new), in the order of paths.
    pub differences: Vec<Difference>,
    /// There are more than were looked for.
    pub truncated: bool,
    /// The machine's root is empty: everything is missing, and nothing is listed.
    pub first_fill: bool,
    /// Number of tree objects that were read, of both sides.
    pub object_count: usize,
    /// Their encoded length in bytes.
    pub object_len: u64,
}

/// A search under way.
#[derive(Debug)]
pub struct Descent {
    queue: VecDeque<Comparison>,
    active: Vec<Comparison>,
    lacking: BTreeSet<TreeId>,
    objects: BTreeMap<TreeId, TreeObject>,
    batch_len: usize,
    is_full: bool,
    found: Deviations,
}

impl Descent {
    /// Begins a search in the machine's tree `machine` and the image's tree `image`.
    pub fn new(machine: TreeId, image: TreeId) -> Self {
        let (machine, image) = (Standing::Directory(machine), Standing::Directory(image));
        Self {
            queue: VecDeque::from([Comparison::new(TreePath::root(), machine, image)]),
            active: Vec::new(),
            lacking: BTreeSet::new(),
            objects: BTreeMap::new(),
            batch_len: 0,
            is_full: false,
            found: Deviations::default(),
        }
    }

    /// Takes in what arrived and returns the objects that are needed next; `None` when the search is over.
    ///
    /// # Errors
    /// When an object contradicts the one that names it.
    pub fn poll_wanted(&mut self) -> Result<Option<Wanted>, DescentError> {
        self.advance()?;
        if self.is_full || self.found.first_fill {
            return Ok(None);
        }
        let wanted = self.next_batch();
        Ok((wanted != Wanted::default()).then_some(wanted))
    }

    /// Takes the encoded object `id`.
    ///
    /// # Errors
    /// When it was not asked for, has another digest, or is no tree object.
    pub fn handle_object(&mut self, id: TreeId, bytes: &[u8]) -> Result<(), DescentError> {
        if !self.lacking.contains(&id) {
            return Err(DescentError::Unwanted(id));
        }
        let found = TreeId::of(bytes);
        if found != id {
            return Err(DescentError::Digest { expected: id, found });
        }
        let object = TreeObject::decode(bytes).map_err(|error| DescentError::Corrupt(id, error))?;
        self.lacking.remove(&id);
        self.objects.insert(id, object);
        self.batch_len += bytes.len();
        self.found.object_count += 1;
        self.found.object_len += bytes.len() as u64;
        self.is_full |= self.batch_len > DESCENT_BATCH_LEN_MAX
            || self.found.object_len > DESCENT_LEN_MAX
            || self.found.object_count > DESCENT_OBJECT_COUNT_MAX;
        Ok(())
    }

    /// Ends the search and returns what it found.
    pub fn finish(mut self) -> Deviations {
        self.found.truncated |= self.is_full;
        self.found.differences.sort_by(|a, b| a.path.cmp(&b.path));
        self.found
    }

    fn advance(&mut self) -> Result<(), DescentError> {
        let objects = std::mem::take(&mut self.objects);
        self.batch_len = 0;
        for mut comparison in std::mem::take(&mut self.active) {
            if self.is_full {
                break;
            }
            let findings = comparison.advance(&objects)?;
            self.take_differences(findings.differences);
            self.take_children(findings.children);
            self.found.first_fill |= findings.is_first_fill;
            if !comparison.is_done() {
                self.active.push(comparison);
            }
        }
        Ok(())
    }

    fn take_differences(&mut self, differences: Vec<Difference>) {
        let room = DEVIATION_COUNT_MAX - self.found.differences.len();
        self.is_full |= differences.len() > room;
        self.found.differences.extend(differences.into_iter().take(room));
    }

    fn take_children(&mut self, children: Vec<Comparison>) {
        for child in children {
            // Anybody with a directory of their own can nest it this deep: that costs the listing of their directory only.
            if child.path().depth() > TREE_DEPTH_MAX || child.path().as_bytes().len() > PATH_LEN_MAX {
                self.found.truncated = true;
            } else {
                self.queue.push_back(child);
            }
        }
        self.is_full |= self.queue.len() > DESCENT_PENDING_COUNT_MAX;
    }

    /// Chooses what to ask for: what the directories under way need, then directories from the queue, up to a full batch.
    fn next_batch(&mut self) -> Wanted {
        let mut wanted = Wanted::default();
        self.lacking.clear();
        for comparison in &self.active {
            add_wanted(comparison, &mut wanted, &mut self.lacking);
        }
        while wanted.machine.len().max(wanted.image.len()) < DESCENT_BATCH_COUNT_MAX
            && let Some(comparison) = self.queue.pop_front()
        {
            add_wanted(&comparison, &mut wanted, &mut self.lacking);
            self.active.push(comparison);
        }
        wanted
    }
}

fn add_wanted(comparison: &Comparison, wanted: &mut Wanted, lacking: &mut BTreeSet<TreeId>) {
    for (side, id) in comparison.wanted() {
        let list = match side {
            Side::Machine => &mut wanted.machine,
            Side::Image => &mut wanted.image,
        };
        if list.len() < DESCENT_BATCH_COUNT_MAX && lacking.insert(id) {
            list.push(id);
        }
    }
}
