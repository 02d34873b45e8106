//! `domtool image diff` and `domtool image verify`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::Command,
};

use dominator_testkit::xattr;
use rustix::fs::{XattrFlags, setxattr};

use crate::{Site, small_tree};

/// One way to damage a tree: what it is called, how, and the lines that must tell of it.
type Damage = (&'static str, fn(&Path), &'static [(&'static str, &'static str)]);

const DAMAGES: &[Damage] = &[
    ("content", |dir| fs::write(dir.join("etc/app/conf"), "key = 2\n").unwrap(), &[("/etc/app/conf", "content,mtime")]),
    ("deletion", |dir| fs::remove_file(dir.join("etc/app/conf")).unwrap(), &[("/etc/app/conf", "removed")]),
    ("extra file", |dir| fs::write(dir.join("var/extra"), "x").unwrap(), &[("/var/extra", "added")]),
    (
        "extra directory",
        |dir| fs::create_dir_all(dir.join("var/a/b")).unwrap(),
        &[("/var/a", "added"), ("/var/a/b", "added")],
    ),
    (
        "mode",
        |dir| fs::set_permissions(dir.join("large"), fs::Permissions::from_mode(0o4755)).unwrap(),
        &[("/large", "mode")],
    ),
    ("owner", |dir| chown(dir.join("large"), Some(5), Some(6)).unwrap(), &[("/large", "owner")]),
    (
        "mode of a directory",
        |dir| {
            fs::set_permissions(dir.join("var"), fs::Permissions::from_mode(0o700)).unwrap();
        },
        &[("/var", "mode")],
    ),
    ("mtime", |dir| touch(&dir.join("large")), &[("/large", "mtime")]),
    (
        "capability",
        |dir| {
            let value = xattr::capability(1 << 10);
            setxattr(dir.join("large"), "security.capability", &value, XattrFlags::empty()).unwrap();
        },
        &[("/large", "xattrs")],
    ),
    (
        "xattr",
        |dir| setxattr(dir.join("large"), "user.note", b"planted", XattrFlags::empty()).unwrap(),
        &[("/large", "xattrs")],
    ),
    (
        "symlink target",
        |dir| {
            fs::remove_file(dir.join("link")).unwrap();
            symlink("/etc/shadow", dir.join("link")).unwrap();
        },
        &[("/link", "target,mtime")],
    ),
    (
        "file turned directory",
        |dir| {
            fs::remove_file(dir.join("etc/app/conf")).unwrap();
            fs::create_dir(dir.join("etc/app/conf")).unwrap();
        },
        &[("/etc/app/conf", "type")],
    ),
    (
        "directory turned file",
        |dir| {
            fs::remove_dir_all(dir.join("etc/app")).unwrap();
            fs::write(dir.join("etc/app"), "").unwrap();
        },
        &[("/etc/app", "type"), ("/etc/app/conf", "removed")],
    ),
    (
        "broken hard link",
        |dir| {
            let times = fs::metadata(dir.join("twin")).unwrap().modified().unwrap();
            let bytes = fs::read(dir.join("twin")).unwrap();
            fs::remove_file(dir.join("twin")).unwrap();
            fs::write(dir.join("twin"), bytes).unwrap();
            fs::File::options().write(true).open(dir.join("twin")).unwrap().set_modified(times).unwrap();
        },
        &[("/etc/passwd", "links"), ("/twin", "links")],
    ),
];

fn touch(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
}

#[test]
fn every_kind_of_damage_is_listed_and_ends_with_3() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    site.run("image publish a tree --store store").ok();
    for (what, damage, expected) in DAMAGES {
        let copied = Command::new("cp").arg("-a").arg(site.path("tree")).arg(site.path("copy")).status().unwrap();
        assert!(copied.success());
        damage(&site.path("copy"));
        let verified = site.run("image verify a copy --store store");
        assert_eq!(verified.code, 3, "{what}: {verified:?}");
        let found: Vec<(&str, &str)> = verified
            .stdout
            .lines()
            .map(|line| {
                let mut words = line.split_whitespace();
                let aspects = words.next().unwrap();
                (words.next().unwrap(), aspects)
            })
            .collect();
        assert_eq!(found, *expected, "{what}: {}", verified.stdout);
        fs::remove_dir_all(site.path("copy")).unwrap();
    }
}

#[test]
fn images_and_directories_are_compared_in_any_combination() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    site.run("image publish a tree --store store").ok();
    assert!(Command::new("cp").arg("-a").arg(site.path("tree")).arg(site.path("new")).status().unwrap().success());
    fs::write(site.path("new/etc/app/conf"), "key = 22\n").unwrap();
    fs::set_permissions(site.path("new/var"), fs::Permissions::from_mode(0o700)).unwrap();
    site.run("image publish b new --store store").ok();
    let expected = site.run("image diff a b --store store").ok();
    assert_eq!(expected.lines().count(), 2, "{expected}");
    assert!(expected.contains("/var (0755 -> 0700)"), "{expected}");
    for pair in ["a ./new", "./tree b", "./tree ./new"] {
        assert_eq!(site.run(&format!("image diff {pair} --store store")).ok(), expected, "{pair}");
    }
    // Two directories need no store.
    assert_eq!(site.run("image diff ./tree ./new").ok(), expected);
    assert_eq!(site.run("image diff a b --store store --exit-code").code, 3);
    assert_eq!(site.run("image diff a a --store store --exit-code").code, 0);
    let json = site.run("image diff a b --store store --json").json();
    let changed = &json["differences"][0];
    assert_eq!(changed["path"], "/etc/app/conf");
    assert_eq!(changed["aspects"], serde_json::json!(["content", "mtime"]));
    assert_eq!((&changed["old"]["size"], &changed["new"]["size"]), (&8.into(), &9.into()));
}

#[test]
fn what_the_image_does_not_manage_is_not_compared() {
    let site = Site::new();
    small_tree(&site.path("tree"));
    site.run("store init store").ok();
    site.run("image publish a tree --store store --exclude /var").ok();
    fs::write(site.path("tree/var/log"), "lines").unwrap();
    fs::create_dir(site.path("tree/.subd")).unwrap();
    assert_eq!(site.run("image verify a tree --store store").code, 0);
}
