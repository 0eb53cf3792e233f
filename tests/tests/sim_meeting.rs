//! Whole meetings in virtual time: what would each decoder have shown?

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use sfu::{
    control::RoomPolicy,
    engine::{
        id::{SlotId, SourceKind},
        units::Bitrate,
    },
};
use testkit::{
    decoder::{Receiver, Seen, Violations},
    link::Link,
    peer::Script,
    seeds::seeds,
    world::World,
};

const SECOND: Duration = Duration::from_secs(1);

/// A meeting whose ways are taken to be wide from the start: it is about streams, not about estimates.
fn wide(seed: u64) -> World {
    let mut world = World::new(seed);
    world.room.set_policy(RoomPolicy {
        way_start: Bitrate::mbps(10),
        ..RoomPolicy::default()
    });
    world
}

/// Frames decoded in a slot between two times.
fn frames(receiver: &Receiver, from: Instant, to: Instant) -> Vec<&Seen> {
    receiver
        .seen
        .iter()
        .filter(|seen| seen.at >= from && seen.at < to)
        .collect()
}

/// The sources heard by a point in any of its audio slots between two times.
fn heard(world: &World, peer: usize, from: Instant, to: Instant) -> BTreeSet<u32> {
    let voices = world.peers[peer]
        .receivers
        .iter()
        .filter(|(slot, _)| matches!(slot.kind, sfu::engine::id::MediaKind::Audio));
    voices
        .flat_map(|(_, receiver)| frames(receiver, from, to))
        .map(|seen| seen.stamp.source)
        .collect()
}

/// No slot of anybody ever did what must never happen.
fn assert_continuous(world: &World, seed: u64) {
    for peer in &world.peers {
        for (slot, receiver) in &peer.receivers {
            assert_eq!(
                receiver.violations,
                Violations::default(),
                "seed {seed}, point {:?}, slot {slot}",
                peer.number
            );
        }
    }
}

/// What a page was told of a slot agrees with what the slot then showed: the first frame of each source begins at the time announced.
fn assert_names(world: &World, seed: u64) {
    for peer in &world.peers {
        for (slot, receiver) in &peer.receivers {
            let told: Vec<(u32, u32)> = peer
                .announced
                .iter()
                .filter(|change| change.slot == *slot)
                .filter_map(|change| Some((change.source?.get(), change.time?)))
                .collect();
            let mut last = None;
            for seen in &receiver.seen {
                assert_eq!(seen.named, seen.stamp.source, "seed {seed}, slot {slot}");
                if last != Some(seen.stamp.source) {
                    // A decoder may have missed the first frames; the source must have been announced at this time or earlier.
                    let announced = told.iter().any(|(source, time)| {
                        *source == seen.stamp.source && seen.timestamp.wrapping_sub(*time) < 1 << 31
                    });
                    assert!(
                        announced,
                        "seed {seed}, slot {slot}: source {} at {} was not announced: {told:?}",
                        seen.stamp.source, seen.timestamp
                    );
                    last = Some(seen.stamp.source);
                }
            }
        }
    }
}

#[test]
fn two_points_see_and_hear_each_other() {
    for seed in seeds(5) {
        let mut world = wide(seed);
        for _ in 0..2 {
            world.join(Script::default(), Link::good(), Link::good());
        }
        world.view(0, &[(0, 1, 720)]);
        world.view(1, &[(0, 0, 180)]);
        world.run_for(SECOND);
        let from = world.now;
        world.run_for(10 * SECOND);
        for (peer, height_layer) in [(0, 2), (1, 0)] {
            let slot = world.peers[peer].receiver(SlotId::video(0));
            let seen = frames(slot, from, world.now);
            assert!(seen.len() >= 148, "seed {seed}: {} frames in 10 s", seen.len());
            assert!(
                seen.iter().all(|seen| seen.stamp.layer == height_layer),
                "seed {seed}: the layer that the height asks for"
            );
            let other = world.peers[1 - peer].number.source(SourceKind::Mic).get();
            assert!(
                heard(&world, peer, from, world.now).contains(&other),
                "seed {seed}"
            );
            assert!(
                slot.plis_sent <= 1,
                "seed {seed}: {} key frames asked for on a good path",
                slot.plis_sent
            );
        }
        let began = |peer: usize| world.peers[peer].receiver(SlotId::video(0)).began_without_key;
        assert!(
            !began(0) && !began(1),
            "seed {seed}: a slot begins with a key frame"
        );
        assert_continuous(&world, seed);
        assert_names(&world, seed);
    }
}

