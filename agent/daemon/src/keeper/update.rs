//! An update: from the required image to a machine that is it.
//!
//! Owns the loop of scan, plan and apply, and what is told of its end. Invariants: a plan is made from a pass that ended
//! just before; a tree that changes under an apply is planned anew, a bounded number of times; an update that is refused
//! changes nothing and says why and what would override it.
//!
//! Does not plan (`agent/core`) or perform (`apply`).

use std::{io, sync::Arc};

use dominator_agent_core::{Plan, PlanError, PlanInput, Safety, ServicePlan, plan, select_services};
use dominator_protocol_core::Phase;
use dominator_store_core::TreePath;
use dominator_store_pack::AssembleError;

use super::{SCAN_NICE, Told, UpdateOrder, Updated, Work, every_processor, set_nice};
use crate::{
    apply::{Applied, ApplyError, Order, Progress},
    chain::chain,
    fetch::{LocalTrees, Provider, TreeError},
    limits::{NAMED_PATH_COUNT_MAX, UPDATE_ATTEMPT_COUNT_MAX},
    scan::Snapshot,
    service::ServiceFailure,
};

/// How an update ended well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateReport {
    /// How long names were in transition; absent if there was nothing to do.
    pub window_us: Option<u64>,
    /// How many paths changed.
    pub changed_count: u64,
    /// What could not be done, because something that is not managed is in the way.
    pub blocked: Option<String>,
    /// Which services did not stop, start or reload.
    pub service_failures: Option<String>,
    /// What is still to be done.
    pub after: After,
}

/// What an update asks for when everything else is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing.
    #[default]
    Nothing,
    /// The agent itself changed.
    RestartAgent,
    /// The image says that the machine must reboot.
    Reboot,
}

/// Why an update did not happen, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateFailure {
    /// For the controller and its people.
    pub text: String,
    /// The image must be fetched again.
    pub content_incomplete: bool,
}

/// What one attempt came to.
enum Attempt {
    Done(UpdateReport),
    /// The tree changed meanwhile.
    Again(UpdateFailure),
    Failed(UpdateFailure),
}

impl UpdateFailure {
    fn new(text: String) -> Self {
        Self { text, content_incomplete: false }
    }

    fn incomplete(text: String) -> Self {
        Self { text, content_incomplete: true }
    }
}

impl<F: FnMut(Told)> Work<F> {
    pub(super) fn update(&mut self, order: &UpdateOrder) -> Updated {
        set_nice(0);
        let result = self.attempts(order);
        self.keeper.activity.set_phase(Phase::Verifying);
        let scan = self.pass(every_processor());
        set_nice(SCAN_NICE);
        let (image, generation) = (&order.image.name, order.generation);
        match &result {
            Ok(report) => tracing::info!(
                %image, generation, window_us = report.window_us, changed_count = report.changed_count, "update is done"
            ),
            Err(failure) => tracing::warn!(%image, generation, error = failure.text, "update failed"),
        }
        Updated { result, scan }
    }

    fn attempts(&mut self, order: &UpdateOrder) -> Result<UpdateReport, UpdateFailure> {
        self.recover();
        if !self.recovered {
            return Err(UpdateFailure::new("an apply that was cut short cannot be recovered".to_owned()));
        }
        let image = &order.image.image;
        self.scanner.configure(&image.filter, image.managed);
        let mut last = UpdateFailure::new("no attempt was made".to_owned());
        for _ in 0..UPDATE_ATTEMPT_COUNT_MAX {
            let snapshot = self.pass(every_processor()).map_err(UpdateFailure::new)?;
            match self.attempt(order, &snapshot) {
                Attempt::Done(report) => return Ok(report),
                Attempt::Failed(failure) => return Err(failure),
                Attempt::Again(failure) => {
                    tracing::debug!(error = failure.text, "update is planned anew");
                    last = failure;
                }
            }
        }
        Err(last)
    }

