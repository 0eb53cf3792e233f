//! Sound as a receiver gets it: redundancy, silence, who has a slot.

use std::collections::{BTreeMap, BTreeSet};

use super::{super::*, kit::*, received::*, terms::*};
use crate::engine::id::SlotId;
use crate::{
    engine::{
        id::Rank,
        testing::{bursts, ms},
    },
    wire::{
        red::{self, Block},
        rtcp::ReportBlock,
        rtp::HeaderFields,
    },
};

/// Point 1 listens, all microphones but these are off.
fn room(points: u32, on: &[u32]) -> Kit {
    let mut kit = Kit::new(points);
    (1..=points).for_each(|n| switch(&mut kit, n, on.contains(&n)));
    kit
}

fn switch(kit: &mut Kit, number: u32, on: bool) {
    kit.input(Input::Published(EndpointId(number), SourceKind::Mic, on));
}

fn talk(kit: &mut Kit, number: u32, level: u8, packets: usize) {
    for _ in 0..packets {
        kit.voice(number, level);
        kit.advance(20);
    }
}

/// So many packets of voice; each half second point 1 tells that it missed the packets that are named.
fn talk_over(kit: &mut Kit, number: u32, packets: usize, is_lost: impl Fn(usize) -> bool) {
    for start in (0..packets).step_by(25) {
        let before = kit.sent(1).len();
        talk(kit, number, 30, 25.min(packets - start));
        let numbers: Vec<u16> = kit.sent(1)[before..].iter().filter_map(|r| r.transport).collect();
        let arrived = numbers.iter().enumerate().filter(|(i, _)| !is_lost(start + i));
        let arrivals: Vec<(u16, i64)> = arrived.map(|(i, &n)| (n, i as i64 * 80)).collect();
        kit.feedback(1, |builder| {
            let told = builder.transport_feedback(1, audio_ssrc(1), 0, numbers[0], &arrivals);
            assert_eq!(told, Ok(arrivals.len()));
        });
    }
}

/// All that went to `a1` of point 1.
fn slot(kit: &Kit) -> Vec<Received> {
    let sent = kit.sent(1).into_iter();
    sent.filter(|r| r.slot == SlotId::audio(1)).collect()
}

