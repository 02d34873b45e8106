//! The applier of one root: the entrance to everything here.
//!
//! Owns the lock, the sequence up to the journal, and the choice after a crash. Invariants: until the journal is begun
//! nothing outside the private directory changes; an apply begins only when none is unfinished; an apply that fails
//! leaves no stage behind, unless it was stopped as by a crash.
//!
//! The sequence from the journal on is `run`.

use std::{fs::File, num::NonZeroUsize};

use dominator_agent_core::{
    Plan, PlanId, ServicePlan, bind,
    journal::{Outcome, Prepared, Record, Recovery, recover},
};
use dominator_store_core::{ImageId, TreeId, TreePath};
use dominator_store_fs::{Dir, StatKey, make_dir};

use super::{
    blobs::Blobs,
    check::{Observed, observe, observe_again, verify},
    error::ApplyError,
    fault::{Fault, NoFault, Point},
    journal::JournalFile,
    limits::LISTED_PATH_COUNT_MAX,
    private::{PrivateDir, lock, own_name},
    reserve::reserve,
    root::RootFiles,
    run::{Measured, Run},
    stage::{PlanDirs, Stager, stage},
};
use crate::service::{ServiceFailure, ServiceManager};

/// Whether names are exchanged in one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeUse {
    /// If the file system can.
    Probe,
    /// Not even then; for tests of the other way.
    Never,
}

/// What is kept of an apply that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Nothing.
    Nothing,
    /// What it took out of the root, until the next apply.
    Rollback,
}

/// How an applier works.
#[derive(Debug, Clone, Copy)]
pub struct ApplyOptions {
    /// Threads that stage files.
    pub threads: NonZeroUsize,
    /// Whether names are exchanged.
    pub exchange: ExchangeUse,
    /// What is kept.
    pub keep: Keep,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self { threads: NonZeroUsize::MIN, exchange: ExchangeUse::Probe, keep: Keep::Nothing }
    }
}

/// What is to be applied, and what that takes.
pub struct Order<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The image that requires it.
    pub image: ImageId,
    /// The directive that it follows.
    pub generation: u64,
    /// What happens to services.
    pub services: &'a ServicePlan,
    /// Where content comes from.
    pub blobs: &'a dyn Blobs,
    /// What stops and starts services.
    pub manager: &'a dyn ServiceManager,
    /// What the scan saw at a path; where it is not known, metadata is compared.
    pub keys: &'a (dyn Fn(&TreePath) -> Option<StatKey> + Sync),
    /// Is told how far it is.
    pub progress: &'a (dyn Fn(Progress) + Sync),
}

/// How far an apply is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Entries are staged.
    Staging {
        /// Entries that are.
        done_count: u64,
        /// Entries in all.
        count: u64,
        /// Bytes of content that are.
        done_len: u64,
        /// Bytes of content in all.
        len: u64,
    },
    /// Waits until the stage is durable.
    Syncing,
    /// Services are being stopped.
    Stopping,
    /// Steps are being performed.
    Window,
    /// Services are being started.
    Starting,
    /// The stage is being removed.
    CleaningUp,
}

/// What an apply came to.
#[derive(Debug)]
pub struct Applied {
    /// The plan.
    pub plan: PlanId,
    /// The image that required it.
    pub image: ImageId,
    /// The directive that it followed.
    pub generation: u64,
    /// The root id that the machine should have now, unless paths drifted or directories were kept.
    pub to: TreeId,
    /// From the first step to the last, in microseconds.
    pub window_us: u64,
    /// From stopping the first service to having started the last, in microseconds.
    pub down_us: u64,
    /// Steps of the plan.
    pub step_count: u64,
    /// Steps that changed something; after a crash, since then.
    pub changed_count: u64,
    /// Entries that were staged; zero after a crash.
    pub staged_count: u64,
    /// Bytes of content that were staged; zero after a crash.
    pub staged_len: u64,
    /// Directories that stay because something in them is not managed.
    pub kept: Vec<TreePath>,
    /// Paths that somebody else changed meanwhile: scan them.
    pub drifted: Vec<TreePath>,
    /// Services that did not start or reload.
    pub service_failures: Vec<ServiceFailure>,
    /// Whether the machine is to reboot now.
    pub reboot: bool,
    /// Whether the agent is to restart now.
    pub restart_agent: bool,
}

