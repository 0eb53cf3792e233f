//! The room as senders and receivers see it: RTP in, RTP out.

mod ahead;
mod anew;
mod batch;
mod cascade;
mod kit;
mod property;
mod received;
mod repeats;
mod replay;
mod sound;
mod terms;
mod unheard;

use super::super::testing::ms;
use super::*;
use crate::engine::id::SlotId;
use kit::*;
use received::*;
use terms::*;

#[test]
fn a_slot_shows_what_is_wanted_and_says_so() {
    let mut kit = Kit::new(3);
    kit.view(0, &[want(1, camera(2), 360), want(0, camera(3), 90)]);
    kit.run(10, |kit| kit.frames(&[2, 3], false));
    assert!(
        kit.sent(1).is_empty() && kit.slots(1).is_empty(),
        "nothing begins without a key frame"
    );
    assert!(kit.asked(2) && kit.asked(3));
    kit.frames(&[2, 3], true);
    kit.run(20, |kit| kit.frames(&[2, 3], false));
    let shown = |slot| {
        kit.sent(1)
            .iter()
            .filter(|r| r.slot == slot)
            .map(|r| (r.source, r.layer))
            .next_back()
    };
    assert_eq!(shown(SlotId::video(1)), Some((camera(2), 1)));
    assert_eq!(shown(SlotId::video(0)), Some((camera(3), 0)));
    let sent = kit.sent(1);
    for change in kit.slots(1) {
        let first = sent
            .iter()
            .find(|r| r.slot == change.slot && Some(r.source) == change.source)
            .unwrap();
        assert_eq!(change.time, Some(first.time));
    }
    assert_eq!(kit.slots(1).len(), 2);
    assert!(
        kit.sent(2).is_empty() && kit.sent(3).is_empty(),
        "who wants nothing gets nothing"
    );
}

#[test]
fn the_old_source_flows_until_the_new_one_has_a_key_frame() {
    let mut kit = Kit::new(3);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2, 3], true);
    kit.run(40, |kit| kit.frames(&[2, 3], false)); // until the key frame is too old to be served
    kit.view(0, &[want(0, camera(3), 180)]);
    assert!(kit.asked(3));
    kit.run(5, |kit| kit.frames(&[2, 3], false));
    assert!(kit.sent(1).iter().all(|r| r.source == camera(2)));
    kit.frames(&[2, 3], true);
    kit.run(5, |kit| kit.frames(&[2, 3], false));
    let last = kit.sent(1).pop().unwrap();
    assert_eq!(last.source, camera(3));
    check_continuity(kit.sent(1), &kit.lost);
    let sources: Vec<_> = kit.slots(1).iter().filter_map(|c| c.source).collect();
    assert_eq!(sources, [camera(2), camera(3)]);
}

#[test]
fn a_source_that_stays_silent_leaves_the_slot_empty_after_a_while() {
    let mut kit = Kit::new(3);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.view(0, &[want(0, camera(3), 180)]);
    kit.run(150, |kit| kit.frames(&[2], false));
    let last = kit.slots(1).pop().unwrap();
    assert_eq!((last.source, last.time), (None, None));
    assert!(kit.sent(1).last().unwrap().at < kit.now - ms(1_000));
}

#[test]
fn a_source_that_goes_off_empties_its_slots_at_once_and_comes_back() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.input(Input::Published(EndpointId(2), SourceKind::Camera, false));
    assert_eq!(kit.slots(1).pop().unwrap().source, None);
    let before = kit.sent(1).len();
    kit.run(3, |kit| kit.frames(&[2], true));
    assert_eq!(kit.sent(1).len(), before);
    kit.input(Input::Published(EndpointId(2), SourceKind::Camera, true));
    kit.frames(&[2], true);
    assert!(kit.sent(1).len() > before);
    assert_eq!(kit.slots(1).pop().unwrap().source, Some(camera(2)));
    check_continuity(kit.sent(1), &kit.lost);
    kit.input(Input::Leave(EndpointId(2)));
    assert_eq!(kit.slots(1).pop().unwrap().source, None);
    assert_eq!(kit.room.len(), 1);
}

