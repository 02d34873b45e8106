//! A fleet on one machine: the real programs, real certificates, real directories.
//!
//! Owns a `Lab`: an image server, a controller and any number of agents, each a process of its own with a managed root
//! below the lab's directory. Invariants: nothing is simulated; every program is driven by its command line, its
//! configuration file and signals only; processes end with the lab.
//!
//! Does not know how the programs work: it sees what an operator sees.

mod compare;
mod daemon;
mod damage;
mod domtool;
mod fleet;
mod lab;
mod mdb;
mod programs;
mod wait;

pub use compare::{Compared, compare};
pub use daemon::Daemon;
pub use damage::{Damage, damage_every_kind};
pub use domtool::{Domtool, DomtoolError};
pub use fleet::{Deviation, Event, MachineDetail, MachineStatus};
pub use lab::{Lab, LabOptions, Machine};
pub use mdb::{MachineLine, Mdb};
pub use programs::Programs;
pub use wait::{Watch, wait_until};
