//! Lines on which even the headers of a voice count: long voice packets, and back.

use std::time::{Duration, Instant};

use sfu::engine::{id::LineIndex, packet::LineShare, units::Bitrate};

use super::{SECOND, let_speak};
use crate::{
    link::{Bottleneck, Link},
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::{Place, World},
};

/// The voice that is heard.
const SPEAKER: usize = 0;
const THIN: Bitrate = Bitrate::kbps(64);
const WIDE: Bitrate = Bitrate::mbps(1);

/// One voice and one picture over two lines that take hardly more than the voice, for a minute.
pub const LONG_PACKETS: Scenario = Scenario {
    name: "voice over two lines 1 Mb/s -> 64 kb/s -> 1 Mb/s",
    measures: &[
        at_most("60 ms packets are asked for, s", 5.0),
        at_least("60 ms packets, % of the thin time after that", 90.0),
        at_least("voice playable over 64 kb/s, %", 95.0),
        at_most("the voice on the wire beside 20 ms packets, %", 80.0),
        at_most("20 ms packets again, s", 20.0),
        at_least("voice playable after that, %", 99.0),
    ],
    run: long_packets,
};

fn long_packets(seed: u64) -> Vec<f64> {
    let told = through_thin(seed, true);
    let short = through_thin(seed, false);
    let asked = told.first_order(60, told.thin);
    let again = told.first_order(20, told.wide);
    let since = asked.map_or(told.wide, |at| at);
    vec![
        seconds(told.thin, asked),
        told.long_share(since, told.wide) * 100.0,
        told.playable(told.thin + 5 * SECOND, told.wide),
        told.sound as f64 / short.sound as f64 * 100.0,
        seconds(told.wide, again),
        told.playable(told.wide + 5 * SECOND, told.end),
    ]
}

struct Passed {
    world: World,
    watchers: [usize; 2],
    thin: Instant,
    wide: Instant,
    end: Instant,
    /// Bytes of sound that reached the watchers in the last twenty seconds of the thin time.
    sound: u64,
}

/// `obeys`: the speaker makes its packets as long as it is told to.
fn through_thin(seed: u64, obeys: bool) -> Passed {
    let mut world = World::new(seed);
    let script = Script {
        obeys,
        ..Script::publisher()
    };
    world.join(script, Link::good(), Link::good());
    let path = Link::good().with_delay_ms(30);
    let watchers = [0; 2].map(|_| {
        let watcher = world.join(Script::watcher(1), path, path.with_rate(WIDE).with_queue_ms(300));
        world.view(watcher, &[(0, SPEAKER, 360)]);
        watcher
    });
    let_speak(&mut world, &[SPEAKER]);
    world.run_for(20 * SECOND);
    let thin = world.now;
    set_rate(&mut world, watchers, THIN);
    world.run_for(40 * SECOND);
    let sound = |world: &World| {
        watchers
            .map(|watcher| world.peers[watcher].sound_received)
            .iter()
            .sum::<u64>()
    };
    let before = sound(&world);
    world.run_for(20 * SECOND);
    let sound = sound(&world) - before;
    let wide = world.now;
    set_rate(&mut world, watchers, WIDE);
    world.run_for(40 * SECOND);
    let end = world.now;
    Passed {
        world,
        watchers,
        thin,
        wide,
        end,
        sound,
    }
}

fn set_rate(world: &mut World, watchers: [usize; 2], rate: Bitrate) {
    for watcher in watchers {
        world.down(watcher).link.rate = Some(rate);
    }
}

fn seconds(since: Instant, at: Option<Instant>) -> f64 {
    at.map_or(f64::INFINITY, |at| (at - since).as_secs_f64())
}

impl Passed {
    fn orders(&self) -> impl Iterator<Item = (Instant, u8)> {
        let orders = self.world.orders.iter();
        orders
            .filter(|orders| orders.peer == SPEAKER)
            .map(|orders| (orders.at, orders.voice_ms))
    }

