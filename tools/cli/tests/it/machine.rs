//! `domtool machine` against a controller that says what the test wants.

use std::sync::Arc;

use dominator_protocol_core::{
    CallFailure, Deviation, Deviations, FleetList, HistoryLine, ListMachines, MachineDetail, MachineStatus, Method,
    Phase, Progress, ShowMachine,
};
use dominator_protocol_quic::{IncomingCall, Service};
use dominator_store_core::{Digest, ImageId};

use crate::{Serving, Site};

struct Controller;

/// More than fit one frame.
const MACHINE_COUNT: usize = 5_000;

fn status(pos: usize) -> MachineStatus {
    MachineStatus {
        host: format!("web-{pos:05}"),
        status: "fetching".into(),
        required: Some("debian/v2".into()),
        planned: None,
        converged: false,
        detail: "from images.example".into(),
        deviation_count: 1234,
        last_seen_ms: Some(1_700_000_000_123),
        required_image: Some(ImageId::new(Digest::of(b"image"))),
        root: None,
        phase: Some(Phase::Fetching),
        progress: Some(Progress { done_len: 1, total_len: 4 }),
        last_window_us: Some(1_500),
        last_changed_count: 7,
        fetched_len: 1 << 20,
        control_len: 2_048,
        poll_len: 77,
    }
}

impl Service for Controller {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        match call.method() {
            Method::FleetList => {
                call.expect::<ListMachines>().await?;
                for batch in FleetList::batches((0..MACHINE_COUNT).map(status)) {
                    call.feed(&batch).await?;
                }
            }
            Method::FleetShow => {
                let ShowMachine { host } = call.expect().await?;
                if host != "web-00001" {
                    return Err(CallFailure::not_found(format!("there is no machine {host}")));
                }
                let history = vec![HistoryLine { at_ms: 1_700_000_000_000, text: "required debian/v2".into() }];
                call.feed(&MachineDetail { status: status(1), history }).await?;
                let items = [
                    Deviation { path: b"etc/new\nline".to_vec(), what: "mode 0644, required 0600".into() },
                    Deviation { path: b"srv/\xff".to_vec(), what: "extra".into() },
                ];
                for batch in Deviations::batches(items) {
                    call.feed(&batch).await?;
                }
            }
            method => return Err(CallFailure::bad_request(format!("{method}"))),
        }
        Ok(())
    }
}

fn controlled() -> (Site, Serving) {
    let mut site = Site::with_certificates();
    let serving = Serving::start(&site, Arc::new(Controller), None);
    site.set("DOMTOOL_CONTROLLER", serving.address.to_string());
    (site, serving)
}

#[test]
fn a_fleet_of_any_size_is_listed() {
    let (site, _serving) = controlled();
    let listed = site.run("machine list --json").json();
    let machines = listed["machines"].as_array().unwrap();
    assert_eq!(machines.len(), MACHINE_COUNT);
    assert_eq!((&machines[7]["host"], &machines[7]["phase"]), (&"web-00007".into(), &"fetching".into()));
    assert_eq!(machines[7]["last_seen"], "2023-11-14T22:13:20.123Z");
    let table = site.run("machine list").ok();
    assert_eq!(table.lines().count(), MACHINE_COUNT + 1);
    assert!(table.lines().nth(1).unwrap().contains("fetching 25 %"), "{}", table.lines().nth(1).unwrap());
}

#[test]
fn a_machine_is_shown_with_its_deviations_and_history() {
    let (site, _serving) = controlled();
    let shown = site.run("machine show web-00001 --json").json();
    assert_eq!(shown["machine"]["last_window_us"], 1_500);
    assert_eq!(shown["deviations"][0]["path"], "/etc/new\\x0aline");
    assert_eq!(shown["deviations"][1]["path"], "/srv/\\xff");
    assert_eq!(shown["history"][0]["at"], "2023-11-14T22:13:20Z");
    let text = site.run("machine show web-00001").ok();
    for line in ["last window:  1.5 ms", "/srv/\\xff", "required debian/v2", "77 B for the last poll"] {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let stderr = site.run("machine show none").failed();
    assert!(stderr.contains("there is no machine none"), "{stderr}");
}
