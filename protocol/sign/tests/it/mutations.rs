//! Whatever is changed in a statement or a signature, nothing is accepted.

use dominator_protocol_sign::{Floors, SignedStatement, Statement, TrustPolicy, decide};

use crate::{
    scene::{hardware, image, name, policy, public, rule, signed_by, statement},
    vectors::openssh,
};

/// One signature that is good, and the rule that needs it.
struct Case {
    what: &'static str,
    signed: SignedStatement,
    policy: TrustPolicy,
}

fn cases() -> Vec<Case> {
    let message = statement(5).encode();
    let (token, signature) = hardware(7, 1, &message);
    let mut cases = vec![
        Case {
            what: "ed25519",
            signed: signed_by(&statement(5), &[1]),
            policy: policy(vec![rule("", 1, &[public(1)])], &[]),
        },
        Case {
            what: "hardware",
            signed: SignedStatement { statement: message, signatures: vec![signature] },
            policy: policy(vec![rule("", 1, &[token])], &[]),
        },
    ];
    for (what, (key, signed)) in ["ed25519 of OpenSSH", "p256 of OpenSSH"].into_iter().zip(openssh::signed()) {
        let policy = policy(vec![rule("", 1, &[key])], &[]);
        cases.push(Case { what, signed, policy });
    }
    for case in &cases {
        assert!(case.accepts(&case.signed), "{}", case.what);
    }
    cases
}

impl Case {
    fn check(&self, signed: &SignedStatement, change: &str) {
        assert!(*signed != self.signed, "{} with {change} is unchanged", self.what);
        assert!(!self.accepts(signed), "{} with {change} is accepted", self.what);
    }

    /// Asks about whatever image the statement is about: an attacker chooses that, too.
    fn accepts(&self, signed: &SignedStatement) -> bool {
        let stated = Statement::decode(&signed.statement);
        let (name, image) = stated.map_or((name(), image()), |stated| (stated.name, stated.image));
        decide(&self.policy, &Floors::default(), &name, image, Some(signed)).is_ok()
    }

    fn with_signature(&self, signature: Vec<u8>) -> SignedStatement {
        SignedStatement { signatures: vec![signature], ..self.signed.clone() }
    }

    fn with_statement(&self, statement: Vec<u8>) -> SignedStatement {
        SignedStatement { statement, ..self.signed.clone() }
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn dearmour(text: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(text).unwrap();
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    let mut bytes = Vec::new();
    for four in body.as_bytes().chunks(4) {
        let sixes: Vec<usize> =
            four.iter().filter_map(|digit| ALPHABET.iter().position(|other| other == digit)).collect();
        let word = (0..4).fold(0, |word, pos| word << 6 | sixes.get(pos).copied().unwrap_or(0));
        bytes.extend(&u32::try_from(word).unwrap().to_be_bytes()[1..sixes.len()]);
    }
    bytes
}

fn armour(bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for three in bytes.chunks(3) {
        let word = (0..3).fold(0, |word, pos| word << 8 | usize::from(three.get(pos).copied().unwrap_or(0)));
        for pos in 0..4 {
            body.push(if pos <= three.len() { ALPHABET[word >> (18 - 6 * pos) & 63] } else { b'=' });
        }
    }
    let lines: Vec<&str> = body.chunks(70).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN SSH SIGNATURE-----\n{}\n-----END SSH SIGNATURE-----\n", lines.join("\n")).into_bytes()
}

fn flip(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[bit / 8] ^= 1 << (bit % 8);
    changed
}

#[test]
fn no_changed_bit_is_accepted() {
    let mut count = 0;
    for case in cases() {
        let armoured = &case.signed.signatures[0];
        for bit in 0..armoured.len() * 8 {
            case.check(&case.with_signature(flip(armoured, bit)), &format!("bit {bit} of its armour"));
            count += 1;
        }
        let bytes = dearmour(armoured);
        assert_eq!(armour(&bytes), *armoured);
        for bit in 0..bytes.len() * 8 {
            case.check(&case.with_signature(armour(&flip(&bytes, bit))), &format!("bit {bit} of its signature"));
            count += 1;
        }
        for bit in 0..case.signed.statement.len() * 8 {
            case.check(&case.with_statement(flip(&case.signed.statement, bit)), &format!("bit {bit} of its statement"));
            count += 1;
        }
    }
    assert!(count >= 10_000, "only {count} changed bits");
}

#[test]
fn no_cut_or_lengthened_signature_is_accepted() {
    for case in cases() {
        let armoured = &case.signed.signatures[0];
        let bytes = dearmour(armoured);
        for len in 0..armoured.len() {
            case.check(&case.with_signature(armoured[..len].to_vec()), &format!("{len} bytes of its armour"));
        }
        for len in 0..bytes.len() {
            case.check(&case.with_signature(armour(&bytes[..len])), &format!("{len} bytes of its signature"));
        }
        for byte in 0..=u8::MAX {
            case.check(&case.with_signature(armour(&[&bytes[..], &[byte]].concat())), "a byte behind");
            case.check(&case.with_signature([&armoured[..], &[byte]].concat()), "a byte behind its armour");
            case.check(&case.with_statement([&case.signed.statement[..], &[byte]].concat()), "a byte behind");
        }
    }
}

#[test]
fn no_random_damage_is_accepted() {
    // xorshift, so that every run is the same.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    for case in cases() {
        let good = [dearmour(&case.signed.signatures[0]), case.signed.statement.clone()];
        for round in 0..5000 {
            let mut parts = good.clone();
            for _ in 0..=below(6) {
                let part = &mut parts[below(2)];
                let pos = below(part.len());
                match below(4) {
                    0 => part[pos] = u8::try_from(below(256)).unwrap(),
                    1 => part.insert(pos, u8::try_from(below(256)).unwrap()),
                    2 if part.len() > 1 => drop(part.remove(pos)),
                    _ => {
                        let other = below(part.len());
                        part.swap(pos, other);
                    }
                }
            }
            if parts == good {
                continue;
            }
            let [signature, statement] = parts;
            let signed = SignedStatement { statement, signatures: vec![armour(&signature)] };
            case.check(&signed, &format!("the damage of round {round}"));
        }
    }
}
