//! One receiver and its line.

use std::time::{Duration, Instant};

use sfu::engine::{id::SlotId, units::Bitrate};

use super::{SECOND, let_speak, millis, rate, seconds_until};
use crate::{
    link::Link,
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::World,
};

/// A stage and five thumbnails over a line that is squeezed for 30 s.
///
/// What was under way when the line shrank waits in its queue, voices among it: up to the length of that queue no engine can help. So voices
/// are measured from one second after the squeeze on, and the gap of the squeeze itself apart.
pub const SQUEEZE: Scenario = Scenario {
    name: "line 4 Mb/s -> 350 kb/s -> 4 Mb/s, 6 publishers",
    measures: &[
        at_most("gaps > 100 ms in voices", 0.0),
        at_most("longest gap in voices at the squeeze, ms", 400.0),
        at_most("queue from 2 s after the squeeze, ms", 150.0),
        at_most("first lower layer, s", 1.0),
        at_most("back at full, s", 12.0),
        at_most("layer changes", 8.0),
    ],
    run: squeeze,
};

fn squeeze(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    for _ in 0..6 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let wide = Link::good()
        .with_delay_ms(20)
        .with_rate(Bitrate::mbps(4))
        .with_queue_ms(300);
    let watcher = world.join(Script::watcher(6), Link::good().with_delay_ms(20), wide);
    let_speak(&mut world, &[0, 1]);
    let wants = [
        (0, 0, 720),
        (1, 1, 180),
        (2, 2, 180),
        (3, 3, 180),
        (4, 4, 180),
        (5, 5, 180),
    ];
    world.view(watcher, &wants);
    world.run_for(30 * SECOND);
    let squeezed = world.now;
    world.down(watcher).link.rate = Some(Bitrate::kbps(350));
    world.run_for(30 * SECOND);
    let wide_again = world.now;
    world.down(watcher).link.rate = Some(Bitrate::mbps(4));
    world.run_for(30 * SECOND);
    let end = world.now;

    let before = world.experience(watcher, squeezed - 20 * SECOND, squeezed);
    let after = world.experience(watcher, squeezed + SECOND, end);
    let at_once = world.experience(watcher, squeezed, squeezed + SECOND);
    let all = world.experience(watcher, squeezed, end);
    let changes = |watched: &crate::experience::Watched| f64::from(watched.layer_changes + watched.emptied);
    let lower = seconds_until(&world, (watcher, 0), squeezed, |seen| seen.stamp.layer < 2);
    vec![
        f64::from(before.voices.gaps + after.voices.gaps),
        millis(at_once.voices.longest_gap),
        millis(world.down_record(watcher).max_between(squeezed + 2 * SECOND, end)),
        lower,
        back_at_full(&world, watcher, squeezed, wide_again),
        all.pictures.values().map(changes).sum(),
    ]
}

/// Seconds until every slot shows what it showed in the ten seconds before the squeeze, for a second each.
fn back_at_full(world: &World, watcher: usize, squeezed: Instant, since: Instant) -> f64 {
    let step = SECOND / 10;
    let is_full = |slot: u8, from: Instant| {
        let before = world.watched(watcher, slot, squeezed - 10 * SECOND, squeezed);
        let now = world.watched(watcher, slot, from, from + SECOND);
        let highest = before.heights.iter().map(|(_, height)| *height).max();
        let least = now.heights.iter().map(|(_, height)| *height).min();
        now.fps(SECOND) >= before.fps(10 * SECOND) * 0.8 && least >= highest
    };
    let found = (0..290).find(|i| (0..6).all(|slot| is_full(slot, since + *i * step)));
    found.map_or(f64::INFINITY, |i| f64::from(i) / 10.0)
}

/// Everything that four cameras have, over a satellite.
pub const SATELLITE: Scenario = Scenario {
    name: "620 ms RTT, 3 % random loss, 4 Mb/s",
    measures: &[
        at_least("share of the line used for 60 s, %", 85.0),
        at_least("voice playable, %", 95.0),
        at_least("stage at 360p, frames a second", 12.0),
        at_most("stage stands still in 60 s, s", 10.0),
    ],
    run: satellite,
};

fn satellite(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    for _ in 0..5 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let path = Link::good().with_delay_ms(310).with_loss(0.03);
    let watcher = world.join(
        Script::watcher(5),
        path,
        path.with_rate(Bitrate::mbps(4)).with_queue_ms(300),
    );
    let_speak(&mut world, &[0, 1]);
    world.view(
        watcher,
        &[(0, 0, 360), (1, 1, 720), (2, 2, 720), (3, 3, 720), (4, 4, 720)],
    );
    world.run_for(30 * SECOND);
    let from = world.now;
    world.run_for(60 * SECOND);
    let to = world.now;
    let used = rate(world.down_record(watcher), from, to);
    let seen = world.experience(watcher, from, to);
    let stage = world.watched(watcher, 0, from, to);
    let frames = if stage.share_at(360, from, to) > 0.95 {
        stage.fps(to - from)
    } else {
        0.0
    };
    vec![
        used / 4_000_000.0 * 100.0,
        seen.voices.playable() * 100.0,
        frames,
        stage.frozen.as_secs_f64(),
    ]
}

/// Twenty seconds in which almost nothing comes through whole.
pub const BURSTS: Scenario = Scenario {
    name: "30 % loss in bursts of 3.6 packets, 60 ms RTT, 20 s",
    measures: &[
        at_least("voice playable, %", 95.0),
        at_least("stage, frames a second", 5.0),
        at_most("longest freeze of the stage, ms", 3_000.0),
    ],
    run: |seed| bursts(seed, Script::watcher(2)),
};

