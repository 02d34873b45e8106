//! The golden vectors in `spec/vectors`: made from the formula of `samples`, read by the naive reader, never changed.
//!
//! A format change shows up here. If it is meant, `UPDATE_VECTORS=1 cargo test` writes the new files.

use std::{env, fs, path::Path};

use dominator_protocol_core::{ErrorCode, FrameTag, Method, Phase, encode_frame};
use serde_json::{Value, json};

use crate::{
    naive::{diagnose, hex},
    samples::Dice,
};

#[expect(clippy::disallowed_methods, reason = "the tests write the vectors; what must be pure is the library")]
fn check(file: &str, found: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spec/vectors").join(file);
    let found = format!("{found:#}\n");
    if env::var_os("UPDATE_VECTORS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is not what the code makes: see `UPDATE_VECTORS`");
}

#[test]
fn messages_are_encoded_as_the_vectors_say() {
    let mut vectors = Vec::new();
    for &tag in FrameTag::ALL {
        for number in 0..3 {
            let frame = Dice::new(number).message(tag).into_frame();
            let mut bytes = Vec::new();
            encode_frame(tag, &frame.payload, &mut bytes).unwrap();
            let is_raw = matches!(tag, FrameTag::Object | FrameTag::TreeObject);
            let payload = if is_raw { format!("h'{}'", hex(&frame.payload)) } else { diagnose(&frame.payload) };
            vectors.push(json!({ "message": tag.name(), "sample": number, "payload": payload, "frame": hex(&bytes) }));
        }
    }
    check("wire-messages.json", &Value::Array(vectors));
}

#[test]
fn grants_are_encoded_as_the_vectors_say() {
    let vectors = (0..6).map(|number| {
        let encoded = Dice::new(number).grant().encode();
        json!({ "sample": number, "grant": diagnose(&encoded), "encoded": hex(&encoded) })
    });
    check("wire-grants.json", &vectors.collect());
}

#[test]
fn tags_are_what_the_vectors_say() {
    let methods: Value = Method::ALL.iter().map(|method| json!([method.tag(), method.name()])).collect();
    let frames: Value = FrameTag::ALL.iter().map(|tag| json!([tag.tag(), tag.name()])).collect();
    let codes: Value = ErrorCode::ALL.iter().map(|code| json!([code.tag(), code.text()])).collect();
    let phases: Value = Phase::ALL.iter().map(|phase| json!([phase.tag(), phase.text()])).collect();
    check("wire-tags.json", &json!({ "methods": methods, "frames": frames, "codes": codes, "phases": phases }));
}
