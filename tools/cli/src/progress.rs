//! How far a long command is, on stderr.
//!
//! Owns the bar (on a terminal) and the plain line now and then (elsewhere). Invariants: stdout is never touched; a command
//! that is over within the interval prints no line; updating costs an atomic addition.
//!
//! Does not measure anything for results: commands count for themselves.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::{count, size};

/// Interval of plain lines where stderr is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// Interval at which the bar is drawn.
const BAR_INTERVAL: Duration = Duration::from_millis(100);

/// Shows how many bytes and items are done; shared between threads.
#[derive(Debug)]
pub(crate) struct Progress {
    meter: Arc<Meter>,
    ticker: Option<thread::JoinHandle<()>>,
}

/// The numbers behind the display.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    done_len: AtomicU64,
    total_len: AtomicU64,
    done_count: AtomicU64,
    is_over: Mutex<bool>,
    over: Condvar,
}

impl Meter {
    /// Notes `len` more bytes.
    pub(crate) fn add_len(&self, len: u64) {
        self.done_len.fetch_add(len, Ordering::Relaxed);
    }

    /// Notes `count` more items.
    pub(crate) fn add_count(&self, count: u64) {
        self.done_count.fetch_add(count, Ordering::Relaxed);
    }

    /// Sets how many bytes there are in all; zero if that is not known.
    pub(crate) fn set_total_len(&self, len: u64) {
        self.total_len.store(len, Ordering::Relaxed);
    }

    /// Begins anew, because the work does.
    pub(crate) fn reset(&self) {
        for value in [&self.done_len, &self.total_len, &self.done_count] {
            value.store(0, Ordering::Relaxed);
        }
    }

    /// Does `work` and meanwhile takes over what `read` says: bytes done, bytes in all, items done.
    pub(crate) fn follow<T>(&self, work: impl FnOnce() -> T, read: impl Fn() -> (u64, u64, u64) + Send + Sync) -> T {
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let (done_len, total_len, done_count) = read();
                    self.done_len.store(done_len, Ordering::Relaxed);
                    self.total_len.store(total_len, Ordering::Relaxed);
                    self.done_count.store(done_count, Ordering::Relaxed);
                    thread::park_timeout(BAR_INTERVAL);
                }
            });
            let result = work();
            is_done.store(true, Ordering::Relaxed);
            watch.thread().unpark();
            result
        })
    }

    fn read(&self) -> (u64, u64, u64) {
        let load = |value: &AtomicU64| value.load(Ordering::Relaxed);
        (load(&self.done_len), load(&self.total_len), load(&self.done_count))
    }

    /// Waits for the interval or the end; says whether it is over.
    fn wait(&self, interval: Duration) -> bool {
        let guard = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.over.wait_timeout_while(guard, interval, |is_over| !*is_over);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Progress {
    /// Starts to show `label`, with `item` as the word for what is counted.
    pub(crate) fn start(label: &'static str, item: &'static str) -> Self {
        let meter = Arc::new(Meter::default());
        let shared = Arc::clone(&meter);
        let show = move || match std::io::stderr().is_terminal() {
            true => show_bar(&shared, label, item),
            false => show_lines(&shared, label, item),
        };
        // Without the thread there is no display, and nothing else is lost.
        let ticker = thread::Builder::new().name("progress".into()).spawn(show).ok();
        Self { meter, ticker }
    }

    /// Returns the numbers to update.
    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        *self.meter.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.meter.over.notify_all();
        if let Some(ticker) = self.ticker.take() {
            // A display that failed has nothing more to say.
            let _ = ticker.join();
        }
    }
}

fn show_bar(meter: &Meter, label: &'static str, item: &str) {
    let bar = ProgressBar::new_spinner().with_prefix(label);
    loop {
        let (done_len, total_len, done_count) = meter.read();
        let template = match total_len {
            0 => "{spinner} {prefix}: {msg}, {bytes}",
            _ => "{spinner} {prefix}: {wide_bar} {bytes} of {total_bytes}, {msg}, {eta} left",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        if total_len > 0 {
            bar.set_length(total_len);
        }
        bar.set_message(format!("{} {item}", count(done_count)));
        bar.set_position(done_len);
        bar.tick();
        if meter.wait(BAR_INTERVAL) {
            bar.finish_and_clear();
            return;
        }
    }
}

fn show_lines(meter: &Meter, label: &str, item: &str) {
    while !meter.wait(LINE_INTERVAL) {
        let (done_len, total_len, done_count) = meter.read();
        let done = match total_len {
            0 => size(done_len),
            total_len => format!("{} of {}", size(done_len), size(total_len)),
        };
        eprintln!("{label}: {done}, {} {item}", count(done_count));
    }
}