/// The same for somebody whose browser takes no RED, as Firefox.
pub const BURSTS_PLAIN: Scenario = Scenario {
    name: "30 % loss in bursts of 3.6 packets, 60 ms RTT, 20 s, a receiver without RED",
    measures: BURSTS.measures,
    run: |seed| {
        let plain = Script {
            red: false,
            ..Script::watcher(2)
        };
        bursts(seed, plain)
    },
};

fn bursts(seed: u64, script: Script) -> Vec<f64> {
    let mut world = World::new(seed);
    for _ in 0..2 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let path = Link::good().with_delay_ms(30);
    let down = path.with_rate(Bitrate::mbps(4)).with_queue_ms(300);
    let watcher = world.join(script, path, down);
    let_speak(&mut world, &[0]);
    world.view(watcher, &[(0, 0, 360), (1, 1, 180)]);
    world.run_for(10 * SECOND);
    let from = world.now;
    world.down(watcher).link = down.with_burst(0.3, 3.6);
    world.run_for(20 * SECOND);
    let to = world.now;
    let stage = world.watched(watcher, 0, from, to);
    vec![
        world.experience(watcher, from, to).voices.playable() * 100.0,
        stage.fps(to - from),
        millis(stage.longest_freeze),
    ]
}

/// A thumbnail for a minute, then all that there is.
pub const APPLICATION_LIMITED: Scenario = Scenario {
    name: "application-limited for 60 s, then a 2.5 Mb/s layer wanted",
    measures: &[
        at_most("reached, s", 3.0),
        at_most("freezes", 0.0),
        at_most("gaps > 100 ms in voices", 0.0),
        at_most("queue, ms", 150.0),
    ],
    run: application_limited,
};

fn application_limited(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let fixed = Script {
        obeys: false,
        ..Script::publisher()
    };
    world.join(fixed, Link::good(), Link::good());
    if let Some(camera) = &mut world.peers[0].camera {
        camera.set_usual(2, Bitrate::kbps(2_500));
    }
    let path = Link::good().with_delay_ms(30);
    let watcher = world.join(
        Script::watcher(1),
        path,
        path.with_rate(Bitrate::mbps(4)).with_queue_ms(300),
    );
    world.view(watcher, &[(0, 0, 180)]);
    world.run_for(60 * SECOND);
    let from = world.now;
    world.view(watcher, &[(0, 0, 720)]);
    world.run_for(20 * SECOND);
    let to = world.now;
    let seen = world.experience(watcher, from, to);
    let freezes: u32 = seen.pictures.values().map(|watched| watched.freezes).sum();
    let slot = world.peers[watcher].receiver(SlotId::video(0));
    assert!(!slot.seen.is_empty(), "the thumbnail was seen");
    let queue = world
        .down_record(watcher)
        .max_between(from + Duration::from_millis(100), to);
    vec![
        seconds_until(&world, (watcher, 0), from, |seen| seen.height >= 720),
        f64::from(freezes),
        f64::from(seen.voices.gaps),
        millis(queue),
    ]
}

/// One camera that one point watches, as in a call of two: what the line takes should be used by it.
pub const ONE_CAMERA: Scenario = Scenario {
    name: "one camera at 720p over 1.5 Mb/s, then over 3 Mb/s",
    measures: &[
        at_least("share of 1.5 Mb/s used, %", 75.0),
        at_least("frames a second over 1.5 Mb/s", 24.0),
        at_least("share of 3 Mb/s used, %", 75.0),
        at_least("frames a second over 3 Mb/s", 24.0),
        at_least("picture at 720p, % of the time", 95.0),
        at_most("queue of one camera, ms", 200.0),
        at_most("orders a minute", 60.0),
    ],
    run: one_camera,
};

fn one_camera(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let sender = world.join(
        Script {
            fps: 30,
            ..Script::publisher()
        },
        Link::good(),
        Link::good(),
    );
    let thin = Link::good()
        .with_delay_ms(20)
        .with_rate(Bitrate::kbps(1_500))
        .with_queue_ms(300);
    let watcher = world.join(Script::watcher(1), Link::good().with_delay_ms(20), thin);
    let_speak(&mut world, &[0]);
    world.view(watcher, &[(0, 0, 720)]);
    world.run_for(15 * SECOND);
    let first = world.now;
    world.run_for(45 * SECOND);
    let between = world.now;
    world.down(watcher).link.rate = Some(Bitrate::mbps(3));
    world.run_for(15 * SECOND);
    let second = world.now;
    world.run_for(45 * SECOND);
    let end = world.now;
    let spans = [(first, between, 1_500_000.0), (second, end, 3_000_000.0)];
    let seen = spans.map(|(from, to, _)| world.watched(watcher, 0, from, to));
    let record = world.down_record(watcher);
    let used = spans.map(|(from, to, line)| rate(record, from, to) / line * 100.0);
    let fps = [0, 1].map(|at| seen[at].fps(45 * SECOND));
    let high = [0, 1].map(|at| seen[at].share_at(720, spans[at].0, spans[at].1) * 100.0);
    let queues = spans.map(|(from, to, _)| millis(record.max_between(from, to)));
    let orders = world
        .orders
        .iter()
        .filter(|order| order.peer == sender && order.at >= first);
    let minutes = (end - first).as_secs_f64() / 60.0;
    vec![
        used[0],
        fps[0],
        used[1],
        fps[1],
        high[0].min(high[1]),
        queues[0].max(queues[1]),
        orders.count() as f64 / minutes,
    ]
}
