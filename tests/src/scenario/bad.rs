//! What broken and hostile points send, while two others talk: nothing may reach those.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{
    engine::{bwe::Estimator, stats::RoomStats},
    wire::{
        rtcp::{Builder, SenderInfo},
        rtp::{self, HeaderFields},
    },
};

use super::{SECOND, let_speak, most_within_a_second};
use crate::{
    camera::Keys,
    decoder::Violations,
    link::Link,
    peer::Script,
    report::{Measure, Scenario, at_least, at_most},
    world::World,
};

const MEASURES: &[Measure] = &[
    at_least("pictures of the others, %", 97.0),
    at_most("freezes of the others", 0.0),
    at_most("gaps > 100 ms in voices of the others", 0.0),
    at_most("what must never happen in a slot of the others", 0.0),
    at_most("key frame requests to the culprit in a second", 3.0),
];

/// The same where the room refuses something and says how often.
const COUNTED: &[Measure] = &[
    MEASURES[0],
    MEASURES[1],
    MEASURES[2],
    MEASURES[3],
    MEASURES[4],
    at_least("counted", 1.0),
];

/// All of them.
pub const BAD: &[Scenario] = &[
    counted("feedback for packets never sent", |seed| {
        play_counted(seed, never_sent, |stats| stats.paths.unknown)
    }),
    bad("feedback with lying timestamps", |seed| play(seed, lying_times)),
    bad("REMB of 0 and of 2^62", |seed| play(seed, remb)),
    counted("NACK for 65,536 packets", |seed| {
        play_counted(seed, nack_all, |stats| {
            stats.refused.unknown + stats.refused.budget + stats.refused.recent
        })
    }),
    counted("RTX of nothing", |seed| {
        play_counted(seed, rtx_of_nothing, |stats| {
            stats.uplinks.probes + stats.uplinks.padding + stats.uplinks.unknown
        })
    }),
    bad("layers that appear and vanish", |seed| {
        play(seed, flapping_layers)
    }),
    bad("a publisher that sends no more key frame", |seed| {
        play(seed, no_more_keys)
    }),
    bad("a publisher that never sends a key frame", |seed| {
        play(seed, never_a_key)
    }),
    bad("a publisher that sends only key frames", |seed| {
        play(seed, only_keys)
    }),
    bad("clock steps of a sender", |seed| play(seed, clock_steps)),
    bad("SSRC collisions between publishers", |seed| {
        play(seed, collisions)
    }),
];

const fn bad(name: &'static str, run: fn(u64) -> Vec<f64>) -> Scenario {
    Scenario {
        name,
        measures: MEASURES,
        run,
    }
}

const fn counted(name: &'static str, run: fn(u64) -> Vec<f64>) -> Scenario {
    Scenario {
        name,
        measures: COUNTED,
        run,
    }
}

/// The one who misbehaves; 0 and 1 are the others, who see and hear each other and it.
const CULPRIT: usize = 2;
/// What it does is done so often.
const TURN: Duration = Duration::from_millis(100);

/// What a point does wrong, called at each turn: with 0 when it joins, before it sent anything, then from 1 on.
type Misbehave = fn(&mut World, &mut ChaCha8Rng, u32);

fn play(seed: u64, misbehave: Misbehave) -> Vec<f64> {
    play_world(seed, misbehave).0
}

fn play_counted(seed: u64, misbehave: Misbehave, count: fn(&RoomStats) -> u64) -> Vec<f64> {
    let (mut figures, world) = play_world(seed, misbehave);
    figures.push(count(&world.room.stats()) as f64);
    figures
}

fn play_world(seed: u64, misbehave: Misbehave) -> (Vec<f64>, World) {
    let mut world = World::new(seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0xBAD);
    for _ in 0..3 {
        world.join(Script::default(), Link::good(), Link::good());
    }
    let_speak(&mut world, &[0, 1]);
    world.view(0, &[(0, 1, 360), (1, CULPRIT, 180)]);
    world.view(1, &[(0, 0, 360), (1, CULPRIT, 180)]);
    world.view(CULPRIT, &[(0, 0, 360), (1, 1, 720)]);
    misbehave(&mut world, &mut rng, 0);
    world.run_for(4 * SECOND);
    let from = world.now;
    for turn in 1..=100 {
        misbehave(&mut world, &mut rng, turn);
        world.run_for(TURN);
        let now = world.now;
        let estimate = world.room.report(now)[CULPRIT].estimate;
        assert!(estimate.is_some_and(|rate| (Estimator::MIN..=Estimator::MAX).contains(&rate)));
    }
    let to = world.now;
    let (mut frames, mut freezes, mut gaps, mut violations) = (0, 0, 0, 0);
    for peer in [0, 1] {
        let watched = world.watched(peer, 0, from, to);
        frames += watched.frames;
        freezes += watched.freezes;
        let voices = world.experience(peer, from, to).voices;
        // A voice that never came has no gaps.
        gaps += voices.gaps + u32::from(voices.played < (to - from) / 2);
        let slot = world.peers[peer].receiver(sfu::engine::id::SlotId::video(0));
        violations += u32::from(slot.violations != Violations::default());
    }
    let expected = 2.0 * 15.0 * (to - from).as_secs_f64();
    let figures = vec![
        f64::from(frames) / expected * 100.0,
        f64::from(freezes),
        f64::from(gaps),
        f64::from(violations),
        most_within_a_second(&world.peers[CULPRIT].plis_received, from),
    ];
    (figures, world)
}

