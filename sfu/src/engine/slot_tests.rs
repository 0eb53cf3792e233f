//! Slots under loss, reordering, duplicates, switches and changes of the temporal layer.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{
    super::{
        arrival::{Picture, PictureId, Spatial},
        history::PacketRef,
        rewriter::Original,
        selector::ALL_TEMPORAL,
        testing::ms,
    },
    *,
};

const VP8: u8 = 96;

fn source() -> SourceNumber {
    SourceNumber::try_from(9).expect("in range")
}

fn slot() -> Slot {
    let negotiated = NegotiatedSlot {
        dependency: None,
        slot: SlotId::video(0),
        mid: ShortId::new(b"v0").expect("short"),
        ssrc: Ssrc(1),
        rtx_ssrc: Some(Ssrc(2)),
        payloads: vec![PayloadType {
            codec: Codec::Vp8,
            media: VP8,
            rtx: Some(97),
        }],
        red: None,
    };
    let origin = StreamOrigin {
        sequence: 32_000,
        picture_id: 0x7ff0,
        tl0_pic_idx: 250,
        ..StreamOrigin::default()
    };
    Slot::new(&negotiated, &ExtensionIds::default(), origin)
}

fn target(layer: u8, temporal: u8) -> Option<Target> {
    Some(Target {
        source: source(),
        layer: Some(layer),
        temporal,
    })
}

/// Temporal layer and layer sync of eight pictures, as browsers send three layers.
const PATTERN: [(u8, bool); 8] = [
    (0, false),
    (2, true),
    (1, true),
    (2, false),
    (0, false),
    (2, false),
    (1, false),
    (2, false),
];

/// A packet of the sender, and where it stands.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Its picture, counted over all layers.
    picture: u64,
    temporal: u8,
    sync: bool,
    key: bool,
    packet: SourcePacket,
}

/// What a simulcast layer sends: `sizes` packets of each picture, a key frame every `key_every`.
fn send(layer: u8, sizes: &[u64], key_every: usize) -> Vec<Sent> {
    let mut packets = Vec::new();
    let (mut sequence, mut tl0) = (Seq::first(65_500 * u16::from(layer)).0, 7u8);
    for (n, &size) in sizes.iter().enumerate() {
        let key = n % key_every == 0;
        let (temporal, sync) = PATTERN[n % key_every % 8];
        if temporal == 0 {
            tl0 = tl0.wrapping_add(1);
        }
        for at in 0..size {
            let video = Picture {
                starts_picture: at == 0,
                key_frame: key && at == 0,
                picture_id: Some(PictureId {
                    value: (n as u16 + 300 * u16::from(layer)) & 0x7fff,
                    wide: true,
                }),
                tl0_pic_idx: Some(tl0),
                temporal: Some(temporal),
                layer_sync: sync,
                ..Picture::default()
            };
            let packet = SourcePacket {
                of: LayerStream {
                    source: source(),
                    layer,
                    stream: layer.into(),
                },
                sequence: Seq(sequence),
                at: PacketRef {
                    history: layer.into(),
                    position: sequence,
                },
                size: 1_000,
                original: Original {
                    frame: None,
                    timestamp: RtpTime((1 << 32) + n as u64 * 3_000),
                    capture: ms(n as u64 * 33),
                    marker: at + 1 == size,
                    lasts: 0,
                    codec: Codec::Vp8,
                    video: Some(video),
                },
                resumes: false,
            };
            packets.push(Sent {
                picture: n as u64,
                temporal,
                sync,
                key,
                packet,
            });
            sequence += 1;
        }
    }
    packets
}

fn ids(numbered: &Numbered) -> (u16, u8) {
    match numbered.patch {
        PayloadPatch::Vp8 {
            picture_id: Some(id),
            tl0_pic_idx: Some(index),
        } => (id, index),
        other => panic!("{other:?}"),
    }
}

/// What went out, in the order of sending.
#[derive(Debug, Clone, Copy)]
struct Out {
    sent: Sent,
    numbered: Numbered,
    stretch: usize,
}

