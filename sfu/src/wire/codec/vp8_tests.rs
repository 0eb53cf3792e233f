//! Tests of the VP8 descriptor.

use proptest::prelude::*;

use super::*;

/// A descriptor as RFC 7741 §4.2 draws it; the parts that are none are left out.
#[derive(Debug, Clone)]
struct Parts {
    head: u8,
    picture_id: Option<PictureId>,
    tl0_pic_idx: Option<u8>,
    temporal: Option<(u8, bool)>,
    key_index: Option<u8>,
}

fn encode(parts: &Parts) -> Vec<u8> {
    let present = u8::from(parts.picture_id.is_some()) << 7
        | u8::from(parts.tl0_pic_idx.is_some()) << 6
        | u8::from(parts.temporal.is_some()) << 5
        | u8::from(parts.key_index.is_some()) << 4;
    if present == 0 {
        return vec![parts.head];
    }
    let mut out = vec![parts.head | 0x80, present];
    match parts.picture_id {
        Some(PictureId::Bits7(id)) => out.push(id),
        Some(PictureId::Bits15(id)) => out.extend((id | 0x8000).to_be_bytes()),
        None => {}
    }
    out.extend(parts.tl0_pic_idx);
    if parts.temporal.is_some() || parts.key_index.is_some() {
        let (tid, sync) = parts.temporal.unwrap_or_default();
        out.push(tid << 6 | u8::from(sync) << 5 | parts.key_index.unwrap_or_default());
    }
    out
}

fn parts() -> impl Strategy<Value = Parts> {
    let picture_id = prop_oneof![
        Just(None),
        (0..128_u8).prop_map(|id| Some(PictureId::Bits7(id))),
        (0..0x8000_u16).prop_map(|id| Some(PictureId::Bits15(id))),
    ];
    let temporal = proptest::option::of((0..4_u8, any::<bool>()));
    let key_index = proptest::option::of(0..32_u8);
    let head = any::<u8>().prop_map(|head| head & 0x37);
    (head, picture_id, any::<Option<u8>>(), temporal, key_index).prop_map(
        |(head, picture_id, tl0_pic_idx, temporal, key_index)| Parts {
            head,
            picture_id,
            tl0_pic_idx,
            temporal,
            key_index,
        },
    )
}

/// As Chromium begins a key frame of 320 x 180: I, L, T present; then a frame header.
const KEY_FRAME: [u8; 17] = [
    0x90, 0xE0, 0x92, 0x34, 0x07, 0x20, 0x10, 0x02, 0x00, 0x9D, 0x01, 0x2A, 0x40, 0x01, 0xB4, 0x00, 0x55,
];

#[test]
fn a_key_frame_is_known_by_its_first_bytes() {
    let descriptor = Descriptor::parse(&KEY_FRAME).expect("whole");
    assert_eq!(descriptor.header_len(), 6);
    assert!(descriptor.starts_frame() && !descriptor.non_reference);
    assert_eq!(descriptor.picture_id, Some(PictureId::Bits15(0x1234)));
    assert_eq!(descriptor.tl0_pic_idx, Some(7));
    assert_eq!(descriptor.temporal, Some((0, true)));
    assert_eq!(descriptor.key_index, None);
    assert!(is_key_frame(&KEY_FRAME));
    assert_eq!(frame_size(&KEY_FRAME), Some((320, 180)));
}

#[test]
fn what_is_no_key_frame_is_not_taken_for_one() {
    for (at, byte) in [(0, 0x80), (0, 0x91), (6, 0x11)] {
        let mut payload = KEY_FRAME;
        payload[at] = byte; // a later packet, another partition, an interframe
        assert!(!is_key_frame(&payload));
        assert_eq!(frame_size(&payload), None);
    }
    let mut payload = KEY_FRAME;
    payload[9] = 0;
    assert_eq!(frame_size(&payload), None);
    assert!(!is_key_frame(&KEY_FRAME[..6]) && frame_size(&KEY_FRAME[..15]).is_none());
}

#[test]
fn scaling_bits_are_not_part_of_the_size() {
    let mut payload = KEY_FRAME;
    payload[13] |= 0xC0;
    payload[15] |= 0x40;
    assert_eq!(frame_size(&payload), Some((320, 180)));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(mut payload in proptest::collection::vec(any::<u8>(), 0..20)) {
        let _ = (is_key_frame(&payload), frame_size(&payload));
        let parsed = Descriptor::parse(&payload);
        prop_assert!(parsed.is_none_or(|descriptor| (1..=6).contains(&descriptor.header_len()) && descriptor.header_len() <= payload.len()));
        prop_assert_eq!(patch(&mut payload, Some(0x7FFF), Some(1)), parsed.is_some());
    }

    #[test]
    fn what_is_encoded_is_read(parts in parts(), rest in proptest::collection::vec(any::<u8>(), 0..4)) {
        let descriptor = encode(&parts);
        for cut in 0..descriptor.len() {
            prop_assert_eq!(Descriptor::parse(&descriptor[..cut]), None);
        }
        let payload = [&descriptor[..], &rest].concat();
        let read = Descriptor::parse(&payload).expect("whole");
        prop_assert_eq!(read.header_len(), descriptor.len());
        prop_assert_eq!(read.picture_id, parts.picture_id);
        prop_assert_eq!(read.tl0_pic_idx, parts.tl0_pic_idx);
        prop_assert_eq!(read.temporal, parts.temporal);
        prop_assert_eq!(read.key_index, parts.key_index);
        prop_assert_eq!(read.partition, parts.head & 7);
        prop_assert_eq!((read.non_reference, read.start_of_partition), (parts.head & 0x20 != 0, parts.head & 0x10 != 0));
    }

    #[test]
    fn a_patch_changes_its_fields_and_nothing_else(parts in parts(), id in 0..0x8000_u16, index: u8) {
        let mut payload = [&encode(&parts)[..], &[1, 2, 3]].concat();
        prop_assert!(patch(&mut payload, Some(id), Some(index)));
        let picture_id = parts.picture_id.map(|was| match was {
            PictureId::Bits7(_) => PictureId::Bits7((id & 0x7F) as u8),
            PictureId::Bits15(_) => PictureId::Bits15(id),
        });
        let expected = Parts { picture_id, tl0_pic_idx: parts.tl0_pic_idx.map(|_| index), ..parts };
        prop_assert_eq!(&payload, &[&encode(&expected)[..], &[1, 2, 3]].concat());
        let before = payload.clone();
        prop_assert!(patch(&mut payload, None, None));
        prop_assert_eq!(payload, before);
    }
}
