//! Answers to operators: the methods `Fleet.List` and `Fleet.Show`.
//!
//! Owns the translation of views into messages. Invariant: an answer is a picture of one moment per machine, and asking never
//! delays a machine.
//!
//! Does not check permissions: `protocol/quic` does, before and while it hands over the call.

use std::sync::Arc;

use dominator_controller_core::Host;
use dominator_protocol_core::{CallFailure, Deviations, FleetList, ListMachines, MachineDetail, Method, ShowMachine};
use dominator_protocol_quic::{IncomingCall, Service};

use crate::fleet::Fleet;

/// Answers calls of operators.
#[derive(Debug)]
pub(crate) struct FleetService(pub(crate) Arc<Fleet>);

impl Service for FleetService {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        match call.method() {
            Method::FleetList => {
                let ListMachines {} = call.expect().await?;
                let statuses = self.0.views().into_iter().map(|view| view.status());
                for batch in FleetList::batches(statuses) {
                    call.feed(&batch).await?;
                }
            }
            Method::FleetShow => {
                let ShowMachine { host } = call.expect().await?;
                let known = host.parse::<Host>().ok().and_then(|host| self.0.view(&host));
                let view = known.ok_or_else(|| {
                    CallFailure::not_found(format!("no machine {host:?} in the machine database"))
                        .with_hint("hosts are named as in the machine database, with :PORT if it has one")
                })?;
                let (status, history, deviations) = view.detail();
                call.feed(&MachineDetail { status, history }).await?;
                for batch in Deviations::batches(deviations.iter().cloned()) {
                    call.feed(&batch).await?;
                }
            }
            method => {
                return Err(CallFailure::bad_request(format!("{method} is not a method of the controller")));
            }
        }
        Ok(())
    }
}