#[test]
fn a_dead_layer_gives_way_to_a_lower_one_and_comes_back() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 720)]);
    kit.frames(&[2], true);
    kit.run(5, |kit| kit.frames(&[2], false));
    assert_eq!(kit.sent(1).last().unwrap().layer, 2);
    kit.layers = 2;
    kit.run(40, |kit| {
        let key = kit.take_asked(2);
        kit.frames(&[2], key);
    });
    assert_eq!(kit.sent(1).last().unwrap().layer, 1);
    let gap = kit.sent(1).windows(2).map(|w| w[1].at - w[0].at).max().unwrap();
    assert!(gap <= ms(700), "{gap:?}");
    kit.layers = 3;
    kit.run(40, |kit| {
        let key = kit.take_asked(2);
        kit.frames(&[2], key);
    });
    assert_eq!(kit.sent(1).last().unwrap().layer, 2);
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn a_key_frame_whose_first_packet_is_repaired_is_sent_whole() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.layers = 1;
    kit.frames(&[2], false);
    let packets = kit.encode(2, 0, true);
    assert!(packets.len() >= 3);
    packets[1..].iter().for_each(|packet| kit.arrive(2, packet));
    assert!(kit.sent(1).is_empty());
    kit.arrive(2, &packets[0]);
    assert_eq!(kit.sent(1).len(), packets.len());
    assert!(kit.sent(1)[0].key_start);
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn what_the_uplink_repairs_late_goes_to_its_place() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 720)]);
    kit.frames(&[2], true);
    let packets = kit.encode(2, 2, false);
    for index in [0, 2, 1, 1] {
        kit.arrive(2, &packets[index]);
    }
    check_continuity(kit.placed(1), &kit.lost);
    let late = kit.repairs(1);
    assert_eq!(late.len(), 1, "once, and as RTX: its number was overtaken");
    assert_eq!(late[0].sequence_in, packets[1].sequence);
    // Asked for while it was missing, it is not sent a second time within a round trip.
    kit.nack(1, SlotId::video(0), &[late[0].original.unwrap()]);
    assert_eq!(kit.repairs(1).len(), 1);
}

#[test]
fn a_nack_brings_the_same_payload_once_per_round_trip() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.run(10, |kit| kit.frames(&[2], false));
    let lost = kit.sent(1)[4].clone();
    kit.nack(1, SlotId::video(0), &[lost.wire_sequence]);
    let repair = kit.repairs(1).pop().unwrap();
    assert_eq!(
        (repair.original, &repair.payload),
        (Some(lost.wire_sequence), &lost.payload)
    );
    assert_eq!(
        (repair.time, repair.source, repair.ssrc),
        (lost.time, lost.source, rtx_ssrc(0))
    );
    kit.nack(1, SlotId::video(0), &[lost.wire_sequence]);
    assert_eq!(kit.repairs(1).len(), 1);
    assert_eq!(kit.room.stats().refused.recent, 1);
    kit.run(8, |kit| kit.frames(&[2], false));
    kit.nack(1, SlotId::video(0), &[lost.wire_sequence]);
    let repairs = kit.repairs(1);
    assert_eq!(repairs.len(), 2);
    assert_eq!(repairs[1].wire_sequence, repairs[0].wire_sequence.wrapping_add(1));
    let never = kit.sent(1).last().unwrap().wire_sequence.wrapping_add(1);
    kit.nack(1, SlotId::video(0), &[never]);
    assert_eq!((kit.repairs(1).len(), kit.room.stats().refused.unknown), (2, 1));
    // The transport's numbers count everything once.
    let mut numbers: Vec<_> = kit
        .received
        .iter()
        .filter(|r| r.to == 1)
        .map(|r| r.transport.unwrap())
        .collect();
    let (first, count) = (numbers[0], numbers.len());
    numbers.dedup();
    assert_eq!(numbers.last().unwrap().wrapping_sub(first) as usize + 1, count);
    assert_eq!(numbers.len(), count);
}

#[test]
fn a_flood_of_nacks_is_bounded() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.run(500, |kit| kit.frames(&[2], false));
    let all: Vec<u16> = kit.sent(1).iter().map(|r| r.wire_sequence).collect();
    kit.nack(1, SlotId::video(0), &all[all.len() - 400..]);
    assert!(kit.repairs(1).len() <= 256);
    let refused = kit.room.stats().refused;
    assert_eq!(
        kit.repairs(1).len() as u64
            + refused.unknown
            + refused.recent
            + refused.budget
            + refused.gone
            + refused.past,
        400
    );
}

#[test]
fn loss_on_the_path_raises_the_playout_delay_and_ten_quiet_seconds_lower_it() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    assert_eq!(kit.sent(1).last().unwrap().playout, None);
    let lost = kit.sent(1)[0].wire_sequence;
    kit.nack(1, SlotId::video(0), &[lost]);
    kit.frames(&[2], false);
    assert_eq!(kit.sent(1).last().unwrap().playout.unwrap().min, 25); // 2 x 100 ms + 50 ms
    kit.run(310, |kit| kit.frames(&[2], false));
    assert_eq!(kit.sent(1).last().unwrap().playout.unwrap().min, 0);
}