#[test]
fn twenty_points_stay_continuous_through_loss_reordering_and_duplicates() {
    for seed in seeds(2) {
        let mut world = wide(seed);
        let bad = Link::good()
            .with_loss(0.02)
            .with_reorder(0.02)
            .with_duplicate(0.02);
        for _ in 0..20 {
            world.join(
                Script {
                    video_slots: 4,
                    ..Script::default()
                },
                bad,
                bad,
            );
        }
        for peer in 0..20 {
            world.view(
                peer,
                &[
                    (0, (peer + 1) % 20, 360),
                    (1, (peer + 2) % 20, 180),
                    (2, (peer + 3) % 20, 180),
                    (3, (peer + 4) % 20, 180),
                ],
            );
        }
        world.run_for(2 * SECOND);
        let from = world.now;
        world.run_for(6 * SECOND);
        for peer in 0..20 {
            for slot in 0..4 {
                let seen = frames(world.peers[peer].receiver(SlotId::video(slot)), from, world.now).len();
                assert!(
                    seen >= 80,
                    "seed {seed}: point {peer} slot {slot} decoded {seen} of 90"
                );
            }
            assert!(
                !heard(&world, peer, from, world.now).is_empty(),
                "seed {seed}: point {peer} hears nobody"
            );
        }
        assert_continuous(&world, seed);
        assert_names(&world, seed);
    }
}

/// Share of frames decoded, key frames asked of the sender, numbers asked again and lost on the way up.
struct LossResult {
    decoded: f64,
    nacks: u32,
    lost: u32,
}

fn five_percent_both_ways(seed: u64, repairs: bool) -> LossResult {
    let mut world = World::new(seed);
    let lossy = Link::good().with_loss(0.05).with_delay_ms(25);
    let sender = world.join(
        Script {
            video_slots: 0,
            repairs,
            ..Script::default()
        },
        lossy,
        Link::good().with_delay_ms(25).with_loss(0.05),
    );
    let receiver = world.join(
        Script {
            camera: false,
            repairs,
            ..Script::default()
        },
        lossy,
        lossy,
    );
    world.view(receiver, &[(0, sender, 360)]);
    world.run_for(2 * SECOND);
    let from = world.now;
    world.run_for(30 * SECOND);
    let seen = frames(world.peers[receiver].receiver(SlotId::video(0)), from, world.now).len();
    if repairs {
        assert_continuous(&world, seed);
        assert_names(&world, seed);
    }
    LossResult {
        decoded: seen as f64 / 450.0,
        nacks: world.peers[sender].nacks_received,
        lost: world.pictures_lost(sender),
    }
}

#[test]
fn five_percent_loss_both_ways_leaves_ninety_five_percent_of_frames() {
    for seed in seeds(10) {
        let result = five_percent_both_ways(seed, true);
        assert!(
            result.decoded >= 0.95,
            "seed {seed}: {:.1} % decoded",
            result.decoded * 100.0
        );
        assert!(
            result.nacks <= 2 * result.lost,
            "seed {seed}: {} asked again for {} lost",
            result.nacks,
            result.lost
        );
        assert!(
            result.nacks >= result.lost * 9 / 10,
            "seed {seed}: {} asked again for {} lost",
            result.nacks,
            result.lost
        );
    }
}

#[test]
fn without_repair_the_same_path_freezes_the_picture() {
    for seed in seeds(3) {
        let result = five_percent_both_ways(seed, false);
        assert!(
            (0.01..0.8).contains(&result.decoded),
            "seed {seed}: {:.1} % decoded without repair",
            result.decoded * 100.0
        );
    }
}

#[test]
fn a_switch_of_layer_or_source_waits_for_one_key_frame_and_shows_no_gap() {
    for seed in seeds(5) {
        let mut world = wide(seed);
        for _ in 0..3 {
            world.join(Script::default(), Link::good(), Link::good());
        }
        world.view(0, &[(0, 1, 180)]);
        world.run_for(3 * SECOND);
        for (whose, height, layer) in [(1, 720, 2), (2, 720, 2), (2, 180, 0), (1, 360, 1), (2, 360, 1)] {
            let from = world.now;
            world.view(0, &[(0, whose, height)]);
            world.run_for(3 * SECOND);
            let receiver = world.peers[0].receiver(SlotId::video(0));
            let wanted = world.peers[whose].number.source(SourceKind::Camera).get();
            let first = receiver
                .seen
                .iter()
                .find(|seen| seen.at >= from && seen.stamp.source == wanted && seen.stamp.layer == layer);
            let waited = first.expect("the wanted picture came").at - from;
            // A request up (10 ms), a frame (67 ms), and down again; twice that if the broker had just asked for another.
            assert!(
                waited <= Duration::from_millis(700),
                "seed {seed}: waited {waited:?}"
            );
            assert!(
                receiver.longest_gap(from, world.now) <= Duration::from_millis(250),
                "seed {seed}: {:?}",
                receiver.longest_gap(from, world.now)
            );
        }
        assert_continuous(&world, seed);
        assert_names(&world, seed);
    }
}

