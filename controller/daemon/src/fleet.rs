//! The fleet: one task for each machine of the database.
//!
//! Owns the tasks. Invariants: there is exactly one task per machine of the database in force; a machine that leaves the
//! database is let go of, without any directive.
//!
//! Does not read the database (`mdb`) and does not drive machines (`machine`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use dominator_controller_core::Host;
use dominator_store_core::ImageName;
use parking_lot::Mutex;
use tokio::{sync::watch, task::AbortHandle};

use crate::{
    limits::START_SPREAD,
    machine::{Assignment, Context, MachineTask, View},
    mdb::InForce,
};

/// The fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    context: Arc<Context>,
    machines: Mutex<BTreeMap<Host, Driven>>,
}

#[derive(Debug)]
struct Driven {
    assignment: watch::Sender<Assignment>,
    view: View,
    task: AbortHandle,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        Self { context, machines: Mutex::default() }
    }

    /// Takes over the database that is in force.
    pub(crate) fn apply(&self, in_force: &InForce) {
        let names: BTreeSet<ImageName> = in_force
            .mdb
            .machines()
            .flat_map(|machine| [machine.required.name(), machine.planned.name()])
            .flatten()
            .cloned()
            .collect();
        // Before the assignments, so that machines find their images.
        self.context.images.follow(&names);
        let mut machines = self.machines.lock();
        machines.retain(|host, _| in_force.mdb.machine(host).is_some());
        let mut new_count = 0;
        for machine in in_force.mdb.machines() {
            let is_held = in_force.held.as_ref().is_some_and(|held| held.lost.contains(&machine.host));
            match machines.get(&machine.host) {
                Some(driven) => {
                    driven.assignment.send_if_modified(|assignment| {
                        let is_modified = *assignment.machine != *machine || assignment.is_held != is_held;
                        if is_modified {
                            (assignment.machine, assignment.is_held) = (Arc::new(machine.clone()), is_held);
                        }
                        is_modified
                    });
                }
                None => {
                    let assignment = Assignment { machine: Arc::new(machine.clone()), is_held, retry_count: 0 };
                    machines.insert(machine.host.clone(), self.start(assignment, new_count));
                    new_count += 1;
                }
            }
        }
    }

    /// Makes every machine try again at once.
    pub(crate) fn retry_now(&self) {
        self.context.images.retry_now();
        for driven in self.machines.lock().values() {
            driven.assignment.send_modify(|assignment| assignment.retry_count += 1);
        }
    }

    /// Returns what is seen of all machines, in the order of their names.
    pub(crate) fn views(&self) -> Vec<View> {
        self.machines.lock().values().map(|driven| driven.view.clone()).collect()
    }

    /// Returns what is seen of one machine.
    pub(crate) fn view(&self, host: &Host) -> Option<View> {
        self.machines.lock().get(host).map(|driven| driven.view.clone())
    }

    /// Lets go of all machines.
    pub(crate) fn stop(&self) {
        self.machines.lock().clear();
        self.context.images.stop();
    }

    fn start(&self, assignment: Assignment, number: u32) -> Driven {
        let host = assignment.machine.host.clone();
        let view = View::new(host.as_str());
        let (assignment, receiver) = watch::channel(assignment);
        let (context, shown) = (Arc::clone(&self.context), view.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(START_SPREAD * number).await;
            MachineTask::new(host, context, receiver, shown).run().await;
        });
        Driven { assignment, view, task: task.abort_handle() }
    }
}