fn compound(write: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut Builder::new(&mut out, 1_200));
    out
}

fn own(world: &World) -> u32 {
    world.peers[CULPRIT].number.get() * 1_000 + 1
}

fn never_sent(world: &mut World, rng: &mut ChaCha8Rng, _: u32) {
    let base = rng.random::<u16>();
    let arrivals: Vec<(u16, i64)> = (0..400u16)
        .map(|i| (base.wrapping_add(i), i64::from(i)))
        .collect();
    let own = own(world);
    let bytes = compound(|builder| {
        let _ = builder.transport_feedback(own, 0, base as u8, base, &arrivals);
    });
    world.inject(CULPRIT, true, bytes);
}

/// What it tells of packets that it did get.
fn lying_times(world: &mut World, rng: &mut ChaCha8Rng, _: u32) {
    world.peers[CULPRIT].bend_arrivals(|ticks| match rng.random_range(0..4) {
        0 => ticks - i64::from(rng.random::<u16>() >> 2),
        1 => ticks + i64::from(rng.random::<u16>() >> 2),
        2 => 0,
        _ => ticks,
    });
}

fn remb(world: &mut World, _: &mut ChaCha8Rng, turn: u32) {
    let own = own(world);
    let rate = if turn.is_multiple_of(2) { 0 } else { 1 << 62 };
    let bytes = compound(|builder| {
        let _ = builder.remb(own, rate, &[1]);
    });
    world.inject(CULPRIT, true, bytes);
}

fn nack_all(world: &mut World, _: &mut ChaCha8Rng, _: u32) {
    let own = own(world);
    // Video slots begin behind six voices.
    let slot = world.peers[CULPRIT].number.get() * 1_000 + 106;
    let all: Vec<u16> = (0..=u16::MAX).collect();
    for numbers in all.chunks(4_000) {
        let bytes = compound(|builder| {
            let _ = builder.nack(own, slot, numbers);
        });
        world.inject(CULPRIT, true, bytes);
    }
}

fn rtx_of_nothing(world: &mut World, rng: &mut ChaCha8Rng, turn: u32) {
    let base = world.peers[CULPRIT].number.get() * 1_000 + 10;
    for i in 0..20u16 {
        let header = HeaderFields {
            marker: false,
            padding: false,
            payload_type: 97,
            sequence: (turn as u16).wrapping_mul(20).wrapping_add(i),
            timestamp: rng.random(),
            ssrc: base + 1 + 2 * u32::from(i % 3),
        };
        let mut bytes = vec![0; 200];
        let length = rtp::write_header(&header, None, &[(1, b"1")], &mut bytes).expect("fits");
        // No payload, half an original number, a number that was never sent, or garbage behind one.
        bytes.truncate(length + usize::from(i % 4) * usize::from(i));
        world.inject(CULPRIT, false, bytes);
    }
}

fn flapping_layers(world: &mut World, rng: &mut ChaCha8Rng, _: u32) {
    if let Some(camera) = &mut world.peers[CULPRIT].camera {
        for layer in &mut camera.layers {
            layer.is_running = rng.random::<bool>();
        }
    }
}

fn no_more_keys(world: &mut World, rng: &mut ChaCha8Rng, turn: u32) {
    if turn > 0 {
        never_a_key(world, rng, turn);
    }
}

fn never_a_key(world: &mut World, _: &mut ChaCha8Rng, _: u32) {
    if let Some(camera) = &mut world.peers[CULPRIT].camera {
        camera.keys = Keys::Never;
    }
}

fn only_keys(world: &mut World, _: &mut ChaCha8Rng, _: u32) {
    if let Some(camera) = &mut world.peers[CULPRIT].camera {
        camera.keys = Keys::Always;
    }
}

fn clock_steps(world: &mut World, rng: &mut ChaCha8Rng, turn: u32) {
    if !turn.is_multiple_of(5) {
        return;
    }
    let ssrcs: Vec<u32> = world.peers[CULPRIT]
        .camera
        .iter_mut()
        .flat_map(|camera| {
            camera.step_clock(rng.random());
            &camera.layers
        })
        .map(|layer| layer.sender.ssrc)
        .collect();
    for ssrc in ssrcs {
        let info = SenderInfo {
            ntp: rng.random(),
            rtp: rng.random(),
            packets: 1,
            octets: 1,
        };
        let bytes = compound(|builder| {
            let _ = builder.sender_report(ssrc, &info, &[]);
        });
        world.inject(CULPRIT, true, bytes);
    }
}

/// It sends with the SSRCs of the first point, too.
fn collisions(world: &mut World, _: &mut ChaCha8Rng, _: u32) {
    let ssrcs: Vec<u32> = world.peers[0]
        .camera
        .iter()
        .flat_map(|camera| &camera.layers)
        .map(|layer| layer.sender.ssrc)
        .collect();
    if let Some(camera) = &mut world.peers[CULPRIT].camera {
        for (layer, ssrc) in camera.layers.iter_mut().zip(ssrcs) {
            (layer.sender.ssrc, layer.sender.rtx_ssrc) = (ssrc, Some(ssrc + 1));
        }
    }
    let voice = world.peers[0].mic.as_ref().map(|mic| mic.sender.ssrc);
    if let (Some(mic), Some(ssrc)) = (&mut world.peers[CULPRIT].mic, voice) {
        mic.sender.ssrc = ssrc;
    }
}
