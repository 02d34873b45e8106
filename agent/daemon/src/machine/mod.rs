//! The agent's state as the controller sees it, and what a directive does to it (`spec/control.md#agent`).
//!
//! Owns the judgement of directives and the reply to a poll. Call order: [`Machine::judge`] a directive, make its
//! [`Accepted::saved`] durable, then [`Machine::accept`] it and carry out the outputs; everything else may come at any
//! time. Invariants: a directive that is late or repeated changes nothing; at most one fetch and one update are under
//! way; an update begins only for the required image, with its content complete.
//!
//! Does no IO and keeps no time: `agent` does.

mod trouble;

use std::sync::Arc;

use dominator_protocol_core::{
    CallFailure, ErrorCode, Fetch, Payload, Phase, PollReply, Progress, Require, Update, limits::clip,
};
use dominator_store_core::Digest;

use crate::{
    fetch::{Content, FetchOrder, Purpose},
    keeper::{Recovery, UpdateOrder, Updated},
    scan::Snapshot,
    state::{NamedImage, NamedImageError, Saved},
};

use trouble::{Trouble, Troubles};

/// Something that the controller tells the agent to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Directive {
    /// Take over a required image.
    Require(Require),
    /// Fetch what an image needs.
    Fetch(Fetch),
    /// Become the required image.
    Update(Update),
}

/// A directive that may be carried out.
#[derive(Debug, Clone)]
pub struct Accepted {
    saved: Saved,
    effect: Effect,
}

#[derive(Debug, Clone)]
enum Effect {
    /// It was accepted before.
    Repeated,
    Require(Arc<NamedImage>),
    Fetch(FetchOrder),
    Update {
        image: Arc<NamedImage>,
        content: Arc<Content>,
        force_unsafe: bool,
    },
}

/// What the shell has to do.
#[derive(Debug)]
pub enum Output {
    /// Scan under the filter of this image from now on, and at once.
    Configure(Arc<NamedImage>),
    /// Fetch, with the files of this snapshot as seeds.
    StartFetch(FetchOrder, Arc<Snapshot>),
    /// Stop the fetch under way.
    StopFetch,
    /// Update the machine.
    StartUpdate(UpdateOrder),
    /// Keep this content in the cache for this purpose; `None` is nothing.
    Keep(Purpose, Option<Arc<Content>>),
    /// Make this state durable; nobody waits for it.
    Save(Box<Saved>),
}

/// What the shell sees of work under way when somebody polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// Phase of the update, or of the recovery, if one is under way.
    pub update_phase: Phase,
    /// Bytes staged, and to be staged.
    pub staged: (u64, u64),
    /// Bytes fetched, and to be fetched.
    pub fetched: (u64, u64),
    /// Bytes received from image servers.
    pub received_len: u64,
}

/// The agent's state.
#[derive(Debug)]
pub struct Machine {
    instance: u64,
    saved: Saved,
    required: Option<Arc<NamedImage>>,
    recovering: bool,
    snapshot: Option<Arc<Snapshot>>,
    scan_count: u64,
    fetch: Option<Fetching>,
    /// The image that the update under way leads to.
    updating: Option<Arc<NamedImage>>,
    /// Of the required image, until an update used it.
    content: Option<Arc<Content>>,
    planned: Option<Arc<Content>>,
    troubles: Troubles,
    last_window_us: Option<u64>,
    last_changed_count: u64,
}

#[derive(Debug)]
struct Fetching {
    order: FetchOrder,
    /// The first scan is not complete, so it is not known what is lacking.
    waiting: bool,
}

impl Machine {
    /// Starts with what was remembered; `instance` is drawn anew at each start.
    pub fn new(instance: u64, saved: Saved) -> Self {
        let required = saved.required.clone().map(Arc::new);
        Self {
            instance,
            saved,
            required,
            recovering: true,
            snapshot: None,
            scan_count: 0,
            fetch: None,
            updating: None,
            content: None,
            planned: None,
            troubles: Troubles::default(),
            last_window_us: None,
            last_changed_count: 0,
        }
    }

    /// Returns the required image.
    pub const fn required(&self) -> Option<&Arc<NamedImage>> {
        self.required.as_ref()
    }