    /// When packets of that length were asked for first, from then on.
    fn first_order(&self, voice_ms: u8, since: Instant) -> Option<Instant> {
        let of_length = |(at, length): &(Instant, u8)| *at >= since && *length == voice_ms;
        self.orders().find(of_length).map(|(at, _)| at)
    }

    /// Share of the time in which 60 ms was the order.
    fn long_share(&self, from: Instant, to: Instant) -> f64 {
        let orders: Vec<(Instant, u8)> = self.orders().collect();
        let ends = orders.iter().skip(1).map(|(at, _)| *at).chain([to]);
        let long: Duration = orders
            .iter()
            .zip(ends)
            .filter(|((_, length), _)| *length == 60)
            .map(|((at, _), end)| end.min(to).saturating_duration_since((*at).max(from)))
            .sum();
        long.as_secs_f64() / (to - from).as_secs_f64().max(0.001)
    }

    fn playable(&self, from: Instant, to: Instant) -> f64 {
        let worst = self
            .watchers
            .map(|watcher| self.world.experience(watcher, from, to).voices.playable());
        worst.into_iter().fold(1.0, f64::min) * 100.0
    }
}

/// The node knows that what ten points share is too thin for short packets.
pub const LONG_PACKETS_KNOWN: Scenario = Scenario {
    name: "10 points behind one 1 Mb/s line, its budget known: 60 ms packets",
    measures: &[
        at_least("voice playable at the worst point, %", 97.0),
        at_most("the voices on the wire beside 20 ms packets, %", 80.0),
        at_most("orders of another length after the first second", 0.0),
        at_most("20 ms packets after the budget grew, s", 1.0),
    ],
    run: long_packets_known,
};

fn long_packets_known(seed: u64) -> Vec<f64> {
    let (long, worst, orders, again) = behind_known(seed, true);
    let (short, ..) = behind_known(seed, false);
    vec![worst, long as f64 / short as f64 * 100.0, orders, again]
}

/// Bytes of sound at all points in twenty seconds, the worst voice, orders that changed the length, time until the short ones are back.
fn behind_known(seed: u64, obeys: bool) -> (u64, f64, f64, f64) {
    let mut world = World::new(seed);
    let line = LineIndex(0);
    let queue = Duration::from_millis(300);
    let behind = world.add_line(Bottleneck::new(WIDE, queue), Bottleneck::new(WIDE, queue));
    let share = |down| vec![LineShare { line, down, up: WIDE }];
    world.set_budgets(share(WIDE));
    let script = Script {
        obeys,
        ..Script::publisher()
    };
    world.join(script, Link::good(), Link::good());
    let points: Vec<usize> = (0..10)
        .map(|_| {
            let place = Place {
                known: vec![line],
                behind: Some(behind),
                ..Place::default()
            };
            world.join_at(place, Script::watcher(1), Link::good(), Link::good())
        })
        .collect();
    let_speak(&mut world, &[SPEAKER]);
    for &point in &points {
        world.view(point, &[(0, SPEAKER, 360)]);
    }
    world.run_for(SECOND);
    let settled = world.now;
    world.run_for(9 * SECOND);
    let sound = |world: &World| {
        points
            .iter()
            .map(|&point| world.peers[point].sound_received)
            .sum::<u64>()
    };
    let (from, before) = (world.now, sound(&world));
    world.run_for(20 * SECOND);
    let (wide, bytes) = (world.now, sound(&world) - before);
    world.set_budgets(share(Bitrate::mbps(20)));
    world.lines[behind].down.rate = Some(Bitrate::mbps(20));
    world.run_for(10 * SECOND);
    let heard = |&point: &usize| world.experience(point, from, wide).voices.playable() * 100.0;
    let worst = points.iter().map(heard).fold(100.0, f64::min);
    let lengths = || world.orders.iter().filter(|orders| orders.peer == SPEAKER);
    let changed =
        lengths().filter(|orders| orders.at >= settled && orders.at < wide && orders.voice_ms != 60);
    let again = lengths().find(|orders| orders.at >= wide && orders.voice_ms == 20);
    (
        bytes,
        worst,
        changed.count() as f64,
        seconds(wide, again.map(|orders| orders.at)),
    )
}
