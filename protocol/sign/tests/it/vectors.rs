//! The golden vectors: signatures made by OpenSSH, and bundles made from a formula.

use std::{env, fs, path::Path};

use serde_json::{Value, json};

use crate::scene::{public, signed_by, statement};

/// What OpenSSH made once.
pub(crate) mod openssh {
    use dominator_protocol_sign::{PublicKey, SignedStatement};
    use serde_json::Value;

    const FILE: &str = include_str!("../../../../spec/vectors/signatures-openssh.json");

    /// Each key with what it signed.
    pub(crate) fn signed() -> Vec<(PublicKey, SignedStatement)> {
        let file: Value = serde_json::from_str(FILE).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let signatures = file["signatures"].as_array().unwrap().iter().map(|entry| {
            let signed = SignedStatement {
                statement: text(&file["statement"]).into_bytes(),
                signatures: vec![text(&entry["signature"]).into_bytes()],
            };
            (text(&entry["key"]).parse().unwrap(), signed)
        });
        signatures.collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[expect(clippy::disallowed_methods, reason = "the tests write the vectors; what must be pure is the library")]
fn check(file: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file);
    let found = format!("{found:#}\n");
    if env::var_os("UPDATE_VECTORS").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is not what the code makes: see `UPDATE_VECTORS`");
}

/// Ed25519 signatures have nothing random, so a bundle can be made again from its keys.
#[test]
fn bundles_are_encoded_as_the_vectors_say() {
    let bundles = [vec![], vec![1], vec![1, 2]].into_iter().map(|keys: Vec<u64>| {
        let signed = signed_by(&statement(5), &keys);
        let signatures: Vec<_> =
            signed.signatures.iter().map(|signature| String::from_utf8(signature.clone()).unwrap()).collect();
        json!({
            "keys": keys.iter().map(|number| public(*number).to_string()).collect::<Vec<_>>(),
            "statement": statement(5).to_string(),
            "signatures": signatures,
            "encoded": hex(&signed.encode()),
        })
    });
    check("signatures.json", &bundles.collect());
}