    /// Returns the newest snapshot.
    pub const fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref()
    }

    /// Says whether an update is under way.
    pub const fn is_updating(&self) -> bool {
        self.updating.is_some()
    }

    /// Answers a poll.
    pub fn poll_reply(&self, observed: &Observed) -> PollReply {
        let phase = if self.recovering {
            Phase::Recovering
        } else if self.updating.is_some() {
            observed.update_phase
        } else if self.fetch.is_some() {
            Phase::Fetching
        } else if self.snapshot.is_none() {
            Phase::Scanning
        } else {
            Phase::Idle
        };
        let lens = match phase {
            Phase::Fetching => Some(observed.fetched),
            Phase::Staging => Some(observed.staged),
            _ => None,
        };
        PollReply {
            instance: self.instance,
            generation: self.saved.generation,
            required: self.required.as_ref().map(|image| image.id),
            root: self.current().map(|snapshot| snapshot.root()),
            scan_count: self.scan_count,
            phase,
            progress: lens
                .filter(|(_, total_len)| *total_len > 0)
                .map(|(done_len, total_len)| Progress { done_len, total_len }),
            last_error: self.troubles.latest().map(|text| clip(text).to_owned()),
            planned_ready: self.planned.as_ref().map(|content| content.image),
            last_window_us: self.last_window_us,
            last_changed_count: self.last_changed_count,
            fetched_len: observed.received_len,
        }
    }

    /// Decides whether a directive may be carried out, and what must be remembered first.
    ///
    /// # Errors
    /// The failure that the controller is told.
    pub fn judge(&self, directive: Directive) -> Result<Accepted, CallFailure> {
        let (generation, digest) = directive.generation_and_digest();
        if generation <= self.saved.generation {
            if generation == self.saved.generation && Some(digest) == self.saved.directive {
                return Ok(Accepted { saved: self.saved.clone(), effect: Effect::Repeated });
            }
            let last = self.saved.generation;
            return Err(CallFailure::conflict(format!(
                "directive {generation} is not above directive {last}, accepted before"
            ))
            .with_hint("poll the machine and number the next directive above its generation"));
        }
        let mut saved = Saved { generation, directive: Some(digest), ..self.saved.clone() };
        let effect = match directive {
            Directive::Require(require) => {
                let image = NamedImage::new(&require.name, require.image, require.encoded)?;
                saved.required = Some(image.clone());
                Effect::Require(Arc::new(image))
            }
            Directive::Fetch(fetch) => Effect::Fetch(self.judge_fetch(fetch)?),
            Directive::Update(update) => self.judge_update(&update)?,
        };
        Ok(Accepted { saved, effect })
    }

    /// Carries a directive out, after its state was made durable.
    pub fn accept(&mut self, accepted: Accepted) -> Vec<Output> {
        self.saved = accepted.saved;
        match accepted.effect {
            Effect::Repeated => Vec::new(),
            Effect::Require(image) => self.require(image),
            Effect::Fetch(order) => self.start_fetch(order),
            Effect::Update { image, content, force_unsafe } => {
                self.updating = Some(Arc::clone(&image));
                let old_triggers = self.saved.applied.as_ref().map(|image| image.image.triggers.clone());
                vec![Output::StartUpdate(UpdateOrder {
                    image,
                    content,
                    generation: self.saved.generation,
                    old_triggers: old_triggers.unwrap_or_default(),
                    force_unsafe,
                })]
            }
        }
    }

    /// Takes note that an apply that was cut short is finished or undone, or that this failed and will be tried again.
    pub fn handle_recovered(&mut self, result: Result<Recovery, String>) -> Vec<Output> {
        match result {
            Ok(Recovery { image, doubt }) => {
                self.recovering = false;
                self.troubles.clear(&[Trouble::Recovery]);
                if doubt.is_some() {
                    self.troubles.set(Trouble::Services, doubt);
                }
                let required = self.required.clone().filter(|required| Some(required.id) == image);
                required.map_or_else(Vec::new, |required| self.note_applied(&required))
            }
            Err(error) => {
                self.troubles.set(Trouble::Recovery, Some(error));
                Vec::new()
            }
        }
    }

    /// Takes over a scan.
    pub fn handle_scan(&mut self, result: Result<Arc<Snapshot>, String>) -> Vec<Output> {
        let snapshot = match result {
            Ok(snapshot) => snapshot,
            Err(error) => {
                self.troubles.set(Trouble::Scan, Some(error));
                return Vec::new();
            }
        };
        self.scan_count += 1;
        let unread = snapshot.unread().first().map(|unread| {
            let count = snapshot.unread().len();
            format!("{count} files cannot be read, first {}: {}", unread.path, unread.error)
        });
        self.troubles.set(Trouble::Scan, unread);
        self.snapshot = Some(Arc::clone(&snapshot));
        if self.is_equal() {
            self.troubles.clear(&[Trouble::Update, Trouble::Fetch]);
        }
        match &mut self.fetch {
            Some(fetching) if fetching.waiting => {
                fetching.waiting = false;
                vec![Output::StartFetch(fetching.order.clone(), snapshot)]
            }
            _ => Vec::new(),
        }
    }

    /// Takes over the end of the fetch under way.
    pub fn handle_fetched(&mut self, result: Result<Arc<Content>, String>) -> Vec<Output> {
        let Some(Fetching { order, .. }) = self.fetch.take() else { return Vec::new() };
        let (trouble, slot) = match order.purpose {
            Purpose::Required => (Trouble::Fetch, &mut self.content),
            Purpose::Planned => (Trouble::Planned, &mut self.planned),
        };
        match result {
            Ok(content) => {
                self.troubles.clear(&[trouble]);
                *slot = Some(Arc::clone(&content));
                vec![Output::Keep(order.purpose, Some(content))]
            }
            Err(error) => {
                let text = format!("fetch of {}: {error}", order.image.name);
                // An error that came back is news, even in the same words.
                self.troubles.clear(&[trouble]);
                self.troubles.set(trouble, Some(text));
                Vec::new()
            }
        }
    }

    /// Takes over the end of the update under way, with the scan that followed it.
    pub fn handle_updated(&mut self, updated: Updated) -> Vec<Output> {
        let Some(image) = self.updating.take() else { return Vec::new() };
        let mut outputs = Vec::new();
        // While the update ran, another image may have become the required one.
        let is_required = self.required.as_ref().is_some_and(|required| required.id == image.id);
        let is_used = match updated.result {
            Ok(report) => {
                self.troubles.set(Trouble::Services, report.service_failures);
                if is_required {
                    self.troubles.set(Trouble::Update, report.blocked);
                }
                if let Some(window_us) = report.window_us {
                    self.last_window_us = Some(window_us);
                    self.last_changed_count = report.changed_count;
                }
                outputs.extend(self.note_applied(&image));
                true
            }
            Err(failure) => {
                if is_required {
                    self.troubles.clear(&[Trouble::Update]);
                    self.troubles.set(Trouble::Update, Some(failure.text));
                }
                failure.content_incomplete
            }
        };
        if is_used && is_required {
            self.content = None;
            outputs.push(Output::Keep(Purpose::Required, None));
        }
        outputs.extend(self.handle_scan(updated.scan));
        outputs
    }

    fn judge_fetch(&self, fetch: Fetch) -> Result<FetchOrder, CallFailure> {
        let image = Arc::new(NamedImage::new(&fetch.name, fetch.image, fetch.encoded)?);
        let is_required = self.required.as_ref().is_some_and(|required| required.id == image.id);
        if !is_required && !fetch.planned {
            return Err(CallFailure::conflict(format!("image {} is not the required one", image.name))
                .with_hint("send Machine.Require first, or fetch it as a planned image"));
        }
        if fetch.server.is_empty() {
            return Err(CallFailure::bad_request("no image server is named"));
        }
        Ok(FetchOrder {
            image,
            server: fetch.server,
            server_name: fetch.server_name,
            rate_bytes_per_s: fetch.rate_bytes_per_s,
            purpose: if is_required { Purpose::Required } else { Purpose::Planned },
        })
    }

    fn judge_update(&self, update: &Update) -> Result<Effect, CallFailure> {
        let required = self.required.as_ref().filter(|required| required.id == update.image);
        let image = required.ok_or_else(|| {
            CallFailure::conflict(format!("image {} is not the required one", update.image))
                .with_hint("send Machine.Require first")
        })?;
        if self.recovering {
            return Err(CallFailure::new(ErrorCode::Busy, "an apply that was cut short is still being recovered"));
        }
        if self.updating.is_some() {
            return Err(CallFailure::new(ErrorCode::Busy, "an update is under way"));
        }
        let content = self.content.as_ref().filter(|content| content.image == image.id).ok_or_else(|| {
            CallFailure::conflict(format!("the content of image {} is not complete", image.name))
                .with_hint("send Machine.Fetch first and wait for its end")
        })?;
        Ok(Effect::Update { image: Arc::clone(image), content: Arc::clone(content), force_unsafe: update.force_unsafe })
    }

    fn require(&mut self, image: Arc<NamedImage>) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.required.as_ref().is_none_or(|required| required.id != image.id) {
            // What was fetched as planned serves as required now; what was required is of no use.
            let is_planned = self.planned.as_ref().is_some_and(|content| content.image == image.id);
            self.content = if is_planned { self.planned.clone() } else { None };
            outputs.push(Output::Keep(Purpose::Required, self.content.clone()));
            match &mut self.fetch {
                Some(fetching) if fetching.order.image.id == image.id => fetching.order.purpose = Purpose::Required,
                Some(fetching) if fetching.order.purpose == Purpose::Required => {
                    self.fetch = None;
                    outputs.push(Output::StopFetch);
                }
                _ => {}
            }
            self.troubles.clear(&[Trouble::Update, Trouble::Services, Trouble::Fetch]);
        }
        self.required = Some(Arc::clone(&image));
        outputs.push(Output::Configure(image));
        outputs
    }

    fn start_fetch(&mut self, order: FetchOrder) -> Vec<Output> {
        let mut outputs = Vec::new();
        if self.fetch.take_if(|fetching| !fetching.order.is_same(&order)).is_some() {
            outputs.push(Output::StopFetch);
        }
        match &mut self.fetch {
            // The same from the same server goes on; only why it is fetched may have changed.
            Some(fetching) => fetching.order.purpose = order.purpose,
            None => {
                let snapshot = self.snapshot.clone();
                self.fetch = Some(Fetching { order: order.clone(), waiting: snapshot.is_none() });
                outputs.extend(snapshot.map(|snapshot| Output::StartFetch(order, snapshot)));
            }
        }
        outputs
    }

    fn note_applied(&mut self, image: &NamedImage) -> Vec<Output> {
        if self.saved.applied.as_ref() == Some(image) {
            return Vec::new();
        }
        self.saved.applied = Some(image.clone());
        vec![Output::Save(Box::new(self.saved.clone()))]
    }

    /// Returns the newest snapshot if it was taken under what the required image manages.
    fn current(&self) -> Option<&Arc<Snapshot>> {
        self.snapshot.as_ref().filter(|snapshot| {
            self.required.as_ref().is_none_or(|image| snapshot.is_under(&image.image.filter, image.image.managed))
        })
    }

    fn is_equal(&self) -> bool {
        let required = self.required.as_ref().map(|image| image.image.root);
        required.is_some() && self.current().map(|snapshot| snapshot.root()) == required
    }
}

