//! Receivers that tell little of what reaches them: REMB, or reception reports alone.

use std::time::{Duration, Instant};

use sfu::{engine::units::Bitrate, wire::rtcp::Builder};

use super::{SECOND, bps, drops, let_speak, millis, rate, seconds_until};
use crate::{
    feedback::Feedback,
    link::Link,
    peer::Script,
    report::{Measure, Scenario, at_least, at_most},
    world::World,
};

/// What the line takes.
const LINE: Bitrate = Bitrate::mbps(1);

const MEASURES: &[Measure] = &[
    at_least("voice playable, %", 97.0),
    at_least("stage at 360p or more, % of the time", 60.0),
    at_least("stage, frames a second", 7.0),
    at_most("longest freeze of the stage, ms", 2_000.0),
    // Two voices and a small picture: nothing ever falls below that.
    at_least("least share of the line used in any five seconds, %", 15.0),
    at_most("packets lost by congestion, %", 5.0),
    at_most("queue, 95 % of the time below, ms", 300.0),
    at_most("packets of padding", 0.0),
];

/// A receiver's own estimate is a cap; its reports are the law below it.
pub const REMB: Scenario = Scenario {
    name: "REMB and no transport-wide feedback, 1 Mb/s",
    measures: MEASURES,
    run: |seed| settle(seed, Feedback::Remb),
};

/// The share that was lost is all that is known.
pub const REPORTS: Scenario = Scenario {
    name: "reception reports alone, 1 Mb/s",
    measures: MEASURES,
    run: |seed| settle(seed, Feedback::Reports),
};

/// Two who speak and are seen, and a watcher of the first behind the line.
fn meeting(seed: u64, feedback: Feedback) -> (World, usize) {
    let mut world = World::new(seed);
    for _ in 0..2 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let path = Link::good().with_delay_ms(20);
    let script = Script {
        feedback,
        ..Script::watcher(1)
    };
    let watcher = world.join(script, path, path.with_rate(LINE).with_queue_ms(300));
    let_speak(&mut world, &[0, 1]);
    world.view(watcher, &[(0, 0, 720)]);
    world.run_for(40 * SECOND);
    (world, watcher)
}

fn settle(seed: u64, feedback: Feedback) -> Vec<f64> {
    let (mut world, watcher) = meeting(seed, feedback);
    let from = world.now;
    world.run_for(60 * SECOND);
    let to = world.now;
    let stage = world.watched(watcher, 0, from, to);
    let line = world.down_record(watcher);
    let ticks = line.between(from, to);
    let passed: u32 = ticks.iter().map(|tick| tick.packets).sum();
    let dropped = drops(line, from, to);
    let mut waits: Vec<Duration> = ticks.iter().map(|tick| tick.wait_max).collect();
    waits.sort_unstable();
    vec![
        world.experience(watcher, from, to).voices.playable() * 100.0,
        stage.share_at(360, from, to) * 100.0,
        stage.fps(to - from),
        millis(stage.longest_freeze),
        least_used(&world, watcher, from),
        dropped / (f64::from(passed) + dropped) * 100.0,
        waits
            .get(waits.len() * 95 / 100)
            .map_or(f64::NAN, |wait| millis(*wait)),
        f64::from(world.peers[watcher].padding_received),
    ]
}

/// Of the line, in the worst five of the sixty seconds from then on.
fn least_used(world: &World, watcher: usize, from: Instant) -> f64 {
    let line = world.down_record(watcher);
    let used = |second: u32| rate(line, from + second * SECOND, from + (second + 5) * SECOND);
    (0..=55).map(used).fold(f64::INFINITY, f64::min) / bps(LINE) * 100.0
}

/// Nothing at all, then more than there is.
pub const REMB_EXTREMES: Scenario = Scenario {
    name: "REMB of 0 for 10 s, then of 2^62, 1 Mb/s",
    measures: &[
        at_least("voice playable under 0, %", 97.0),
        at_most("rate under 0, kb/s", 100.0),
        at_most("stage is back, s", 3.0),
        at_least("voice playable under 2^62, %", 97.0),
        at_most("packets of padding", 0.0),
    ],
    run: remb_extremes,
};

fn remb_extremes(seed: u64) -> Vec<f64> {
    let (mut world, watcher) = meeting(seed, Feedback::Reports);
    claim(&mut world, watcher, 0);
    let under_none = world.now;
    for _ in 0..10 {
        claim(&mut world, watcher, 0);
        world.run_for(SECOND);
    }
    let under_all = world.now;
    for _ in 0..30 {
        claim(&mut world, watcher, 1 << 62);
        world.run_for(SECOND);
    }
    let to = world.now;
    let voices = |from, to| world.experience(watcher, from, to).voices.playable() * 100.0;
    // What was under way at the first word is given a second.
    let quiet = rate(world.down_record(watcher), under_none + SECOND, under_all);
    vec![
        voices(under_none, under_all),
        quiet / 1_000.0,
        seconds_until(&world, (watcher, 0), under_all, |seen| seen.height >= 360),
        voices(under_all, to),
        f64::from(world.peers[watcher].padding_received),
    ]
}

fn claim(world: &mut World, peer: usize, rate: u64) {
    let own = world.peers[peer].number.get() * 1_000 + 1;
    let mut bytes = Vec::new();
    let written = Builder::new(&mut bytes, 100).remb(own, rate, &[own + 99]);
    written.expect("one SSRC fits");
    world.inject(peer, true, bytes);
}
