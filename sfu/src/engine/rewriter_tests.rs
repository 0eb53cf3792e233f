use proptest::prelude::*;

use super::{
    super::{arrival::PictureId, descriptor::tests::frame, testing::ms},
    *,
};

const ORIGIN: StreamOrigin = StreamOrigin {
    sequence: 65_530,
    rtx_sequence: 0,
    timestamp: u32::MAX - 1_000,
    picture_id: 0x7ffe,
    tl0_pic_idx: 254,
};

fn picture(time: u64, capture_ms: u64, id: u16) -> Original {
    let picture_id = Some(PictureId {
        value: id & 0x7fff,
        wide: true,
    });
    Original {
        frame: None,
        timestamp: RtpTime(time),
        capture: ms(capture_ms),
        marker: false,
        lasts: 0,
        codec: Codec::Vp8,
        video: Some(Picture {
            picture_id,
            tl0_pic_idx: Some(id as u8),
            ..Picture::default()
        }),
    }
}

fn sound(time: u64, capture_ms: u64) -> Original {
    Original {
        frame: None,
        timestamp: RtpTime(time),
        capture: ms(capture_ms),
        marker: false,
        lasts: 960,
        codec: Codec::Opus,
        video: None,
    }
}

fn ids(rewritten: Rewritten) -> (u16, u8) {
    match rewritten.patch {
        PayloadPatch::Vp8 {
            picture_id: Some(id),
            tl0_pic_idx: Some(index),
        } => (id, index),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_switch_goes_on_where_the_former_stretch_ended() {
    let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, ORIGIN);
    let a = rewriter.begin(Seq(100), &picture(1_000, 0, 7)).unwrap();
    assert_eq!((a.sequence.wire(), ids(a)), (65_530, (0x7ffe, 254)));
    let b = rewriter.follow(Seq(103), &picture(4_000, 33, 9)).unwrap();
    assert_eq!((b.sequence.wire(), ids(b)), (65_533, (0, 0)));
    let c = rewriter.begin(Seq(5), &picture(9, 40, 500)).unwrap();
    assert_eq!((c.sequence.wire(), ids(c)), (65_534, (1, 1)));
    assert_eq!(c.timestamp.wire().wrapping_sub(a.timestamp.wire()), 40 * 90);
    assert_eq!(
        rewriter.follow(Seq(4), &picture(9, 40, 500)),
        Err(Skip::BeforeStretch)
    );
    assert_eq!(rewriter.follow(Seq(5_000), &picture(9, 40, 500)), Err(Skip::Jump));
}

#[test]
fn a_source_that_is_behind_does_not_turn_time_back() {
    let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, ORIGIN);
    let a = rewriter.begin(Seq(1), &picture(0, 500, 0)).unwrap();
    let b = rewriter.begin(Seq(1), &picture(0, 400, 0)).unwrap();
    let c = rewriter.follow(Seq(2), &picture(3_000, 433, 1)).unwrap();
    let d = rewriter.follow(Seq(3), &picture(12_000, 533, 2)).unwrap();
    assert_eq!([b, c].map(|r| r.timestamp.0 - a.timestamp.0), [90, 180]);
    assert_eq!(d.timestamp.0 - a.timestamp.0, 33 * 90);
}

#[test]
fn a_late_picture_gets_a_time_between_its_neighbours_and_a_late_packet_that_of_its_picture() {
    let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, ORIGIN);
    let a = rewriter.begin(Seq(1), &picture(0, 0, 0)).unwrap();
    let c = rewriter.follow(Seq(5), &picture(6_000, 66, 2)).unwrap();
    let b = rewriter.follow(Seq(3), &picture(3_000, 66, 1)).unwrap(); // a capture that must not be believed
    let b2 = rewriter.follow(Seq(4), &picture(3_000, 66, 1)).unwrap();
    let a2 = rewriter.follow(Seq(2), &picture(0, 66, 0)).unwrap();
    assert!(a.timestamp < b.timestamp && b.timestamp < c.timestamp);
    assert_eq!((b2.timestamp, a2.timestamp), (b.timestamp, a.timestamp));
    assert_eq!([a2, b, b2, c].map(|r| r.sequence.0 - a.sequence.0), [1, 2, 3, 4]);
}

