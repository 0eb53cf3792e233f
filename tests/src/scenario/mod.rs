//! The meetings that the media engine is measured by, each with its goals.

mod bad;
mod lines;
mod long;
mod newcomers;
mod node;
mod pages;
mod players;
mod sites;
mod told;

use std::time::{Duration, Instant};

use sfu::engine::{id::SlotId, units::Bitrate};

use crate::{link::QueueRecord, report::Scenario, world::World};

pub use bad::BAD;
pub use lines::{APPLICATION_LIMITED, BURSTS, BURSTS_PLAIN, ONE_CAMERA, SATELLITE, SQUEEZE};
pub use long::{LONG_PACKETS, LONG_PACKETS_KNOWN};
pub use newcomers::NEWCOMERS_AND_LEAVERS;
pub use node::NODE_BUSY;
pub use pages::PAGES;
pub use players::PLAYERS_OF_ONE;
pub use sites::{CAMERAS_BEHIND, SITE_KNOWN, SITE_UNKNOWN};
pub use told::{REMB, REMB_EXTREMES, REPORTS};

/// All of them, in the order of the table.
pub const ALL: &[&Scenario] = &[
    &SQUEEZE,
    &SATELLITE,
    &BURSTS,
    &BURSTS_PLAIN,
    &SITE_UNKNOWN,
    &SITE_KNOWN,
    &CAMERAS_BEHIND,
    &PAGES,
    &NEWCOMERS_AND_LEAVERS,
    &APPLICATION_LIMITED,
    &ONE_CAMERA,
    &PLAYERS_OF_ONE,
    &REMB,
    &REPORTS,
    &REMB_EXTREMES,
    &LONG_PACKETS,
    &LONG_PACKETS_KNOWN,
    &NODE_BUSY,
];

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// From `since` to the first picture of a slot for which it is true, in seconds; none: more than can be had.
pub(crate) fn seconds_until(
    world: &World,
    (peer, slot): (usize, u8),
    since: Instant,
    is: impl Fn(&crate::decoder::Seen) -> bool,
) -> f64 {
    let receiver = world.peers[peer].receiver(SlotId::video(slot));
    let found = receiver.seen.iter().find(|seen| seen.shown >= since && is(seen));
    found.map_or(f64::INFINITY, |seen| (seen.shown - since).as_secs_f64())
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// Bits a second that were taken in, in this span.
pub(crate) fn rate(record: &QueueRecord, from: Instant, to: Instant) -> f64 {
    let ticks = record.between(from, to);
    let bytes: u64 = ticks.iter().map(|tick| tick.bytes).sum();
    bytes as f64 * 8.0 / (QueueRecord::TICK.as_secs_f64() * ticks.len().max(1) as f64)
}

/// The most bits that were taken in within any second of this span.
pub(crate) fn busiest_second(record: &QueueRecord, from: Instant, to: Instant) -> f64 {
    let ticks = record.between(from, to);
    let seconds = ticks
        .windows(10)
        .map(|second| second.iter().map(|tick| tick.bytes).sum::<u64>());
    seconds.max().unwrap_or(0) as f64 * 8.0
}

/// Packets that a full queue dropped in this span.
pub(crate) fn drops(record: &QueueRecord, from: Instant, to: Instant) -> f64 {
    let ticks = record.between(from, to);
    ticks.iter().map(|tick| f64::from(tick.dropped)).sum()
}

/// The most of these that are within one second, from `from` on.
pub(crate) fn most_within_a_second(times: &[Instant], from: Instant) -> f64 {
    let times: Vec<Instant> = times.iter().copied().filter(|at| *at >= from).collect();
    let within = |at: Instant| {
        times
            .iter()
            .filter(move |other| (at..at + SECOND).contains(*other))
            .count()
    };
    let most = times.iter().map(|at| within(*at)).max();
    most.unwrap_or(0) as f64
}

/// Nobody but these speaks.
pub(crate) fn let_speak(world: &mut World, speakers: &[usize]) {
    for (index, peer) in world.peers.iter_mut().enumerate() {
        if let Some(mic) = &mut peer.mic {
            mic.level = if speakers.contains(&index) { 30 } else { 127 };
        }
    }
}

pub(crate) fn bps(rate: Bitrate) -> f64 {
    rate.as_bps() as f64
}