/// Offers packets in the order given; `targets` takes effect before the packet with that index. After a switch what
/// arrived before its place follows, as a room does it.
fn play(packets: &[Sent], targets: &BTreeMap<usize, (u8, u8)>) -> Vec<Out> {
    let mut slot = slot();
    slot.set_target(super::super::testing::base(), target(0, ALL_TEMPORAL));
    let (mut out, mut stretch) = (Vec::new(), 0);
    for (n, sent) in packets.iter().enumerate() {
        if let Some(&(layer, temporal)) = targets.get(&n) {
            slot.set_target(super::super::testing::base(), target(layer, temporal));
        }
        let of = |p: &&Sent| p.packet.of == sent.packet.of && p.packet.sequence > sent.packet.sequence;
        let mut offers = vec![*sent];
        let mut behind: Vec<Sent> = packets[..n].iter().filter(of).copied().collect();
        behind.sort_by_key(|p| p.packet.sequence);
        while let Some(sent) = offers.pop() {
            let numbered = match slot.offer(&sent.packet) {
                Offered::Sent(numbered) => numbered,
                Offered::Switched(numbered) => {
                    stretch += 1;
                    offers.extend(behind.drain(..).rev());
                    numbered
                }
                Offered::NotShown | Offered::Held | Offered::Skipped(_) => continue,
                Offered::Foreign => panic!("of the source it shows"),
            };
            out.push(Out {
                sent,
                numbered,
                stretch,
            });
        }
    }
    out
}

#[test]
fn half_the_pictures_go_and_no_number_is_missing() {
    let packets = send(0, &[3; 40], 1_000);
    let whole = play(&packets, &BTreeMap::new());
    assert_eq!(whole.len(), 120);
    for (temporal, pictures) in [(0, 10), (1, 20)] {
        let out = play(&packets, &BTreeMap::from([(0, (0, temporal))]));
        assert_eq!(out.len(), pictures * 3);
        for (n, pair) in out.windows(2).enumerate() {
            let (a, b) = (pair[0], pair[1]);
            assert_eq!(b.numbered.sequence.0 - a.numbered.sequence.0, 1);
            let step = u16::from((n + 1) % 3 == 0);
            let (before, after) = (ids(&a.numbered), ids(&b.numbered));
            assert_eq!(after.0.wrapping_sub(before.0) & 0x7fff, step, "picture id at {n}");
            let base = u8::from(step == 1 && b.sent.temporal == 0);
            assert_eq!(after.1.wrapping_sub(before.1), base, "TL0PICIDX at {n}");
        }
    }
}

#[test]
fn the_rate_comes_back_at_a_layer_sync() {
    let packets = send(0, &[1; 40], 1_000);
    let out = play(&packets, &BTreeMap::from([(8, (0, 0)), (20, (0, ALL_TEMPORAL))]));
    let pictures: Vec<u64> = out.iter().map(|o| o.sent.picture).collect();
    let expected: Vec<u64> = (0..8)
        .chain([8, 12, 16, 20, 24, 26, 28, 30, 32])
        .chain(33..40)
        .collect();
    assert_eq!(pictures, expected);
}

#[test]
fn pictures_left_out_while_too_much_waits_end_with_a_key_frame_that_is_told_again() {
    let mut slot = slot();
    slot.set_target(super::super::testing::base(), target(0, ALL_TEMPORAL));
    let packets = send(0, &[1; 12], 8);
    let mut told = Vec::new();
    for (n, sent) in packets.iter().enumerate() {
        let offered = if n == 4 {
            slot.hold(&sent.packet)
        } else {
            slot.offer(&sent.packet)
        };
        match offered {
            Offered::Switched(numbered) => told.push((n, slot.tell(&numbered).is_some())),
            Offered::Sent(_) => assert!(!(4..8).contains(&n), "{n} needs what was left out"),
            Offered::Held => assert_eq!(n, 4),
            _ => assert!((5..8).contains(&n), "{n}"),
        }
    }
    assert_eq!(told, [(0, true), (8, true)]);
}

