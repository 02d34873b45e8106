//! Frames arrive whole, however the bytes are cut, and never above their limits.

use dominator_protocol_core::{
    DecodeError, FrameDecoder, FrameRule, FrameTag, Method, encode_frame, frame_header,
    limits::{FRAME_MAX, RECORD_LEN_MAX},
};
use proptest::prelude::*;

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in_however_the_bytes_are_cut(
        payloads in proptest::collection::vec((0..FrameTag::ALL.len(), 0..500_usize), 1..20),
        cuts in proptest::collection::vec(1..300_usize, 1..50),
    ) {
        let mut bytes = Vec::new();
        for (pos, (tag, len)) in payloads.iter().enumerate() {
            encode_frame(FrameTag::ALL[*tag], &vec![pos as u8; *len], &mut bytes).unwrap();
        }
        let (mut decoder, mut frames, mut rest) = (FrameDecoder::new(FrameRule::Messages), Vec::new(), bytes.as_slice());
        for cut in cuts.iter().cycle() {
            let (mut input, behind) = rest.split_at((*cut).min(rest.len()));
            while let Some(frame) = decoder.decode(&mut input).unwrap() {
                frames.push(frame);
            }
            prop_assert!(input.is_empty());
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert!(decoder.is_between_frames());
        prop_assert_eq!(frames.len(), payloads.len());
        for (pos, (frame, (tag, len))) in frames.iter().zip(&payloads).enumerate() {
            prop_assert_eq!(frame.tag, FrameTag::ALL[*tag]);
            prop_assert_eq!(&frame.payload, &vec![pos as u8; *len]);
        }
    }

    #[test]
    fn any_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut input = bytes.as_slice();
        let mut decoder = FrameDecoder::new(FrameRule::Records);
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
    }
}

#[test]
fn a_frame_above_its_limit_is_refused_at_its_header() {
    let check = |rule, tag: FrameTag, len: usize, is_accepted: bool| {
        let [a, b, c, d] = (len as u32).to_le_bytes();
        let result = FrameDecoder::new(rule).decode(&mut [a, b, c, d, tag.tag()].as_slice());
        let expected = if is_accepted { Ok(None) } else { result.clone() };
        assert_eq!(result, expected);
        assert_eq!(matches!(result, Err(DecodeError::FrameTooLong { .. })), !is_accepted, "{rule:?} {tag:?} {len}");
    };
    check(FrameRule::Messages, FrameTag::Get, FRAME_MAX, true);
    check(FrameRule::Messages, FrameTag::Get, FRAME_MAX + 1, false);
    check(FrameRule::Messages, FrameTag::Object, FRAME_MAX + 1, false);
    check(FrameRule::Records, FrameTag::Object, RECORD_LEN_MAX, true);
    check(FrameRule::Records, FrameTag::Object, RECORD_LEN_MAX + 1, false);
    check(FrameRule::Records, FrameTag::Get, FRAME_MAX + 1, false);
    check(FrameRule::Records, FrameTag::Get, u32::MAX as usize, false);
    assert!(frame_header(FrameTag::Get, FRAME_MAX + 1).is_none());
    assert!(frame_header(FrameTag::Object, RECORD_LEN_MAX).is_some());
    let mut decoder = FrameDecoder::new(FrameRule::Messages);
    assert_eq!(decoder.decode(&mut [0, 0, 0, 0, 0].as_slice()), Err(DecodeError::UnknownFrame { tag: 0 }));
}

#[test]
fn records_travel_only_where_they_are_due() {
    for &method in Method::ALL {
        assert_eq!(method.request_rule() == FrameRule::Records, method == Method::ImagePublish);
        let is_fetch = matches!(method, Method::ObjectGet | Method::ObjectRecipes);
        assert_eq!(method.reply_rule() == FrameRule::Records, is_fetch);
    }
}
