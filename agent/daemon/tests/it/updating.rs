//! Updating: from nothing to an image, from image to image, from every kind of drift back.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::Duration,
};

use dominator_protocol_core::{Method, Phase, Update};
use dominator_store_core::{Filter, ImageId};
use dominator_testkit::hostile_tree;
use rustix::fs::{AtFlags, CWD, Uid, XattrFlags};

use crate::support::{Site, capture, noise, root_of, write};

#[tokio::test(flavor = "multi_thread")]
async fn hostile_trees_follow_each_other() {
    let site = Site::new();
    let (_agent, mut controller) = site.start().await;
    for seed in 0..4 {
        let tree = site.tree(&format!("tree{seed}"));
        hostile_tree(&tree, seed).expect("tree");
        write(&tree.join("large"), noise(seed, 600_000));
        let image = site.server.images().publish(&format!("image{seed}"), &tree);
        let reply = controller.require_and_wait(&image).await;
        assert_ne!(reply.root, Some(image.root));
        controller.fetch_and_wait(&image, site.server_address()).await;
        // Trees of different seeds have little in common, which looks dangerous.
        let generation = controller.next();
        let update = Update { generation, image: image.id, force_unsafe: true };
        controller.direct(Method::MachineUpdate, &update).await.expect("update");
        let reply = controller.wait("end of the update", |reply| reply.phase == Phase::Idle).await;
        assert_eq!((reply.last_error, reply.root), (None, Some(image.root)));
        assert!(reply.last_window_us.is_some() && reply.last_changed_count > 0);
        assert_eq!(capture(&site.root(), &Filter::default()), capture(&tree, &Filter::default()));
    }
}

type Damage = fn(&Path);

const DAMAGES: &[(&str, Damage)] = &[
    ("content", |root| fs::write(root.join("etc/a"), b"other").expect("write")),
    ("content of a large file", |root| fs::write(root.join("usr/large"), noise(9, 300_000)).expect("write")),
    ("deletion", |root| fs::remove_file(root.join("etc/b")).expect("unlink")),
    ("deletion of a directory", |root| fs::remove_dir_all(root.join("usr/dir")).expect("rmdir")),
    ("an extra file", |root| write(&root.join("etc/extra"), b"extra")),
    ("an extra directory", |root| write(&root.join("extra/in/here"), b"extra")),
    ("mode", |root| fs::set_permissions(root.join("etc/a"), fs::Permissions::from_mode(0o4777)).expect("chmod")),
    ("mode of a directory", |root| {
        fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o777)).expect("chmod");
    }),
    ("mode of the root", |root| fs::set_permissions(root, fs::Permissions::from_mode(0o700)).expect("chmod")),
    ("owner", |root| {
        rustix::fs::chownat(CWD, root.join("etc/a"), Some(Uid::from_raw(5)), None, AtFlags::empty()).expect("chown");
    }),
    ("time", |root| {
        fs::File::options()
            .write(true)
            .open(root.join("etc/a"))
            .expect("open")
            .set_modified(std::time::UNIX_EPOCH)
            .expect("time");
    }),
    ("capability", |root| {
        let value = dominator_testkit::xattr::capability(1 << 7);
        rustix::fs::setxattr(root.join("usr/tool"), "security.capability", &value, XattrFlags::empty())
            .expect("setxattr");
    }),
    ("attribute", |root| {
        rustix::fs::setxattr(root.join("etc/a"), "user.note", b"x", XattrFlags::empty()).expect("setxattr");
    }),
    ("symlink target", |root| {
        fs::remove_file(root.join("link")).expect("unlink");
        symlink("/elsewhere", root.join("link")).expect("symlink");
    }),
    ("file turned directory", |root| {
        fs::remove_file(root.join("etc/a")).expect("unlink");
        write(&root.join("etc/a/inner"), b"inner");
    }),
    ("directory turned file", |root| {
        fs::remove_dir_all(root.join("usr/dir")).expect("rmdir");
        fs::write(root.join("usr/dir"), b"file").expect("write");
    }),
    ("directory turned symlink", |root| {
        fs::remove_dir_all(root.join("usr/dir")).expect("rmdir");
        symlink("/etc", root.join("usr/dir")).expect("symlink");
    }),
    ("broken hard link", |root| {
        fs::remove_file(root.join("hard1")).expect("unlink");
        fs::copy(root.join("hard2"), root.join("hard1")).expect("copy");
    }),
    ("everything at once", |root| {
        for (what, damage) in &[DAMAGES[0], DAMAGES[2], DAMAGES[4], DAMAGES[5], DAMAGES[7], DAMAGES[13], DAMAGES[15]] {
            assert!(!what.is_empty());
            damage(root);
        }
    }),
];

