//! The owner task: one event at a time, and what follows from it.
//!
//! Owns the `Machine` and everything it directs: the fetch task, the keeper, the pins of the cache. Invariants: nothing
//! else changes the machine's state; a directive is acknowledged after it is durable; no lock is held over a wait.
//!
//! Does not decide (`machine`), scan or update (`keeper`), or speak to peers (`link`).

use std::{future::Future, path::PathBuf, sync::Arc, sync::mpsc as sync_mpsc, time::Duration};

use dominator_protocol_core::{Ack, CallFailure, PollReply};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, spawn_blocking},
};

use crate::{
    chain::chain,
    config::Network,
    fetch::{Content, FetchError, Fetcher},
    keeper::{Activity, After, Task, Told},
    limits::{STOP_SCAN_TIMEOUT, STOP_TIMEOUT},
    link::Served,
    machine::{Directive, Machine, Observed, Output},
    state::{Saved, StateError},
};

/// An event for the owner task.
#[derive(Debug)]
pub enum Input {
    /// A peer polls.
    Poll(oneshot::Sender<PollReply>),
    /// A peer directs.
    Directive(Box<Directive>, oneshot::Sender<Result<Ack, CallFailure>>),
    /// The keeper tells something.
    Told(Told),
}

/// Why the owner task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Stopped,
    /// The agent itself changed, and the service manager should start the new one.
    RestartAgent,
    /// The machine must reboot.
    Reboot,
    /// The keeper is gone, which is a bug.
    KeeperLost,
}

/// The owner task.
#[derive(Debug)]
pub struct Agent {
    machine: Machine,
    fetcher: Arc<Fetcher>,
    fetch: Option<JoinHandle<Result<Arc<Content>, FetchError>>>,
    network: Network,
    private: PathBuf,
    activity: Arc<Activity>,
    tasks: sync_mpsc::SyncSender<Task>,
    served: watch::Sender<Served>,
}

impl Agent {
    /// Puts the owner task together.
    pub const fn new(
        machine: Machine,
        fetcher: Arc<Fetcher>,
        network: Network,
        private: PathBuf,
        activity: Arc<Activity>,
        tasks: sync_mpsc::SyncSender<Task>,
        served: watch::Sender<Served>,
    ) -> Self {
        Self { machine, fetcher, fetch: None, network, private, activity, tasks, served }
    }

    /// Works until `stop`, and then until an update under way is over.
    ///
    /// `keeper_end` is done when the keeper is.
    pub async fn run(
        mut self,
        mut inputs: mpsc::Receiver<Input>,
        mut keeper_end: oneshot::Receiver<()>,
        stop: impl Future<Output = ()>,
    ) -> End {
        tokio::pin!(stop);
        let end = loop {
            tokio::select! {
                () = &mut stop => break End::Stopped,
                _ = &mut keeper_end => break End::KeeperLost,
                result = ended(&mut self.fetch) => {
                    self.fetch = None;
                    self.handle_fetched(result).await;
                }
                Some(input) = inputs.recv() => {
                    if let Some(end) = self.handle(input).await {
                        break end;
                    }
                }
            }
        };
        self.stop_fetch();
        if end != End::KeeperLost {
            self.give(Task::Stop);
            self.drain(&mut inputs, &mut keeper_end).await;
        }
        end
    }

    /// Waits for the keeper, so that an update that has begun is also ended; a kill would be harmless, but slower to mend.
    /// A pass is not worth waiting for.
    async fn drain(&mut self, inputs: &mut mpsc::Receiver<Input>, keeper_end: &mut oneshot::Receiver<()>) {
        let patience = if self.machine.is_updating() { STOP_TIMEOUT } else { STOP_SCAN_TIMEOUT };
        let waited = tokio::time::timeout(patience, async {
            loop {
                tokio::select! {
                    _ = &mut *keeper_end => break,
                    Some(input) = inputs.recv() => {
                        if let Input::Told(told) = input {
                            self.handle_told(told).await;
                        }
                    }
                }
            }
        });
        if waited.await.is_err() && self.machine.is_updating() {
            tracing::warn!(
                seconds = Duration::as_secs(&STOP_TIMEOUT),
                "an update is still under way; the next start recovers it"
            );
        }
        // What the keeper told last may still be waiting.
        while let Ok(input) = inputs.try_recv() {
            if let Input::Told(told) = input {
                self.handle_told(told).await;
            }
        }
    }

