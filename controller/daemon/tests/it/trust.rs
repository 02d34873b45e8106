//! Certificates and permissions, towards machines and towards operators.
//!
//! Owns the tests of refusals. Invariant: a refusal ends in words that say whose certificate is wrong, and how.
//! Does not test the handshake itself: `protocol/quic` does.

use std::sync::Arc;

use dominator_protocol_core::Method;
use dominator_protocol_quic::cert::{Authority, IssueRequest, Replace, Validity};

use crate::support::{ANY, FakeAgent, Lab, required, row, tree};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_controller_without_the_permission_is_told_so() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let (agent, other) = (lab.agent("web"), lab.agent("db"));
    lab.issue("dominator", &["Machine.Poll", "Image.Get"]);
    lab.write_mdb(&[row(&agent, &required("v1")), row(&other, "")]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("web", "denied").await;
    assert!(status.detail.contains("Machine.Require"), "{}", status.detail);
    assert!(status.detail.contains("permission Machine.*"), "{}", status.detail);
    operator.wait_status("db", "image undefined").await;
    assert!(agent.state.directives().is_empty());
    daemon.stop().await;

    lab.issue("dominator", &["Image.Get"]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("db", "denied").await;
    assert!(status.detail.contains("Machine.Poll"), "{}", status.detail);
    daemon.stop().await;

    lab.issue("dominator", &["Machine.Poll"]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("web", "image server failed").await;
    assert!(status.detail.contains("Image.Get"), "{}", status.detail);
    // A certificate that replaces the old one is shown without a restart, on the connections that need it.
    lab.issue("dominator", &["Machine.Poll", "Image.Get"]);
    daemon.reload().await;
    operator.wait_status("web", "denied").await;
    lab.issue("dominator", &["Machine.*", "Image.Get"]);
    daemon.reload().await;
    operator.wait_converged("web", "v1").await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_with_the_wrong_certificate_are_not_directed() {
    let lab = Lab::new().await;
    lab.images.publish("v1", &tree(&[("a", "1")]));
    let honest = lab.agent("web");
    // The agent at this address is somebody else.
    let impostor = lab.agent("impostor");
    // This one has a certificate of another authority.
    let foreign_dir = tempfile::tempdir().expect("directory");
    let foreign = Authority::create("test", Validity::days(2)).expect("authority");
    foreign.save(foreign_dir.path()).expect("save");
    let request = IssueRequest {
        name: "foreign".to_owned(),
        dns_names: vec!["foreign".to_owned()],
        addresses: Vec::new(),
        permissions: Vec::new(),
        groups: Vec::new(),
        validity: Validity::days(1),
        server: true,
        client: true,
    };
    foreign.issue(&request).expect("issue").save(foreign_dir.path(), Replace::No).expect("save");
    let credentials = dominator_protocol_quic::Credentials::load_dir(foreign_dir.path(), "foreign").expect("load");
    let foreign = FakeAgent::start("foreign", &credentials, Arc::clone(&lab.images), ANY.parse().expect("address"));
    lab.write_mdb(&[
        row(&honest, &required("v1")),
        row(&foreign, &required("v1")),
        format!(r#"{{"Hostname": "victim", "IpAddress": "{}", {}}}"#, impostor.address(), required("v1")),
        format!(r#"{{"Hostname": "no-such-host.invalid", {}}}"#, required("v1")),
    ]);
    let (daemon, operator) = lab.start().await;
    let status = operator.wait_status("victim", "certificate refused").await;
    assert!(status.detail.contains("not for the name victim"), "{}", status.detail);
    let status = operator.wait_status("foreign", "certificate refused").await;
    assert!(status.detail.contains("not signed by"), "{}", status.detail);
    let status = operator.wait_status("no-such-host.invalid", "dns error").await;
    assert!(status.detail.contains("Hostname"), "{}", status.detail);
    operator.wait_converged("web", "v1").await;
    assert!(impostor.state.directives().is_empty() && foreign.state.directives().is_empty());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_what_their_certificates_allow() {
    let lab = Lab::new().await;
    let (web, db) = (lab.agent("web"), lab.agent("db"));
    lab.write_mdb(&[row(&web, ""), row(&db, "")]);
    let (daemon, operator) = lab.start().await;
    operator.wait_status("web", "image undefined").await;
    lab.issue("nobody", &["Image.*"]);
    lab.issue("web-team", &["Fleet.Show@web*"]);
    let nobody = lab.operator("nobody", daemon.listen_addr()).await;
    let web_team = lab.operator("web-team", daemon.listen_addr()).await;
    let denied = |error: dominator_protocol_quic::Error| error.to_string().contains("denied");
    assert!(denied(nobody.try_show("web").await.expect_err("denied")));
    assert!(web_team.try_show("web").await.is_ok());
    assert!(denied(web_team.try_show("db").await.expect_err("denied")));
    let mut call = web_team.connection.call(Method::FleetList).await.expect("call");
    call.finish().await.expect("finish");
    assert!(denied(call.recv().await.expect_err("denied")));
    // What the controller does not serve is not served, whoever asks.
    lab.issue("root", &["*"]);
    let root = lab.operator("root", daemon.listen_addr()).await;
    let mut call = root.connection.call(Method::MachinePoll).await.expect("call");
    call.finish().await.expect("finish");
    let error = call.recv().await.expect_err("not served");
    assert!(error.to_string().contains("Machine.Poll is not a method of the controller"), "{error}");
    daemon.stop().await;
}
