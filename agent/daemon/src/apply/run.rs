//! What follows once a journal is begun, for a first run and after a crash alike (`spec/apply.md#run`).
//!
//! Owns the order of services, steps, durability and records. Invariants: a record is durable before what it announces;
//! a failure in the window undoes every step; services are started whatever has failed; a stop by a test does nothing
//! more, as a crash.
//!
//! What comes before the journal is `applier` and `stage`; which way on a journal implies is `agent/core`.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use dominator_agent_core::{
    BoundStep, Op, Report,
    journal::{Outcome, Prepared, Record},
    roll_back, roll_forward,
};
use dominator_store_core::TreePath;
use dominator_store_fs::Dir;

use super::{
    applier::{Keep, Progress},
    error::ApplyError,
    fault::{Fault, Point},
    journal::JournalFile,
    limits::SYNC_DIR_COUNT_MAX,
    private::PrivateDir,
    root::RootFiles,
    stage::PlanDirs,
};
use crate::service::{ServiceFailure, ServiceManager};

/// An apply whose journal is begun.
pub(super) struct Run<'a> {
    pub(super) root: &'a Dir,
    pub(super) private: &'a PrivateDir,
    pub(super) dirs: &'a PlanDirs,
    pub(super) journal: &'a mut JournalFile,
    pub(super) prepared: &'a Prepared,
    pub(super) manager: &'a dyn ServiceManager,
    pub(super) can_exchange: bool,
    pub(super) keep: Keep,
    pub(super) fault: &'a dyn Fault,
    pub(super) progress: &'a (dyn Fn(Progress) + Sync),
    pub(super) measured: Measured,
}

/// What was measured and found on the way.
#[derive(Debug, Default)]
pub(super) struct Measured {
    /// From the first step to the last.
    pub(super) window: Duration,
    /// Whether the journal says that services are being stopped.
    pub(super) is_stopping: bool,
    /// When the first service was about to be stopped.
    pub(super) down_since: Option<Instant>,
    /// From stopping the first service to having started the last.
    pub(super) down: Duration,
    /// What the steps came to.
    pub(super) report: Report,
    /// What failed after the window.
    pub(super) service_failures: Vec<ServiceFailure>,
}