/// What a recovery came to.
#[derive(Debug)]
pub enum Recovered {
    /// No apply was under way.
    Nothing,
    /// One was, but had changed nothing; its stage is removed.
    Discarded(PlanId),
    /// One was, and is finished.
    Applied(Box<Applied>),
    /// One was failing, and is undone.
    RolledBack(PlanId),
    /// The journal cannot be followed and was put aside: scan everything, and look whether services are down.
    Unreadable(Box<dyn std::error::Error + Send + Sync>),
}

/// The last apply, as the journal has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastApply {
    /// The plan.
    pub plan: PlanId,
    /// The image that required it.
    pub image: ImageId,
    /// The directive that it followed.
    pub generation: u64,
    /// The root id it was to end with.
    pub to: TreeId,
    /// How it ended.
    pub outcome: Outcome,
}

/// Applies plans to one root, and is the only one that does while it lives.
pub struct Applier {
    root: Dir,
    private: PrivateDir,
    options: ApplyOptions,
    can_exchange: bool,
    fault: Box<dyn Fault>,
    last: Option<LastApply>,
    _lock: File,
}

impl Applier {
    /// Opens a root: makes its private directory if there is none, and takes the lock.
    ///
    /// # Errors
    /// `Locked` if another applier has it.
    pub fn open(root: Dir, options: ApplyOptions) -> Result<Self, ApplyError> {
        let private = PrivateDir::open(&root)?;
        let lock = lock(&private)?;
        let can_exchange = options.exchange == ExchangeUse::Probe && can_exchange(&private)?;
        Ok(Self { root, private, options, can_exchange, fault: Box::new(NoFault), last: None, _lock: lock })
    }

    /// Makes it stop at points that `fault` chooses.
    pub fn with_fault(mut self, fault: Box<dyn Fault>) -> Self {
        self.fault = fault;
        self
    }

    /// Returns the private directory.
    pub const fn private(&self) -> &PrivateDir {
        &self.private
    }

    /// Returns the last apply that ended, known after [`Applier::recover`] or [`Applier::apply`].
    pub const fn last(&self) -> Option<LastApply> {
        self.last
    }

    /// Finishes, undoes or discards an apply that a crash has interrupted, as the journal says. To be called before the
    /// first scan; doing it again is harmless, and so is a crash meanwhile.
    ///
    /// # Errors
    /// If a file operation fails; the way on is then still in the journal.
    pub fn recover(&mut self, manager: &dyn ServiceManager) -> Result<Recovered, ApplyError> {
        let (mut journal, records) = match JournalFile::open(self.private.dir()) {
            Ok(Some(opened)) => opened,
            Ok(None) => {
                PlanDirs::remove_all(&self.private)?;
                return Ok(Recovered::Nothing);
            }
            Err(ApplyError::Journal(error)) => return self.set_aside(error.into()),
            Err(error) => return Err(error),
        };
        let way = match recover(&records) {
            Ok(way) => way,
            Err(error) => return self.set_aside(error.into()),
        };
        let prepared = match &way {
            Recovery::Nothing(last) => {
                self.last = last.map(|(prepared, outcome)| last_apply(prepared, outcome));
                // A crash before the journal was begun leaves a stage that nothing names.
                if self.options.keep == Keep::Nothing {
                    PlanDirs::remove_all(&self.private)?;
                }
                return Ok(Recovered::Nothing);
            }
            Recovery::Discard(prepared)
            | Recovery::StartUnchanged(prepared)
            | Recovery::RollForward(prepared)
            | Recovery::RollBack(prepared)
            | Recovery::Start(prepared, _)
            | Recovery::CleanUp(prepared, _) => *prepared,
        };
        let dirs = PlanDirs::open(&self.private, prepared.plan)?;
        let mut run = self.run(&dirs, &mut journal, prepared, manager, &|_| {});
        let mut files = run.files();
        let outcome = match way {
            Recovery::Nothing(_) => return Ok(Recovered::Nothing),
            Recovery::Discard(_) => {
                run.clean_up(Outcome::Discarded)?;
                Outcome::Discarded
            }
            Recovery::StartUnchanged(_) => {
                run.measured.is_stopping = true;
                run.give_up_unchanged()?;
                Outcome::Discarded
            }
            Recovery::RollForward(_) => match run.window(&mut files) {
                Ok(()) => {
                    run.finish(Outcome::Applied)?;
                    Outcome::Applied
                }
                // The root is whole, if old: that is what a recovery is for.
                Err(ApplyError::RolledBack(error)) => {
                    tracing::error!(%error, plan = %prepared.plan, "a plan cut short failed again and was undone");
                    Outcome::RolledBack
                }
                Err(error) => return Err(error),
            },
            Recovery::RollBack(_) => {
                run.undo(&mut files)?;
                Outcome::RolledBack
            }
            Recovery::Start(_, outcome) => {
                run.finish(outcome)?;
                outcome
            }
            Recovery::CleanUp(_, outcome) => {
                run.clean_up(outcome)?;
                outcome
            }
        };
        let measured = run.measured;
        self.last = Some(last_apply(prepared, outcome));
        Ok(match outcome {
            Outcome::Discarded => Recovered::Discarded(prepared.plan),
            Outcome::RolledBack => Recovered::RolledBack(prepared.plan),
            Outcome::Applied => Recovered::Applied(Box::new(applied(prepared, measured))),
        })
    }

