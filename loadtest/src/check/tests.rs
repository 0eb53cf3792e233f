//! Made-up packets: a straight slot is found straight under any repaired loss, and each fault is found as what it is.

mod names;
mod properties;

use super::{order::NACKS_MAX, *};
use crate::{
    clip::{FRAME_TICKS, SOUND_TICKS},
    media::{cut, marked_frame, marked_sound},
};

const CAMERA: u32 = 9;
const OTHER: u32 = 13;
const MIC: u32 = 8;

/// A node's slot, as it should be; faults are put in by hand.
struct Slot {
    sequence: u16,
    time: u32,
    picture_id: u16,
    tl0_picture: u8,
    at_us: u64,
    /// Its sender's layer was off before the next frame.
    is_back: bool,
}

impl Slot {
    fn new() -> Self {
        Self {
            sequence: 0xfff0,
            time: 0xffff_0000,
            picture_id: 0x7ff0,
            tl0_picture: 250,
            at_us: 5_000_000,
            is_back: false,
        }
    }

    fn frame(&mut self, source: u32, clip: u8, counter: u32, index: u16) -> Vec<Arrived> {
        let mark = Mark {
            source,
            counter,
            clip,
            is_back: self.is_back,
            index,
            sent_us: self.at_us - 3_000,
        };
        let frame = &Clips::builtin().layers[usize::from(clip)][usize::from(index)];
        let payloads = cut(&marked_frame(frame, &mark), self.picture_id, self.tl0_picture);
        let last = payloads.len() - 1;
        let packets = payloads.into_iter().enumerate().map(|(i, payload)| {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            self.arrived(sequence, i == last, source, payload)
        });
        let packets = packets.collect();
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_picture = self.tl0_picture.wrapping_add(1);
        self.time = self.time.wrapping_add(FRAME_TICKS);
        self.at_us += 66_667;
        packets
    }

    fn sound(&mut self, source: u32, counter: u32) -> Arrived {
        let index = (counter % 400) as u16;
        let mark = Mark {
            source,
            counter,
            clip: CLIP_SPEECH,
            is_back: false,
            index,
            sent_us: self.at_us - 3_000,
        };
        let payload = marked_sound(&Clips::builtin().speech[usize::from(index)].payload, &mark);
        let arrived = self.arrived(self.sequence, false, source, payload);
        self.sequence = self.sequence.wrapping_add(1);
        self.time = self.time.wrapping_add(SOUND_TICKS);
        self.at_us += 20_000;
        arrived
    }

    fn arrived(&self, sequence: u16, marker: bool, source: u32, payload: Bytes) -> Arrived {
        Arrived {
            sequence,
            time: self.time,
            marker,
            csrc: Some(source),
            payload,
            at_us: self.at_us,
            repair: false,
        }
    }
}

/// Point 1 looks at a slot with points 2 and 3 in it, all of this load tester.
fn ours(point: u32) -> bool {
    point <= 3
}

fn judge(kind: SlotKind, packets: impl IntoIterator<Item = Arrived>) -> SlotCheck {
    let mut check = SlotCheck::new(kind);
    let mut named = None;
    for packet in packets {
        if packet.csrc != named && !packet.repair {
            named = packet.csrc;
            check.announce(packet.csrc.unwrap_or(0), packet.time);
        }
        let now_us = packet.at_us;
        check.handle(packet, &ours);
        check.handle_timeout(now_us, &ours);
    }
    check.finish(u64::MAX, &ours);
    check
}

fn frames(count: u16) -> Vec<Arrived> {
    let mut slot = Slot::new();
    (0..count)
        .flat_map(|index| slot.frame(CAMERA, 1, u32::from(index) + 7, index))
        .collect()
}

fn sounds(count: u32) -> Vec<Arrived> {
    let mut slot = Slot::new();
    (0..count).map(|counter| slot.sound(MIC, counter)).collect()
}

