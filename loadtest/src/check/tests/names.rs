//! Whose picture or voice it is, and where it may begin again.

use super::*;

/// A slot whose message names the source anew at these packets.
fn judge_told(kind: SlotKind, packets: Vec<Arrived>, told: impl IntoIterator<Item = usize>) -> SlotCheck {
    let mut check = SlotCheck::new(kind);
    for at in told {
        check.announce(packets[at].csrc.unwrap(), packets[at].time);
    }
    for packet in packets {
        check.handle(packet, &ours);
    }
    check.finish(u64::MAX, &ours);
    check
}

#[test]
fn a_source_may_come_back_only_where_the_slot_message_says_so() {
    let mut slot = Slot::new();
    let mut sound: Vec<_> = (0..10).map(|counter| slot.sound(MIC, counter)).collect();
    slot.time = slot.time.wrapping_add(5 * SOUND_TICKS);
    sound.extend((15..25).map(|counter| slot.sound(MIC, counter)));
    let mut slot = Slot::new();
    let mut picture: Vec<_> = (0..5)
        .flat_map(|index| slot.frame(CAMERA, 1, u32::from(index), index))
        .collect();
    slot.time = slot.time.wrapping_add(100 * FRAME_TICKS);
    let again = picture.len();
    picture.extend((0..5).flat_map(|index| slot.frame(CAMERA, 1, u32::from(index) + 105, index)));
    for (kind, packets, again) in [(SlotKind::Voice, sound, 10), (SlotKind::Picture, picture, again)] {
        assert_only(&judge(kind, packets.clone()), Violation::Skipped);
        assert_clean(&judge_told(kind, packets, [0, again]));
    }
}

#[test]
fn a_picture_may_begin_again_with_the_key_frame_that_was_kept_where_the_slot_message_says_so() {
    let again = |back: u16, told: bool| {
        let mut slot = Slot::new();
        let frame = |slot: &mut Slot, index: u16| slot.frame(CAMERA, 1, 100 + u32::from(index), index % 15);
        let mut packets: Vec<_> = (0..20).flat_map(|index| frame(&mut slot, index)).collect();
        let first = packets.len();
        packets.extend(frame(&mut slot, 15 - back));
        judge_told(
            SlotKind::Picture,
            packets,
            [0].into_iter().chain(told.then_some(first)),
        )
    };
    assert_clean(&again(0, true));
    assert_only(&again(0, false), Violation::Skipped);
    assert_only(&again(1, true), Violation::Skipped); // no key frame
}

#[test]
fn a_key_frame_that_waited_for_room_comes_late_with_those_behind_it_where_the_slot_message_says_so() {
    let again = |key: bool, told: bool| {
        let mut slot = Slot::new();
        let frame = |slot: &mut Slot, counter: u16| {
            let is_key = counter == 0 || counter == 20 && key;
            let index = if is_key { 0 } else { 1 + counter % 14 };
            slot.frame(CAMERA, 1, 100 + u32::from(counter), index)
        };
        let mut packets: Vec<_> = (0..20).flat_map(|counter| frame(&mut slot, counter)).collect();
        let first = packets.len();
        slot.time = slot.time.wrapping_add(2 * FRAME_TICKS - 180);
        for counter in 20..23 {
            packets.extend(frame(&mut slot, counter));
            slot.time = slot.time.wrapping_sub(FRAME_TICKS).wrapping_add(90);
        }
        judge_told(
            SlotKind::Picture,
            packets,
            [0].into_iter().chain(told.then_some(first)),
        )
    };
    assert_clean(&again(true, true));
    assert_only(&again(true, false), Violation::Skipped);
    assert_only(&again(false, true), Violation::Time);
}

#[test]
fn a_name_that_is_wrong_missing_or_late() {
    let packets = sounds(100);
    let first = packets[0].time;
    let play = |announcements: &[(u64, u32, u32)]| {
        let mut check = SlotCheck::new(SlotKind::Voice);
        for packet in &packets {
            for &(at_us, source, time) in announcements {
                if (packet.at_us..packet.at_us + 20_000).contains(&at_us) {
                    check.announce(source, time);
                }
            }
            check.handle(packet.clone(), &ours);
            check.handle_timeout(packet.at_us, &ours);
        }
        check.finish(u64::MAX, &ours);
        check
    };
    let start = packets[0].at_us;
    assert_clean(&play(&[(start, MIC, first)]));
    assert_clean(&play(&[(start + 900_000, MIC, first)]));
    assert_only(&play(&[]), Violation::WrongName);
    assert_only(&play(&[(start, MIC + 4, first)]), Violation::WrongName);
    assert_only(
        &play(&[(start, MIC, first), (start, MIC + 4, packets[50].time)]),
        Violation::WrongName,
    );
    assert_only(
        &play(&[(start, MIC, first.wrapping_add(SOUND_TICKS))]),
        Violation::WrongName,
    );
    assert_only(&play(&[(start + 1_200_000, MIC, first)]), Violation::WrongName);
}

#[test]
fn what_has_no_name_yet_when_somebody_leaves_is_no_fault() {
    let finish = |after_us: u64| {
        let (mut check, packets) = (SlotCheck::new(SlotKind::Voice), sounds(1));
        let at_us = packets[0].at_us;
        check.handle(packets[0].clone(), &ours);
        check.finish(at_us + after_us, &ours);
        check
    };
    assert_clean(&finish(NAME_US - 1));
    assert_only(&finish(NAME_US), Violation::WrongName);
}

#[test]
fn a_csrc_that_lies_or_lacks() {
    let mut packets = frames(10);
    packets.iter_mut().for_each(|packet| packet.csrc = Some(OTHER));
    assert_only(&judge(SlotKind::Picture, packets), Violation::WrongSource);
    let mut packets = sounds(10);
    packets[5].csrc = None;
    assert!(
        judge(SlotKind::Voice, packets)
            .counts()
            .seen(Violation::WrongSource)
            > 0
    );
}
