//! Through an image server: what travels, what is equal, what happens when it goes away.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use dominator_protocol_core::{CallFailure, Method};
use dominator_protocol_quic::{IncomingCall, Service};
use dominator_store_engine::{Store, StoreOptions};
use dominator_store_server::Images;
use dominator_testkit::hostile_tree;

use crate::{Serving, Site, serve_images, small_tree};

#[test]
fn a_server_and_a_store_give_the_same_root_and_checkout() {
    let mut site = Site::with_certificates();
    let (_serving, store) = serve_images(&mut site);
    fs::create_dir(site.path("tree")).unwrap();
    hostile_tree(&site.path("tree"), 5).unwrap();
    // More than one chunk, the same chunk in two files, and nothing at all.
    let noise: Vec<u8> = (0..400_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(site.path("tree/noise"), &noise).unwrap();
    fs::write(site.path("tree/noise-and-more"), [&noise[..], b"more"].concat()).unwrap();
    fs::write(site.path("tree/nothing"), "").unwrap();
    site.run("store init local").ok();
    let local = site.run("image publish a tree --store local --json").json();
    let remote = site.run("image publish a tree --json").json();
    assert_eq!(local["root"], remote["root"]);
    assert_eq!(local["content_len"], remote["content_len"]);
    assert_eq!(local["entry_count"], remote["entry_count"]);
    assert_eq!(remote["object_count"], remote["sent_count"]);
    assert_eq!(remote["sent_count"], remote["new_object_count"]);
    let verified = store.verify(&mut |fault| panic!("{fault}"));
    verified.unwrap();

    site.run("image checkout a copy").ok();
    assert_eq!(site.run("image verify a copy").code, 0);
    assert_eq!(site.run("image verify a copy --store local").code, 0);
    let left: Vec<_> = fs::read_dir(site.dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".domtool"))
        .collect();
    assert!(left.is_empty(), "{left:?} is left over");
}

#[test]
fn a_second_publish_sends_ids_and_what_changed() {
    let mut site = Site::with_certificates();
    let (_serving, _store) = serve_images(&mut site);
    small_tree(&site.path("tree"));
    for number in 0..2_000 {
        fs::write(site.path("tree/var").join(number.to_string()), format!("file {number}\n").repeat(20)).unwrap();
    }
    let first = site.run("image publish a tree --json").json();
    let second = site.run("image publish b tree --json").json();
    assert_eq!(second["sent_count"], 1, "the image object, which has another time");
    let per_object = second["sent_len"].as_u64().unwrap() / second["object_count"].as_u64().unwrap();
    assert!(per_object < 40, "{per_object} bytes for an id of 33");
    fs::write(site.path("tree/var/77"), "changed\n").unwrap();
    let third = site.run("image publish c tree --json").json();
    let sent = third["sent_count"].as_u64().unwrap();
    assert!((4..=8).contains(&sent), "{sent} objects for a chunk, its directories' pages, the root and the image");
    assert_eq!(first["object_count"], third["object_count"]);
    let diff = site.run("image diff a c").ok();
    assert_eq!(diff.lines().count(), 1, "{diff}");
    assert!(diff.contains("/var/77 "), "{diff}");
}

#[test]
fn images_are_listed_shown_and_deleted() {
    let mut site = Site::with_certificates();
    let (_serving, _store) = serve_images(&mut site);
    small_tree(&site.path("tree"));
    site.run("image publish a/1 tree").ok();
    site.run("image publish a/2 tree").ok();
    assert_eq!(site.run("image list a --json").json()["images"].as_array().unwrap().len(), 2);
    assert_eq!(site.run("image show a/1 --json").json()["entry_count"], 9);
    assert!(site.run("image show none").failed().contains("there is no image none"));
    site.run("image delete a/1 --yes").ok();
    assert_eq!(site.run("image list --json").json()["images"].as_array().unwrap().len(), 1);
}

#[test]
fn a_tree_that_no_image_can_hold_is_not_published() {
    let mut site = Site::with_certificates();
    let (_serving, store) = serve_images(&mut site);
    let missing = site.run("image publish a nowhere").failed();
    assert!(missing.contains("nowhere"), "{missing}");
    small_tree(&site.path("tree"));
    let socket = std::os::unix::net::UnixListener::bind(site.path("tree/socket")).unwrap();
    let published = site.run("image publish a tree");
    assert!(published.stderr.contains("not in the image: /socket (socket)"), "{published:?}");
    drop(socket);
    assert_eq!(store.images("", None, 10).unwrap().len(), 1);
}

/// Goes away, connection and all, when the first publish has begun; then tells somebody.
struct Vanishing {
    images: Images,
    gone: AtomicBool,
    vanish: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Service for Vanishing {
    async fn answer(&self, call: &mut IncomingCall) -> Result<(), CallFailure> {
        if call.method() == Method::ImagePublish && !self.gone.swap(true, Ordering::SeqCst) {
            // Something of it has arrived.
            call.recv().await?;
            let vanish = self.vanish.lock().unwrap().take();
            vanish.unwrap()();
            std::future::pending::<()>().await;
        }
        self.images.answer(call).await
    }
}

#[test]
fn a_publish_survives_the_restart_of_the_server() {
    let mut site = Site::with_certificates();
    let store = Store::init(&site.path("server-store"), StoreOptions::default()).unwrap();
    let images = || Images::new(store.clone(), 64, 8);
    let (tell, told) = mpsc::channel();
    let vanishing = Arc::new(Vanishing {
        images: images(),
        gone: AtomicBool::new(false),
        vanish: Mutex::new(Some(Box::new(move || tell.send(()).unwrap()))),
    });
    let first = Serving::start(&site, vanishing, None);
    let address = first.address;
    site.set("DOMTOOL_SERVER", address.to_string());
    small_tree(&site.path("tree"));
    let ran = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| site.run("image publish a tree"));
        told.recv().unwrap();
        drop(first);
        let second = Serving::start(&site, Arc::new(images()), Some(address));
        let ran = publisher.join().unwrap();
        drop(second);
        ran
    });
    assert!(ran.stderr.contains("trying again"), "{ran:?}");
    ran.ok();
    assert_eq!(store.images("", None, 10).unwrap().len(), 1);
}
