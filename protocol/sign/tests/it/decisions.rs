//! Every way to be accepted, and every way to be refused.

use dominator_protocol_sign::{
    Accepted, Error, Fault, Floors, NAMESPACE, Refusal, RuleDocument, SignedStatement, Statement, decide,
    limits::SIGNATURES_MAX,
};
use dominator_store_core::ImageId;
use ssh_key::HashAlg;

use crate::scene::{
    hardware, image, judge, key, name, policy, public, rule, sign_for, signed_by, statement, two_of_three,
};

fn faults(result: Result<Accepted, Refusal>) -> (usize, Vec<Fault>) {
    match result.unwrap_err() {
        Refusal::UnderSigned { have, rejected, .. } => (have, rejected.iter().map(|rejected| rejected.fault).collect()),
        other => panic!("{other}"),
    }
}

#[test]
fn enough_keys_of_the_rule_are_accepted_in_any_order() {
    for keys in [[1, 2], [2, 1], [3, 1], [2, 3]] {
        let accepted = judge(&two_of_three(), &signed_by(&statement(5), &keys)).unwrap();
        assert_eq!((accepted.directory.as_str(), accepted.new_floor), ("debian", 5));
        let mut signers = keys.map(|number| public(number).fingerprint());
        signers.sort();
        assert_eq!(accepted.signers, signers);
    }
    assert_eq!(judge(&two_of_three(), &signed_by(&statement(5), &[1, 2, 3])).unwrap().signers.len(), 3);
}

#[test]
fn unsigned_is_refused() {
    let expected = Refusal::Unsigned { name: name(), directory: "debian".into(), needed: 2 };
    assert_eq!(decide(&two_of_three(), &Floors::default(), &name(), image(), None), Err(expected.clone()));
    assert_eq!(judge(&two_of_three(), &signed_by(&statement(5), &[])), Err(expected));
}

#[test]
fn under_signed_is_refused() {
    assert_eq!(faults(judge(&two_of_three(), &signed_by(&statement(5), &[2]))), (1, vec![]));
}

#[test]
fn a_key_counts_once() {
    let statement = statement(5);
    let mut signed = signed_by(&statement, &[1]);
    signed.add(key(1).sign(&statement).unwrap()).unwrap();
    assert_eq!(signed.signatures.len(), 1, "the very same signature is not even kept");
    // The same key, another signature: another hash.
    signed.add(sign_for(1, NAMESPACE, HashAlg::Sha256, &statement.encode())).unwrap();
    assert_eq!(faults(judge(&two_of_three(), &signed)), (1, vec![Fault::Duplicate]));
    signed.signatures.push(signed.signatures[0].clone());
    assert_eq!(faults(judge(&two_of_three(), &signed)), (1, vec![Fault::Duplicate; 2]));
}

#[test]
fn a_revoked_key_does_not_count_even_if_the_rule_names_it() {
    let keys = [public(1), public(2), public(9)];
    let policy = policy(vec![rule("debian", 2, &keys)], &[public(9)]);
    assert_eq!(faults(judge(&policy, &signed_by(&statement(5), &[1, 9]))), (1, vec![Fault::RevokedKey]));
    assert!(judge(&policy, &signed_by(&statement(5), &[9, 1, 2])).is_ok(), "and harms nothing");
}

#[test]
fn when_too_few_keys_are_left_nothing_passes() {
    let policy = policy(vec![rule("debian", 2, &[public(1), public(2)])], &[public(2)]);
    assert_eq!(faults(judge(&policy, &signed_by(&statement(5), &[1, 2]))), (1, vec![Fault::RevokedKey]));
}

#[test]
fn an_unknown_key_does_not_count() {
    assert_eq!(faults(judge(&two_of_three(), &signed_by(&statement(5), &[1, 4]))), (1, vec![Fault::UnknownKey]));
    assert!(judge(&two_of_three(), &signed_by(&statement(5), &[4, 1, 2])).is_ok(), "and harms nothing");
}

