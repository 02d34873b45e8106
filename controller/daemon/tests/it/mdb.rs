//! The machine database while the controller runs.
//!
//! Owns the tests of reloads. Invariant: a bad file changes nothing for any machine.
//! Does not test the form: `controller/core` does.

use crate::support::{Lab, required, row, tree};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_taken_over_and_bad_ones_are_not() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    lab.images.publish("v2", &tree(&[("a", "2")]));
    let (web, db) = (lab.agent("web"), lab.agent("db"));
    // It starts without a file, and with a bad one.
    lab.write_mdb_text("{ not json");
    let (daemon, operator) = lab.start().await;
    assert!(operator.list().await.is_empty());
    lab.write_mdb(&[row(&web, &required("v1"))]);
    operator.wait_converged("web", "v1").await;
    lab.write_mdb_text(r#"{"Machines": [{"Hostname": "web"}, {"Hostname": "web"}]}"#);
    lab.write_mdb_text("");
    operator.wait_converged("web", "v1").await;
    // A machine comes, another one changes.
    lab.write_mdb(&[row(&web, &required("v2")), row(&db, &required("v1"))]);
    operator.wait_converged("web", "v2").await;
    operator.wait_converged("db", "v1").await;
    // A machine goes: it is let go of, not changed.
    lab.write_mdb(&[row(&db, &required("v1"))]);
    let told_count = web.state.directives().len();
    loop {
        let hosts: Vec<_> = operator.list().await.into_iter().map(|machine| machine.host).collect();
        if hosts == ["db"] {
            break;
        }
        tokio::task::yield_now().await;
    }
    let error = operator.try_show("web").await.expect_err("gone");
    assert!(error.to_string().contains("not found"), "{error}");
    assert_eq!(web.state.directives().len(), told_count);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disabled_machines_are_looked_at_only() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let agent = lab.agent("web");
    let disabled = |image: &str| format!(r#"{}, "DisableUpdates": true"#, required(image));
    lab.write_mdb(&[row(&agent, &disabled("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait("web", |seen| seen.status == "disabled" && seen.last_seen_ms.is_some()).await;
    operator.wait("web", |seen| seen.detail.contains("another required image")).await;
    assert!(agent.state.directives().is_empty());
    lab.write_mdb(&[row(&agent, &required("v1"))]);
    operator.wait_converged("web", "v1").await;
    lab.write_mdb(&[row(&agent, &disabled("v1"))]);
    let status = operator.wait_status("web", "disabled").await;
    assert!(status.converged, "a disabled machine is still compared: {status:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_loses_most_machines_is_held_until_a_person_accepts_it() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let agents: Vec<_> = (0..10).map(|number| lab.agent(&format!("m{number}"))).collect();
    let rows: Vec<_> = agents.iter().map(|agent| row(agent, &required("v1"))).collect();
    lab.write_mdb(&rows);
    let (daemon, operator) = lab.start().await;
    for agent in &agents {
        operator.wait_converged(&agent.host, "v1").await;
    }
    lab.write_mdb(&rows[..2]);
    let status = operator.wait_status("m9", "held").await;
    assert!(status.converged && status.detail.contains("SIGHUP"), "{status:?}");
    agents[9].state.set_tree(&tree(&[("a", "drift")]));
    operator.wait("m9", |seen| seen.deviation_count == 1).await;
    let told_count = agents[9].state.directives().len();
    assert_eq!(operator.wait_status("m0", "converged").await.required.as_deref(), Some("v1"));
    assert_eq!(operator.list().await.len(), 10);
    daemon.reload().await;
    assert_eq!(operator.list().await.len(), 2);
    assert_eq!(agents[9].state.directives().len(), told_count, "a held machine is told nothing");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_moves_is_found_at_its_new_address() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let old = lab.agent("web");
    lab.write_mdb(&[row(&old, &required("v1"))]);
    let (daemon, operator) = lab.start().await;
    operator.wait_converged("web", "v1").await;
    let new = lab.agent("web");
    lab.write_mdb(&[row(&new, &required("v1"))]);
    operator.wait("web", |_| new.state.directives().len() == 3).await;
    operator.wait_converged("web", "v1").await;
    daemon.stop().await;
}
