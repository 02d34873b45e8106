//! Policies as they stand in files, and what is not one.

use dominator_protocol_sign::{Error, Fingerprint, PolicyDocument, PublicKey, RuleDocument, SigningKey, TrustPolicy};

use crate::scene::{public, rule};

const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC8A+NGKvmpx1eFFyQZRZZkWJZkzBQcCPwmYnUdfaP0jjUc2HDVLn5ZKBXfUlzAfIEvLQnTQgQSyCuUjnHVZ0yUUNYi0hjDkQz1ZbXXvR3bDKgVUf8nPvA8GUEMsQxu3XrGpqF6bmYXGhqBzAsMpn/BVX3yYXxpPEo+Yg8mT1Nn8Q==";

fn parse(text: &str) -> Result<TrustPolicy, Error> {
    TrustPolicy::try_from(&toml::from_str::<PolicyDocument>(text).unwrap())
}

#[test]
fn a_policy_is_a_few_lines() {
    let [one, two, old] = [1, 2, 9].map(public);
    let text = format!(
        r#"
        revoked = ["{old}", "{}"]

        [[image]]
        directory = ""
        keys = ["{one} release@example"]

        [[image]]
        directory = "debian/stable"
        threshold = 2
        keys = ["{one}", "{two}"]

        [[image]]
        directory = "scratch"
        unsigned = true
        "#,
        public(8).fingerprint()
    );
    let policy = parse(&text).unwrap();
    assert_eq!(policy.directories().collect::<Vec<_>>(), ["", "debian/stable", "scratch"]);
    let directory_of = |name: &str| policy.directory_of(&name.parse().unwrap()).unwrap().to_owned();
    assert_eq!(directory_of("debian/stable/2026/v1"), "debian/stable");
    assert_eq!(directory_of("debian/v1"), "");
    assert_eq!(directory_of("scratch"), "");
    assert_eq!(directory_of("scratch/x"), "scratch");

    let document: PolicyDocument = toml::from_str(&text).unwrap();
    let again: PolicyDocument = toml::from_str(&toml::to_string(&document).unwrap()).unwrap();
    assert_eq!(document, again);
    assert!(
        toml::from_str::<PolicyDocument>("[[image]]\ndirectory = \"\"\ntreshold = 1").is_err(),
        "a slip of the pen"
    );
    assert_eq!(TrustPolicy::default().directory_of(&"x".parse().unwrap()), None, "an empty policy trusts nobody");
}

#[test]
fn policies_that_cannot_be_meant_are_refused() {
    let keys = [public(1), public(2)];
    let check = |rules: Vec<RuleDocument>, expected: fn(&Error) -> bool| {
        let error = TrustPolicy::try_from(&PolicyDocument { rules, revoked: vec![] }).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    check(vec![rule("x", 0, &keys)], |error| matches!(error, Error::Threshold { .. }));
    check(vec![rule("x", 3, &keys)], |error| matches!(error, Error::Threshold { .. }));
    check(vec![rule("x", 1, &[])], |error| matches!(error, Error::Threshold { .. }));
    check(vec![rule("x", 1, &[public(1), public(1)])], |error| matches!(error, Error::TwiceTheKey { .. }));
    check(vec![rule("x", 1, &keys), rule("x", 2, &keys)], |error| matches!(error, Error::TwoRules { .. }));
    for directory in ["x/", "/x", "../x", "x//y", "x y", "x/*"] {
        check(vec![rule(directory, 1, &keys)], |error| matches!(error, Error::Directory { .. }));
    }
    check(vec![RuleDocument { unsigned: true, ..rule("x", 1, &keys) }], |error| {
        matches!(error, Error::KeysOfUnsigned { .. })
    });
    let many = (0..2000).map(|number| rule(&format!("d{number}"), 1, &keys)).collect();
    check(many, |error| matches!(error, Error::Limit { .. }));
    let revoked = vec!["SHA256:short".to_owned()];
    let error = TrustPolicy::try_from(&PolicyDocument { rules: vec![], revoked }).unwrap_err();
    assert!(matches!(error, Error::Fingerprint { .. }), "{error}");
}

#[test]
fn a_comment_makes_no_other_key() {
    let plain = public(1);
    let with_comment: PublicKey = format!("{plain} somebody").parse().unwrap();
    assert_eq!((&plain, plain.fingerprint()), (&with_comment, with_comment.fingerprint()));
    assert_eq!(with_comment.comment(), "somebody");
    let mut rule = rule("x", 2, &[public(1), public(2)]);
    rule.keys.push(with_comment.to_string() + " somebody");
    let error = TrustPolicy::try_from(&PolicyDocument { rules: vec![rule], revoked: vec![] }).unwrap_err();
    assert!(matches!(error, Error::TwiceTheKey { .. }));
}

#[test]
fn keys_of_other_kinds_and_no_keys_are_refused() {
    assert!(RSA.parse::<PublicKey>().is_err());
    let cut = public(1).to_string();
    for text in ["", "ssh-ed25519", "ssh-ed25519 AAAA", &cut[..cut.len() - 4], "x".repeat(5000).as_str()] {
        assert!(text.parse::<PublicKey>().is_err(), "{text}");
    }
    for text in ["", "SHA256:", "MD5:00", "SHA512:abc"] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text}");
    }
    assert!(matches!(SigningKey::parse("nothing"), Err(Error::PrivateKey(_))));
    let fingerprint = public(1).fingerprint();
    assert_eq!(fingerprint.to_string().parse::<Fingerprint>().unwrap(), fingerprint);
}

#[test]
fn private_keys_stay_out_of_logs() {
    let key = crate::scene::key(1);
    assert_eq!(format!("{key:?}"), format!("SigningKey({})", key.public_key().fingerprint()));
}