fn healthy(site: &Site) -> std::path::PathBuf {
    let tree = site.tree("tree");
    for at in 0..30 {
        write(&tree.join(format!("usr/share/f{at}")), format!("{at}"));
    }
    write(&tree.join("etc/a"), b"a");
    write(&tree.join("etc/b"), b"b");
    write(&tree.join("usr/large"), noise(3, 300_000));
    write(&tree.join("usr/tool"), noise(4, 30_000));
    write(&tree.join("usr/dir/one"), b"1");
    write(&tree.join("usr/dir/two"), b"2");
    write(&tree.join("hard1"), b"hard");
    fs::hard_link(tree.join("hard1"), tree.join("hard2")).expect("link");
    symlink("/usr/tool", tree.join("link")).expect("symlink");
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_drift_is_seen_and_corrected() {
    let site = Site::new();
    let tree = healthy(&site);
    let image = site.server.images().publish("image", &tree);
    let (_agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    assert_eq!(root_of(&site.root()), image.root);
    for (what, damage) in DAMAGES {
        damage(&site.root());
        assert_ne!(root_of(&site.root()), image.root, "{what}");
        controller.wait(what, |reply| reply.root.is_some_and(|root| root != image.root)).await;
        controller.converge(&image, site.server_address()).await;
        assert_eq!(root_of(&site.root()), image.root, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn excluded_paths_are_never_touched() {
    let site = Site::new();
    let tree = healthy(&site);
    write(&tree.join("var/log/of the builder"), b"not part of the image");
    let filter = Filter::parse("exclude tree /var/log").expect("filter");
    let image = site.server.images().publish_with("image", &tree, filter.clone(), Vec::new());
    write(&site.root().join("var/log/messages"), b"kept");
    write(&site.root().join("var/stale"), b"removed");
    let (_agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    assert_eq!(fs::read(site.root().join("var/log/messages")).expect("read"), b"kept");
    assert!(!site.root().join("var/stale").exists());
    assert_eq!(capture(&site.root(), &filter).encode(&mut |_, _| ()).expect("tree"), image.root);
    // A change there is no deviation.
    write(&site.root().join("var/log/messages"), b"more");
    let scan_count = controller.poll().await.scan_count;
    let reply = controller.wait("scans", |reply| reply.scan_count > scan_count + 1).await;
    assert_eq!(reply.root, Some(image.root));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_would_remove_most_of_a_machine_is_refused_unless_forced() {
    let site = Site::new();
    let tree = healthy(&site);
    let nearly_empty = site.tree("nearly empty");
    write(&nearly_empty.join("etc/a"), b"a");
    let (image, small) = {
        let mut images = site.server.images();
        (images.publish("image", &tree), images.publish("small", &nearly_empty))
    };
    let (_agent, mut controller) = site.start().await;
    controller.converge(&image, site.server_address()).await;
    controller.require_and_wait(&small).await;
    controller.fetch_and_wait(&small, site.server_address()).await;
    let reply = controller.update_and_wait(&small).await;
    let error = reply.last_error.expect("an error");
    assert!(error.contains("refused for safety") && error.contains("force_unsafe"), "{error}");
    assert_eq!(root_of(&site.root()), image.root);
    let generation = controller.next();
    controller
        .direct(Method::MachineUpdate, &Update { generation, image: small.id, force_unsafe: true })
        .await
        .expect("update");
    let reply = controller.wait("end of the update", |reply| reply.phase == Phase::Idle).await;
    assert_eq!((reply.last_error, reply.root), (None, Some(small.root)));
    assert_eq!(root_of(&site.root()), small.root);
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_any_time_lead_to_the_image_in_the_end() {
    let site = Site::new();
    let (a, b) = (healthy(&site), site.tree("b"));
    // Not so many that going back would look like removing most of a machine.
    for at in 0..20_u64 {
        write(&b.join(format!("usr/new/d{}/f{at}", at % 5)), noise(at, 20_000));
    }
    write(&b.join("usr/large"), noise(77, 400_000));
    write(&b.join("etc/a"), b"of b");
    for at in 0..30 {
        write(&b.join(format!("usr/share/f{at}")), format!("{at}"));
    }
    let images = {
        let mut images = site.server.images();
        [images.publish("a", &a), images.publish("b", &b)]
    };
    let mut outcomes = std::collections::BTreeSet::new();
    for round in 0..16_u64 {
        let image = &images[usize::try_from(round % 2).expect("index")];
        let (agent, mut controller) = site.start().await;
        controller.wait("recovery", |reply| reply.phase == Phase::Idle).await;
        controller.require_and_wait(image).await;
        controller.fetch_and_wait(image, site.server_address()).await;
        if controller.update(image).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(round * 5)).await;
        }
        agent.kill();
        let (_agent, mut controller) = site.start().await;
        let reply = controller.wait("recovery", |reply| reply.phase == Phase::Idle).await;
        let root: Option<ImageId> = images.iter().find(|image| Some(image.root) == reply.root).map(|image| image.id);
        outcomes.insert(root == Some(image.id));
        // Whatever the kill left, it is the old or the new tree, unless nothing was there before.
        assert!(root.is_some() || round == 0, "round {round}: neither the old nor the new tree");
        controller.converge(image, site.server_address()).await;
        assert_eq!(root_of(&site.root()), image.root, "round {round}");
    }
    eprintln!("kills found the new tree: {outcomes:?}");
}