/// Exactly this was found, at least once, and nothing was lost.
fn assert_only(check: &SlotCheck, violation: Violation) {
    assert!(
        check.counts().seen(violation) > 0,
        "{violation:?} not seen: {:?}",
        check.log()
    );
    assert_eq!(
        check.counts().errors(),
        check.counts().seen(violation),
        "{:?}",
        check.log()
    );
    assert_eq!(check.counts().lost, 0);
}

fn assert_clean(check: &SlotCheck) {
    assert_eq!(check.counts().errors(), 0, "{:?}", check.log());
    assert_eq!(check.counts().lost, 0);
}

#[test]
fn a_straight_slot_is_found_straight() {
    let packets = frames(30);
    let count = packets.len() as u64;
    let check = judge(SlotKind::Picture, packets);
    assert_clean(&check);
    assert_eq!((check.counts().packets, check.counts().units), (count, 30));
    assert!(
        check
            .latency()
            .quantile_ms(0.5)
            .is_some_and(|ms| (2.9..3.1).contains(&ms))
    );
    let check = judge(SlotKind::Voice, sounds(300));
    assert_clean(&check);
    assert_eq!(check.counts().units, 300);
}

#[test]
fn a_switch_at_a_key_frame_is_right_and_elsewhere_not() {
    let mut slot = Slot::new();
    let mut packets: Vec<_> = (0..10)
        .flat_map(|index| slot.frame(CAMERA, 1, u32::from(index), index))
        .collect();
    let mut good = packets.clone();
    let (sequence, picture_id, tl0_picture, time, at_us) = (
        slot.sequence,
        slot.picture_id,
        slot.tl0_picture,
        slot.time,
        slot.at_us,
    );
    good.extend((0..5).flat_map(|index| slot.frame(OTHER, 0, 100 + u32::from(index), index)));
    let check = judge(SlotKind::Picture, good);
    assert_clean(&check);
    assert_eq!(check.counts().switches, 1);
    let mut slot = Slot {
        sequence,
        time,
        picture_id,
        tl0_picture,
        at_us,
        is_back: false,
    };
    packets.extend((3..8).flat_map(|index| slot.frame(OTHER, 0, 100 + u32::from(index), index)));
    assert_only(&judge(SlotKind::Picture, packets), Violation::NoKeyFrame);
}

#[test]
fn a_slot_that_does_not_begin_with_a_key_frame() {
    let packets = frames(12);
    let first = packets.iter().position(|packet| packet.marker).unwrap() + 1;
    assert_only(
        &judge(SlotKind::Picture, packets[first..].to_vec()),
        Violation::NoKeyFrame,
    );
}

#[test]
fn a_layer_change_without_key_frame() {
    let mut slot = Slot::new();
    let packets = (0..8).flat_map(|index| slot.frame(CAMERA, u8::from(index >= 4), u32::from(index), index));
    let packets: Vec<_> = packets.collect();
    assert_only(&judge(SlotKind::Picture, packets), Violation::NoKeyFrame);
}

#[test]
fn duplicates_and_jumps() {
    let mut packets = frames(10);
    packets.insert(5, packets[4].clone());
    assert_only(&judge(SlotKind::Picture, packets), Violation::Duplicate);
    let mut packets = frames(10);
    let mut again = packets[4].clone();
    again.repair = true;
    packets.insert(6, again);
    assert_clean(&judge(SlotKind::Picture, packets));
    let mut packets = sounds(20);
    packets[10..]
        .iter_mut()
        .for_each(|packet| packet.sequence = packet.sequence.wrapping_add(9_000));
    assert!(judge(SlotKind::Voice, packets).counts().seen(Violation::Jump) > 0);
}

#[test]
fn time_that_goes_back_or_leaves_its_pace() {
    let mut packets = sounds(20);
    let before = packets[4].time;
    packets[10].time = before;
    assert_only(&judge(SlotKind::Voice, packets), Violation::Time);
    let mut packets = sounds(20);
    packets[10..]
        .iter_mut()
        .for_each(|packet| packet.time = packet.time.wrapping_add(700));
    assert_only(&judge(SlotKind::Voice, packets), Violation::Time);
    let mut packets = frames(10);
    let from = packets.iter().position(|packet| packet.marker).unwrap() + 1;
    packets[from..]
        .iter_mut()
        .for_each(|packet| packet.time = packet.time.wrapping_add(9_000));
    assert_only(&judge(SlotKind::Picture, packets), Violation::Time);
}

