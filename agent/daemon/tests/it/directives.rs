//! What peers may say, and what they are told.

use dominator_protocol_core::{ErrorCode, Message, Method, Poll};
use dominator_protocol_quic::{Client, Settings};
use dominator_store_core::{Filter, TreeId, read_directory, walk};
use dominator_testkit::hostile_tree;

use crate::support::{Controller, Published, Site, capture, write};

#[tokio::test(flavor = "multi_thread")]
async fn late_contradictory_and_wrong_directives_are_refused_over_the_wire() {
    let site = Site::new();
    let (a, b) = (site.tree("a"), site.tree("b"));
    write(&a.join("x"), b"a");
    write(&b.join("x"), b"b");
    let (first, second) = {
        let mut images = site.server.images();
        (images.publish("a", &a), images.publish("b", &b))
    };
    let (agent, mut controller) = site.start().await;
    let code =
        |result: Result<_, dominator_protocol_core::CallFailure>| result.map(|_| ()).map_err(|failure| failure.code);
    controller.require_and_wait(&first).await;
    assert_eq!(code(controller.update(&first).await), Err(ErrorCode::Conflict));
    assert_eq!(code(controller.update(&second).await), Err(ErrorCode::Conflict));
    assert_eq!(code(controller.fetch(&second, site.server_address(), false).await), Err(ErrorCode::Conflict));
    let forged = Published { encoded: second.encoded.clone(), ..first.clone() };
    assert_eq!(code(controller.require(&forged).await), Err(ErrorCode::Corrupt));
    let named = Published { name: "../etc".to_owned(), ..first.clone() };
    assert_eq!(code(controller.require(&named).await), Err(ErrorCode::BadRequest));
    // A controller that is behind hears so, and what it said does not count; not even after a restart.
    let accepted = controller.poll().await.generation;
    agent.kill();
    let (_agent, controller) = site.start().await;
    let late = dominator_protocol_core::Require {
        generation: accepted,
        name: second.name.clone(),
        image: second.id,
        encoded: second.encoded.clone(),
    };
    assert_eq!(code(controller.direct(Method::MachineRequire, &late).await), Err(ErrorCode::Conflict));
    let reply = controller.poll().await;
    assert_eq!((reply.required, reply.generation), (Some(first.id), accepted));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_machine_is_polled_with_few_bytes() {
    let site = Site::new();
    let tree = site.tree("tree");
    write(&tree.join("x"), b"x");
    let image = site.server.images().publish("image", &tree);
    let (_agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    let reply = controller.poll().await;
    let known = Some(reply.digest());
    controller.wait("scans", |now| now.scan_count > reply.scan_count + 2).await;
    let (sent_len, received_len) = (controller.connection.sent_len(), controller.connection.received_len());
    let answer = controller.connection.ask_message(Method::MachinePoll, &Poll { known }).await.expect("poll");
    assert!(matches!(answer, Message::Unchanged(_)), "{answer:?}");
    let sent_len = controller.connection.sent_len() - sent_len;
    let received_len = controller.connection.received_len() - received_len;
    assert!(sent_len + received_len <= 200, "{sent_len} bytes there, {received_len} bytes back");
    // Any change is told in full.
    write(&site.root().join("y"), b"y");
    let changed = controller.wait("drift", |reply| reply.root != Some(image.root)).await;
    assert_ne!(Some(changed.digest()), known);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_served_and_spell_what_is_on_the_disk() {
    let site = Site::new();
    hostile_tree(&site.root(), 3).expect("tree");
    for at in 0..300 {
        write(&site.root().join(format!("many/{at}")), b"");
    }
    let (_agent, controller) = site.start().await;
    let root = controller.wait("scan", |reply| reply.root.is_some()).await.root.expect("root");
    let objects = descend(&controller, root).await;
    let mut items = Vec::new();
    let mut get = |id| read_directory(id, &mut |id: TreeId| objects.get(&id).cloned().ok_or("absent"));
    walk(root, 1 << 20, &mut get, &mut |path, item| items.push((path, item))).expect("walk");
    assert_eq!(items, capture(&site.root(), &Filter::default()).items);
    assert_eq!(controller.trees(vec![TreeId::of(b"unknown")]).await, [None]);
}

/// Asks for a whole tree, level by level.
async fn descend(controller: &Controller, root: TreeId) -> std::collections::BTreeMap<TreeId, Vec<u8>> {
    let mut objects = std::collections::BTreeMap::new();
    let mut level = vec![root];
    while !level.is_empty() {
        let mut next = Vec::new();
        for (id, bytes) in level.iter().zip(controller.trees(level.clone()).await) {
            let bytes = bytes.expect("served");
            assert_eq!(TreeId::of(&bytes), *id);
            next.extend(dominator_store_core::TreeObject::decode(&bytes).expect("tree").children());
            objects.insert(*id, bytes);
        }
        next.retain(|id| !objects.contains_key(id));
        level = next;
    }
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_without_the_permission_learns_nothing() {
    let site = Site::new();
    write(&site.root().join("secret"), b"secret");
    let (agent, controller) = site.start().await;
    let root = controller.wait("scan", |reply| reply.root.is_some()).await.root.expect("root");
    let settings = Settings::default();
    let client =
        Client::bind("0.0.0.0:0".parse().expect("address"), &site.credentials("stranger"), settings).expect("bind");
    let connection = client.connect(agent.address, "127.0.0.1").await.expect("connect");
    let error = connection.ask_message(Method::MachinePoll, &Poll { known: None }).await.expect_err("denied");
    assert_eq!(error.failure().map(|failure| failure.code), Some(ErrorCode::Denied));
    let trees = dominator_protocol_core::Trees { ids: vec![root] };
    let error = connection.ask_message(Method::MachineTrees, &trees).await.expect_err("denied");
    assert_eq!(error.failure().map(|failure| failure.code), Some(ErrorCode::Denied));
}