#[test]
fn sound_keeps_its_ticks_and_a_pause_brings_it_back_onto_the_line() {
    let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
    let first = rewriter.begin(Seq(1), &sound(0, 100)).unwrap();
    for n in 1..100u64 {
        // The capture creeps: one millisecond in a hundred packets.
        let out = rewriter
            .follow(Seq(1 + n), &sound(n * 960, 100 + n * 20 + n / 100))
            .unwrap();
        assert_eq!(out.timestamp.0 - first.timestamp.0, n * 960);
    }
    let after = rewriter
        .follow(Seq(101), &sound(100 * 960 + 48_000, 100 + 3_010))
        .unwrap();
    assert_eq!(after.timestamp.0 - first.timestamp.0, 3_010 * 48);
    assert_eq!(rewriter.time_at(ms(3_110)).0, after.timestamp.0);
    assert_eq!(rewriter.follow(Seq(100), &sound(99 * 960, 0)), Err(Skip::TooLate));
}

/// Packet `n` of a voice whose packets last `lasts` ticks and whose captures lie `apart_us` apart.
fn long_sound(n: u64, lasts: u16, apart_us: u64) -> Original {
    Original {
        lasts,
        capture: ms(100) + Duration::from_micros(n * apart_us),
        ..sound(n * u64::from(lasts), 0)
    }
}

#[test]
fn a_marker_on_every_packet_is_no_pause_and_what_was_lost_is_none_either() {
    let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
    let marked = |n| Original {
        marker: true,
        ..long_sound(n, 960, 20_100)
    };
    let first = rewriter.begin(Seq(1), &marked(0)).unwrap();
    // 23 is late, 37 to 41 are lost.
    let order = (1..23).chain([24, 23]).chain(25..37).chain(42..200);
    for n in order {
        let out = rewriter.follow(Seq(1 + n), &marked(n)).unwrap();
        assert_eq!(out.timestamp.0 - first.timestamp.0, n * 960, "{n}");
    }
    // Two packets long, and none is missing.
    let after = Original {
        timestamp: RtpTime(201 * 960),
        capture: ms(100) + ms(201 * 20 + 25),
        ..marked(200)
    };
    let after = rewriter.follow(Seq(201), &after).unwrap();
    assert_eq!(after.timestamp.0 - first.timestamp.0, (201 * 20 + 25) * 48);
}

#[test]
fn sound_that_is_ahead_of_the_line_is_stretched_no_further_and_never_laid_over_itself() {
    for lasts in [480, 960, 2_880, 5_760] {
        let apart_us = u64::from(lasts) * 1_000 / 48;
        let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
        let sound = |n| long_sound(n, lasts, apart_us * 98 / 100);
        let first = rewriter.begin(Seq(1), &sound(0)).unwrap();
        // After 155 packets of 10 ms the captures are 31 ms behind.
        for n in 1..256 {
            let out = rewriter.follow(Seq(1 + n), &sound(n)).unwrap();
            let passed = out.timestamp.0 - first.timestamp.0;
            assert_eq!(passed, n * u64::from(lasts), "{n} of {lasts}");
        }
        // One is left out on the way: its time is made good.
        let next = rewriter.follow(Seq(258), &sound(257)).unwrap();
        assert_eq!(next.timestamp.0 - first.timestamp.0, 256 * u64::from(lasts));
    }
}

