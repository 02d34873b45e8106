//! What every message and grant promises: one encoding, and no harm from any other bytes.

use dominator_protocol_core::{DecodeError, Frame, FrameTag, Get, Grant, List, Message, Payload, Poll};
use dominator_store_core::Digest;
use proptest::prelude::*;

use crate::samples::Dice;

fn decode(tag: FrameTag, payload: &[u8]) -> Result<Message, DecodeError> {
    Message::from_frame(Frame { tag, payload: payload.to_vec() })
}

fn is_raw(tag: FrameTag) -> bool {
    matches!(tag, FrameTag::Object | FrameTag::TreeObject)
}

#[test]
fn every_message_round_trips() {
    for &tag in FrameTag::ALL {
        for number in 0..64 {
            let message = Dice::new(number).message(tag);
            let frame = message.clone().into_frame();
            assert_eq!(frame.tag, tag);
            assert_eq!(Message::from_frame(frame), Ok(message));
        }
    }
}

#[test]
fn no_prefix_of_a_message_is_a_message() {
    for &tag in FrameTag::ALL.iter().filter(|tag| !is_raw(**tag)) {
        for number in 0..16 {
            let payload = Dice::new(number).message(tag).into_frame().payload;
            for len in 0..payload.len() {
                assert!(decode(tag, &payload[..len]).is_err(), "{} sample {number} cut to {len}", tag.name());
            }
            let longer = [payload.as_slice(), &[0]].concat();
            assert!(decode(tag, &longer).is_err(), "{} sample {number} with a byte more", tag.name());
        }
    }
}

#[test]
fn what_decodes_after_a_bit_flip_is_encoded_as_it_came() {
    for &tag in FrameTag::ALL.iter().filter(|tag| !is_raw(**tag)) {
        for number in 0..8 {
            let payload = Dice::new(number).message(tag).into_frame().payload;
            for bit in 0..payload.len().min(600) * 8 {
                let mut flipped = payload.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                if let Ok(message) = decode(tag, &flipped) {
                    assert_eq!(message.into_frame().payload, flipped, "{} sample {number} bit {bit}", tag.name());
                }
            }
        }
    }
}

#[test]
fn grants_round_trip_and_no_prefix_is_a_grant() {
    for number in 0..32 {
        let grant = Dice::new(number).grant();
        let encoded = grant.encode();
        assert_eq!(Grant::decode(&encoded), Ok(grant));
        for len in 0..encoded.len() {
            assert!(Grant::decode(&encoded[..len]).is_err());
        }
    }
}

#[test]
fn other_encodings_of_the_same_value_are_refused() {
    let check = |what: &str, payload: &[u8]| assert!(List::decode(payload).is_err(), "{what}");
    let text = [0x60];
    assert!(List::decode(&[&[0xa2, 1], &text[..], &[3, 5]].concat()).is_ok(), "the canonical one");
    check("a number wider than needed", &[&[0xa2, 1], &text[..], &[3, 0x18, 5]].concat());
    check("a key wider than needed", &[&[0xa2, 1], &text[..], &[0x18, 3, 5]].concat());
    check("a map of indefinite length", &[&[0xbf, 1], &text[..], &[3, 5, 0xff]].concat());
    check("text of indefinite length", &[0xa2, 1, 0x7f, 0x60, 0xff, 3, 5]);
    check("keys in another order", &[&[0xa2, 3, 5, 1], &text[..]].concat());
    check("a repeated key", &[&[0xa3, 1], &text[..], &[1], &text[..], &[3, 5]].concat());
    check("an unknown key", &[&[0xa3, 1], &text[..], &[3, 5, 4, 0]].concat());
    check("a lacking key", &[&[0xa1, 1], &text[..]].concat());
    check("a signed number", &[&[0xa2, 1], &text[..], &[3, 0x25]].concat());
    check("text that is not UTF-8", &[0xa2, 1, 0x61, 0xff, 3, 5]);
    check("a tagged value", &[&[0xa2, 1], &text[..], &[3, 0xc1, 5]].concat());
    check("null for an absent field", &[&[0xa3, 1], &text[..], &[2, 0xf6, 3, 5]].concat());
}

#[test]
fn lists_and_texts_above_their_limit_are_refused() {
    let long = List { prefix: "x".repeat(513), after: None, limit: 1 };
    assert!(matches!(List::decode(&long.encode()), Err(DecodeError::Limit { found: 513, limit: 512, .. })));
    let Message::Get(Get { ids }) = Dice::new(3).message(FrameTag::Get) else { unreachable!() };
    let id = ids
        .first()
        .copied()
        .unwrap_or_else(|| dominator_store_core::ObjectId::of(dominator_store_core::ObjectKind::Chunk, b""));
    assert!(Get::decode(&Get { ids: vec![id; 4096] }.encode()).is_ok());
    assert!(matches!(Get::decode(&Get { ids: vec![id; 4097] }.encode()), Err(DecodeError::Limit { .. })));
}

#[test]
fn a_promised_length_allocates_nothing() {
    // An array of 2^32 - 1 ids, and a byte string of 2^63 bytes, in a handful of bytes.
    assert!(Get::decode(&[0xa1, 1, 0x9a, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(Poll::decode(&[0xa1, 1, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
}

#[test]
fn an_idle_poll_is_small() {
    use dominator_protocol_core::{End, Method, Request, Unchanged, limits::FRAME_HEADER_LEN};

    let asked = Request { method: Method::MachinePoll, deadline_ms: None, rate_bytes_per_s: None }.encode().len()
        + Poll { known: Some(Digest::of(b"last")) }.encode().len()
        + End {}.encode().len()
        + 3 * FRAME_HEADER_LEN;
    let answered = Unchanged { scan_count: u64::MAX }.encode().len() + End {}.encode().len() + 2 * FRAME_HEADER_LEN;
    assert!(asked + answered <= 90, "{asked} + {answered}");
}

proptest! {
    #[test]
    fn any_bytes_decode_to_an_error_or_to_what_encodes_to_them(
        tag in 0..FrameTag::ALL.len(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let tag = FrameTag::ALL[tag];
        if let Ok(message) = decode(tag, &payload) {
            prop_assert_eq!(message.into_frame().payload, payload);
        }
    }

    #[test]
    fn damaged_messages_decode_to_an_error_or_to_what_encodes_to_them(
        tag in 0..FrameTag::ALL.len(),
        number in any::<u64>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let tag = FrameTag::ALL[tag];
        let mut payload = Dice::new(number).message(tag).into_frame().payload;
        for (index, byte) in damage {
            if !payload.is_empty() {
                let pos = index.index(payload.len());
                payload[pos] = byte;
            }
        }
        if let Ok(message) = decode(tag, &payload) {
            prop_assert_eq!(message.into_frame().payload, payload);
        }
    }
}