    /// Applies a plan: stages everything, then changes the root, then removes what is left. Blocks for as long as that
    /// takes.
    ///
    /// # Errors
    /// See [`ApplyError`]; unless it is `Stuck`, the root is what it was.
    pub fn apply(&mut self, order: &Order<'_>) -> Result<Applied, ApplyError> {
        self.check_finished()?;
        PlanDirs::remove_all(&self.private)?;
        let dirs = PlanDirs::open(&self.private, order.plan.id)?;
        let (prepared, observed) = match self.prepare(order, &dirs) {
            Ok(ready) => ready,
            Err(stopped @ ApplyError::Interrupted(_)) => return Err(stopped),
            Err(error) => {
                PlanDirs::remove_all(&self.private)?;
                return Err(error);
            }
        };
        self.fault.reach(Point::Journal)?;
        let mut journal = match JournalFile::begin(self.private.dir(), &prepared) {
            Ok(journal) => journal,
            Err(error) => {
                // Should it have begun nevertheless, recovery finds a plan of which nothing was done, and discards it.
                PlanDirs::remove_all(&self.private)?;
                return Err(error);
            }
        };
        let (measured, differing) = self.perform(order, &dirs, &mut journal, &prepared, &observed)?;
        self.last = Some(last_apply(&prepared, Outcome::Applied));
        let mut applied = applied(&prepared, measured);
        applied.staged_count = order.plan.staged.len() as u64;
        applied.staged_len = order.plan.staged_len();
        applied.kept.extend(order.plan.kept.iter().cloned());
        let known: Vec<TreePath> = applied.drifted.iter().chain(&applied.kept).cloned().collect();
        applied.drifted.extend(differing.into_iter().filter(|path| !known.contains(path)));
        Ok(applied)
    }

    fn check_finished(&mut self) -> Result<(), ApplyError> {
        let Some((_, records)) = JournalFile::open(self.private.dir())? else { return Ok(()) };
        match recover(&records) {
            Ok(Recovery::Nothing(_)) => Ok(()),
            _ => Err(ApplyError::Unfinished),
        }
    }

    /// Does everything that leaves the root alone.
    fn prepare(&self, order: &Order<'_>, dirs: &PlanDirs) -> Result<(Prepared, Observed), ApplyError> {
        let plan = order.plan;
        let mut files = RootFiles::new(
            &self.root,
            &dirs.stage,
            &dirs.rollback,
            plan.managed,
            self.can_exchange,
            self.fault.as_ref(),
        );
        let observed = observe(plan, order.keys, &mut files)?;
        reserve(&self.root, plan)?;
        stage(&Stager {
            root: &self.root,
            stage: &dirs.stage,
            plan,
            blobs: order.blobs,
            fault: self.fault.as_ref(),
            threads: self.options.threads,
            progress: order.progress,
        })?;
        let binding = bind(&plan.steps, &mut files)?;
        if !binding.drifted.is_empty() {
            return Err(ApplyError::Drifted(binding.drifted));
        }
        let prepared = Prepared {
            plan: plan.id,
            from: plan.from,
            to: plan.to,
            image: order.image,
            generation: order.generation,
            managed: plan.managed,
            steps: binding.steps,
            services: order.services.clone(),
        };
        Ok((prepared, observed))
    }

