//! The main flow: from nothing to an image, from image to image, drift, restarts, and a machine that comes and goes.
//!
//! Owns the tests of what machines are told. Invariant: each ends with machines that are exactly their images.
//! Does not test the file of machines (`mdb`) or certificates (`trust`).

use std::time::Duration;

use dominator_protocol_core::limits::DEVIATIONS_MAX;

use crate::support::{Lab, required, row, tree};

fn v1() -> dominator_store_core::FlatTree {
    tree(&[("etc/hosts", "one"), ("etc/motd", "hello"), ("usr/bin/tool", "1"), ("usr/lib/x/y/z", "deep")])
}

fn v2() -> dominator_store_core::FlatTree {
    tree(&[("etc/hosts", "one"), ("usr/bin/tool", "2"), ("usr/lib/x/y/z", "deep"), ("usr/bin/new", "n")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_become_their_images_and_drift_is_corrected() {
    let lab = Lab::new().await;
    let (first, second) = (lab.images.publish("prod/web/1", &v1()), lab.images.publish("prod/web/2", &v2()));
    let (web, db) = (lab.agent("web"), lab.agent("db"));
    lab.write_mdb(&[row(&web, &required("prod/web/1")), row(&db, &required("prod/web/2"))]);
    let (daemon, operator) = lab.start().await;

    operator.wait_converged("web", "prod/web/1").await;
    operator.wait_converged("db", "prod/web/2").await;
    assert_eq!((web.state.root(), db.state.root()), (Some(first.root), Some(second.root)));
    assert_eq!(web.state.directives(), ["require prod/web/1", "fetch prod/web/1", "update"]);
    let history = operator.history("web").await;
    assert!(history.iter().any(|line| line == "the root is empty: all 11 paths are missing"), "{history:?}");
    assert!(history.iter().any(|line| line.starts_with("converged: prod/web/1 in ")), "{history:?}");

    // A converged machine costs two small messages per poll.
    let status = operator.wait("web", |seen| (1..=80).contains(&seen.poll_len)).await;
    assert_eq!((status.last_window_us, status.last_changed_count), (Some(1234), 11));
    assert!(status.last_seen_ms.is_some() && status.control_len > status.poll_len);
    assert_eq!((status.root, status.required_image), (Some(first.root), Some(first.id())));

    // Image to image, with the next one fetched ahead.
    let planned = format!(r#"{}, "PlannedImage": "prod/web/2""#, required("prod/web/1"));
    lab.write_mdb(&[row(&web, &planned), row(&db, &required("prod/web/2"))]);
    operator.wait("web", |seen| seen.detail.contains("planned image prod/web/2 is ready")).await;
    assert_eq!(web.state.directives().last().map(String::as_str), Some("fetch prod/web/2 as planned"));
    lab.write_mdb(&[row(&web, &required("prod/web/2")), row(&db, &required("prod/web/2"))]);
    operator.wait_converged("web", "prod/web/2").await;

    // Drift: the update hangs, so that the list of deviations can be looked at.
    web.state.turn(|knobs| knobs.hangs = true);
    web.state.set_tree(&tree(&[
        ("etc/hosts", "evil"),
        ("usr/bin/tool", "2"),
        ("usr/lib/x/y/z", "deep"),
        ("tmp/a", "x"),
    ]));
    let (detail, items) = operator.wait_all("web", |_, items| items.len() == 4).await;
    let seen: Vec<_> =
        items.iter().map(|item| format!("{} {}", String::from_utf8_lossy(&item.path), item.what)).collect();
    assert_eq!(
        seen,
        [
            "etc/hosts content differs (4 bytes, required 3)",
            "tmp extra directory",
            "tmp/a extra file",
            "usr/bin/new file is missing"
        ]
    );
    assert_eq!((detail.status.deviation_count, detail.status.converged), (4, false));
    web.state.turn(|knobs| knobs.hangs = false);
    let status = operator.wait_converged("web", "prod/web/2").await;
    assert_eq!((status.deviation_count, operator.show("web").await.1.len()), (0, 0));
    let history = operator.history("web").await;
    assert!(history.iter().any(|line| line.starts_with("deviations: 4: /etc/hosts (content")), "{history:?}");

    assert_eq!(operator.list().await.iter().map(|machine| machine.host.as_str()).collect::<Vec<_>>(), ["db", "web"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_lists_of_deviations_are_cut() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let agent = lab.agent("web");
    let paths: Vec<String> = (0..DEVIATIONS_MAX + 100).map(|name| format!("extra/{name}")).collect();
    let files: Vec<_> = paths.iter().map(|path| (path.as_str(), "x")).collect();
    agent.state.set_tree(&tree(&files[..]));
    agent.state.turn(|knobs| knobs.hangs = true);
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    let (detail, items) = operator.wait_all("web", |_, items| !items.is_empty()).await;
    assert_eq!((items.len(), detail.status.deviation_count), (DEVIATIONS_MAX, DEVIATIONS_MAX as u64));
    agent.state.turn(|knobs| knobs.hangs = false);
    operator.wait_converged("web", "v1").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_appears_later_is_waited_for() {
    let lab = Lab::new().await;
    let agent = lab.agent("web");
    lab.write_mdb(&[row(&agent, &required("prod/later"))]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("web", "image not ready").await;
    assert!(status.detail.contains("prod/later") && status.detail.contains("to do: publish"), "{}", status.detail);
    assert!(agent.state.directives().is_empty());
    lab.images.publish("prod/later", &v1());
    operator.wait_converged("web", "prod/later").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_restarts_in_the_middle_is_picked_up() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let mut agent = lab.agent("web");
    agent.state.turn(|knobs| knobs.hangs = true);
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait_status("web", "updating").await;
    agent.restart().await;
    agent.state.turn(|knobs| knobs.hangs = false);
    operator.wait_converged("web", "v1").await;
    let directives = agent.state.directives();
    assert_eq!(directives.iter().filter(|directive| *directive == "require v1").count(), 1, "{directives:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generations_go_above_those_of_an_agent_that_knows_more() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let agent = lab.agent("web");
    agent.state.change(|reply| reply.generation = 1_000_000);
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait_converged("web", "v1").await;
    // Another controller directs the agent between two polls.
    agent.state.change(|reply| {
        reply.generation += 500;
        reply.required = None;
    });
    operator.wait_converged("web", "v1").await;
    operator.wait("web", |_| agent.state.directives().len() == 4).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_was_away_is_updated_when_it_comes_back() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let second = lab.images.publish("v2", &v2());
    let mut agent = lab.agent("web");
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait_converged("web", "v1").await;
    agent.stop().await;
    operator.wait("web", |seen| matches!(seen.status.as_str(), "disconnected" | "unreachable")).await;
    lab.write_mdb(&[row(&agent, &required("v2"))]);
    let status = operator.wait("web", |seen| seen.required.as_deref() == Some("v2")).await;
    assert!(!status.converged);
    agent.resume().await;
    operator.wait_converged("web", "v2").await;
    assert_eq!(agent.state.root(), Some(second.root));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_controller_goes_on_where_the_agents_are() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    lab.images.publish("v2", &v2());
    let agent = lab.agent("web");
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait_converged("web", "v1").await;
    let told_count = agent.state.directives().len();
    daemon.stop().await;
    let (daemon, operator) = lab.start().await;
    operator.wait_converged("web", "v1").await;
    assert_eq!(agent.state.directives().len(), told_count, "nothing is told again");
    let history = operator.history("web").await;
    assert!(history.iter().any(|line| line.starts_with("last directive before the start: update")), "{history:?}");
    // The agent lost its memory of generations; the ledger still counts.
    agent.state.change(|reply| reply.generation = 0);
    lab.write_mdb(&[row(&agent, &required("v2"))]);
    operator.wait_converged("web", "v2").await;
    let ledger = std::fs::read_to_string(lab.config.state_dir.join("ledger")).expect("ledger");
    let generations: Vec<u64> =
        ledger.lines().map(|line| line.split(' ').nth(1).expect("field").parse().expect("number")).collect();
    assert_eq!(generations, [1, 2, 3, 4, 5, 6]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_of_the_agent_is_told_and_ends() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let agent = lab.agent("web");
    agent.state.turn(|knobs| {
        knobs.fetch_error = Some("connection refused".to_owned());
        knobs.unsafe_reason = Some("the plan would remove 90 of 100 entries".to_owned());
    });
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("web", "fetch failed").await;
    assert!(status.detail.contains("connection refused"), "{}", status.detail);
    agent.state.turn(|knobs| knobs.fetch_error = None);
    let status = operator.wait_status("web", "update refused").await;
    assert!(status.detail.contains("DisableSafetyCheck"), "{}", status.detail);
    let forced = format!(r#"{}, "Tags": {{"DisableSafetyCheck": "true"}}"#, required("v1"));
    lab.write_mdb(&[row(&agent, &forced)]);
    operator.wait_converged("web", "v1").await;
    assert_eq!(agent.state.directives().last().map(String::as_str), Some("update in any case"));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_machines_converge_and_stay_cheap() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &v1());
    let agents: Vec<_> = (0..100).map(|number| lab.agent(&format!("m{number:03}"))).collect();
    let rows: Vec<_> = agents.iter().map(|agent| row(agent, &required("v1"))).collect();
    lab.write_mdb(&rows);
    let (daemon, operator) = lab.start().await;
    for agent in &agents {
        operator.wait_converged(&agent.host, "v1").await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let machines = operator.list().await;
    assert_eq!(machines.len(), 100);
    for machine in machines {
        assert!(machine.converged && (1..=200).contains(&machine.poll_len), "{machine:#?}");
    }
    daemon.stop().await;
}
