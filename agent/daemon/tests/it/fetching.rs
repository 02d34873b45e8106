//! Fetching: what travels, what does not, and what is refused.

use dominator_protocol_core::{ErrorCode, Phase};
use dominator_store_core::{BlobId, ObjectId, ObjectKind};

use crate::support::{ImageServer, Site, copy_tree, noise, root_of, write};

/// A tree with small files, large files and directories of both.
fn fill(site: &Site, name: &str) -> std::path::PathBuf {
    let tree = site.tree(name);
    for at in 0..40_u64 {
        write(&tree.join(format!("usr/share/d{}/f{at}", at % 5)), noise(at, 3_000));
    }
    write(&tree.join("usr/lib/large"), noise(100, 2_000_000));
    write(&tree.join("usr/lib/other"), noise(101, 700_000));
    write(&tree.join("empty"), b"");
    tree
}

fn lens(site: &Site, ids: &[ObjectId]) -> usize {
    let images = site.server.images();
    ids.iter().map(|id| images.records[id].len()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_lacking_travels_and_nothing_travels_twice() {
    let site = Site::new();
    let v1 = fill(&site, "v1");
    let first = site.server.images().publish("v1", &v1);
    let (_agent, mut controller) = site.start().await;
    controller.converge(&first, site.server_address()).await;
    let served = site.server.take_served();
    let mut unique = served.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), served.len(), "an object was sent twice");
    assert_eq!(served.len(), site.server.images().records.len());

    // A few bytes in the middle of a large file, a moved file, a copied file, a new small file.
    let v2 = site.path("v2");
    copy_tree(&v1, &v2);
    let mut large = noise(100, 2_000_000);
    large.splice(1_000_000..1_000_000, noise(7, 100));
    write(&v2.join("usr/lib/large"), large);
    std::fs::rename(v2.join("usr/lib/other"), v2.join("usr/lib/renamed")).expect("rename");
    std::fs::copy(v2.join("usr/lib/renamed"), v2.join("copy")).expect("copy");
    write(&v2.join("new"), noise(8, 500));
    let second = site.server.images().publish("v2", &v2);
    let before = controller.poll().await.fetched_len;
    let reply = controller.converge(&second, site.server_address()).await;
    assert_eq!(root_of(&site.root()), second.root);
    let served = site.server.take_served();
    let chunks: Vec<ObjectId> = served.iter().copied().filter(|id| id.kind == ObjectKind::Chunk).collect();
    assert!((2..=5).contains(&chunks.len()), "{} chunks for one insertion and one small file", chunks.len());
    assert!(lens(&site, &chunks) < 800_000);
    let fetched_len = usize::try_from(reply.fetched_len - before).expect("len");
    assert!(fetched_len >= lens(&site, &served) && fetched_len < lens(&site, &served) + 20_000, "{fetched_len}");

    // What is here already needs no server at all.
    let shelf = site.server_address();
    write(&site.root().join("extra"), b"extra");
    std::fs::remove_file(site.root().join("new")).expect("unlink");
    std::fs::remove_file(site.root().join("usr/lib/large")).expect("unlink");
    controller.wait("drift", |reply| reply.root != Some(second.root)).await;
    controller.converge(&second, shelf).await;
    let served = site.server.take_served();
    assert!(served.iter().all(|id| id.kind == ObjectKind::Chunk), "{served:?}");
    assert!(served.len() <= 30, "chunks of the removed file that never were in the cache: {}", served.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_and_foreign_records_are_refused_by_name_and_never_installed() {
    for kind in [ObjectKind::Tree, ObjectKind::Recipe, ObjectKind::Chunk] {
        for swapped in [false, true] {
            if swapped && kind == ObjectKind::Recipe {
                continue;
            }
            let site = Site::new();
            let tree = fill(&site, "tree");
            let image = site.server.images().publish("image", &tree);
            let bad = if kind == ObjectKind::Tree { image.root.into() } else { site.server.some(kind) };
            if swapped {
                site.server.swap(bad);
            } else {
                site.server.flip(bad);
            }
            let (_agent, mut controller) = site.start().await;
            controller.require_and_wait(&image).await;
            let empty = root_of(&site.root());
            let reply = controller.fetch_and_wait(&image, site.server_address()).await;
            let error = reply.last_error.expect("an error");
            assert!(error.contains(&bad.digest.to_string()), "{error}");
            let refused = controller.update(&image).await.expect_err("refused");
            assert_eq!(refused.code, ErrorCode::Conflict);
            assert_eq!(root_of(&site.root()), empty);
            // The server is repaired, and only what did not come before comes now.
            site.server.heal();
            site.server.take_served();
            let reply = controller.fetch_and_wait(&image, site.server_address()).await;
            assert_eq!(reply.last_error, None);
            let total_count = site.server.images().records.len();
            let served = site.server.take_served();
            assert!(served.contains(&bad) && (kind == ObjectKind::Tree || served.len() < total_count));
            controller.update_and_wait(&image).await;
            assert_eq!(root_of(&site.root()), image.root);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_recipe_is_refused() {
    let site = Site::new();
    let tree = fill(&site, "tree");
    let image = site.server.images().publish("image", &tree);
    site.server.swap(site.server.some(ObjectKind::Recipe));
    let (_agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    let reply = controller.fetch_and_wait(&image, site.server_address()).await;
    assert!(reply.last_error.expect("an error").contains("unusable recipe of blob"));
    site.server.heal();
    controller.converge(&image, site.server_address()).await;
    assert_eq!(root_of(&site.root()), image.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipe_that_lies_costs_one_update_and_is_asked_for_again() {
    let site = Site::new();
    let tree = fill(&site, "tree");
    let image = site.server.images().publish("image", &tree);
    let blob = BlobId::of(&noise(100, 2_000_000));
    let honest = site.server.images().recipes[&blob];
    site.server.images().put_lying_recipe(blob);
    let (_agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    let empty = root_of(&site.root());
    assert_eq!(controller.fetch_and_wait(&image, site.server_address()).await.last_error, None);
    let error = controller.update_and_wait(&image).await.last_error.expect("an error");
    assert!(error.contains(&blob.to_string()), "{error}");
    assert_eq!(root_of(&site.root()), empty);
    site.server.images().recipes.insert(blob, honest);
    controller.fetch_and_wait(&image, site.server_address()).await;
    assert_eq!(controller.update_and_wait(&image).await.last_error, None);
    assert_eq!(root_of(&site.root()), image.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_that_the_server_lacks_are_named() {
    let site = Site::new();
    let tree = fill(&site, "tree");
    let image = site.server.images().publish("image", &tree);
    let gone = site.server.some(ObjectKind::Chunk);
    let record = site.server.images().records.remove(&gone).expect("record");
    let (_agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    let reply = controller.fetch_and_wait(&image, site.server_address()).await;
    let error = reply.last_error.expect("an error");
    assert!(error.contains("lacks 1 objects") && error.contains(&gone.digest.to_string()), "{error}");
    site.server.images().records.insert(gone, record);
    controller.converge(&image, site.server_address()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_is_an_error_until_it_is_back() {
    let mut site = Site::new();
    let tree = fill(&site, "tree");
    let image = site.server.images().publish("image", &tree);
    let address = site.server_address();
    let (_agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    let credentials = site.credentials("images");
    let spare = ImageServer::start(&credentials, "127.0.0.1:0".parse().expect("address"), std::sync::Arc::default());
    let shelf = std::mem::replace(&mut site.server, spare).stop();
    tokio::task::yield_now().await;
    let reply = controller.fetch_and_wait(&image, address).await;
    let error = reply.last_error.expect("an error");
    assert!(error.contains("cannot connect to image server") && error.contains(&address.to_string()), "{error}");
    site.server = restart(&credentials, address, shelf).await;
    controller.converge(&image, address).await;
    assert_eq!(root_of(&site.root()), image.root);
}

/// Starts a server on an address that another one may still be leaving.
async fn restart(
    credentials: &dominator_protocol_quic::Credentials,
    address: std::net::SocketAddr,
    shelf: std::sync::Arc<crate::support::Shelf>,
) -> ImageServer {
    while std::net::UdpSocket::bind(address).is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    ImageServer::start(credentials, address, shelf)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_goes_on_after_a_kill_where_it_was() {
    let site = Site::new();
    let tree = site.tree("tree");
    for at in 0..30 {
        write(&tree.join(format!("f{at}")), noise(at, 200_000));
    }
    let image = site.server.images().publish("image", &tree);
    let total_count = site.server.images().records.len();
    let (agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    site.server.stall_after(total_count * 3 / 4);
    controller.fetch(&image, site.server_address(), false).await.expect("fetch");
    controller.wait("stall", |_| site.server.served_count() >= total_count * 3 / 4).await;
    // What was sent is stored piece by piece; wait for most of it.
    controller
        .wait("bytes", |reply| reply.progress.as_ref().is_some_and(|progress| progress.done_len > 2_500_000))
        .await;
    agent.kill();
    site.server.heal();
    let first_count = site.server.take_served().len();
    let (_agent, mut controller) = site.start().await;
    let reply = controller.poll().await;
    assert_eq!(reply.required, Some(image.id), "the directive is remembered");
    controller.wait("scan", |reply| reply.phase == Phase::Idle).await;
    let reply = controller.fetch_and_wait(&image, site.server_address()).await;
    assert_eq!(reply.last_error, None);
    let second_count = site.server.take_served().len();
    assert!(second_count < total_count * 3 / 4, "{first_count} objects came, then {second_count} of {total_count}");
    controller.update_and_wait(&image).await;
    assert_eq!(root_of(&site.root()), image.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_image_needs_no_server_when_it_becomes_required() {
    let mut site = Site::new();
    let v1 = fill(&site, "v1");
    let v2 = site.path("v2");
    copy_tree(&v1, &v2);
    write(&v2.join("usr/lib/planned"), noise(55, 900_000));
    let (first, second) = {
        let mut images = site.server.images();
        (images.publish("v1", &v1), images.publish("v2", &v2))
    };
    let address = site.server_address();
    let (_agent, mut controller) = site.start().await;
    controller.converge(&first, address).await;
    controller.fetch(&second, address, true).await.expect("fetch");
    let reply = controller.wait("planned image", |reply| reply.planned_ready == Some(second.id)).await;
    assert_eq!((reply.root, reply.required), (Some(first.root), Some(first.id)));
    assert_eq!(root_of(&site.root()), first.root);
    let credentials = site.credentials("images");
    let spare = ImageServer::start(&credentials, "127.0.0.1:0".parse().expect("address"), std::sync::Arc::default());
    std::mem::replace(&mut site.server, spare).stop();
    controller.converge(&second, address).await;
    assert_eq!(root_of(&site.root()), second.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_cache_is_said_to_be_full() {
    let site = Site::with_config(
        "[scan]\ninterval_s = 0.2\n[network]\nrate_bytes_per_s = 0\n[cache]\nlimit_bytes = 16777216\n",
    );
    let tree = site.tree("tree");
    for at in 0..6 {
        write(&tree.join(format!("f{at}")), noise(at, 4_000_000));
    }
    let image = site.server.images().publish("image", &tree);
    let (_agent, mut controller) = site.start().await;
    controller.require_and_wait(&image).await;
    let reply = controller.fetch_and_wait(&image, site.server_address()).await;
    assert!(reply.last_error.expect("an error").contains("cache is full"));
}