impl Accepted {
    /// Returns what must be durable before the directive is acknowledged.
    pub const fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Says whether the directive was accepted before, so that its state is durable already.
    pub const fn is_repeated(&self) -> bool {
        matches!(self.effect, Effect::Repeated)
    }
}

impl Directive {
    /// Returns the number of the directive.
    pub const fn generation(&self) -> u64 {
        match self {
            Self::Require(message) => message.generation,
            Self::Fetch(message) => message.generation,
            Self::Update(message) => message.generation,
        }
    }

    fn generation_and_digest(&self) -> (u64, Digest) {
        let (tag, bytes) = match self {
            Self::Require(message) => (Require::TAG, message.encode()),
            Self::Fetch(message) => (Fetch::TAG, message.encode()),
            Self::Update(message) => (Update::TAG, message.encode()),
        };
        (self.generation(), Digest::of(&[&[tag.tag()], bytes.as_slice()].concat()))
    }
}

impl From<NamedImageError> for CallFailure {
    fn from(error: NamedImageError) -> Self {
        match &error {
            NamedImageError::Name(_) => Self::bad_request(error.to_string()),
            NamedImageError::Digest { .. } => Self::corrupt(error.to_string()),
            NamedImageError::Decode(_, source) => Self::corrupt(format!("{error}: {source}")),
        }
    }
}

#[cfg(test)]
mod tests;