#[test]
fn a_picture_loss_of_a_receiver_reaches_the_sender() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.run(30, |kit| kit.frames(&[2], false));
    kit.take_asked(2);
    kit.picture_loss(1, SlotId::video(0));
    kit.run(20, |_| {});
    assert!(kit.take_asked(2));
    assert_eq!(kit.room.stats().key_frame_requests, 1);
}

#[test]
fn reports_put_the_stage_pair_on_one_line() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.voice(2, 30);
    kit.run(100, |kit| {
        kit.frames(&[2], false);
        kit.voice(2, 30);
    });
    let reports = kit.reports(1);
    let of = |ssrc| {
        reports
            .iter()
            .filter(|r| r.ssrc == ssrc)
            .map(|r| (r.ntp, r.rtp))
            .collect::<Vec<_>>()
    };
    for (ssrc, rate) in [(video_ssrc(0), 90_000.0), (audio_ssrc(0), 48_000.0)] {
        let line = of(ssrc);
        assert!(line.len() >= 3, "one at the switch, then each second: {line:?}");
        let (ntp, rtp) = line[0];
        for &(later_ntp, later_rtp) in &line[1..] {
            let seconds = (later_ntp - ntp) as f64 / 4_294_967_296.0;
            let ticks = f64::from(later_rtp.wrapping_sub(rtp));
            assert!(
                (ticks - seconds * rate).abs() <= rate / 100.0,
                "{ticks} in {seconds} s"
            );
        }
    }
    let names = kit.names(1);
    assert_eq!(names.get(&video_ssrc(0)), names.get(&audio_ssrc(0)));
}

#[test]
fn the_stage_voice_follows_the_stage_and_everybody_is_heard_once() {
    let mut kit = Kit::new(4);
    for _ in 0..3 {
        [1, 2, 3, 4].into_iter().for_each(|n| kit.voice(n, 30));
    }
    assert_eq!(
        kit.hears(1),
        [None, Some(mic(2)), Some(mic(3)), Some(mic(4)), None, None]
    );
    kit.view(0, &[want(0, camera(3), 180)]);
    kit.frames(&[2, 3], true);
    [1, 2, 3, 4].into_iter().for_each(|n| kit.voice(n, 30));
    assert_eq!(
        kit.hears(1),
        [Some(mic(3)), Some(mic(2)), None, Some(mic(4)), None, None]
    );
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2, 3], true);
    [1, 2, 3, 4].into_iter().for_each(|n| kit.voice(n, 30));
    let mut heard: Vec<_> = kit.hears(1).into_iter().flatten().collect();
    heard.sort_unstable();
    assert_eq!(
        (kit.hears(1)[0], heard),
        (Some(mic(2)), vec![mic(2), mic(3), mic(4)])
    );
    check_continuity(kit.sent(1), &kit.lost);
}

#[test]
fn in_a_large_room_the_loudest_are_heard() {
    let mut kit = Kit::new(9);
    for _ in 0..60 {
        (1..=7).for_each(|n| kit.voice(n, 110));
        kit.voice(8, 25);
        kit.voice(9, 40);
        kit.advance(20);
    }
    let heard = kit.hears(1);
    assert!(
        heard.contains(&Some(mic(8))) && heard.contains(&Some(mic(9))),
        "{heard:?}"
    );
    assert!(!kit.hears(8).contains(&Some(mic(8))));
}

#[test]
fn a_full_room_and_a_taken_number_are_refused() {
    let mut kit = Kit::new(2);
    kit.room.set_policy(RoomPolicy {
        points_max: 2,
        ..RoomPolicy::default()
    });
    let three = PointNumber::try_from(3).unwrap();
    assert_eq!(kit.room.check_join(EndpointId(3), three), Err(JoinRefused::Full));
    let one = PointNumber::try_from(1).unwrap();
    assert_eq!(
        kit.room.check_join(EndpointId(3), one),
        Err(JoinRefused::NumberTaken)
    );
    assert_eq!(kit.room.check_join(EndpointId(1), one), Ok(()));
    let refused = kit.room.stats().commands_refused;
    kit.join(3);
    assert_eq!(
        (kit.room.len(), kit.room.stats().commands_refused),
        (2, refused + 2)
    ); // the join and its connect
}