/// Pictures of 24 that pass where some begin while too much waits.
fn passed_but(held: &[u64], disposable: bool) -> Vec<u64> {
    let mut slot = slot();
    slot.set_target(super::super::testing::base(), target(0, ALL_TEMPORAL));
    let mut out = Vec::new();
    for mut sent in send(0, &[2; 24], 1_000) {
        let video = sent.packet.original.video.as_mut().expect("of a picture");
        video.disposable = disposable && sent.temporal == 2;
        let offered = if held.contains(&sent.picture) {
            slot.hold(&sent.packet)
        } else {
            slot.offer(&sent.packet)
        };
        match offered {
            Offered::Sent(numbered) | Offered::Switched(numbered) => out.push(Out {
                sent,
                numbered,
                stretch: 1,
            }),
            other => assert_eq!(other, Offered::NotShown, "{}", sent.picture),
        }
        assert!(!slot.waits_for(source(), |_| Some(0)), "no key frame is needed");
    }
    for pair in out.windows(2) {
        let (a, b) = (pair[0].numbered, pair[1].numbered);
        assert_eq!(b.sequence.0 - a.sequence.0, 1, "no number is missing");
        let step = ids(&b).0.wrapping_sub(ids(&a).0) & 0x7fff;
        assert_eq!(step, u16::from(pair[0].sent.picture != pair[1].sent.picture));
    }
    if !disposable {
        decodable(&out).expect("nothing that passed leans on what did not");
    }
    let mut pictures: Vec<u64> = out.iter().map(|o| o.sent.picture).collect();
    pictures.dedup();
    pictures
}

#[test]
fn a_picture_of_a_higher_temporal_layer_that_finds_no_room_costs_no_key_frame() {
    let without = |left: &[u64]| -> Vec<u64> { (0..24).filter(|picture| !left.contains(picture)).collect() };
    assert_eq!(passed_but(&[5], false), without(&[5, 7]), "until the next sync");
    assert_eq!(passed_but(&[5, 6, 7], false), without(&[5, 6, 7, 9, 11, 13, 15]));
    assert_eq!(passed_but(&[14], false), without(&[14, 15, 17, 19, 21, 23]));
    assert_eq!(passed_but(&[5], true), without(&[5]), "nothing leans on it");
}

#[test]
fn a_lost_packet_keeps_its_number_and_comes_back_to_it() {
    let mut packets = send(0, &[2; 12], 1_000);
    let late = packets.remove(9); // the second packet of picture 4, a base picture
    packets.insert(16, late); // after the first of picture 8
    let numbers = |temporal| -> Vec<u64> {
        let out = play(&packets, &BTreeMap::from([(0, (0, temporal))]));
        out.iter()
            .map(|o| o.numbered.sequence.0 - (1 << 16) - 32_000)
            .collect()
    };
    assert_eq!(numbers(0), [0, 1, 2, 4, 3, 5]);
    assert_eq!(numbers(1), [0, 1, 2, 3, 4, 6, 7, 8, 5, 9, 10, 11]);
}

