//! What reaches a machine's task from outside: its place in the machine database, and what its images' names stand for.
//!
//! Owns the waiting for changes. Invariant: a change that comes while the task is busy is seen afterwards.
//! Does not judge: the planner does.

use std::sync::Arc;

use dominator_controller_core::{Machine, Planner, Safety, Target, Updates, WantedImage};
use dominator_store_core::{ImageId, ImageName};
use tokio::sync::watch;

use crate::images::{ImageState, Images, NamedImage};

/// What the daemon says about a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Assignment {
    /// Its entry in the machine database.
    pub(crate) machine: Arc<Machine>,
    /// The entry is in doubt.
    pub(crate) is_held: bool,
    /// Counts the occasions on which a person asked for another attempt.
    pub(crate) retry_count: u64,
}

#[derive(Debug)]
pub(super) struct News {
    images: Images,
    assignment: watch::Receiver<Assignment>,
    address: String,
    retry_count: u64,
    /// Names of the required and the planned image.
    names: (Option<String>, Option<String>),
    required: Followed,
    planned: Followed,
}

#[derive(Debug, Default)]
struct Followed {
    name: Option<ImageName>,
    state: Option<watch::Receiver<ImageState>>,
}

/// What is new besides images.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The machine is reached elsewhere.
    pub(super) address: bool,
    /// A person asks for another attempt.
    pub(super) retry: bool,
}

impl Assignment {
    fn target(&self) -> Target {
        let machine = &*self.machine;
        Target {
            required: machine.required.clone(),
            planned: machine.planned.clone(),
            updates: match (self.is_held, machine.disabled) {
                (true, _) => Updates::Held,
                (false, true) => Updates::Disabled,
                (false, false) => Updates::Enabled,
            },
            safety: if machine.force_unsafe { Safety::Overridden } else { Safety::Checked },
        }
    }
}

impl News {
    pub(super) fn new(images: Images, mut assignment: watch::Receiver<Assignment>) -> Self {
        let (address, retry_count) = {
            let assignment = assignment.borrow();
            (assignment.machine.address.clone(), assignment.retry_count)
        };
        assignment.mark_changed();
        let (required, planned) = (Followed::default(), Followed::default());
        Self { images, assignment, address, retry_count, names: (None, None), required, planned }
    }

    /// Returns where the machine is reached.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Returns the names of the required and the planned image as the planner was told, and the id of the required one.
    pub(super) fn images(&self) -> (Option<String>, Option<String>, Option<ImageId>) {
        let id = self.required.state.as_ref().and_then(|state| match &*state.borrow() {
            ImageState::Known(image) => Some(image.id),
            _ => None,
        });
        let (required, planned) = &self.names;
        (required.clone(), planned.clone(), id)
    }

    /// Tells the planner everything that is new.
    pub(super) fn take(&mut self, planner: &mut Planner) -> Changes {
        let mut changes = Changes::default();
        if self.assignment.has_changed().unwrap_or(false) {
            let assignment = self.assignment.borrow_and_update().clone();
            let target = assignment.target();
            self.required.follow(&self.images, target.required.name());
            self.planned.follow(&self.images, target.planned.name());
            self.names = (text(&target.required), text(&target.planned));
            planner.set_target(target);
            changes.address = assignment.machine.address != self.address;
            changes.retry = assignment.retry_count != self.retry_count;
            self.address.clone_from(&assignment.machine.address);
            self.retry_count = assignment.retry_count;
        }
        self.required.take(planner);
        self.planned.take(planner);
        changes
    }

    /// Waits for anything new; never ends if nothing can come any more.
    pub(super) async fn wait(&mut self) {
        tokio::select! {
            changed = self.assignment.changed() => match changed {
                // Waiting marked it as seen, but only `take` looks at it.
                Ok(()) => self.assignment.mark_changed(),
                Err(_) => std::future::pending().await,
            },
            () = self.required.changed() => {}
            () = self.planned.changed() => {}
        }
    }

    /// Returns an image that the planner was told of.
    pub(super) fn image(&self, id: ImageId) -> Option<Arc<NamedImage>> {
        [&self.required, &self.planned].into_iter().find_map(|followed| {
            let state = followed.state.as_ref()?.borrow();
            match &*state {
                ImageState::Known(image) if image.id == id => Some(Arc::clone(image)),
                _ => None,
            }
        })
    }
}

impl Followed {
    fn follow(&mut self, images: &Images, name: Option<&ImageName>) {
        // A sender is gone if nobody needed the name for a while.
        let is_stale = self.state.as_ref().is_none_or(|state| state.has_changed().is_err());
        if self.name.as_ref() != name || is_stale {
            self.name = name.cloned();
            self.state = name.and_then(|name| images.watch(name));
        }
        if let Some(state) = &mut self.state {
            // The planner forgets what it knew with each new target.
            state.mark_changed();
        }
    }

    fn take(&mut self, planner: &mut Planner) {
        let (Some(name), Some(state)) = (&self.name, &mut self.state) else { return };
        // A sender that is gone has nothing new to say, but what it said last may not be read yet.
        if state.has_changed().unwrap_or(true) {
            planner.set_image(name, &state.borrow_and_update().knowledge());
        }
    }

    async fn changed(&mut self) {
        match &mut self.state {
            Some(state) => {
                if state.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
                state.mark_changed();
            }
            None => std::future::pending().await,
        }
    }
}

fn text(wanted: &WantedImage) -> Option<String> {
    match wanted {
        WantedImage::Nothing => None,
        WantedImage::Named(name) => Some(name.to_string()),
        WantedImage::Invalid(text) => Some(text.clone()),
    }
}
