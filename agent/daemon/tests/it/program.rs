//! The program: its flags, its start and its end.

use dominator_protocol_core::Phase;

use crate::support::{Agent, Site, command, write};

#[tokio::test(flavor = "multi_thread")]
async fn one_root_has_one_agent() {
    let site = Site::new();
    let (_agent, _controller) = site.start().await;
    let (status, log) = Agent::try_start(&site.config).err().expect("the second is refused");
    assert_eq!(status.code(), Some(1));
    assert!(log.contains("error: ") && log.contains("another agent"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_stops_when_asked_and_starts_again_where_it_was() {
    let site = Site::new();
    let tree = site.tree("tree");
    write(&tree.join("x"), b"x");
    let image = site.server.images().publish("image", &tree);
    let (agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    let first = controller.poll().await;
    assert!(agent.terminate().success());
    let (_agent, controller) = site.start().await;
    let reply = controller.wait("scan", |reply| reply.phase == Phase::Idle).await;
    assert_ne!(reply.instance, first.instance);
    assert_eq!((reply.required, reply.root, reply.generation), (first.required, first.root, first.generation));
}

#[test]
fn configurations_are_checked() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let site = runtime.block_on(async { Site::new() });
    let check = |config: &std::path::Path, more: &[&str]| {
        let output = command().arg("--check-config").arg("--config").arg(config).args(more).output().expect("run");
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, out, _) = check(&site.config, &["--scan-interval-s", "7"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("scan.interval_s = 7\n") && out.contains("# certificate of subd"), "{out}");
    // What it prints is a configuration.
    let printed = site.path("printed.toml");
    std::fs::write(&printed, &out).expect("write");
    assert_eq!(check(&printed, &[]).1, out);

    let bad = site.path("bad.toml");
    std::fs::write(&bad, "roof = '/'").expect("write");
    let (code, _, err) = check(&bad, &[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("error: ") && err.contains("roof"), "{err}");
    assert_eq!(check(&site.config, &["--no-such-flag"]).0, Some(2));
    assert_eq!(check(&site.config, &["--key", "/nonexistent"]).0, Some(1));
    let help = command().arg("--help").output().expect("run").stdout;
    assert!(String::from_utf8(help).expect("text").contains("SIGTERM"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_file_is_a_new_machine_and_said_so() {
    let site = Site::new();
    let tree = site.tree("tree");
    write(&tree.join("x"), b"x");
    let image = site.server.images().publish("image", &tree);
    let (agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    agent.kill();
    std::fs::write(site.root().join(".subd/agent.state"), b"garbage").expect("write");
    let (agent, mut controller) = site.start().await;
    assert!(agent.log().contains("state of the agent is lost"));
    assert_eq!(controller.poll().await.required, None);
    controller.converge(&image, site.server_address()).await;
}
