//! A store on this machine: init, publish, list, show, checkout, delete.

use dominator_testkit::hostile_tree;

use crate::{Site, small_tree};

#[test]
fn a_hostile_tree_survives_publish_and_checkout() {
    let site = Site::new();
    std::fs::create_dir(site.path("tree")).unwrap();
    hostile_tree(&site.path("tree"), 11).unwrap();
    site.run("store init store").ok();
    let published = site.run("image publish a tree --store store --json").json();
    let copied = site.run("image checkout a copy --store store");
    copied.ok();
    let verified = site.run("image verify a copy --store store");
    assert_eq!((verified.code, verified.stdout.as_str()), (0, ""), "{verified:?}");
    let again = site.run("image publish b copy --store store --json").json();
    assert_eq!(published["root"], again["root"]);
    assert_eq!(again["new_object_count"], 1, "only the image object is new");
    let busy = site.run("image checkout a copy --store store").failed();
    assert!(busy.contains("is not empty"), "{busy}");
}

#[test]
fn what_an_image_is_made_of_is_shown() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    std::fs::write(site.path("filter"), "# not ours\nexclude tree /var\n").unwrap();
    let triggers = "[[trigger]]\nservice = 'app'\naction = 'restart'\npaths = ['tree /etc/app']\norder = 3\n";
    std::fs::write(site.path("triggers.toml"), triggers).unwrap();
    site.run("store init store --profile fastcdc-128k --level 1").ok();
    site.run(
        "image publish team/app/1 tree --store store --filter filter --exclude /large --triggers triggers.toml --tag \
         commit=abc --created-by ci",
    )
    .ok();
    let shown = site.run("image show team/app/1 --store store --json").json();
    assert_eq!(shown["filter"], serde_json::json!(["exclude tree /large", "exclude tree /var"]));
    assert_eq!(shown["triggers"][0]["service"], "app");
    assert_eq!(shown["triggers"][0]["paths"], serde_json::json!(["tree /etc/app"]));
    assert_eq!((&shown["tags"]["commit"], &shown["created_by"]), (&"abc".into(), &"ci".into()));
    assert_eq!(shown["entry_count"], 7, "the root, etc, etc/app, its conf, etc/passwd, link and twin");
    let text = site.run("image show team/app/1 --store store").ok();
    assert!(text.contains("trigger: restart app (order 3) for tree /etc/app\n"), "{text}");
    assert!(text.contains("filter:  exclude tree /var\n"), "{text}");
}

#[test]
fn a_list_is_a_table_or_json() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    for name in ["b", "a/2", "a/1"] {
        site.run(&format!("image publish {name} tree --store store")).ok();
    }
    let listed = site.run("image list a/ --store store --json").json();
    let names: Vec<_> = listed["images"].as_array().unwrap().iter().map(|image| image["name"].clone()).collect();
    assert_eq!(names, ["a/1", "a/2"]);
    let table = site.run("image list --store store").ok();
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(table.starts_with("NAME "), "{table}");
}

#[test]
fn an_image_is_deleted_only_when_that_is_confirmed() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    site.run("image publish a tree --store store").ok();
    let refused = site.run("image delete a --store store").failed();
    assert!(refused.contains("delete image a") && refused.contains("hint: confirm with --yes"), "{refused}");
    site.run("image show a --store store").ok();
    site.run("image delete a --store store --yes").ok();
    let gone = site.run("image show a --store store").failed();
    assert!(gone.contains("there is no image a") && gone.contains("hint: "), "{gone}");
}

#[test]
fn a_name_stands_for_one_image() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    site.run("image publish a tree --store store").ok();
    std::fs::write(site.path("tree/new"), "new").unwrap();
    let taken = site.run("image publish a tree --store store").failed();
    assert!(taken.contains("stands for"), "{taken}");
}

#[test]
fn damage_in_a_store_is_found() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    let marker = b"a line that is stored as it is, because it is short";
    std::fs::write(site.path("tree/marker"), marker).unwrap();
    site.run("store init store").ok();
    site.run("image publish a tree --store store").ok();
    assert_eq!(site.run("store verify store").code, 0);
    let mut pending = vec![site.path("store")];
    let mut changed = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(pos) = bytes.windows(marker.len()).position(|window| window == marker) {
            bytes[pos] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            changed += 1;
        }
    }
    assert_eq!(changed, 1);
    let found = site.run("store verify store");
    assert_eq!(found.code, 3, "{found:?}");
    assert!(!found.stdout.is_empty());
    let refused = site.run("image checkout a out --store store").failed();
    assert!(refused.contains("/marker"), "{refused}");
}