#[test]
fn a_path_that_loses_a_quarter_gets_a_third_copy() {
    let mut kit = room(3, &[2]);
    talk_over(&mut kit, 2, 100, |n| n % 4 == 3);
    let all = slot(&kit);
    let last = all.last().expect("a voice");
    let offsets: Vec<u32> = last
        .redundant
        .iter()
        .map(|(time, _)| last.time.wrapping_sub(*time))
        .collect();
    assert_eq!(offsets, [6_720, 4_800, 2_880]);
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn a_lossy_path_gets_redundancy_of_its_own_packets_and_never_the_former_speaker() {
    let mut kit = room(3, &[2]);
    talk_over(&mut kit, 2, 50, |_| false);
    assert!(slot(&kit).iter().all(|r| r.payload_type == OPUS));
    talk_over(&mut kit, 2, 75, |n| n % 10 == 9);
    let mut begun = Vec::new();
    for number in [3, 2, 3] {
        (2..=3).for_each(|n| switch(&mut kit, n, n == number));
        begun.push(slot(&kit).len());
        talk_over(&mut kit, number, 30, |n| n % 10 == 9);
    }
    let all = slot(&kit);
    let truth: BTreeMap<u32, &[u8]> = all.iter().map(|r| (r.time, &r.payload[..])).collect();
    assert_eq!(truth.len(), all.len());
    for received in &all {
        for (time, payload) in &received.redundant {
            assert_eq!(truth.get(time), Some(&&payload[..]));
            assert_eq!(u32::from(payload[3]), received.source.point().get());
        }
        assert_eq!(received.payload_type == RED, !received.redundant.is_empty());
    }
    for first in begun {
        let counts: Vec<_> = all[first..first + 20].iter().map(|r| r.redundant.len()).collect();
        assert_eq!(counts, [[0; 3].as_slice(), &[1; 2], &[2; 15]].concat());
        let offset = |r: &Received, at: usize| r.time.wrapping_sub(r.redundant[at].0);
        assert_eq!(offset(&all[first + 3], 0), 2_880);
        assert_eq!(
            offset(&all[first + 5], 0),
            4_800,
            "the farther one: nine are not there yet"
        );
        assert_eq!(
            (offset(&all[first + 15], 0), offset(&all[first + 15], 1)),
            (8_640, 2_880)
        );
    }
    // When the path has been calm for ten seconds, plain again.
    talk_over(&mut kit, 3, 700, |_| false);
    assert!(
        slot(&kit)[all.len() + 650..]
            .iter()
            .all(|r| r.payload_type == OPUS)
    );
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn of_thirty_percent_lost_in_bursts_a_receiver_of_redundancy_plays_most() {
    let mut kit = room(2, &[2]);
    talk_over(&mut kit, 2, 75, |n| n % 4 == 3);
    let from = slot(&kit).len();
    talk_over(&mut kit, 2, 1_000, |n| n % 4 == 3);
    let sent = slot(&kit).split_off(from);
    assert!(sent.iter().all(|r| r.payload_type == RED));
    let (mut plain, mut playable, runs) = (0, 0, 20);
    for seed in 0..runs {
        let losses = bursts(sent.len(), seed);
        let arrived: Vec<_> = sent
            .iter()
            .zip(losses)
            .filter(|(_, lost)| !lost)
            .map(|(r, _)| r)
            .collect();
        plain += arrived.len();
        let former = arrived
            .iter()
            .flat_map(|r| r.redundant.iter().map(|(time, _)| *time));
        let times: BTreeSet<u32> = arrived.iter().map(|r| r.time).chain(former).collect();
        playable += sent.iter().filter(|r| times.contains(&r.time)).count();
    }
    let share = |count: usize| count as f64 / (sent.len() * runs as usize) as f64;
    println!(
        "playable: plain {:.3}, with redundancy {:.3}",
        share(plain),
        share(playable)
    );
    assert!(share(plain) < 0.74 && share(playable) > 0.93);
    assert!(sent.iter().all(|r| r.payload.len() + 2 * (4 + 40) < 1_200));
}

/// Point 1 reports that share of what came for its second voice slot as lost, and that number as the highest.
fn report_loss(kit: &mut Kit, fraction_lost: u8, highest_sequence: u32) {
    let block = ReportBlock {
        ssrc: audio_ssrc(1),
        fraction_lost,
        highest_sequence,
        ..ReportBlock::default()
    };
    kit.feedback(1, |builder| {
        builder.receiver_report(1, &[block]).expect("it fits");
    });
}

#[test]
fn who_agreed_upon_feedback_and_sends_none_gets_redundancy_by_its_reports() {
    let mut kit = room(2, &[2]);
    for second in 1..=3 {
        talk(&mut kit, 2, 30, 50);
        report_loss(&mut kit, 51, second * 50);
    }
    let from = slot(&kit).len();
    talk(&mut kit, 2, 30, 50);
    let sent = slot(&kit).split_off(from);
    assert!(sent.iter().all(|r| r.payload_type == RED));
}

#[test]
fn silence_is_not_forwarded_and_leaves_no_hole() {
    let mut kit = room(2, &[2]);
    talk(&mut kit, 2, 30, 50);
    talk(&mut kit, 2, 127, 100);
    talk(&mut kit, 2, 30, 50);
    let sent = slot(&kit);
    assert_eq!((sent.len(), kit.room.stats().silent), (50 + 16 + 50, 84));
    for pair in sent.windows(2) {
        assert_eq!(pair[1].wire_sequence, pair[0].wire_sequence.wrapping_add(1));
    }
    let (last, first) = (&sent[65], &sent[66]);
    assert!(first.marker && !last.marker);
    let real = (first.at - last.at).as_millis() as u32 * 48;
    assert!(
        first.time.wrapping_sub(last.time).abs_diff(real) <= 960,
        "time stays real"
    );
    // A slot that takes up a silent point says so with the first sound.
    assert_eq!(kit.slots(1).len(), 1);
}

#[test]
fn what_the_way_up_lost_comes_back_with_the_next_packet_in_its_place() {
    let mut kit = room(2, &[2]);
    talk(&mut kit, 2, 30, 5);
    let made = |kit: &mut Kit| kit.speak(2, 30);
    let (lost, next) = (made(&mut kit), made(&mut kit));
    let payload = |made: &Made| RtpPacket::parse(&made.bytes).unwrap().payload().to_vec();
    let block = |offset, payload| Block {
        payload_type: OPUS,
        offset,
        payload,
    };
    let mut bytes = [0; 200];
    let length = red::write(
        &[block(960, &payload(&lost))],
        &block(0, &payload(&next)),
        &mut bytes,
    )
    .unwrap();
    let head = RtpPacket::parse(&next.bytes).unwrap();
    let fields = HeaderFields {
        marker: false,
        padding: false,
        payload_type: RED,
        sequence: head.sequence(),
        timestamp: head.timestamp(),
        ssrc: head.ssrc(),
    };
    let bytes = packet(&fields, &[(1, &[0x80 | 30])], &bytes[..length]);
    kit.advance(40);
    kit.arrive(2, &Made { bytes, ..next });
    let sent = slot(&kit);
    assert_eq!(
        sent.iter().map(|r| r.sequence_in).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6, 7]
    );
    assert!(
        sent.windows(2)
            .all(|p| p[1].wire_sequence == p[0].wire_sequence.wrapping_add(1))
    );
    assert!(sent.windows(2).all(|p| p[1].time == p[0].time.wrapping_add(960)));
    assert_eq!(kit.room.stats().uplinks.recovered, 1);
    // Who came too late for that is refused like any other that was seen.
    kit.arrive(2, &lost);
    assert_eq!(slot(&kit).len(), 7);
}

#[test]
fn a_silent_chair_is_given_a_slot_of_the_silent() {
    let mut kit = Kit::new(8);
    kit.join_as(9, Rank::Chair);
    kit.run(50, |kit| (1..=9).for_each(|n| kit.voice(n, 110)));
    assert!(kit.hears(1).contains(&Some(mic(9))));
    kit.run(50, |kit| {
        (2..=8).for_each(|n| kit.voice(n, 25));
        kit.voice(9, 45);
    });
    assert!(
        kit.hears(1).contains(&Some(mic(9))),
        "and keeps it when it speaks, however quietly"
    );
    assert_eq!(kit.now - kit.start, ms(100 * FRAME_MS));
}

#[test]
fn who_has_the_floor_has_a_slot_though_silent_and_the_last_one_on_a_thin_path() {
    let mut kit = Kit::new(9);
    let floor = |kit: &mut Kit, number: Option<u32>| kit.input(Input::Floor(number.map(point)));
    kit.run(50, |kit| (1..=9).for_each(|n| kit.voice(n, 110)));
    assert!(!kit.hears(1).contains(&Some(mic(9))), "six of eight are heard");
    floor(&mut kit, Some(9));
    kit.run(1, |kit| (1..=9).for_each(|n| kit.voice(n, 110)));
    assert!(
        kit.hears(1).contains(&Some(mic(9))),
        "at once, before the first word"
    );
    assert_eq!(kit.room.floor(), Some(point(9)));
    // One voice is what there is room for: it is that of who has the floor, however loud others are.
    let heard_over_a_thin_way = |kit: &mut Kit| {
        kit.feedback(1, |builder| {
            let told = builder.remb(1, 60_000, &[audio_ssrc(1)]);
            told.expect("fits");
        });
        kit.run(100, |kit| {
            (2..=8).for_each(|n| kit.voice(n, 20));
            kit.voice(9, 45);
        });
        kit.hears(1).into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(heard_over_a_thin_way(&mut kit), [mic(9)]);
    // Taken, or given to somebody who is not there: the loudest.
    for to in [None, Some(77)] {
        floor(&mut kit, to);
        let heard = heard_over_a_thin_way(&mut kit);
        assert_eq!(heard.len(), 1);
        assert_ne!(heard, [mic(9)], "{to:?}");
    }
}

#[test]
fn a_voice_that_goes_on_after_a_pause_is_reported_again() {
    let mut kit = Kit::new(2);
    let talk = |kit: &mut Kit, packets| {
        for _ in 0..packets {
            kit.voice(2, 30);
            kit.advance(20);
        }
    };
    talk(&mut kit, 60);
    kit.advance(3_000);
    let before = kit.reports(1).len();
    talk(&mut kit, 5);
    kit.advance(1_000);
    assert_eq!(kit.reports(1).len(), before + 1);
}

/// All microphones but the first point's tell that level, so many packets each.
fn all_tell(kit: &mut Kit, points: u32, level: u8, packets: usize) {
    kit.run(packets, |kit| (2..=points).for_each(|n| kit.voice(n, level)));
}

/// A plan is made.
fn look(kit: &mut Kit) {
    kit.input(Input::View(EndpointId(1), Vec::new()));
}

#[test]
fn in_a_small_silent_room_the_first_word_of_anybody_is_heard() {
    let mut kit = Kit::new(5);
    all_tell(&mut kit, 5, 127, 50);
    look(&mut kit);
    let others = (2..=5).map(|n| Some(mic(n)));
    assert!(others.clone().all(|voice| kit.hears(1).contains(&voice)));
    let before = slots(&kit, 5);
    kit.voice(5, 25);
    assert_eq!(slots(&kit, 5), before + 1);
    talk(&mut kit, 5, 25, 50);
    assert_eq!(slots(&kit, 5), before + 51);
}

/// Packets of that point's voice that point 1 was sent.
fn slots(kit: &Kit, number: u32) -> usize {
    let sent = kit.sent(1).into_iter();
    sent.filter(|r| r.source == mic(number)).count()
}

#[test]
fn a_thin_path_turns_to_whoever_speaks_also_where_few_may() {
    let mut kit = Kit::new(3);
    // A quiet room is no silence.
    for (second, third, heard) in [(80, 80, 2), (80, 20, 3), (20, 80, 2)] {
        kit.feedback(1, |builder| {
            let told = builder.remb(1, 60_000, &[audio_ssrc(1)]);
            told.expect("fits");
        });
        kit.run(100, |kit| {
            kit.voice(2, second);
            kit.voice(3, third);
        });
        let voices: Vec<SourceNumber> = kit.hears(1).into_iter().flatten().collect();
        assert_eq!(voices, [mic(heard)]);
    }
}

#[test]
fn on_a_thin_path_the_first_word_takes_the_slot_of_who_is_silent() {
    let mut kit = Kit::new(4);
    kit.feedback(1, |builder| {
        let told = builder.remb(1, 60_000, &[audio_ssrc(1)]);
        told.expect("fits");
    });
    all_tell(&mut kit, 4, 127, 50);
    look(&mut kit);
    let before = slots(&kit, 4);
    talk(&mut kit, 4, 25, 20);
    assert_eq!(slots(&kit, 4), before + 20);
}

#[test]
fn a_microphone_that_goes_on_is_heard_at_once_without_a_picture_in_the_room() {
    let mut kit = Kit::new(3);
    (1..=3).for_each(|n| switch(&mut kit, n, false));
    look(&mut kit);
    switch(&mut kit, 3, true);
    talk(&mut kit, 3, 30, 50);
    assert_eq!(slots(&kit, 3), 50);
}

#[test]
fn what_a_voice_loses_on_its_way_here_is_told() {
    let mut kit = room(2, &[2]);
    talk(&mut kit, 2, 30, 10);
    kit.room.report(kit.now);
    for n in 0..100 {
        let made = kit.speak(2, 30);
        if n % 5 != 2 {
            kit.arrive(2, &made);
        }
        kit.advance(20);
    }
    let points = kit.room.report(kit.now);
    let told = points.iter().find(|told| told.number == point(2)).unwrap();
    assert_eq!(told.loss_up_permille, 200);
}

#[test]
fn what_a_receiver_that_sends_reports_alone_loses_is_told_by_them() {
    let mut kit = Kit::new(0);
    let mut media = negotiated();
    media.extensions.transport_cc = None;
    kit.join_with(1, Rank::Member, media);
    kit.join(2);
    for second in 1..=3 {
        talk(&mut kit, 2, 30, 50);
        report_loss(&mut kit, 51, second * 50);
    }
    let points = kit.room.report(kit.now);
    let told = points.iter().find(|told| told.number == point(1)).unwrap();
    assert_eq!(told.loss_permille, 199);
    assert!(
        told.voice_mos.is_some_and(|mos| mos < 3.0),
        "{:?}",
        told.voice_mos
    );
}

#[test]
fn nothing_is_told_of_the_way_to_who_has_no_slots() {
    let mut kit = Kit::new(1);
    let mut media = negotiated();
    media.slots.clear();
    kit.join_with(2, Rank::Member, media);
    talk(&mut kit, 2, 30, 100);
    let points = kit.room.report(kit.now);
    let told = |number: u32| {
        let told = points.iter().find(|told| told.number == point(number)).unwrap();
        (told.estimate.is_some(), told.rtt_ms, told.voice_mos.is_some())
    };
    assert_eq!((told(1), told(2)), ((true, None, true), (false, None, false)));
}
