use super::*;

fn heading(sequence: u16, marker: bool, at_us: u64) -> Heading {
    Heading {
        sequence,
        time: u32::from(sequence).wrapping_mul(3_600),
        marker,
        source: Some(5),
        at_us,
    }
}

#[test]
fn a_hole_is_asked_for_repaired_or_lost() {
    let mut tally = Tally::new(SlotKind::Picture, true);
    assert_eq!(tally.handle(heading(65_534, false, 1)), Look::Key);
    assert_eq!(tally.tell_key(1), None, "nobody wanted it");
    tally.handle(heading(1, true, 2));
    let mut asked = Vec::new();
    tally.poll_nacks(3, &mut asked);
    tally.poll_nacks(3, &mut asked);
    assert_eq!(asked, [65_535, 0], "each once within the pause");
    tally.handle_repair(65_535, false, 3);
    tally.handle_repair(65_535, false, 3);
    tally.give_up(1 + REPAIR_US);
    assert_eq!(tally.counts.lost, 0, "whoever leaves now waited too short for it");
    tally.give_up(2 + REPAIR_US);
    let counts = &tally.counts;
    assert_eq!(
        (counts.packets, counts.repaired, counts.lost, tally.gaps),
        (3, 1, 1, 2)
    );
    assert_eq!(
        tally.handle(heading(2, true, 9)),
        Look::Key,
        "a decoder needs a key frame again"
    );
    assert_eq!(
        tally.poll_report(),
        Some((102, 2, 0x1_0002)),
        "two of five, the repair aside"
    );
}

#[test]
fn voices_do_not_stand_still() {
    let mut tally = Tally::new(SlotKind::Voice, false);
    tally.announce(5, 1);
    tally.handle(heading(1, true, 2));
    tally.end(90_000_000);
    assert_eq!((tally.motion.freezes, tally.motion.longest_gap_us), (0, 0));
}

#[test]
fn what_comes_late_is_no_loss_and_what_comes_twice_counts_once() {
    let mut tally = Tally::new(SlotKind::Voice, true);
    for sequence in [10, 12, 11, 11, 12] {
        tally.handle(heading(sequence, false, 0));
    }
    tally.give_up(REPAIR_US);
    assert_eq!((tally.counts.packets, tally.counts.lost, tally.gaps), (3, 0, 0));
    tally.handle(heading(20_000, false, 0));
    assert_eq!(tally.counts.errors(), 1, "a jump");
}

#[test]
fn a_still_picture_is_a_freeze_and_a_new_source_begins_with_a_key_frame() {
    let mut tally = Tally::new(SlotKind::Picture, true);
    tally.want(0);
    let mut at_us = 40_000;
    for sequence in 0..10 {
        if tally.handle(heading(sequence, true, at_us)) == Look::Key {
            assert_eq!(tally.tell_key(at_us), Some(40_000));
        }
        at_us += 40_000;
    }
    assert_eq!(tally.motion.freezes, 0);
    tally.handle(heading(10, true, at_us + 400_000));
    assert_eq!(tally.motion.freezes, 1);
    let other = Heading {
        source: Some(9),
        ..heading(11, true, at_us + 900_000)
    };
    assert_eq!(tally.handle(other), Look::Key);
    assert_eq!((tally.motion.freezes, tally.counts.switches), (1, 1));
    assert!(!tally.poll_key_frame_request(at_us + 900_000));
    assert!(tally.poll_key_frame_request(at_us + 1_500_000));
}

/// A picture of one packet each 40 ms, shown up to that number.
fn shown_to(last: u16) -> Tally {
    let mut tally = Tally::new(SlotKind::Picture, true);
    for sequence in 0..=last {
        if tally.handle(heading(sequence, true, at(sequence))) == Look::Key {
            tally.tell_key(at(sequence));
        }
    }
    tally
}

fn at(sequence: u16) -> u64 {
    1_000_000 + u64::from(sequence) * 40_000
}