proptest! {
    /// Whatever is lost, doubled or overtaken, and whatever is wanted meanwhile.
    #[test]
    fn a_slot_has_no_number_twice_and_no_invented_gap(
        sizes in prop::collection::vec(1u64..4, 20..80),
        key_every in 10usize..60,
        fates in prop::collection::vec((0u8..20, 0usize..12), 320),
        targets in prop::collection::btree_map(0usize..320, (0u8..2, 0u8..4), 0..12),
        losses in any::<bool>(),
    ) {
        let (low, high) = (send(0, &sizes, key_every), send(1, &sizes, key_every));
        let (mut arrivals, mut in_time) = (Vec::new(), BTreeSet::new());
        let mut order: Vec<Sent> = low.into_iter().chain(high).collect();
        order.sort_by_key(|sent| sent.picture);
        for (n, sent) in order.iter().enumerate() {
            let (fate, late) = fates[n % fates.len()];
            match fate {
                0 if losses => {}
                1 if losses => arrivals.push((n + late, *sent)),
                2 if losses => arrivals.extend([(n, *sent), (n + late, *sent)]),
                _ => arrivals.push((n, *sent)),
            }
            if !losses || fate > 1 {
                in_time.insert((sent.packet.of.layer, sent.packet.sequence));
            }
        }
        arrivals.sort_by_key(|(place, _)| *place);
        // The uplink lets nothing in twice.
        let mut seen = BTreeSet::new();
        arrivals.retain(|(_, sent)| seen.insert((sent.packet.of.layer, sent.packet.sequence)));
        let arrivals: Vec<Sent> = arrivals.into_iter().map(|(_, sent)| sent).collect();

        let mut out = play(&arrivals, &targets);
        if !losses {
            prop_assert!(out.windows(2).all(|w| w[1].numbered.sequence.0 == w[0].numbered.sequence.0 + 1));
            decodable(&out)?;
        }
        out.sort_by_key(|o| o.numbered.sequence);
        for pair in out.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (from, to) = (a.sent.packet.sequence.0, b.sent.packet.sequence.0);
            prop_assert!(a.numbered.sequence < b.numbered.sequence, "a number twice");
            prop_assert!(a.stretch <= b.stretch, "a packet of a former stretch among those of the next");
            if a.stretch != b.stretch {
                prop_assert_eq!(b.numbered.sequence.0, a.numbered.sequence.0 + 1);
                continue;
            }
            prop_assert!(from < to, "out of order in its stretch");
            let layer = a.sent.packet.of.layer;
            let missing = (from + 1..to).filter(|n| !in_time.contains(&(layer, Seq(*n)))).count() as u64;
            prop_assert!(b.numbered.sequence.0 - a.numbered.sequence.0 - 1 <= missing, "an invented gap");
            let step = ids(&b.numbered).0.wrapping_sub(ids(&a.numbered).0) & 0x7fff;
            prop_assert_eq!(step == 0, a.sent.picture == b.sent.picture);
            if missing == 0 {
                prop_assert!(step <= 1, "an invented gap of picture ids");
            }
        }
    }
}

/// Nothing that passed leans on what did not: each picture on the newest of every lower layer and, without layer sync,
/// on the newest of its own.
fn decodable(out: &[Out]) -> Result<(), TestCaseError> {
    let passed: BTreeSet<(usize, u64)> = out.iter().map(|o| (o.stretch, o.sent.picture)).collect();
    for o in out.iter().filter(|o| !o.sent.key) {
        let first = out
            .iter()
            .filter(|p| p.stretch == o.stretch && p.sent.key && p.sent.picture <= o.sent.picture)
            .map(|p| p.sent.picture)
            .next_back()
            .expect("a stretch begins with a key frame");
        let highest = if o.sent.sync { 0 } else { o.sent.temporal };
        for layer in 0..=highest {
            let leans_on = (first..o.sent.picture)
                .rev()
                .find(|&p| PATTERN[((p - first) % 8) as usize].0 == layer);
            if let Some(picture) = leans_on {
                prop_assert!(
                    passed.contains(&(o.stretch, picture)),
                    "{} leans on {picture}",
                    o.sent.picture
                );
            }
        }
    }
    Ok(())
}

/// A VP9 stream of three spatial layers, each frame of two packets; a key picture every `key_every`.
fn spatial(pictures: u64, key_every: u64) -> Vec<SourcePacket> {
    let mut packets = Vec::new();
    for n in 0..pictures {
        for (layer, part) in (0..3u8).flat_map(|layer| [(layer, 0), (layer, 1)]) {
            let key = n % key_every == 0;
            let sequence = Seq((1 << 16) + packets.len() as u64);
            let video = Picture {
                starts_picture: layer == 0 && part == 0,
                key_frame: key && layer == 0 && part == 0,
                picture_id: Some(PictureId {
                    value: 40 + n as u16,
                    wide: true,
                }),
                spatial: Some(Spatial {
                    layer,
                    stands_alone: key && part == 0,
                    ends_frame: part == 1,
                }),
                ..Picture::default()
            };
            let mut packet = send(0, &[1], 1)[0].packet;
            (packet.sequence, packet.at.position) = (sequence, sequence.0);
            packet.original = Original {
                frame: None,
                timestamp: RtpTime((1 << 32) + n * 3_000),
                capture: ms(n * 33),
                marker: layer == 2 && part == 1,
                lasts: 0,
                codec: Codec::Vp9,
                video: Some(video),
            };
            packets.push(packet);
        }
    }
    packets
}