#[test]
fn an_idle_room_has_no_deadline() {
    let mut kit = Kit::new(3);
    kit.view(0, &[want(0, camera(2), 180)]);
    assert_eq!(kit.room.poll_timeout(), None);
    kit.frames(&[2], true);
    kit.voice(2, 30);
    assert!(kit.room.poll_timeout().is_some());
    for _ in 0..100_000 {
        let Some(at) = kit.room.poll_timeout() else { break };
        assert!(kit.room.now <= at, "a deadline that has passed was left");
        kit.wake(at);
        if at > kit.start + ms(60_000) {
            break;
        }
    }
    let sources = kit.room.endpoints.values().flat_map(|e| &e.sources);
    assert_eq!(sources.filter_map(|s| s.check_at).count(), 0);
    assert!(kit.room.endpoints.values().all(|e| e.report_at.is_none()));
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    let mut kit = Kit::new(2);
    let mut out = Vec::new();
    for length in 0..40 {
        kit.room.handle_rtp(kit.now, EndpointId(1), &vec![0x55; length]);
        kit.room.handle_rtcp(kit.now, EndpointId(1), &vec![0xc8; length]);
        kit.room.handle_rtp(kit.now, EndpointId(77), &vec![0x80; length]);
        kit.room.poll_forwards(1, &mut out);
    }
    assert!(out.is_empty());
    assert_eq!(kit.room.stats().malformed, 40);
    let two = kit.room.endpoints.len();
    kit.view(
        0,
        &[
            want(60, camera(2), 100),
            want(0, mic(2), 100),
            want(0, camera(2), 0),
        ],
    );
    assert_eq!(kit.room.endpoints.len(), two);
    assert!(kit.room.endpoints.values().all(|e| e.wants.is_empty()));
}

#[test]
fn what_an_uplink_counted_stays_counted_when_its_endpoint_leaves() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    let frame = kit.encode(2, 0, false);
    kit.arrive(2, &frame[0]);
    kit.arrive(2, &frame[0]);
    let before = kit.room.stats().uplinks;
    assert!(before.packets > 1);
    assert_eq!(before.duplicates, 1);
    kit.input(Input::Leave(EndpointId(2)));
    assert_eq!(kit.room.stats().uplinks, before);
}

#[test]
fn what_was_numbered_before_its_sender_left_can_be_asked_for_for_a_while() {
    let mut kit = Kit::new(2);
    kit.view(0, &[want(0, camera(2), 180)]);
    kit.frames(&[2], true);
    kit.run(5, |kit| kit.frames(&[2], false));
    let last = kit
        .sent(1)
        .last()
        .map(|packet| packet.wire_sequence)
        .expect("a picture");
    kit.input(Input::Leave(EndpointId(2)));
    kit.nack(1, SlotId::video(0), &[last]);
    assert_eq!(kit.repairs(1).len(), 1);
    kit.advance(2_000);
    kit.wake(kit.now);
    kit.nack(1, SlotId::video(0), &[last]);
    assert_eq!(kit.repairs(1).len(), 1, "by now it could not be played any more");
}

#[test]
fn of_a_batch_voices_go_behind_pictures_and_each_source_in_its_order() {
    let mut kit = Kit::new(3);
    kit.view(0, &[want(0, camera(2), 90), want(1, camera(3), 90)]);
    kit.frames(&[2, 3], true);
    kit.run(10, |kit| {
        kit.frames(&[2, 3], false);
        kit.voice(2, 20);
    });
    let before = kit.sent(1).len();
    let mut batch = vec![(2, kit.speak(2, 20))];
    for number in [2, 3] {
        batch.extend(kit.encode(number, 0, true).into_iter().map(|made| (number, made)));
    }
    for (from, made) in &batch {
        kit.room.handle_rtp(kit.now, EndpointId(*from), &made.bytes);
    }
    kit.drain();
    let sent = kit.sent(1).split_off(before);
    let kinds: Vec<MediaKind> = sent.iter().map(|received| received.slot.kind).collect();
    assert_eq!(kinds[..6], [MediaKind::Video; 6]);
    assert_eq!(kinds[6..], [MediaKind::Audio]);
    for source in [camera(2), camera(3)] {
        let of_one = sent.iter().filter(|received| received.source == source);
        let numbers: Vec<u16> = of_one.map(|received| received.sequence_in).collect();
        assert!(numbers.len() == 3 && numbers.is_sorted(), "{numbers:?}");
    }
}