#[test]
fn a_voice_after_its_silence_goes_on_by_its_own_ticks_unless_they_parted_from_the_line() {
    let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
    let first = rewriter.begin(Seq(1), &sound(0, 100)).unwrap();
    let second = rewriter.resume(Seq(51), &sound(50 * 960, 1_112)).unwrap();
    assert_eq!(second.sequence.0, first.sequence.0 + 1);
    assert_eq!(second.timestamp.0, first.timestamp.0 + 50 * 960);
    let parted = rewriter.resume(Seq(101), &sound(100 * 960, 2_160)).unwrap();
    assert_eq!(parted.timestamp.0, first.timestamp.0 + 2_060 * 48);
    // A sender that turned its time back begins anew.
    let back = rewriter.resume(Seq(102), &sound(960, 2_500)).unwrap();
    assert_eq!(back.timestamp.0, first.timestamp.0 + 2_400 * 48);
}

#[test]
fn a_new_voice_follows_the_former_one_without_a_gap_or_an_overlap() {
    let begin = |capture| {
        let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
        let last = rewriter.begin(Seq(1), &sound(0, 1_000)).unwrap();
        rewriter
            .begin(Seq(1), &sound(77, capture))
            .map(|r| (r.timestamp.0 - last.timestamp.0) / 48)
    };
    assert_eq!([1_000, 1_015, 1_040].map(begin), [Ok(20); 3]);
    assert_eq!(begin(1_041), Ok(41));
    assert_eq!([999, 820].map(begin), [Err(Skip::Overlap); 2]);
    assert_eq!(begin(500), Ok(20));
}

#[test]
fn a_new_voice_does_not_begin_inside_the_last_packet_of_the_former_one() {
    let begin = |lasts, capture| {
        let mut rewriter = Rewriter::new(MediaKind::Audio, 48_000, ORIGIN);
        let packet = Original {
            lasts,
            ..sound(0, 1_000)
        };
        let last = rewriter.begin(Seq(1), &packet).unwrap();
        rewriter
            .begin(Seq(1), &sound(77, capture))
            .map(|r| (r.timestamp.0 - last.timestamp.0) / 48)
    };
    assert_eq!([1_040, 1_060, 1_080].map(|at| begin(2_880, at)), [Ok(60); 3]);
    assert_eq!(begin(2_880, 1_039), Err(Skip::Overlap));
    assert_eq!(begin(2_880, 1_081), Ok(81));
    assert_eq!([1_000, 1_030].map(|at| begin(480, at)), [Ok(10); 2]);
    assert_eq!(begin(480, 1_031), Ok(31));
}