#[test]
fn a_signature_for_another_purpose_does_not_count() {
    for namespace in ["file", "git", "dominator-image@v2", "dominator-image@v1 ", "Dominator-image@v1"] {
        let statement = statement(5);
        let mut signed = signed_by(&statement, &[1]);
        signed.add(sign_for(2, namespace, HashAlg::Sha512, &statement.encode())).unwrap();
        assert_eq!(faults(judge(&two_of_three(), &signed)), (1, vec![Fault::WrongNamespace]), "{namespace:?}");
    }
}

#[test]
fn a_signature_of_another_statement_does_not_count() {
    let mut signed = signed_by(&statement(5), &[1]);
    signed.add(key(2).sign(&statement(6)).unwrap()).unwrap();
    assert_eq!(faults(judge(&two_of_three(), &signed)), (1, vec![Fault::BadSignature]));
    // The signatures are good, the statement was exchanged below them.
    let mut signed = signed_by(&statement(5), &[1, 2]);
    signed.statement = statement(6).encode();
    assert_eq!(faults(judge(&two_of_three(), &signed)), (0, vec![Fault::BadSignature; 2]));
}

#[test]
fn what_is_no_signature_does_not_count() {
    let good = key(2).sign(&statement(5)).unwrap();
    let text = String::from_utf8(good.clone()).unwrap();
    let bent = [
        vec![],
        b"nothing".to_vec(),
        vec![0xff; 300],
        vec![b'A'; 5000],
        good[..good.len() - 1].to_vec(),
        [good.as_slice(), b"\n"].concat(),
        text.replace('\n', "\r\n").into_bytes(),
        text.replace("SSH SIGNATURE", "SSH SIGNATURES").into_bytes(),
        format!(" {text}").into_bytes(),
        public(2).to_string().into_bytes(),
    ];
    for signature in bent {
        let mut signed = signed_by(&statement(5), &[1]);
        signed.signatures.push(signature);
        assert_eq!(faults(judge(&two_of_three(), &signed)), (1, vec![Fault::Malformed]));
        signed.sign(&key(3)).unwrap();
        assert!(judge(&two_of_three(), &signed).is_ok(), "and harms nothing");
    }
}

#[test]
fn a_hardware_key_counts_only_if_somebody_touched_it() {
    let message = statement(5).encode();
    let (token, touched) = hardware(7, 1, &message);
    let (_, untouched) = hardware(7, 0, &message);
    let policy = policy(vec![rule("debian", 1, std::slice::from_ref(&token))], &[]);
    let with = |signature: Vec<u8>| SignedStatement { statement: message.clone(), signatures: vec![signature] };
    assert_eq!(judge(&policy, &with(touched)).unwrap().signers, [token.fingerprint()]);
    assert_eq!(faults(judge(&policy, &with(untouched))), (0, vec![Fault::NobodyPresent]));
    // The key inside the token, used without it, is another key.
    assert_eq!(faults(judge(&policy, &signed_by(&statement(5), &[7]))), (0, vec![Fault::UnknownKey]));
}

#[test]
fn another_image_or_name_is_refused() {
    let other_image = Statement { image: ImageId::of(b"other"), ..statement(5) };
    let expected = Refusal::WrongImage { expected: image(), found: other_image.image };
    assert_eq!(judge(&two_of_three(), &signed_by(&other_image, &[1, 2])), Err(expected));
    let other_name = Statement { name: "debian/stable/v2".parse().unwrap(), ..statement(5) };
    let expected = Refusal::WrongName { expected: name(), found: other_name.name.clone() };
    assert_eq!(judge(&two_of_three(), &signed_by(&other_name, &[1, 2])), Err(expected));
}

