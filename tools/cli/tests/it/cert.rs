//! `domtool cert`, completions, manual pages, usage errors.

use std::os::unix::fs::PermissionsExt as _;

use crate::Site;

#[test]
fn what_is_issued_is_what_is_shown() {
    let site = Site::new();
    site.run("cert init-ca certs --name test").ok();
    site.run(
        "cert issue certs subd-1 --dns subd-1.example --address ::1 --permission Object.Get --permission \
         Image.Get@debian/* --group web --valid-days 30",
    )
    .ok();
    let shown = site.run("cert show certs/subd-1.pem --json").json();
    assert_eq!(shown["name"], "subd-1");
    assert_eq!(shown["dns_names"], serde_json::json!(["subd-1.example"]));
    assert_eq!(shown["addresses"], serde_json::json!(["::1"]));
    assert_eq!(shown["permissions"], serde_json::json!(["Object.Get", "Image.Get@debian/*"]));
    assert_eq!(shown["groups"], serde_json::json!(["web"]));
    assert_eq!((&shown["server"], &shown["client"]), (&true.into(), &true.into()));
    let text = site.run("cert show certs/subd-1.pem").ok();
    assert!(text.contains("permissions: Object.Get, Image.Get@debian/*\n"), "{text}");
    let mode = std::fs::metadata(site.path("certs/subd-1.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn who_is_not_dialled_is_a_client_only() {
    let site = Site::new();
    site.run("cert init-ca certs --name test").ok();
    site.run("cert issue certs ci --permission Image.*").ok();
    let shown = site.run("cert show certs/ci.pem --json").json();
    assert_eq!((&shown["server"], &shown["client"]), (&false.into(), &true.into()));
}

#[test]
fn nothing_is_replaced_unless_asked() {
    let site = Site::new();
    site.run("cert init-ca certs --name test").ok();
    assert!(site.run("cert init-ca certs --name other").failed().contains("exists already"));
    site.run("cert issue certs a").ok();
    let before = std::fs::read(site.path("certs/a.pem")).unwrap();
    assert!(site.run("cert issue certs a").failed().contains("exists already"));
    assert_eq!(std::fs::read(site.path("certs/a.pem")).unwrap(), before);
    site.run("cert issue certs a --replace").ok();
    site.run("cert renew certs a --valid-days 2").ok();
    assert_ne!(std::fs::read(site.path("certs/a.pem")).unwrap(), before);
}

#[test]
fn a_permission_that_allows_nothing_is_refused() {
    let site = Site::new();
    site.run("cert init-ca certs --name test").ok();
    assert!(site.run("cert issue certs a --permission Image.Fetch").failed().contains("Image.Fetch"));
    let wrong = site.run("cert issue certs a --permission everything");
    assert_eq!(wrong.code, 2, "{wrong:?}");
}

#[test]
fn mistakes_on_the_command_line_end_with_2_and_help_with_0() {
    let site = Site::new();
    for words in ["", "image", "image frobnicate", "image list", "image show debian", "machine list"] {
        let ran = site.run(words);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{words}: {ran:?}");
    }
    assert!(site.run("image list").stderr.contains("hint: add --store DIR or --server HOST:PORT"));
    assert!(site.run("image publish --help").ok().contains("--triggers"));
    assert!(site.run("--version").ok().starts_with("domtool "));
}

#[test]
fn completions_and_pages_are_made_from_the_grammar() {
    let site = Site::new();
    assert!(site.run("completions bash").ok().contains("init-ca"));
    site.run("man pages").ok();
    for page in ["domtool.1", "domtool-image-publish.1", "domtool-machine-show.1"] {
        assert!(site.path("pages").join(page).is_file(), "{page}");
    }
}
