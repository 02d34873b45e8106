//! The keeper: the one thread that reads and changes the managed tree.
//!
//! Owns the order of recovery, stat passes, deep scan and updates. Invariants: no scan runs while an update does, so that a
//! snapshot never shows a half-made change; an update begins with a fresh pass and ends with one; a task waits for one pass
//! or one piece of deep reading, never for the time between them.
//!
//! Does not decide on updates (`machine`), plan them (`agent/core`) or perform their steps (`apply`).

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use dominator_protocol_core::Phase;
use dominator_store_core::{ImageId, Trigger};
use dominator_store_fs::Dir;
use dominator_store_pack::Cache;

use crate::{
    apply::{Applier, Recovered},
    chain::chain,
    config,
    fetch::Content,
    limits::{CURSOR_INTERVAL, DEEP_PIECE_LEN},
    scan::{Deep, Pass, Scanner, Snapshot, Step},
    service::ServiceManager,
    state::NamedImage,
};

mod update;

pub use update::{After, UpdateFailure, UpdateReport};

/// Something for the keeper to do.
#[derive(Debug)]
pub enum Task {
    /// Look at the tree now.
    Scan,
    /// Manage what this image manages, and look at the tree now.
    Configure(Arc<NamedImage>),
    /// Become an image.
    Update(UpdateOrder),
    /// End.
    Stop,
}

/// What an update leads to, and with what.
#[derive(Debug, Clone)]
pub struct UpdateOrder {
    /// The image.
    pub image: Arc<NamedImage>,
    /// Its content.
    pub content: Arc<Content>,
    /// Generation of the directive.
    pub generation: u64,
    /// Triggers of the image that the machine was before.
    pub old_triggers: Vec<Trigger>,
    /// Go on even where the safety rules say no.
    pub force_unsafe: bool,
}

/// What the keeper has to tell.
#[derive(Debug)]
pub enum Told {
    /// An apply that was cut short is finished (to this image) or undone, or this failed.
    Recovered(Result<Recovery, String>),
    /// A pass is over.
    Scanned(Result<Arc<Snapshot>, String>),
    /// An update is over.
    Updated(Box<Updated>),
}

/// What was found and done at the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The image whose apply was cut short and is finished now.
    pub image: Option<ImageId>,
    /// What a person should look at.
    pub doubt: Option<String>,
}

/// The end of an update.
#[derive(Debug)]
pub struct Updated {
    /// How it ended.
    pub result: Result<UpdateReport, UpdateFailure>,
    /// The tree after it.
    pub scan: Result<Arc<Snapshot>, String>,
}

/// What the keeper is doing; read while it works.
#[derive(Debug)]
pub struct Activity {
    phase: AtomicU8,
    done_len: AtomicU64,
    total_len: AtomicU64,
}

impl Default for Activity {
    fn default() -> Self {
        let phase = AtomicU8::new(Phase::Staging.tag());
        Self { phase, done_len: AtomicU64::new(0), total_len: AtomicU64::new(0) }
    }
}

impl Activity {
    /// Returns the phase of the update under way; of no meaning if there is none.
    pub fn phase(&self) -> Phase {
        Phase::from_tag(self.phase.load(Ordering::Relaxed)).unwrap_or(Phase::Staging)
    }

    /// Returns the bytes staged, and to be staged.
    pub fn staged(&self) -> (u64, u64) {
        (self.done_len.load(Ordering::Relaxed), self.total_len.load(Ordering::Relaxed))
    }

    /// Begins with the first phase of an update.
    pub fn begin(&self) {
        self.set_staged(0, 0);
        self.set_phase(Phase::Staging);
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase.tag(), Ordering::Relaxed);
    }

    fn set_staged(&self, done_len: u64, total_len: u64) {
        self.done_len.store(done_len, Ordering::Relaxed);
        self.total_len.store(total_len, Ordering::Relaxed);
    }
}

/// What a keeper works with.
pub struct Keeper {
    /// The managed root.
    pub root: Arc<Dir>,
    /// The root is that of this machine, so that its services and its reboot are meant.
    pub is_machine: bool,
    /// Performs plans; holds the lock of the root.
    pub applier: Applier,
    /// Stops and starts services.
    pub manager: Box<dyn ServiceManager + Send>,
    /// Where fetched objects are.
    pub cache: Arc<Cache>,
    /// How to scan.
    pub config: config::Scan,
    /// Where the others see what the keeper does.
    pub activity: Arc<Activity>,
}

/// The keeper at work.
struct Work<F> {
    keeper: Keeper,
    scanner: Scanner,
    deep: Deep,
    tell: F,
    recovered: bool,
    scanned: bool,
    next_pass: Instant,
    next_piece: Instant,
    next_record: Instant,
    buf: Vec<u8>,
}

/// Nice value of the thread while it scans; it also sets the priority of its reads, for schedulers that know one.
const SCAN_NICE: i32 = 15;

impl Keeper {
    /// Recovers, scans and updates until it is told to stop; `tell` is called with everything that there is to tell.
    ///
    /// # Errors
    /// When the root cannot be opened once more.
    pub fn run(
        self,
        private: &Path,
        required: Option<&NamedImage>,
        tasks: &mpsc::Receiver<Task>,
        tell: impl FnMut(Told),
    ) -> Result<(), dominator_store_fs::FsError> {
        let mut scanner = Scanner::new(self.root.try_clone()?);
        if let Some(image) = required {
            scanner.configure(&image.image.filter, image.image.managed);
        }
        let now = Instant::now();
        let mut work = Work {
            keeper: self,
            scanner,
            deep: Deep::open(private),
            tell,
            recovered: false,
            scanned: false,
            next_pass: now,
            next_piece: now,
            next_record: now + CURSOR_INTERVAL,
            buf: vec![0; DEEP_PIECE_LEN],
        };
        work.run(tasks);
        Ok(())
    }
}