    fn attempt(&mut self, order: &UpdateOrder, snapshot: &Arc<Snapshot>) -> Attempt {
        let keeper = &mut self.keeper;
        let plan = match make_plan(order, snapshot, keeper) {
            Ok(plan) => plan,
            Err(failure) => return Attempt::Failed(failure),
        };
        let blocked = (!plan.blocked.is_empty())
            .then(|| format!("what is not managed is in the way of {}", name_paths(&plan.blocked)));
        if plan.is_empty() {
            return Attempt::Done(UpdateReport { blocked, ..UpdateReport::default() });
        }
        let (root, cache) = (Arc::clone(&keeper.root), Arc::clone(&keeper.cache));
        let provider = Provider::new(root, Arc::clone(snapshot), Arc::clone(&order.content), cache);
        match provider.lacking(&plan.blobs()) {
            Ok(lacking) => {
                if let Some(first) = lacking.first() {
                    let count = lacking.len();
                    let text = format!("{count} objects of the image are no longer here, first {first}");
                    return Attempt::Failed(UpdateFailure::incomplete(text));
                }
            }
            Err(error) => return Attempt::Failed(UpdateFailure::incomplete(chain(&error))),
        }
        let services: ServicePlan = select_services(&order.old_triggers, &order.image.image.triggers, plan.changed());
        let activity = &keeper.activity;
        let result = keeper.applier.apply(&Order {
            plan: &plan,
            image: order.image.id,
            generation: order.generation,
            services: &services,
            blobs: &provider,
            manager: &*keeper.manager,
            keys: &|path| snapshot.key(path),
            progress: &|progress| match progress {
                Progress::Staging { done_len, len, .. } => {
                    activity.set_phase(Phase::Staging);
                    activity.set_staged(done_len, len);
                }
                Progress::Syncing => activity.set_phase(Phase::Staging),
                Progress::Stopping => activity.set_phase(Phase::Stopping),
                Progress::Window => activity.set_phase(Phase::Applying),
                Progress::Starting => activity.set_phase(Phase::Starting),
                Progress::CleaningUp => activity.set_phase(Phase::Verifying),
            },
        });
        let doubtful = provider.take_changed_seeds();
        let is_doubtful = !doubtful.is_empty();
        for path in doubtful {
            self.scanner.distrust(&path);
        }
        match result {
            Ok(applied) => Attempt::Done(report(&applied, &plan, blocked, self.keeper.is_machine)),
            Err(error) if is_doubtful => Attempt::Again(UpdateFailure::new(chain(&error))),
            Err(ApplyError::Drifted(paths)) => {
                let text = format!("the tree changes all the time: {}", name_paths(&paths));
                Attempt::Again(UpdateFailure::new(text))
            }
            Err(error) => {
                // What could not be undone on the spot is for the recovery, with which the next pass begins.
                self.recovered = !matches!(error, ApplyError::Stuck(_) | ApplyError::Unfinished);
                Attempt::Failed(failure(order, &error))
            }
        }
    }
}

fn make_plan(order: &UpdateOrder, snapshot: &Snapshot, keeper: &super::Keeper) -> Result<Plan, UpdateFailure> {
    let image = &order.image.image;
    let scans = vec![Arc::clone(snapshot.objects()), Arc::clone(&order.content.objects)];
    let want = LocalTrees::new(scans, Arc::clone(&keeper.cache)).flat(&order.image).map_err(|error| match error {
        TreeError::Absent(_) => UpdateFailure::incomplete(chain(&error)),
        error => UpdateFailure::new(chain(&error)),
    })?;
    let input = PlanInput {
        have: snapshot.flat(),
        from: snapshot.root(),
        want: &want,
        to: image.root,
        filter: &image.filter,
        managed: image.managed,
        unmanaged: snapshot.unmanaged(),
        safety: if order.force_unsafe { Safety::Forced } else { Safety::Guarded },
    };
    plan(&input).map_err(|error| {
        UpdateFailure::new(match &error {
            PlanError::RemovesMost { .. } | PlanError::ShrinksMost { .. } => {
                format!("update refused for safety: {error}; force_unsafe in Machine.Update overrides this")
            }
            error => format!("update cannot be planned: {}", chain(error)),
        })
    })
}

fn report(applied: &Applied, plan: &Plan, blocked: Option<String>, is_machine: bool) -> UpdateReport {
    let after = match (applied.reboot, applied.restart_agent) {
        // The agent manages a directory: the machine that the image means is not this one.
        _ if !is_machine => After::Nothing,
        (true, _) => After::Reboot,
        (false, true) => After::RestartAgent,
        (false, false) => After::Nothing,
    };
    UpdateReport {
        window_us: Some(applied.window_us),
        changed_count: plan.changed().count() as u64,
        blocked,
        service_failures: name_failures(&applied.service_failures),
        after,
    }
}

/// Says which services did not do as they were told.
pub(super) fn name_failures(failures: &[ServiceFailure]) -> Option<String> {
    let texts: Vec<String> = failures.iter().map(|failure| chain(&failure.error)).collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}

/// Says why an apply failed, and whether fetching again would help.
fn failure(order: &UpdateOrder, error: &ApplyError) -> UpdateFailure {
    let text = format!("update to {}: {}", order.image.name, chain(error));
    match error {
        ApplyError::Blob { blob, source, .. } => {
            if is_wrong(source) {
                order.content.distrust(*blob);
            }
            UpdateFailure::incomplete(text)
        }
        _ => UpdateFailure::new(text),
    }
}

/// Says whether a blob was assembled to something else, so that its recipe cannot be trusted.
fn is_wrong(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<AssembleError>());
    matches!(inner, Some(AssembleError::Wrong { .. }))
}

fn name_paths(paths: &[TreePath]) -> String {
    let named: Vec<String> = paths.iter().take(NAMED_PATH_COUNT_MAX).map(ToString::to_string).collect();
    match paths.len().saturating_sub(NAMED_PATH_COUNT_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
