//! Services around the window.
//!
//! Owns the promise that what was stopped is started. Invariant: the test manager keeps what is up on disk of its own, as
//! systemd would, across crashes of the agent.

use std::{cell::RefCell, collections::BTreeSet, sync::Mutex};

use dominator_agent_core::ServicePlan;
use dominator_agent_daemon::{
    apply::{ApplyError, ApplyOptions, Recovered},
    service::{ServiceError, ServiceManager},
};

use crate::fixture::{Fixture, StopAfter, TestBlobs, assert_same, managed_of, rich_pair};

#[derive(Default)]
struct Manager {
    up: Mutex<BTreeSet<String>>,
    log: Mutex<Vec<String>>,
    broken: Option<&'static str>,
}

impl Manager {
    fn new(broken: Option<&'static str>) -> Self {
        let up = Mutex::new(["db".to_owned(), "web".to_owned()].into());
        Self { up, log: Mutex::default(), broken }
    }

    fn act(&self, verb: &'static str, service: &str) -> Result<(), ServiceError> {
        self.log.lock().expect("log").push(format!("{verb} {service}").trim_end().to_owned());
        if self.broken == Some(&format!("{verb} {service}")) {
            return Err(ServiceError::Failed { verb, service: service.to_owned(), said: "no".to_owned() });
        }
        let mut up = self.up.lock().expect("up");
        match verb {
            "stop" => _ = up.remove(service),
            "start" => _ = up.insert(service.to_owned()),
            _ => {}
        }
        Ok(())
    }

    fn is_up(&self) -> bool {
        self.up.lock().expect("up").len() == 2
    }

    fn log(&self) -> String {
        self.log.lock().expect("log").join(", ")
    }
}

impl ServiceManager for Manager {
    fn stop(&self, service: &str) -> Result<(), ServiceError> {
        self.act("stop", service)
    }

    fn start(&self, service: &str) -> Result<(), ServiceError> {
        self.act("start", service)
    }

    fn reload(&self, service: &str) -> Result<(), ServiceError> {
        self.act("reload", service)
    }

    fn refresh(&self) -> Result<(), ServiceError> {
        self.act("refresh", "")
    }
}

fn services() -> ServicePlan {
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
    ServicePlan {
        stop: names(&["web", "db"]),
        start: names(&["db", "web"]),
        reload: names(&["log"]),
        ..ServicePlan::default()
    }
}

#[test]
fn services_stop_before_the_first_step_and_start_after_the_last() {
    let (old, new) = rich_pair(5);
    let fixture = Fixture::with(&old);
    let manager = Manager::new(None);
    let plan = fixture.plan(&new);
    let mut applier = fixture.applier(ApplyOptions::default());
    let applied = fixture.apply_with(&mut applier, &plan, &TestBlobs, &services(), &manager).expect("applied");
    assert_eq!(manager.log(), "stop web, stop db, refresh, start db, start web, reload log");
    assert!(applied.service_failures.is_empty() && applied.down_us >= applied.window_us);
}

#[test]
fn a_service_that_does_not_stop_leaves_everything_as_it_was() {
    let (old, new) = rich_pair(5);
    let fixture = Fixture::with(&old);
    let manager = Manager::new(Some("stop db"));
    let plan = fixture.plan(&new);
    let mut applier = fixture.applier(ApplyOptions::default());
    let failed = fixture.apply_with(&mut applier, &plan, &TestBlobs, &services(), &manager);
    assert!(matches!(failed, Err(ApplyError::Stop { service, .. }) if service == "db"));
    assert_same(&fixture.scan(managed_of(&old)), &old);
    assert!(manager.is_up() && fixture.left_over().is_empty());
    assert!(matches!(applier.recover(&manager), Ok(Recovered::Nothing)));
}

#[test]
fn a_service_that_does_not_start_is_reported_and_the_others_start() {
    let (old, new) = rich_pair(5);
    let fixture = Fixture::with(&old);
    let manager = Manager::new(Some("start db"));
    let plan = fixture.plan(&new);
    let mut applier = fixture.applier(ApplyOptions::default());
    let applied = fixture.apply_with(&mut applier, &plan, &TestBlobs, &services(), &manager).expect("applied");
    assert_eq!(applied.service_failures.len(), 1);
    assert_eq!(applied.service_failures[0].service, "db");
    assert!(manager.up.lock().expect("up").contains("web"));
    assert_same(&fixture.scan(managed_of(&new)), &new);
}

#[test]
fn no_stop_at_any_point_leaves_a_service_down() {
    let (old, new) = rich_pair(5);
    let fixture = Fixture::with(&old);
    let down_count = RefCell::new(0);
    for count in 0.. {
        fixture.make(&old);
        let manager = Manager::new(None);
        let plan = fixture.plan(&new);
        let mut applier = fixture.applier(ApplyOptions::default()).with_fault(StopAfter::points(count));
        let ended = fixture.apply_with(&mut applier, &plan, &TestBlobs, &services(), &manager).is_ok();
        drop(applier);
        *down_count.borrow_mut() += u64::from(!manager.is_up());
        for again in [count % 7, 1000] {
            let mut applier = fixture.applier(ApplyOptions::default()).with_fault(StopAfter::points(again));
            let _stopped = applier.recover(&manager);
        }
        assert!(manager.is_up(), "stopped after {count}: {}", manager.log());
        if ended {
            break;
        }
    }
    assert!(*down_count.borrow() > 3, "no crash had a service down: the test tests nothing");
}