    /// Does the rest, once the journal is begun; returns what differs from the plan afterwards, too.
    fn perform(
        &self,
        order: &Order<'_>,
        dirs: &PlanDirs,
        journal: &mut JournalFile,
        prepared: &Prepared,
        observed: &Observed,
    ) -> Result<(Measured, Vec<TreePath>), ApplyError> {
        let mut run = self.run(dirs, journal, prepared, order.manager, order.progress);
        let mut files = run.files();
        match observe_again(order.plan, observed, &mut files).and_then(|()| run.begin()) {
            Ok(()) => {}
            Err(stopped @ ApplyError::Interrupted(_)) => return Err(stopped),
            Err(error) => {
                run.give_up_unchanged()?;
                return Err(error);
            }
        }
        run.window(&mut files)?;
        // The new tree is in place and durable: nothing that fails from here on makes that untrue, and what is not
        // tidied up now the next recovery tidies up.
        let mut differing = Vec::new();
        let ended = run.start_services(Outcome::Applied).and_then(|()| {
            self.fault.reach(Point::Verify)?;
            differing = verify(order.plan, &prepared.steps, &mut files)?;
            run.record(&Record::Started)?;
            run.clean_up(Outcome::Applied)
        });
        match ended {
            Err(stopped @ ApplyError::Interrupted(_)) => return Err(stopped),
            Err(error) => tracing::warn!(%error, plan = %prepared.plan, "what is left of a plan cannot be removed"),
            Ok(()) => {}
        }
        Ok((run.measured, differing))
    }

    fn run<'a>(
        &'a self,
        dirs: &'a PlanDirs,
        journal: &'a mut JournalFile,
        prepared: &'a Prepared,
        manager: &'a dyn ServiceManager,
        progress: &'a (dyn Fn(Progress) + Sync),
    ) -> Run<'a> {
        Run {
            root: &self.root,
            private: &self.private,
            dirs,
            journal,
            prepared,
            manager,
            can_exchange: self.can_exchange,
            keep: self.options.keep,
            fault: self.fault.as_ref(),
            progress,
            measured: Measured::default(),
        }
    }

    fn set_aside(&self, error: Box<dyn std::error::Error + Send + Sync>) -> Result<Recovered, ApplyError> {
        JournalFile::set_aside(self.private.dir())?;
        PlanDirs::remove_all(&self.private)?;
        Ok(Recovered::Unreadable(error))
    }
}

fn last_apply(prepared: &Prepared, outcome: Outcome) -> LastApply {
    let Prepared { plan, image, generation, to, .. } = *prepared;
    LastApply { plan, image, generation, to, outcome }
}

fn applied(prepared: &Prepared, measured: Measured) -> Applied {
    let micros = |duration: std::time::Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut drifted = measured.report.drifted;
    drifted.truncate(LISTED_PATH_COUNT_MAX);
    Applied {
        plan: prepared.plan,
        image: prepared.image,
        generation: prepared.generation,
        to: prepared.to,
        window_us: micros(measured.window),
        down_us: micros(measured.down),
        step_count: prepared.steps.len() as u64,
        changed_count: measured.report.done_count,
        staged_count: 0,
        staged_len: 0,
        kept: measured.report.kept,
        drifted,
        service_failures: measured.service_failures,
        reboot: prepared.services.reboot,
        restart_agent: prepared.services.restart_agent,
    }
}

/// Finds out whether the file system can exchange two names.
fn can_exchange(private: &PrivateDir) -> Result<bool, ApplyError> {
    let dir = private.dir();
    let names = ["probe.a", "probe.b"].map(own_name);
    let [a, b] = &names;
    for name in &names {
        dir.remove_tree(name)?;
        make_dir(dir, name)?;
    }
    let can = dir.exchange(a, dir, b).is_ok();
    for name in &names {
        dir.remove_tree(name)?;
    }
    Ok(can)
}
