//! A naive reader of CBOR that shares no code with the crate: the oracle for the vectors.
//!
//! Owns the translation to the diagnostic notation of RFC 8949 §8. Invariant: it knows only what the messages use, and panics
//! at anything else.
//!
//! Does not know any message.

pub(crate) fn diagnose(bytes: &[u8]) -> String {
    let (text, rest) = item(bytes);
    assert!(rest.is_empty(), "bytes behind the item");
    text
}

fn item(bytes: &[u8]) -> (String, &[u8]) {
    let (first, rest) = (bytes[0], &bytes[1..]);
    if first == 0xf4 || first == 0xf5 {
        return ((first == 0xf5).to_string(), rest);
    }
    let (value, mut rest) = match first & 31 {
        small @ 0..24 => (u64::from(small), rest),
        24 => (u64::from(rest[0]), &rest[1..]),
        25 => (u64::from(u16::from_be_bytes(rest[..2].try_into().unwrap())), &rest[2..]),
        26 => (u64::from(u32::from_be_bytes(rest[..4].try_into().unwrap())), &rest[4..]),
        27 => (u64::from_be_bytes(rest[..8].try_into().unwrap()), &rest[8..]),
        other => panic!("additional information {other}"),
    };
    let len = value as usize;
    match first >> 5 {
        0 => (value.to_string(), rest),
        2 => (format!("h'{}'", hex(&rest[..len])), &rest[len..]),
        3 => (format!("{:?}", std::str::from_utf8(&rest[..len]).unwrap()), &rest[len..]),
        4 => {
            let mut items = Vec::new();
            for _ in 0..len {
                let (text, behind) = item(rest);
                items.push(text);
                rest = behind;
            }
            (format!("[{}]", items.join(", ")), rest)
        }
        5 => {
            let mut pairs = Vec::new();
            for _ in 0..len {
                let (key, behind) = item(rest);
                let (value, behind) = item(behind);
                pairs.push(format!("{key}: {value}"));
                rest = behind;
            }
            (format!("{{{}}}", pairs.join(", ")), rest)
        }
        other => panic!("major type {other}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