#[test]
fn spatial_layers_above_the_wanted_leave_no_gap_and_the_last_packet_is_marked() {
    let mut slot = slot();
    slot.payloads.0[1] = Some(PayloadType {
        codec: Codec::Vp9,
        media: 98,
        rtx: Some(99),
    });
    // Highest layer wanted from each picture on, and what comes of it: up only at the key picture 8.
    let wanted = [2, 2, 1, 1, 0, 2, 2, 2, 2, 2];
    let shown = [2, 2, 1, 1, 0, 0, 0, 0, 2, 2];
    let mut out: Vec<Numbered> = Vec::new();
    for packet in spatial(10, 8) {
        let picture = ((packet.original.timestamp.0 - (1 << 32)) / 3_000) as usize;
        slot.set_target(
            super::super::testing::base(),
            target(wanted[picture], ALL_TEMPORAL),
        );
        if let Offered::Sent(numbered) | Offered::Switched(numbered) = slot.offer(&packet) {
            assert_eq!(slot.layer(), Some(shown[picture]));
            assert_eq!(
                slot.waits_for(source(), |_| Some(0)),
                wanted[picture] > shown[picture]
            );
            out.push(numbered);
        }
    }
    let first = out[0].sequence.0;
    let packets: Vec<usize> = shown.iter().map(|&layer| (usize::from(layer) + 1) * 2).collect();
    assert_eq!(out.len(), packets.iter().sum::<usize>());
    let mut at = 0;
    for (picture, count) in packets.into_iter().enumerate() {
        for n in 0..count {
            let numbered = &out[at];
            assert_eq!(numbered.sequence.0, first + at as u64);
            assert_eq!(numbered.marker, n + 1 == count, "picture {picture}, packet {n}");
            let PayloadPatch::Vp9 { picture_id, .. } = numbered.patch else {
                panic!("{numbered:?}");
            };
            assert_eq!(picture_id, Some((0x7ff0 + picture as u16) & 0x7fff));
            at += 1;
        }
    }
}

#[test]
fn a_codec_changes_at_a_key_frame_and_never_to_one_that_is_not_taken() {
    let mut slot = slot();
    slot.payloads.0[1] = Some(PayloadType {
        codec: Codec::H264,
        media: 102,
        rtx: Some(103),
    });
    assert!(slot.takes(Codec::H264) && slot.takes(Codec::Vp8) && !slot.takes(Codec::Vp9));
    slot.set_target(super::super::testing::base(), target(0, ALL_TEMPORAL));
    let packets = send(0, &[1; 12], 4);
    let mut out = Vec::new();
    for (n, mut packet) in packets.into_iter().map(|sent| sent.packet).enumerate() {
        // Picture 2 is the first of another codec, picture 4 its first key frame; picture 8 is one nobody takes.
        packet.original.codec = match n {
            0..2 => Codec::Vp8,
            2..8 => Codec::H264,
            _ => Codec::Vp9,
        };
        match slot.offer(&packet) {
            Offered::Sent(numbered) | Offered::Switched(numbered) => {
                out.push((n, numbered.payload_type, numbered.sequence.wire()));
            }
            Offered::Skipped(reason) => assert_eq!((n >= 8, reason), (true, Reason::Codec)),
            _ => assert!((2..4).contains(&n) || n > 8),
        }
    }
    let expected: Vec<_> = [(0, 96), (1, 96), (4, 102), (5, 102), (6, 102), (7, 102)]
        .into_iter()
        .zip(32_000..)
        .map(|((n, payload_type), number)| (n, payload_type, number))
        .collect();
    assert_eq!(out, expected);
}