#[test]
fn a_camera_that_goes_off_empties_its_slots_and_comes_back() {
    for seed in seeds(3) {
        let mut world = World::new(seed);
        for _ in 0..2 {
            world.join(Script::default(), Link::good(), Link::good());
        }
        world.view(0, &[(0, 1, 180)]);
        world.run_for(2 * SECOND);
        world.publish(1, SourceKind::Camera, false);
        world.run_for(SECOND / 2);
        let dark = world.now;
        let last = world.peers[0]
            .announced
            .iter()
            .rfind(|change| change.slot == SlotId::video(0));
        assert_eq!(
            last.and_then(|change| change.source),
            None,
            "seed {seed}: the page is told"
        );
        world.run_for(3 * SECOND);
        assert!(
            frames(world.peers[0].receiver(SlotId::video(0)), dark, world.now).is_empty(),
            "seed {seed}: nothing of an off camera is forwarded"
        );
        world.publish(1, SourceKind::Camera, true);
        let from = world.now;
        world.run_for(2 * SECOND);
        assert!(
            frames(world.peers[0].receiver(SlotId::video(0)), from, world.now).len() >= 15,
            "seed {seed}"
        );
        assert_continuous(&world, seed);
        assert_names(&world, seed);
    }
}

#[test]
fn six_voices_fit_and_the_loudest_of_twenty_are_heard() {
    for seed in seeds(2) {
        let mut world = World::new(seed);
        let voices_only = Script {
            camera: false,
            video_slots: 0,
            ..Script::default()
        };
        for _ in 0..20 {
            world.join(voices_only, Link::good(), Link::good());
        }
        for (index, peer) in world.peers.iter_mut().enumerate() {
            if let Some(mic) = &mut peer.mic {
                mic.level = if (5..8).contains(&index) { 25 } else { 127 };
            }
        }
        world.run_for(4 * SECOND);
        let from = world.now;
        world.run_for(4 * SECOND);
        let speaking: Vec<u32> = (5..8)
            .map(|i| world.peers[i].number.source(SourceKind::Mic).get())
            .collect();
        for listener in [0, 12, 19] {
            let heard = heard(&world, listener, from, world.now);
            assert!(
                speaking.iter().all(|source| heard.contains(source)),
                "seed {seed}: point {listener} hears {heard:?}, not {speaking:?}"
            );
        }
        let loudest = world
            .speakers
            .last()
            .and_then(|(_, number)| *number)
            .map(|number| number.get());
        assert!(
            loudest.is_some_and(|number| (6..=8).contains(&number)),
            "seed {seed}: {loudest:?}"
        );
        assert_continuous(&world, seed);
    }
}

#[test]
fn whoever_leaves_is_gone_and_the_others_go_on() {
    for seed in seeds(3) {
        let mut world = World::new(seed);
        for _ in 0..3 {
            world.join(Script::default(), Link::good(), Link::good());
        }
        world.view(0, &[(0, 1, 360), (1, 2, 180)]);
        world.run_for(2 * SECOND);
        world.leave(1);
        let from = world.now;
        world.run_for(3 * SECOND);
        assert!(
            frames(
                world.peers[0].receiver(SlotId::video(0)),
                from + SECOND / 10,
                world.now
            )
            .is_empty(),
            "seed {seed}"
        );
        assert!(
            frames(world.peers[0].receiver(SlotId::video(1)), from, world.now).len() >= 43,
            "seed {seed}"
        );
        assert_continuous(&world, seed);
    }
}

#[test]
fn transport_wide_feedback_reaches_every_sender() {
    let mut world = World::new(1);
    for _ in 0..2 {
        world.join(Script::default(), Link::good(), Link::good());
    }
    world.run_for(5 * SECOND);
    for peer in &world.peers {
        assert!(
            (40..=120).contains(&peer.feedback_received),
            "{} in 5 s",
            peer.feedback_received
        );
    }
}