#[test]
fn a_decoder_stands_still_until_what_is_missing_comes() {
    type Fill = fn(&mut Tally, u64);
    let repair: Fill = |tally, at_us| {
        tally.handle_repair(10, true, at_us);
    };
    let overtaken: Fill = |tally, at_us| {
        tally.handle(heading(10, true, at_us));
    };
    for (fill, after_us, expected) in [
        (repair, 300_000, (1, 380_000)),
        (overtaken, 300_000, (1, 380_000)),
        (repair, 40_000, (0, 120_000)),
        (overtaken, 5_000, (0, 85_000)),
    ] {
        let mut tally = shown_to(9);
        let frames = (0..)
            .map(|frame| 11 + frame)
            .take_while(|&frame| at(frame) < at(11) + after_us);
        for frame in frames {
            tally.handle(heading(frame, true, at(frame)));
        }
        fill(&mut tally, at(11) + after_us);
        let motion = &tally.motion;
        assert_eq!((motion.freezes, motion.longest_gap_us), expected, "{after_us}");
        assert_eq!(tally.counts.undecodable, 0);
    }
}

#[test]
fn what_was_asked_for_is_a_repair_where_repairs_have_no_stream_of_their_own() {
    for (parted, asks, expected) in [
        (true, true, (0, 0)),
        (true, false, (0, 0)),
        (false, true, (1, 1)),
        (false, false, (0, 0)),
    ] {
        let mut tally = Tally::new(SlotKind::Picture, parted);
        tally.handle(heading(1, true, 1));
        tally.handle(heading(3, true, 1));
        if asks {
            tally.poll_nacks(1, &mut Vec::new());
        }
        tally.handle(heading(2, true, 2));
        assert_eq!((tally.counts.repaired, tally.gaps), expected, "{parted} {asks}");
    }
}

#[test]
fn what_waits_for_a_loss_cannot_be_decoded_and_a_key_frame_waits_for_nothing_before_it() {
    let mut tally = shown_to(9);
    (11..14).for_each(|frame| {
        tally.handle(heading(frame, true, at(frame)));
    });
    tally.give_up(at(11) + REPAIR_US);
    assert_eq!((tally.counts.undecodable, tally.counts.lost), (3, 1));
    // One more is missing when the key frame comes: it was before it.
    assert_eq!(tally.handle(heading(41, true, at(41))), Look::Key);
    tally.tell_key(at(41));
    assert_eq!(tally.motion.longest_gap_us, at(41) - at(9));
    tally.handle(heading(42, true, at(42)));
    tally.give_up(at(42) + REPAIR_US);
    tally.handle(heading(43, true, at(43)));
    assert_eq!(tally.counts.undecodable, 3);
    assert_eq!(tally.motion.freezes, 1);
}

#[test]
fn a_key_frame_whose_first_packet_comes_late_is_seen() {
    for repair in [true, false] {
        let mut tally = shown_to(9);
        tally.want(0);
        let of_other = |sequence: u16| Heading {
            source: Some(9),
            time: 77,
            ..heading(sequence, sequence == 12, at(sequence))
        };
        // Its last two packets overtake the first.
        assert_eq!(tally.handle(of_other(11)), Look::Key);
        tally.tell_no_key(at(11));
        tally.handle(of_other(12));
        let late = match repair {
            true => tally.handle_repair(10, false, at(13)),
            false => tally.handle(Heading {
                at_us: at(13),
                ..of_other(10)
            }),
        };
        assert_eq!(late, Look::Key, "{repair}");
        tally.tell_key(at(13));
        assert_eq!(tally.handle(heading(13, true, at(13))), Look::Key, "another");
        assert_eq!((tally.counts.undecodable, tally.gaps), (1, u64::from(repair)));
    }
}

#[test]
fn the_first_request_for_a_key_frame_waits_for_the_first_packet_and_later_ones_do_not() {
    let mut begins = Tally::new(SlotKind::Picture, true);
    begins.handle(heading(0, true, 40_000));
    assert!(!begins.poll_key_frame_request(40_000 + PLI_PAUSE_US - 1));
    assert!(begins.poll_key_frame_request(40_000 + PLI_PAUSE_US));
    let mut broken = shown_to(9);
    broken.handle(heading(11, true, at(11)));
    broken.give_up(at(11) + REPAIR_US);
    assert!(broken.poll_key_frame_request(at(11) + REPAIR_US));
}