#[test]
fn pictures_without_numbers_are_told_of_once_and_are_not_torn() {
    let bare = frames(3).into_iter().map(|packet| {
        let (descriptor, data) = read_descriptor(&packet.payload).unwrap();
        let first = if descriptor.start { 0x10 } else { 0 };
        let payload = [&[first], data].concat().into();
        Arrived { payload, ..packet }
    });
    let check = judge(SlotKind::Picture, bare);
    assert_only(&check, Violation::Picture);
    assert_eq!(check.counts().errors(), 1);
    assert!(check.log()[0].contains("no picture id"));
}

#[test]
fn an_invented_gap_of_picture_ids() {
    let mut slot = Slot::new();
    let packets = (0..10).flat_map(|index| {
        if index == 5 {
            slot.picture_id += 1;
        }
        slot.frame(CAMERA, 1, u32::from(index), index)
    });
    let packets: Vec<_> = packets.collect();
    assert_only(&judge(SlotKind::Picture, packets), Violation::Picture);
}

#[test]
fn frames_that_are_not_whole() {
    let mut packets = frames(10);
    let end = packets.iter().rposition(|packet| packet.marker).unwrap();
    let end = packets[..end].iter().rposition(|packet| packet.marker).unwrap();
    packets[end].marker = false;
    assert!(judge(SlotKind::Picture, packets).counts().seen(Violation::Torn) > 0);
    let mut packets = frames(3);
    packets[0].payload = Bytes::from_static(&[0x90]);
    assert!(judge(SlotKind::Picture, packets).counts().seen(Violation::Torn) > 0);
}

#[test]
fn changed_bytes() {
    for at in [20, 60] {
        let mut packets = frames(10);
        let mut bytes = packets[3].payload.to_vec();
        let at = if at == 20 { at } else { bytes.len() - 3 };
        bytes[at] ^= 1;
        packets[3].payload = bytes.into();
        let check = judge(SlotKind::Picture, packets);
        assert!(check.counts().seen(Violation::Damaged) > 0, "{:?}", check.log());
        let mut packets = sounds(10);
        let mut bytes = packets[3].payload.to_vec();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        packets[3].payload = bytes.into();
        assert_only(&judge(SlotKind::Voice, packets), Violation::Damaged);
    }
}

#[test]
fn units_that_are_left_out_or_repeated_under_straight_numbers() {
    for counters in [[0, 1, 2, 4, 5], [0, 1, 2, 2, 3]] {
        let mut slot = Slot::new();
        let packets: Vec<_> = counters.iter().map(|&counter| slot.sound(MIC, counter)).collect();
        assert!(judge(SlotKind::Voice, packets).counts().seen(Violation::Skipped) > 0);
        let mut slot = Slot::new();
        let packets = counters
            .iter()
            .zip(0..)
            .flat_map(|(&counter, index)| slot.frame(CAMERA, 0, counter, index));
        let packets: Vec<_> = packets.collect();
        assert!(
            judge(SlotKind::Picture, packets)
                .counts()
                .seen(Violation::Skipped)
                > 0
        );
    }
}

#[test]
fn what_a_layer_that_was_off_did_not_send_was_not_left_out() {
    let judged = |is_back: bool| {
        let mut slot = Slot::new();
        let mut packets: Vec<_> = (0..8)
            .flat_map(|index| slot.frame(CAMERA, 1, index.into(), index))
            .collect();
        slot.is_back = is_back;
        slot.time = slot.time.wrapping_add(3 * FRAME_TICKS);
        packets.extend(slot.frame(CAMERA, 1, 11, 0));
        slot.is_back = false;
        packets.extend((1..8).flat_map(|index| slot.frame(CAMERA, 1, u32::from(index) + 11, index)));
        judge(SlotKind::Picture, packets)
    };
    assert_clean(&judged(true));
    assert_only(&judged(false), Violation::Skipped);
}

