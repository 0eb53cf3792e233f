//! Tests of the VP9 descriptor.

use proptest::prelude::*;

use super::*;

/// A key picture of three spatial layers in non-flexible mode, as a browser begins it: I, L, B, V; id 0x1234; layer
/// indices 0, TL0PICIDX 7; structure with three sizes and a group of one picture without references.
const KEY: &[u8] = &[
    0xAA, 0x92, 0x34, 0x00, 0x07, 0x58, 0x01, 0x40, 0x00, 0xB4, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00, 0x02,
    0xD0, 0x01, 0x10, 0x99,
];

#[test]
fn a_key_picture_tells_its_layers_and_sizes() {
    let descriptor = Descriptor::parse(KEY).expect("whole");
    assert_eq!(descriptor.header_len(), 20);
    assert!(descriptor.starts_key_picture() && !descriptor.ends_frame && !descriptor.flexible);
    assert_eq!(descriptor.picture_id, Some(PictureId::Bits15(0x1234)));
    let layers = descriptor.layers.expect("told");
    assert_eq!(
        (layers.temporal, layers.spatial, layers.tl0_pic_idx),
        (0, 0, Some(7))
    );
    let structure = descriptor.structure.expect("told");
    assert_eq!(structure.spatial_layers, 3);
    let sizes = structure.sizes.expect("told");
    assert_eq!(sizes[..3], [(320, 180), (640, 360), (1280, 720)]);
    for cut in 0..20 {
        assert_eq!(Descriptor::parse(&KEY[..cut]), None, "{cut}");
    }
}

#[test]
fn layers_and_flexible_mode_stand_as_the_document_draws_them() {
    // L, B, E; temporal 2, U, spatial 1, D; TL0PICIDX 9.
    let upper = Descriptor::parse(&[0x2C, 0x53, 0x09, 1]).expect("whole");
    let layers = upper.layers.expect("told");
    assert_eq!((layers.temporal, layers.spatial), (2, 1));
    assert!(layers.switching_up && layers.inter_layer && upper.ends_frame && !upper.starts_key_picture());
    // I, P, L, F: id of 7 bits, layer indices without TL0PICIDX, two references.
    let flexible = Descriptor::parse(&[0xF0, 0x05, 0x20, 0x03, 0x04, 1]).expect("whole");
    assert_eq!(
        (flexible.header_len(), flexible.picture_id),
        (5, Some(PictureId::Bits7(5)))
    );
    assert_eq!(flexible.layers.and_then(|l| l.tl0_pic_idx), None);
    assert_eq!(Descriptor::parse(&[0xF0, 0x05, 0x20, 3, 3, 3, 2, 1]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(mut payload in proptest::collection::vec(any::<u8>(), 0..48)) {
        let before = Descriptor::parse(&payload);
        prop_assert!(before.is_none_or(|d| d.header_len() <= payload.len()));
        let original = payload.clone();
        prop_assert_eq!(patch(&mut payload, Some(0x1234), Some(9)), before.is_some());
        let Some(before) = before else {
            prop_assert_eq!(payload, original);
            return Ok(());
        };
        let after = Descriptor::parse(&payload).expect("still whole");
        let id = before.picture_id.map(|id| match id {
            PictureId::Bits15(_) => PictureId::Bits15(0x1234),
            PictureId::Bits7(_) => PictureId::Bits7(0x34),
        });
        let layers = before.layers.map(|l| Layers { tl0_pic_idx: l.tl0_pic_idx.map(|_| 9), ..l });
        prop_assert_eq!(after, Descriptor { picture_id: id, layers, ..before });
        prop_assert_eq!(&payload[before.header_len()..], &original[before.header_len()..]);
    }
}