/// One step of a sender and of the slot that shows it.
#[derive(Debug, Clone)]
enum Step {
    /// A picture of so many packets, so many milliseconds after the last one.
    Picture { packets: u64, after_ms: u64 },
    /// Another stream whose clock lies elsewhere, so much earlier than the node's.
    Switch {
        behind_ms: u64,
        timestamp: u32,
        sequence: u16,
        picture: u16,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picture = (1u64..5, 5u64..200).prop_map(|(packets, after_ms)| Step::Picture { packets, after_ms });
    let switch = (0u64..300, any::<u32>(), any::<u16>(), any::<u16>()).prop_map(
        |(behind_ms, timestamp, sequence, picture)| Step::Switch {
            behind_ms,
            timestamp,
            sequence,
            picture,
        },
    );
    prop::collection::vec(prop_oneof![9 => picture, 1 => switch], 1..80)
}

proptest! {
    /// Loss, reordering within 20 packets, switches at any time: no number twice, no invented hole, time and ids that grow.
    #[test]
    fn numbers_stay_straight(steps in steps(), keep in prop::collection::vec(prop::bool::weighted(0.9), 400), hold in prop::collection::vec(0usize..20, 400)) {
        let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, ORIGIN);
        // (order of sending, stretch, number in stretch, picture of all, packet)
        let (mut sequence, mut time, mut id) = (Seq::first(0).0, RtpTime::first(0).0, 0u16);
        let (mut clock, mut behind, mut stretch, mut serial, mut index) = (1_000u64, 0u64, 0u64, 0u64, 0usize);
        let mut packets = Vec::new();
        for step in steps {
            match step {
                Step::Picture { packets: count, after_ms } => {
                    (clock, time, id, serial) = (clock + after_ms, time + after_ms * 90, id.wrapping_add(1), serial + 1);
                    for _ in 0..count {
                        let first = packets.last().is_none_or(|p: &(usize, u64, u64, u64, Original)| p.1 != stretch);
                        let kept = first || keep[index % 400];
                        let place = if first { index } else { index + hold[index % 400] };
                        if kept {
                            packets.push((place, stretch, sequence, serial, picture(time, clock - behind, id)));
                        }
                        (sequence, index) = (sequence + 1, index + 1);
                    }
                }
                Step::Switch { behind_ms, timestamp, sequence: first, picture } => {
                    (behind, time, sequence, id) = (behind_ms, RtpTime::first(timestamp).0, Seq::first(first).0, picture);
                    (stretch, index) = (stretch + 1, index + 40);
                }
            }
        }
        packets.sort_by_key(|p| p.0);
        let mut sent = Vec::new();
        let mut current = None;
        for (_, stretch, sequence, serial, original) in packets {
            let result = if current == Some(stretch) {
                rewriter.follow(Seq(sequence), &original)
            } else {
                prop_assert!(current.is_none_or(|c| c < stretch));
                current = Some(stretch);
                rewriter.begin(Seq(sequence), &original)
            };
            match result {
                Ok(out) => sent.push((out.sequence, stretch, sequence, serial, out.timestamp, ids(out), original)),
                Err(skip) => prop_assert_eq!(skip, Skip::TooLate),
            }
        }
        sent.sort_by_key(|s| s.0);
        for pair in sent.windows(2) {
            let ((seq_a, stretch_a, in_a, serial_a, time_a, (id_a, _), from_a), (seq_b, stretch_b, in_b, serial_b, time_b, (id_b, _), from_b)) =
                (pair[0], pair[1]);
            prop_assert!(seq_a < seq_b, "a number twice");
            prop_assert_eq!(time_a == time_b, serial_a == serial_b);
            prop_assert!(time_a <= time_b, "time goes back");
            if stretch_a == stretch_b {
                prop_assert_eq!(seq_b.0 - seq_a.0, in_b - in_a, "an invented hole");
                let id_in = |o: Original| o.video.unwrap().picture_id.unwrap().value;
                prop_assert_eq!(id_b.wrapping_sub(id_a) & 0x7fff, id_in(from_b).wrapping_sub(id_in(from_a)) & 0x7fff);
            } else {
                prop_assert_eq!(seq_b.0, seq_a.0 + 1);
                prop_assert_eq!(id_b, (id_a + 1) & 0x7fff);
            }
        }
    }
}

#[test]
fn frame_numbers_keep_their_distances_over_what_is_left_out_and_go_on_over_a_switch() {
    let mut rewriter = Rewriter::new(MediaKind::Video, 90_000, StreamOrigin::default());
    let packet = |n: u64, number: u16| Original {
        codec: Codec::Av1,
        frame: Some(frame(number)),
        ..picture(n * 3_000, n * 33, 0)
    };
    let number = |rewritten: Result<Rewritten, Skip>| rewritten.expect("has a place").frame;
    assert_eq!(number(rewriter.begin(Seq(10), &packet(0, 0xFFFE))), Some(0));
    assert_eq!(number(rewriter.follow(Seq(11), &packet(1, 0xFFFF))), Some(1));
    assert!(rewriter.leave_out(Seq(12), &packet(2, 0)));
    let after = rewriter.follow(Seq(13), &packet(3, 1)).expect("has a place");
    assert_eq!(after.frame, Some(3), "frames name by distance what they lean on");
    assert_eq!(after.sequence.wire(), 2, "while packets leave no gap");
    assert_eq!(number(rewriter.begin(Seq(500), &packet(4, 77))), Some(4));
    assert_eq!(number(rewriter.follow(Seq(501), &packet(5, 80))), Some(7));
}

#[test]
fn what_is_known_of_a_packet_fits_a_cache_line() {
    assert!(size_of::<Original>() <= 64, "{}", size_of::<Original>());
}