#[test]
fn frames_that_were_kept_may_come_in_haste_behind_the_key_frame_and_nowhere_else() {
    let hasty = |hasty: std::ops::Range<u16>| {
        let mut slot = Slot::new();
        let packets = (0..20).flat_map(|index| {
            if hasty.contains(&index) {
                slot.time = slot.time.wrapping_sub(FRAME_TICKS - 90);
            }
            slot.frame(CAMERA, 1, u32::from(index), index)
        });
        packets.collect::<Vec<_>>()
    };
    let mut packets = hasty(1..12);
    let kept = |packet: &&mut Arrived| packet.time.wrapping_sub(0xffff_0000) <= 11 * 90;
    packets
        .iter_mut()
        .filter(kept)
        .for_each(|packet| packet.at_us += 50_000);
    let check = judge(SlotKind::Picture, packets);
    assert_clean(&check);
    let most = check.latency().quantile_ms(1.0);
    assert!(
        most.is_some_and(|ms| ms < 4.0),
        "what was kept tells nothing of the way: {most:?}"
    );
    assert_only(&judge(SlotKind::Picture, hasty(1..18)), Violation::Time);
    assert_only(&judge(SlotKind::Picture, hasty(2..5)), Violation::Time);
}

#[test]
fn silence_may_be_kept_back_and_speech_not() {
    let speech = &Clips::builtin().speech;
    let spoken = speech.iter().position(|sound| sound.level < 127).unwrap() as u32;
    let rest = speech.len() as u32;
    let heard = |counters: &[u32]| {
        let mut slot = Slot::new();
        let mut last = counters[0];
        let packets = counters.iter().map(|&counter| {
            slot.time = slot
                .time
                .wrapping_add((counter - last).saturating_sub(1) * SOUND_TICKS);
            last = counter;
            slot.sound(MIC, counter)
        });
        judge(SlotKind::Voice, packets.collect::<Vec<_>>())
    };
    // The clip ends with silence and begins with some.
    assert_clean(&heard(&[rest - 9, rest - 8, rest + spoken, rest + spoken + 1]));
    let early = heard(&[rest - 9, rest - 8, rest + spoken - 1, rest + spoken]);
    assert_only(&early, Violation::Skipped);
    let late = heard(&[rest - 9, rest - 8, rest + spoken + 1]);
    assert_only(&late, Violation::Skipped);
}

#[test]
fn what_never_comes_is_lost_and_asked_for() {
    let mut packets = frames(40);
    let hole = packets
        .iter()
        .rposition(|packet| packet.time == packets[30].time)
        .unwrap();
    packets.remove(hole);
    let check = judge(SlotKind::Picture, packets.clone());
    assert_eq!(
        (check.counts().lost, check.counts().errors()),
        (1, 0),
        "{:?}",
        check.log()
    );
    assert!(check.counts().undecodable > 0, "no key frame came after it");

    let mut check = SlotCheck::new(SlotKind::Picture);
    check.announce(CAMERA, packets[0].time);
    let (mut asked, mut key_frames) = (Vec::new(), 0);
    for packet in packets {
        let now_us = packet.at_us;
        check.handle(packet, &ours);
        check.handle_timeout(now_us, &ours);
        asked.extend(check.poll_nacks(now_us));
        key_frames += u32::from(check.poll_key_frame_request(now_us));
    }
    let lost = 0xfff0u16.wrapping_add(hole as u16);
    assert!(
        !asked.is_empty() && asked.len() <= usize::from(NACKS_MAX),
        "{asked:?}"
    );
    assert!(asked.iter().all(|&sequence| sequence == lost));
    assert!(key_frames > 0);
}

#[test]
fn other_peoples_pictures_are_followed_but_not_compared() {
    let mut packets = sounds(20);
    for packet in &mut packets {
        packet.csrc = Some(400);
        packet.payload = Bytes::from_static(&[0x78, 1, 2, 3]);
    }
    assert_clean(&judge(SlotKind::Voice, packets.clone()));
    packets[10].time = packets[3].time;
    assert_only(&judge(SlotKind::Voice, packets), Violation::Time);
}