impl<'a> Run<'a> {
    pub(super) fn files(&self) -> RootFiles<'a> {
        let (stage, rollback) = (&self.dirs.stage, &self.dirs.rollback);
        RootFiles::new(self.root, stage, rollback, self.prepared.managed, self.can_exchange, self.fault)
    }

    pub(super) fn record(&mut self, record: &Record) -> Result<(), ApplyError> {
        self.fault.reach(Point::Journal)?;
        self.journal.append(record)
    }

    /// Stops services, and announces the first step.
    pub(super) fn begin(&mut self) -> Result<(), ApplyError> {
        self.measured.down_since = Some(Instant::now());
        if !self.prepared.services.stop.is_empty() {
            (self.progress)(Progress::Stopping);
            self.record(&Record::Stopping)?;
            self.measured.is_stopping = true;
        }
        for service in &self.prepared.services.stop {
            self.fault.reach(Point::Stop)?;
            let stopped = self.manager.stop(service);
            stopped.map_err(|source| ApplyError::Stop { service: service.clone(), source })?;
        }
        self.record(&Record::StepsBegun)
    }

    /// Ends an apply that changed nothing, but may have stopped services.
    pub(super) fn give_up_unchanged(&mut self) -> Result<(), ApplyError> {
        if self.measured.is_stopping {
            self.start_services(Outcome::Discarded)?;
            self.record(&Record::Started)?;
        }
        self.clean_up(Outcome::Discarded)
    }

    /// Performs every step and makes them durable; undoes them if one fails.
    pub(super) fn window(&mut self, files: &mut RootFiles<'_>) -> Result<(), ApplyError> {
        (self.progress)(Progress::Window);
        let begun = Instant::now();
        let performed = roll_forward(&self.prepared.steps, files);
        self.measured.window = begun.elapsed();
        let committed = performed.and_then(|report| {
            self.measured.report = report;
            self.make_durable(files)?;
            self.record(&Record::Committed)
        });
        let error = match committed {
            Err(error) if !matches!(error, ApplyError::Interrupted(_)) => error,
            ended => return ended,
        };
        match self.record(&Record::RollingBack).and_then(|()| self.undo(files)) {
            Ok(()) => Err(ApplyError::RolledBack(Box::new(error))),
            Err(stopped @ ApplyError::Interrupted(_)) => Err(stopped),
            Err(stuck) => {
                // The tree is to be repaired by a person or the next start; services are better up than down.
                self.start_services(Outcome::RolledBack)?;
                Err(ApplyError::Stuck(Box::new(stuck)))
            }
        }
    }

    /// Undoes every step and ends the apply.
    pub(super) fn undo(&mut self, files: &mut RootFiles<'_>) -> Result<(), ApplyError> {
        self.measured.report = roll_back(&self.prepared.steps, files)?;
        self.make_durable(files)?;
        self.record(&Record::RolledBack)?;
        self.finish(Outcome::RolledBack)
    }

    /// Starts services, removes the stage and ends the apply.
    pub(super) fn finish(&mut self, outcome: Outcome) -> Result<(), ApplyError> {
        self.start_services(outcome)?;
        self.record(&Record::Started)?;
        self.clean_up(outcome)
    }

    /// Starts and reloads services. That one fails is reported, and the others are still started.
    pub(super) fn start_services(&mut self, outcome: Outcome) -> Result<(), ApplyError> {
        let services = &self.prepared.services;
        let changed = outcome == Outcome::Applied;
        let reload: &[String] = if changed { &services.reload } else { &[] };
        if !services.start.is_empty() || !reload.is_empty() {
            (self.progress)(Progress::Starting);
            self.fault.reach(Point::Start)?;
            note(&mut self.measured, "", self.manager.refresh());
        }
        for service in &services.start {
            self.fault.reach(Point::Start)?;
            note(&mut self.measured, service, self.manager.start(service));
        }
        self.measured.down = self.measured.down_since.map_or(Duration::ZERO, |since| since.elapsed());
        for service in reload {
            self.fault.reach(Point::Start)?;
            note(&mut self.measured, service, self.manager.reload(service));
        }
        Ok(())
    }

    /// Removes the stage and ends the apply.
    pub(super) fn clean_up(&mut self, outcome: Outcome) -> Result<(), ApplyError> {
        (self.progress)(Progress::CleaningUp);
        self.fault.reach(Point::CleanUp)?;
        if outcome != Outcome::Applied || self.keep == Keep::Nothing {
            PlanDirs::remove_all(self.private)?;
        }
        self.record(&Record::Done(outcome))
    }

    /// Waits until every changed name and metadata is on disk.
    fn make_durable(&self, files: &mut RootFiles<'_>) -> Result<(), ApplyError> {
        self.fault.reach(Point::SyncRoot)?;
        match dirs_to_sync(&self.prepared.steps) {
            Some(dirs) => dirs.iter().try_for_each(|dir| files.sync_dir(dir)),
            None => Ok(self.root.sync_file_system()?),
        }
    }
}

/// Returns the directories in which names change, unless there are too many or more than names changes.
fn dirs_to_sync(steps: &[BoundStep]) -> Option<BTreeSet<TreePath>> {
    let mut dirs = BTreeSet::new();
    for step in steps {
        if matches!(step.op, Op::SetMeta { .. } | Op::SetMtime { .. }) {
            return None;
        }
        dirs.extend(step.path.parent());
        if dirs.len() > SYNC_DIR_COUNT_MAX {
            return None;
        }
    }
    Some(dirs)
}

fn note(measured: &mut Measured, service: &str, result: Result<(), crate::service::ServiceError>) {
    if let Err(error) = result {
        measured.service_failures.push(ServiceFailure { service: service.to_owned(), error });
    }
}