#[test]
fn a_source_that_takes_over_amid_a_picture_begins_with_its_key_frame() {
    let mut tally = Tally::new(SlotKind::Picture, true);
    tally.handle(heading(0, true, 1));
    assert_eq!(tally.counts.undecodable, 1, "as long as nothing is known of it");
    tally.tell_key(1);
    assert_eq!(tally.counts.undecodable, 0, "a key frame of one packet");
    assert_eq!(
        tally.handle(heading(1, false, 2)),
        Look::No,
        "cut short behind it"
    );
    let of_other = |sequence: u16, marker| Heading {
        source: Some(9),
        time: 77,
        ..heading(sequence, marker, 3)
    };
    assert_eq!(tally.handle(of_other(2, false)), Look::Key);
    tally.tell_key(3);
    assert_eq!(tally.handle(of_other(3, true)), Look::No);
    assert_eq!(tally.counts.undecodable, 0);
}

#[test]
fn the_latency_of_what_was_kept_does_not_count() {
    let mut tally = Tally::new(SlotKind::Picture, true);
    let at_us = 2 * SETTLE_US;
    tally.handle(heading(0, true, 1));
    tally.tell_key(1);
    assert_eq!(tally.handle(heading(1, true, at_us)), Look::Latency);
    tally.tell_latency(700);
    tally.handle(heading(2, true, at_us + 1));
    assert_eq!((tally.take_latency(), tally.take_latency()), (Some(700), None));
    tally.tell_latency(90_000);
    let hasty = Heading {
        time: 2 * 3_600 + 90,
        ..heading(3, true, at_us + 2)
    };
    tally.handle(hasty);
    tally.handle(heading(4, true, at_us + 3));
    assert_eq!(tally.take_latency(), None);
}

#[test]
fn in_a_storm_each_picture_that_can_be_shown_is_looked_at_for_its_layer() {
    let mut tally = Tally::new(SlotKind::Picture, true);
    let at_us = |sequence: u16| 3 * SETTLE_US + u64::from(sequence) * 40_000;
    for sequence in 0..12 {
        if tally.handle(heading(sequence, true, at_us(sequence))) == Look::Key {
            tally.tell_key(at_us(sequence));
        }
        tally.tell_layer(Some(0), at_us(sequence));
    }
    tally.running.begin(at_us(12) - 1);
    let shown = |tally: &mut Tally, sequence: u16| {
        let look = tally.handle(heading(sequence, true, at_us(sequence)));
        assert_eq!(look, Look::Layer, "{sequence}");
        tally.tell_layer(Some(0), at_us(sequence));
        tally.running.longest_gap_us()
    };
    assert_eq!(shown(&mut tally, 12), Some(1));
    assert_eq!(shown(&mut tally, 13), Some(40_000));
    // One is lost on its way: what comes behind it waits for it.
    assert_eq!(shown(&mut tally, 15), Some(40_000));
    assert_eq!(shown(&mut tally, 16), Some(40_000));
    tally.handle_repair(14, true, at_us(16) + 5_000);
    assert_eq!(tally.running.longest_gap_us(), Some(125_000));
    tally.announce(9, at_us(16));
    assert_eq!(
        tally.handle(heading(17, true, at_us(17))),
        Look::No,
        "another is on its way"
    );
}

#[test]
fn one_packet_in_sixteen_tells_its_latency() {
    let mut tally = Tally::new(SlotKind::Voice, true);
    let looks = (0..320).filter(|&n| tally.handle(heading(n, false, SETTLE_US + 1)) == Look::Latency);
    assert_eq!(looks.count(), 0, "the slot has just begun");
    let looks = (320..640).filter(|&n| tally.handle(heading(n, false, 2 * SETTLE_US + 1)) == Look::Latency);
    assert_eq!(looks.count(), 20);
}
