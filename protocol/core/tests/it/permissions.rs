//! Who may call what.

use dominator_protocol_core::{Decision, Grant, Method, Permission, Scope};
use proptest::prelude::*;

fn grant(permissions: &[&str]) -> Grant {
    Grant::new(permissions.iter().map(|text| text.parse().unwrap()).collect(), vec![])
}

#[test]
fn patterns_allow_what_they_name_and_nothing_else() {
    let check = |permissions: &[&str], method, scope, expected| {
        assert_eq!(grant(permissions).allows(method, scope), expected, "{permissions:?} {method} {scope:?}");
    };
    check(&[], Method::ImageGet, None, false);
    check(&["*"], Method::MachineUpdate, None, true);
    check(&["Image.*"], Method::ImageDelete, Some("debian/v1"), true);
    check(&["Image.*"], Method::ObjectGet, None, false);
    check(&["Object.Get"], Method::ObjectGet, None, true);
    check(&["Object.Get"], Method::ObjectRecipes, None, false);
    check(&["Image.Publish@debian/*"], Method::ImagePublish, Some("debian/v1"), true);
    check(&["Image.Publish@debian/*"], Method::ImagePublish, Some("debian"), false);
    check(&["Image.Publish@debian/*"], Method::ImagePublish, Some("ubuntu/debian/v1"), false);
    check(&["Image.Publish@debian/*"], Method::ImagePublish, None, false);
    check(&["Image.Publish@debian/*"], Method::ImageDelete, Some("debian/v1"), false);
    check(&["Machine.*@web-*"], Method::MachineUpdate, None, false);
    check(&["Fleet.Show@web-?"], Method::FleetShow, Some("web-1"), true);
    check(&["Fleet.Show@web-?"], Method::FleetShow, Some("web-10"), false);
    check(&["Image.Get@a*b*c"], Method::ImageGet, Some("axxbxbxc"), true);
    check(&["Image.Get@a*b*c"], Method::ImageGet, Some("axxbxbxcx"), false);
    check(&["Object.Get", "Image.Get@x/*"], Method::ImageGet, Some("x/1"), true);
    check(&["Volume.Snapshot"], Method::ImageGet, None, false);
}

#[test]
fn a_prefix_is_allowed_only_if_all_its_names_are() {
    let check = |permission: &str, prefix, expected| {
        let decision = grant(&[permission]).decide(Method::ImageList, Scope::Prefix(prefix));
        assert_eq!(matches!(decision, Decision::Allowed(_)), expected, "{permission} {prefix:?}");
    };
    check("Image.List", "", true);
    check("Image.List@*", "", true);
    check("Image.List@debian/*", "debian/", true);
    check("Image.List@debian/*", "debian/v1", true);
    check("Image.List@debian/*", "debian", false);
    check("Image.List@debian/*", "", false);
    check("Image.List@debian/v1", "debian/v1", false);
    check("Image.List@*/v1", "debian/v1", false);
}

#[test]
fn a_call_begins_only_with_some_permission_for_its_method() {
    let begins = |permissions: &[&str], method| matches!(grant(permissions).decide_begin(method), Decision::Allowed(_));
    assert!(begins(&["Image.Publish@debian/*"], Method::ImagePublish), "the scope is checked when the name is known");
    assert!(!begins(&["Object.Get@debian/*"], Method::ObjectGet), "a method without names has no scope");
    assert!(!begins(&["Image.Get"], Method::ImagePublish));
    assert!(!begins(&[], Method::MachinePoll));
}

#[test]
fn decisions_say_which_permission_decided() {
    let grant = grant(&["Object.*", "Image.Get@debian/*"]);
    assert_eq!(
        grant.explain(Method::ImageGet, Scope::Name("debian/v1")),
        "Image.Get is allowed by the permission Image.Get@debian/*",
    );
    assert_eq!(
        grant.explain(Method::ImageGet, Scope::Name("ubuntu/v1")),
        "Image.Get is denied: no permission such as Image.Get@ubuntu/v1",
    );
    assert_eq!(
        grant.explain(Method::MachinePoll, Scope::Nothing),
        "Machine.Poll is denied: no permission such as Machine.Poll"
    );
}

#[test]
fn text_that_is_not_a_permission_is_refused() {
    for text in [
        "",
        "Image",
        "Image.",
        ".Get",
        "Image.Get.More",
        "Im age.Get",
        "Image.G*",
        "Image.Get@",
        "**",
        "@x",
        "Image.Get@a\nb",
    ] {
        assert!(text.parse::<Permission>().is_err(), "{text:?}");
    }
    for text in ["*", "Image.*", "Image.Get", "*@debian/*", "Image.Get@a@b"] {
        assert_eq!(text.parse::<Permission>().unwrap().to_string(), text);
    }
    assert!(!"Image.Gett".parse::<Permission>().unwrap().is_known());
}

/// The meaning of a glob, without any care for time.
fn naive_glob(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => (0..=name.len()).any(|len| naive_glob(rest, &name[len..])),
        ([b'?', rest @ ..], [_, tail @ ..]) => naive_glob(rest, tail),
        ([byte, rest @ ..], [first, tail @ ..]) => byte == first && naive_glob(rest, tail),
        _ => false,
    }
}

proptest! {
    #[test]
    fn globs_mean_what_the_naive_reading_says(glob in "[ab*?]{1,8}", name in "[ab]{0,8}") {
        let allowed = grant(&[&format!("Image.Get@{glob}")]).allows(Method::ImageGet, Some(&name));
        prop_assert_eq!(allowed, naive_glob(glob.as_bytes(), name.as_bytes()));
    }

    #[test]
    fn an_allowed_prefix_allows_every_name_under_it(glob in "[ab*?]{1,6}", prefix in "[ab]{0,4}", rest in "[ab]{0,4}") {
        let grant = grant(&[&format!("Image.List@{glob}")]);
        if matches!(grant.decide(Method::ImageList, Scope::Prefix(&prefix)), Decision::Allowed(_)) {
            let name = format!("{prefix}{rest}");
            prop_assert!(grant.allows(Method::ImageList, Some(&name)));
        }
    }
}

#[test]
fn a_hostile_glob_takes_bounded_time() {
    let glob = format!("Image.Get@{}b", "a*".repeat(600));
    assert!(!grant(&[&glob]).allows(Method::ImageGet, Some(&"a".repeat(4000))));
}
