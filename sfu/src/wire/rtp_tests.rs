//! Tests of the RTP view and writer.

use proptest::prelude::*;

use super::*;

/// One-byte form: mid "0", a padding byte, audio level, transport-wide number.
const PACKET: [u8; 33] = [
    0x91, 0xEF, 0x12, 0x34, 0, 0, 3, 0xE8, 0xCA, 0xFE, 0xBA, 0xBE, 0, 0, 0, 9, // fixed header, one CSRC
    0xBE, 0xDE, 0, 2, 0x40, b'0', 0, 0x10, 0x85, 0x31, 0xAB, 0xCD, // extensions
    1, 2, 3, 4, 5, // payload
];

#[test]
fn a_packet_is_read_field_by_field() {
    let packet = RtpPacket::parse(&PACKET).expect("well formed");
    assert!(packet.marker());
    assert_eq!(packet.payload_type(), 111);
    assert_eq!(packet.sequence(), 0x1234);
    assert_eq!(packet.timestamp(), 1000);
    assert_eq!(packet.ssrc(), 0xCAFE_BABE);
    assert_eq!(packet.csrcs().collect::<Vec<_>>(), [9]);
    assert_eq!(packet.extension(4), Some(&b"0"[..]));
    assert_eq!(packet.extension(1), Some(&[0x85][..]));
    assert_eq!(packet.extension(3), Some(&[0xAB, 0xCD][..]));
    assert_eq!(packet.extension(2), None);
    assert_eq!(packet.payload(), [1, 2, 3, 4, 5]);
    assert_eq!((packet.header_len(), packet.padding_len()), (28, 0));
    assert_eq!(header_len(&PACKET), Ok(28));
}

#[test]
fn every_cut_of_the_header_is_refused() {
    for len in 0..28 {
        assert_eq!(
            RtpPacket::parse(&PACKET[..len]).map(|_| ()),
            Err(RtpError::Truncated),
            "{len}"
        );
    }
    for first in 0..=255_u8 {
        let mut packet = PACKET;
        packet[0] = first;
        if first >> 6 != 2 {
            assert_eq!(header_len(&packet), Err(RtpError::Version));
        }
    }
}

#[test]
fn padding_is_taken_off_and_lies_about_it_refused() {
    let mut packet = [0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7, 0, 0, 3];
    assert_eq!(
        RtpPacket::parse(&packet).expect("no padding bit").payload(),
        [7, 0, 0, 3]
    );
    packet[0] |= 0x20;
    let view = RtpPacket::parse(&packet).expect("three of four are padding");
    assert_eq!((view.payload(), view.padding_len()), (&[7][..], 3));
    for (count, allowed) in [(0, false), (4, true), (5, false), (255, false)] {
        packet[15] = count;
        assert_eq!(RtpPacket::parse(&packet).is_ok(), allowed, "{count}");
    }
    assert_eq!(
        RtpPacket::parse(&packet[..12]).map(|_| ()),
        Err(RtpError::Padding)
    );
}

#[test]
fn extension_elements_end_at_id_15_and_at_the_block() {
    let one = |block: &'static [u8]| Extensions::new(0xBEDE, block).collect::<Vec<_>>();
    assert_eq!(one(&[0x10, 1, 0xF0, 2, 0x20, 3]), [(1, &[1][..])]);
    assert_eq!(one(&[0x10, 1, 0x23, 3]), [(1, &[1][..])]);
    assert_eq!(one(&[0, 0, 0x10, 1]), [(1, &[1][..])]);
    let two = |block: &'static [u8]| Extensions::new(0x100F, block).collect::<Vec<_>>();
    assert_eq!(
        two(&[1, 0, 0, 200, 2, 8, 9, 3]),
        [(1, &[][..]), (200, &[8, 9][..])]
    );
    assert_eq!(two(&[1, 4, 8, 9]), []);
    assert!(Extensions::new(0x1234, &[0x10, 1]).next().is_none());
}

#[test]
fn a_header_with_an_impossible_extension_is_not_written() {
    let fields = HeaderFields::default();
    let mut out = [0; 512];
    assert_eq!(write_header(&fields, None, &[(0, &[1])], &mut out), None);
    assert_eq!(write_header(&fields, None, &[(1, &[0; 256])], &mut out), None);
    assert_eq!(
        write_header(&fields, None, &[(1, &[0; 255])], &mut out),
        Some(12 + 4 + 260)
    );
    assert_eq!(
        write_header(&fields, None, &[(15, &[0; 4])], &mut out),
        Some(12 + 4 + 8)
    );
    assert_eq!(write_header(&fields, Some(1), &[], &mut out[..15]), None);
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..80), as_rtp: bool) {
        if let (true, Some(first)) = (as_rtp, bytes.first_mut()) {
            *first = *first & 0x3F | 0x80;
        }
        if let Ok(packet) = RtpPacket::parse(&bytes) {
            prop_assert_eq!(packet.header_len() + packet.payload().len() + usize::from(packet.padding_len()), bytes.len());
            prop_assert!(packet.csrcs().count() <= 15);
            prop_assert!(packet.extensions().map(|(_, value)| value.len()).sum::<usize>() <= bytes.len());
            for id in 0..=255 {
                prop_assert_eq!(packet.extension(id), packet.extensions().find(|e| e.0 == id).map(|e| e.1));
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        fields in (any::<bool>(), 0..128_u8, any::<u16>(), any::<u32>(), any::<u32>()),
        csrc: Option<u32>,
        extensions in proptest::collection::btree_map(1..=255_u8, proptest::collection::vec(any::<u8>(), 0..40), 0..6),
        short in any::<bool>(),
        payload in proptest::collection::vec(any::<u8>(), 0..20),
        padding in 0..=255_u8,
    ) {
        let (marker, payload_type, sequence, timestamp, ssrc) = fields;
        let fields = HeaderFields { marker, padding: padding > 0, payload_type, sequence, timestamp, ssrc };
        let extensions: Vec<_> = extensions.into_iter()
            .filter(|(id, value)| !short || (*id < 15 && (1..=16).contains(&value.len()))).collect();
        let borrowed: Vec<(u8, &[u8])> = extensions.iter().map(|(id, value)| (*id, &value[..])).collect();
        let mut out = vec![0xAA; 600];
        let len = write_header(&fields, csrc, &borrowed, &mut out).expect("600 bytes are enough");
        prop_assert!((0..len).all(|short| write_header(&fields, csrc, &borrowed, &mut vec![0; short]).is_none()));
        out.truncate(len);
        out.extend(&payload);
        out.extend(std::iter::repeat_n(padding, padding.into()));
        let packet = RtpPacket::parse(&out).expect("own packet");
        prop_assert_eq!(packet.marker(), marker);
        prop_assert_eq!(packet.payload_type(), payload_type);
        prop_assert_eq!((packet.sequence(), packet.timestamp(), packet.ssrc()), (sequence, timestamp, ssrc));
        prop_assert_eq!(packet.csrcs().next(), csrc);
        prop_assert_eq!(packet.extensions().collect::<Vec<_>>(), borrowed);
        prop_assert_eq!(packet.payload(), payload);
        prop_assert_eq!((packet.header_len(), packet.padding_len()), (len, padding));
    }
}
