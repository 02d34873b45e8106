//! Calls of the controller.
//!
//! Owns the service that answers them (`spec/wire.md#machine`). Invariants: a directive reaches the owner task whole or not
//! at all; tree objects are served from a finished scan, never from one under way; nothing here waits for a scan, a fetch
//! or an update.
//!
//! Does not check permissions (`protocol/quic`) and decides nothing (`machine`).

use std::sync::Arc;

use dominator_protocol_core::{Absent, Ack, CallFailure, ErrorCode, Method, Poll, PollReply, Trees, Unchanged};
use dominator_protocol_quic::{IncomingCall, Service};
use dominator_store_core::TreeId;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{agent::Input, machine::Directive, scan::Objects};

/// Tree objects that peers may ask for: those of the newest scan, and of the one before, which a peer may be reading.
#[derive(Debug, Clone, Default)]
pub struct Served {
    newest: Option<Arc<Objects>>,
    before: Option<Arc<Objects>>,
}

impl Served {
    /// Takes over the objects of a scan; says whether they are others than before.
    pub fn advance(&mut self, objects: &Arc<Objects>) -> bool {
        if self.newest.as_ref().is_some_and(|newest| Arc::ptr_eq(newest, objects)) {
            return false;
        }
        self.before = self.newest.replace(Arc::clone(objects));
        true
    }

    fn get(&self, id: TreeId) -> Option<&Arc<[u8]>> {
        [&self.newest, &self.before].into_iter().flatten().find_map(|objects| objects.get(id))
    }
}

/// Answers calls with the help of the owner task.
#[derive(Debug)]
pub struct Link {
    inputs: mpsc::Sender<Input>,
    served: watch::Receiver<Served>,
}

impl Link {
    /// Passes calls on to `inputs` and serves trees from `served`.
    pub const fn new(inputs: mpsc::Sender<Input>, served: watch::Receiver<Served>) -> Self {
        Self { inputs, served }
    }

    async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, CallFailure> {
        let stopping = || CallFailure::new(ErrorCode::Unavailable, "the agent is stopping");
        let (sender, receiver) = oneshot::channel();
        self.inputs.send(input(sender)).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())
    }

    async fn poll(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        let poll: Poll = call.expect().await?;
        let reply: PollReply = self.ask(Input::Poll).await?;
        if poll.known == Some(reply.digest()) {
            call.send(&Unchanged { scan_count: reply.scan_count }).await?;
        } else {
            call.send(&reply).await?;
        }
        Ok(())
    }

    async fn trees(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        while let Some(message) = call.recv().await? {
            let Trees { ids } = message.try_into()?;
            // A message is answered from one state, so that a tree does not change between its pages.
            let served = self.served.borrow().clone();
            for id in ids {
                match served.get(id) {
                    Some(bytes) => call.feed_tree(bytes).await?,
                    None => call.feed(&Absent { digest: id.digest() }).await?,
                }
            }
        }
        Ok(())
    }

    async fn direct(&self, call: &mut IncomingCall, directive: Directive) -> Result<(), CallFailure> {
        let (peer, generation) = (&call.identity().name, directive.generation());
        tracing::info!(%peer, method = %call.method(), generation, "directive");
        let ack: Ack = self.ask(|reply| Input::Directive(Box::new(directive), reply)).await??;
        call.send(&ack).await?;
        Ok(())
    }
}

impl Service for Link {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        match call.method() {
            Method::MachinePoll => self.poll(call).await,
            Method::MachineTrees => self.trees(call).await,
            Method::MachineRequire => {
                let directive = Directive::Require(call.expect().await?);
                self.direct(call, directive).await
            }
            Method::MachineFetch => {
                let directive = Directive::Fetch(call.expect().await?);
                self.direct(call, directive).await
            }
            Method::MachineUpdate => {
                let directive = Directive::Update(call.expect().await?);
                self.direct(call, directive).await
            }
            method => Err(CallFailure::bad_request(format!("{method} is not a method of an agent"))),
        }
    }
}