#[test]
fn what_is_older_than_the_floor_is_refused() {
    let (policy, mut floors) = (two_of_three(), Floors::default());
    let mut judge = |epoch: u64, keep: bool| {
        let result = decide(&policy, &floors, &name(), image(), Some(&signed_by(&statement(epoch), &[1, 2])));
        if let (Ok(accepted), true) = (&result, keep) {
            floors.raise(accepted);
        }
        result
    };
    let rolled_back = |epoch, floor| Err(Refusal::RolledBack { directory: "debian".into(), epoch, floor });
    assert_eq!(judge(0, true).unwrap().new_floor, 0);
    assert_eq!(judge(7, false).unwrap().new_floor, 7);
    assert!(judge(5, true).is_ok(), "what was not kept binds nobody");
    assert_eq!(judge(4, true), rolled_back(4, 5), "a replay");
    assert!(judge(5, true).is_ok(), "the same epoch is no step back");
    assert_eq!(judge(u64::MAX, true).unwrap().new_floor, u64::MAX);
    assert_eq!(judge(u64::MAX - 1, true), rolled_back(u64::MAX - 1, u64::MAX));
}

#[test]
fn floors_are_those_of_the_rule() {
    let keys = [public(1)];
    let policy = policy(vec![rule("", 1, &keys), rule("debian", 1, &keys)], &[]);
    let mut floors = Floors::default();
    let judge = |floors: &Floors, name: &str, epoch| {
        let statement = Statement { name: name.parse().unwrap(), ..statement(epoch) };
        decide(&policy, floors, &statement.name, image(), Some(&signed_by(&statement, &[1])))
    };
    assert!(floors.raise(&judge(&floors, "debian/a/b", 9).unwrap()));
    assert!(!floors.raise(&judge(&floors, "debian/c", 9).unwrap()), "nothing new to write down");
    assert!(matches!(judge(&floors, "debian/c", 8), Err(Refusal::RolledBack { .. })));
    assert_eq!(judge(&floors, "ubuntu/c", 1).unwrap().directory, "");
    assert_eq!(judge(&floors, "debianish", 1).unwrap().directory, "");
    assert_eq!(judge(&floors, "debian", 1).unwrap().directory, "", "an image is not in the directory of its own name");
    assert_eq!((floors.get("debian"), floors.get("")), (9, 0));
}

#[test]
fn what_no_rule_names_is_refused() {
    let name = "ubuntu/v1".parse().unwrap();
    let result = decide(&two_of_three(), &Floors::default(), &name, image(), Some(&signed_by(&statement(5), &[1, 2])));
    assert_eq!(result, Err(Refusal::NoRule { name }));
}

#[test]
fn unsigned_images_pass_only_where_the_rule_says_so() {
    let unsigned = RuleDocument { directory: "debian/scratch".into(), unsigned: true, ..RuleDocument::default() };
    let policy = policy(vec![rule("debian", 1, &[public(1)]), unsigned], &[]);
    let name = "debian/scratch/x".parse().unwrap();
    let accepted = decide(&policy, &Floors::default(), &name, image(), None).unwrap();
    assert_eq!(accepted, Accepted { directory: "debian/scratch".into(), new_floor: 0, signers: vec![] });
    assert!(decide(&policy, &Floors::default(), &"debian/x".parse().unwrap(), image(), None).is_err());
}

#[test]
fn what_cannot_be_read_is_refused() {
    let mut signed = signed_by(&statement(5), &[1, 2]);
    signed.statement.push(b'\n');
    assert!(matches!(judge(&two_of_three(), &signed), Err(Refusal::Malformed(Error::Statement(_)))));
    let mut signed = signed_by(&statement(5), &[1, 2]);
    signed.signatures.extend(vec![vec![]; SIGNATURES_MAX - 1]);
    assert!(matches!(judge(&two_of_three(), &signed), Err(Refusal::Malformed(Error::Limit { .. }))));
}

#[test]
fn a_refusal_says_what_is_wrong_with_each_signature() {
    let mut signed = signed_by(&statement(5), &[1, 4]);
    signed.signatures.push(b"x".to_vec());
    let text = judge(&two_of_three(), &signed).unwrap_err().to_string();
    let expected = format!(
        "1 of 2 signatures of trusted keys; signature 2 does not count: by a key that is not trusted here ({}); signature 3 \
         does not count: malformed",
        public(4).fingerprint()
    );
    assert_eq!(text, expected);
}