impl<F: FnMut(Told)> Work<F> {
    fn run(&mut self, tasks: &mpsc::Receiver<Task>) {
        loop {
            match self.wait(tasks) {
                None | Some(Task::Scan) => {
                    self.recover();
                    let scan = self.pass(self.threads());
                    (self.tell)(Told::Scanned(scan));
                }
                Some(Task::Configure(image)) => {
                    self.scanner.configure(&image.image.filter, image.image.managed);
                    self.next_pass = Instant::now();
                }
                Some(Task::Update(order)) => {
                    let updated = self.update(&order);
                    (self.tell)(Told::Updated(Box::new(updated)));
                }
                Some(Task::Stop) => break,
            }
        }
        self.record_cursor();
    }

    /// Waits for a task or for the time of the next pass, and reads deeply meanwhile.
    fn wait(&mut self, tasks: &mpsc::Receiver<Task>) -> Option<Task> {
        loop {
            let now = Instant::now();
            let until = if self.scanned { self.next_pass.min(self.next_piece) } else { self.next_pass };
            match tasks.recv_timeout(until.saturating_duration_since(now)) {
                Ok(task) => return Some(task),
                // Nobody can give tasks any more.
                Err(mpsc::RecvTimeoutError::Disconnected) => return Some(Task::Stop),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= self.next_pass {
                return None;
            }
            self.read_piece();
        }
    }

    fn read_piece(&mut self) {
        let rate = self.keeper.config.deep_bytes_per_s;
        let now = Instant::now();
        match self.deep.step(&mut self.scanner, &mut self.buf) {
            Step::Read(len) => {
                let pause = rate.map_or(0.0, |rate| len as f64 / rate as f64);
                // Time lost to passes and updates is not made up for by reading faster.
                self.next_piece =
                    self.next_piece.max(now.checked_sub(CATCH_UP).unwrap_or(now)) + Duration::from_secs_f64(pause);
            }
            Step::Damaged(path) => {
                tracing::error!(%path, "content changed although the file was not written to");
                self.next_pass = now;
            }
            Step::RoundDone => {
                tracing::debug!(round_count = self.deep.round_count(), "deep scan begins a new round");
                self.next_piece = now + ROUND_PAUSE;
            }
        }
        if now >= self.next_record {
            self.record_cursor();
            self.next_record = now + CURSOR_INTERVAL;
        }
    }

    fn record_cursor(&self) {
        if let Err(error) = self.deep.record() {
            tracing::warn!(%error, "the position of the deep scan cannot be recorded");
        }
    }

    fn recover(&mut self) {
        if self.recovered {
            return;
        }
        let result = match self.keeper.applier.recover(&*self.keeper.manager) {
            Ok(recovered) => {
                self.recovered = true;
                Ok(recovery(recovered))
            }
            Err(error) => {
                let text = format!("an apply that was cut short cannot be recovered: {}", chain(&error));
                tracing::error!(error = text, "recovery failed");
                Err(text)
            }
        };
        (self.tell)(Told::Recovered(result));
    }

    /// Returns how many threads hash: every processor for the first scan, which somebody waits for.
    fn threads(&self) -> NonZeroUsize {
        if self.scanned { self.keeper.config.threads } else { every_processor() }
    }

    /// Looks at the whole tree once.
    fn pass(&mut self, threads: NonZeroUsize) -> Result<Arc<Snapshot>, String> {
        let (start, start_cpu) = (Instant::now(), cpu_time());
        let result = self.scanner.pass(threads);
        let config = &self.keeper.config;
        let rest = cpu_time().saturating_sub(start_cpu).mul_f64(100.0 / config.cpu_percent - 1.0);
        self.next_pass = Instant::now() + config.interval.max(rest);
        let Pass { snapshot, hashed_count, hashed_len } = result.map_err(|error| {
            let text = format!("the root cannot be scanned: {}", chain(&error));
            tracing::warn!(error = text, "scan failed");
            text
        })?;
        if hashed_count > 0 {
            let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(root = %snapshot.root(), hashed_count, hashed_len, elapsed_ms, "tree changed");
        }
        if !self.scanned {
            self.scanned = true;
            self.next_piece = Instant::now();
            set_nice(SCAN_NICE);
        }
        Ok(snapshot)
    }
}

fn recovery(recovered: Recovered) -> Recovery {
    match recovered {
        Recovered::Nothing => Recovery::default(),
        Recovered::Applied(applied) => {
            tracing::info!(image = %applied.image, "an apply that was cut short is finished");
            let doubt = update::name_failures(&applied.service_failures);
            Recovery { image: Some(applied.image), doubt }
        }
        Recovered::Discarded(_) | Recovered::RolledBack(_) => {
            tracing::info!("an apply that was cut short is undone");
            Recovery::default()
        }
        Recovered::Unreadable(error) => {
            let text = format!(
                "the journal of an apply cannot be followed and was put aside; look whether services are down: {}",
                chain(error.as_ref())
            );
            tracing::error!(error = text, "recovery is in doubt");
            Recovery { image: None, doubt: Some(text) }
        }
    }
}

/// Time for which unused bytes of the deep scan are kept.
const CATCH_UP: Duration = Duration::from_millis(100);
/// Time between two rounds of the deep scan, so that a small tree is not read all the time.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

pub(crate) fn every_processor() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Returns the processor time that this thread has taken.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// Sets the nice value of this thread; without the privilege, it stays what it is.
fn set_nice(nice: i32) {
    // On Linux the process id 0 is the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, nice) {
        tracing::debug!(%error, nice, "priority cannot be changed");
    }
}