    async fn handle(&mut self, input: Input) -> Option<End> {
        match input {
            Input::Poll(reply) => {
                // A peer that is gone needs no answer.
                let _ = reply.send(self.machine.poll_reply(&self.observe()));
                None
            }
            Input::Directive(directive, reply) => {
                let result = self.handle_directive(*directive).await;
                if let Err(failure) = &result {
                    tracing::warn!(%failure, "directive refused");
                }
                let _ = reply.send(result);
                None
            }
            Input::Told(told) => self.handle_told(told).await,
        }
    }

    async fn handle_directive(&mut self, directive: Directive) -> Result<Ack, CallFailure> {
        let generation = directive.generation();
        let accepted = self.machine.judge(directive)?;
        if !accepted.is_repeated() {
            self.save(accepted.saved().clone()).await.map_err(|error| {
                tracing::error!(error = chain(&error), "directive cannot be remembered");
                CallFailure::internal(chain(&error))
            })?;
        }
        let outputs = self.machine.accept(accepted);
        self.carry_out(outputs).await;
        Ok(Ack { generation })
    }

    async fn handle_told(&mut self, told: Told) -> Option<End> {
        let mut end = None;
        let outputs = match told {
            Told::Recovered(result) => self.machine.handle_recovered(result),
            Told::Scanned(result) => self.machine.handle_scan(result),
            Told::Updated(updated) => {
                end = match updated.result.as_ref().map(|report| report.after) {
                    Ok(After::Reboot) => Some(End::Reboot),
                    Ok(After::RestartAgent) => Some(End::RestartAgent),
                    Ok(After::Nothing) | Err(_) => None,
                };
                self.machine.handle_updated(*updated)
            }
        };
        if let Some(snapshot) = self.machine.snapshot() {
            self.served.send_if_modified(|served| served.advance(snapshot.objects()));
        }
        self.carry_out(outputs).await;
        end
    }

    async fn handle_fetched(&mut self, result: Result<Arc<Content>, FetchError>) {
        let result = result.map_err(|error| chain(&error));
        if let Err(error) = &result {
            tracing::warn!(%error, "fetch failed");
        }
        let outputs = self.machine.handle_fetched(result);
        self.carry_out(outputs).await;
        self.fetcher.pins().drop_fetching();
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Configure(image) => self.give(Task::Configure(image)),
                Output::StartFetch(mut order, snapshot) => {
                    order.rate_bytes_per_s = self.network.rate_for(order.rate_bytes_per_s);
                    let fetcher = Arc::clone(&self.fetcher);
                    self.fetch = Some(tokio::spawn(async move { fetcher.fetch(order, snapshot).await }));
                }
                Output::StopFetch => self.stop_fetch(),
                Output::StartUpdate(order) => {
                    self.activity.begin();
                    self.give(Task::Update(order));
                }
                Output::Keep(purpose, content) => {
                    let pins = content.map(|content| content.pins.clone()).unwrap_or_default();
                    self.fetcher.pins().set(purpose, pins);
                }
                Output::Save(saved) => {
                    if let Err(error) = self.save(*saved).await {
                        tracing::error!(error = chain(&error), "the applied image cannot be remembered");
                    }
                }
            }
        }
    }

    fn stop_fetch(&mut self) {
        if let Some(fetch) = self.fetch.take() {
            fetch.abort();
            self.fetcher.pins().drop_fetching();
        }
    }

    async fn save(&self, saved: Saved) -> Result<(), StateError> {
        let private = self.private.clone();
        spawn_blocking(move || saved.save(&private))
            .await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn observe(&self) -> Observed {
        let progress = self.fetcher.progress();
        Observed {
            update_phase: self.activity.phase(),
            staged: self.activity.staged(),
            fetched: progress.lens(),
            received_len: progress.received_len(),
        }
    }

    fn give(&self, task: Task) {
        // At most one update waits; a queue of configurations that is full means that the keeper is stuck in one for long,
        // and the update that follows configures once more.
        if let Err(error) = self.tasks.try_send(task) {
            tracing::error!(%error, "the keeper does not take a task");
        }
    }
}

/// Waits for the end of the fetch; for ever if there is none.
async fn ended(fetch: &mut Option<JoinHandle<Result<Arc<Content>, FetchError>>>) -> Result<Arc<Content>, FetchError> {
    match fetch {
        Some(fetch) => fetch.await.unwrap_or(Err(FetchError::Stopping)),
        None => std::future::pending().await,
    }
}
