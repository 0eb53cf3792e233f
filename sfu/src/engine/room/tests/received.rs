//! What a receiver wrote down, and what a decoder relies on in it.

use std::collections::BTreeSet;

use super::{
    super::{super::packet::Purpose, *},
    terms::RED,
};
use crate::engine::id::SlotId;
use crate::wire::{
    codec::vp8,
    ext::{self, PlayoutDelay},
    red::{self, Red},
};

/// Packets that have no place in a slot: slot, source, layer, number.
pub(super) type Lost = BTreeSet<(SlotId, SourceNumber, u8, u16)>;

/// A packet that a receiver got.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) to: u32,
    pub(super) at: Instant,
    pub(super) slot: SlotId,
    pub(super) purpose: Purpose,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    /// Former packets that came with it, time and payload.
    pub(super) redundant: Vec<(u32, Vec<u8>)>,
    pub(super) wire_sequence: u16,
    pub(super) time: u32,
    pub(super) source: SourceNumber,
    pub(super) transport: Option<u16>,
    pub(super) playout: Option<PlayoutDelay>,
    pub(super) original: Option<u16>,
    pub(super) payload: Vec<u8>,
    pub(super) bytes: Vec<u8>,
    pub(super) picture: Option<u16>,
    pub(super) key_start: bool,
    /// As the sender made it: layer, number, picture.
    pub(super) layer: u8,
    pub(super) sequence_in: u16,
    pub(super) picture_in: u16,
}

impl Received {
    pub(super) fn read(at: Instant, forward: &Forward, bytes: &[u8]) -> Self {
        let packet = RtpPacket::parse(bytes).unwrap();
        let header = &forward.header;
        assert_eq!(
            (packet.sequence(), packet.timestamp()),
            (header.sequence, header.timestamp)
        );
        let (original, payload) = match header.original_sequence {
            Some(_) => {
                let (number, payload) = packet.payload().split_first_chunk::<2>().unwrap();
                (Some(u16::from_be_bytes(*number)), payload)
            }
            None => (None, packet.payload()),
        };
        let red = (packet.payload_type() == RED).then(|| Red::parse(payload).unwrap());
        let payload = red.map_or(payload, |red| red.primary().payload);
        let former = |b: &red::Block<'_>| {
            (
                packet.timestamp().wrapping_sub(b.offset.into()),
                b.payload.to_vec(),
            )
        };
        let redundant = red.map_or_else(Vec::new, |red| red.redundant().iter().map(former).collect());
        let descriptor = vp8::Descriptor::parse(payload).filter(|_| forward.slot.kind == MediaKind::Video);
        let tail = |from_end: usize| payload[payload.len() - from_end];
        let number = |from_end| u16::from_be_bytes([tail(from_end), tail(from_end - 1)]);
        let video = descriptor.is_some();
        let mid = packet.extension(4).unwrap();
        assert_eq!(mid, forward.slot.to_string().as_bytes());
        Self {
            to: forward.to.0,
            at,
            slot: forward.slot,
            purpose: forward.purpose,
            ssrc: packet.ssrc(),
            payload_type: packet.payload_type(),
            marker: packet.marker(),
            redundant,
            wire_sequence: packet.sequence(),
            time: packet.timestamp(),
            source: SourceNumber::try_from(packet.csrcs().next().unwrap()).unwrap(),
            transport: packet.extension(3).and_then(ext::transport_sequence),
            playout: packet.extension(6).and_then(PlayoutDelay::read),
            original,
            payload: payload.to_vec(),
            bytes: bytes.to_vec(),
            picture: descriptor.and_then(|d| d.picture_id).map(|id| id.get()),
            key_start: video && tail(5) == 1,
            layer: if video { tail(7) } else { 0 },
            sequence_in: if video {
                number(4)
            } else {
                u16::from_be_bytes([payload[1], payload[2]])
            },
            picture_in: if video { number(2) } else { 0 },
        }
    }
}

/// What a decoder relies on, for each slot of one receiver.
pub(super) fn check_continuity(received: Vec<Received>, lost: &Lost) {
    let slots: BTreeSet<SlotId> = received.iter().map(|r| r.slot).collect();
    for slot in slots {
        let packets: Vec<&Received> = received.iter().filter(|r| r.slot == slot).collect();
        check_slot(&packets, slot.kind == MediaKind::Video, lost);
    }
}

fn check_slot(packets: &[&Received], video: bool, lost: &Lost) {
    let mut reference = 1u64 << 20 | u64::from(packets[0].wire_sequence);
    let mut ordered: Vec<(u64, &Received)> = Vec::new();
    for packet in packets {
        let distance = packet.wire_sequence.wrapping_sub(reference as u16).cast_signed();
        reference = reference.wrapping_add_signed(distance.into());
        ordered.push((reference, packet));
    }
    ordered.sort_by_key(|(sequence, _)| *sequence);
    assert!(
        !video || ordered[0].1.key_start,
        "the first stretch begins with a key frame"
    );
    for pair in ordered.windows(2) {
        let ((number_a, a), (number_b, b)) = (pair[0], pair[1]);
        assert!(number_a < number_b, "a number twice: {a:?} {b:?}");
        let step = b.time.wrapping_sub(a.time).cast_signed();
        // A slot that came back to a source may be served with the very key frame that it showed before.
        let again = b.key_start && b.sequence_in.wrapping_sub(a.sequence_in).cast_signed() <= 0;
        let same_stream = (a.source, a.layer) == (b.source, b.layer) && !again;
        if same_stream && !b.key_start {
            let gap = number_b - number_a;
            assert_eq!(
                gap,
                u64::from(b.sequence_in.wrapping_sub(a.sequence_in)),
                "a hole: {a:?} {b:?}"
            );
            for missing in 1..gap {
                let number = a.sequence_in.wrapping_add(missing as u16);
                // What came late may have its place in a later stretch, that began again with the same key frame.
                let later = |r: &&Received| (r.source, r.layer, r.sequence_in) == (a.source, a.layer, number);
                assert!(
                    lost.contains(&(a.slot, a.source, a.layer, number)) || packets.iter().any(later),
                    "not forwarded: {number} of {a:?}"
                );
            }
        }
        if !video {
            assert!(step > 0, "time stands still or goes back: {a:?} {b:?}");
            continue;
        }
        assert!(
            same_stream || b.key_start,
            "a stretch without a key frame: {a:?} {b:?}"
        );
        if !same_stream {
            assert_eq!(number_b, number_a + 1, "a hole at a switch");
        }
        let same_picture = same_stream && a.picture_in == b.picture_in;
        assert_eq!(step == 0, same_picture, "{a:?} {b:?}");
        assert!(step >= 0, "time goes back: {a:?} {b:?}");
        let pictures = b.picture.unwrap().wrapping_sub(a.picture.unwrap()) & 0x7fff;
        let expected = if same_stream {
            b.picture_in.wrapping_sub(a.picture_in) & 0x7fff
        } else {
            1
        };
        assert!(
            pictures == expected || (b.key_start && pictures == 1),
            "picture ids: {a:?} {b:?}"
        );
    }
}
