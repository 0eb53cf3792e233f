//! A meeting of the whole province, and people who turn its pages.

use std::time::Instant;

use sfu::engine::id::{SlotId, SourceKind};

use super::{SECOND, let_speak, most_within_a_second};
use crate::{
    link::Link,
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::World,
};

/// Points with cameras.
const POINTS: usize = 239;
/// Points that turn pages, and pictures on a page.
const READERS: usize = 4;
const PAGE: usize = 16;
/// Page turns of each.
const TURNS: usize = 8;

/// Four points turn pages of sixteen through all cameras.
pub const PAGES: Scenario = Scenario {
    name: "239 demands, page flips every 2 s",
    measures: &[
        at_most("key frame requests to one source in a second", 2.0),
        at_most("first picture, median, ms", 300.0),
        at_most("first picture, worst, ms", 800.0),
        at_most("first picture of a newcomer's page, median, ms", 1_000.0),
        at_most("first picture of a newcomer's page, worst, ms", 1_200.0),
        at_least("pictures that came, %", 100.0),
    ],
    run: pages,
};

fn pages(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    for _ in 0..POINTS {
        let point = Script {
            mic: world.peers.len() < 3,
            ..Script::publisher()
        };
        world.join(point, Link::good(), Link::good());
    }
    let_speak(&mut world, &[0]);
    let readers = join(&mut world);
    world.run_for(4 * SECOND);
    let from = world.now;
    let mut turns = Waits::default();
    for turn in 0..TURNS {
        turns.turn(&mut world, &readers, turn);
    }
    let newcomers = join(&mut world);
    let mut first = Waits::default();
    first.turn(&mut world, &newcomers, TURNS);
    vec![
        most_requests(&world, from),
        turns.median(),
        turns.worst(),
        first.median(),
        first.worst(),
        turns.share().min(first.share()) * 100.0,
    ]
}

/// Points that turn pages, with nothing wanted yet.
fn join(world: &mut World) -> Vec<usize> {
    (0..READERS)
        .map(|_| world.join(Script::watcher(PAGE as u8), Link::good(), Link::good()))
        .collect()
}

/// How long pictures of new pages took to come, ms.
#[derive(Debug, Default)]
struct Waits {
    came: Vec<f64>,
    missing: usize,
}

impl Waits {
    /// Everybody turns his page, all at once, and looks at it for two seconds.
    fn turn(&mut self, world: &mut World, readers: &[usize], turn: usize) {
        let (since, seed) = (world.now, world.seed as usize);
        let page = |reader: usize| {
            // Readers begin at different places, half a page apart so that sources are shared by some of them.
            let first = (seed * 7 + reader * PAGE / 2 + turn * PAGE) % POINTS;
            (0..PAGE).map(move |i| (i as u8, (first + i) % POINTS))
        };
        for (place, &reader) in readers.iter().enumerate() {
            let wants: Vec<(u8, usize, u16)> = page(place).map(|(slot, whose)| (slot, whose, 180)).collect();
            world.view(reader, &wants);
        }
        world.run_for(2 * SECOND);
        for (place, &reader) in readers.iter().enumerate() {
            for (slot, whose) in page(place) {
                match wait(world, reader, slot, whose, since) {
                    Some(wait) => self.came.push(wait),
                    None => self.missing += 1,
                }
            }
        }
        self.came.sort_by(f64::total_cmp);
    }

    fn median(&self) -> f64 {
        let middle = self.came.get(self.came.len() / 2);
        middle.copied().unwrap_or(f64::INFINITY)
    }

    fn worst(&self) -> f64 {
        self.came.last().copied().unwrap_or(f64::INFINITY)
    }

    /// Of the pictures that were wanted, those that came.
    fn share(&self) -> f64 {
        self.came.len() as f64 / (self.came.len() + self.missing) as f64
    }
}

/// Milliseconds from the page turn to the first picture of that camera in the slot.
fn wait(world: &World, reader: usize, slot: u8, whose: usize, since: Instant) -> Option<f64> {
    let source = world.peers[whose].number.source(SourceKind::Camera).get();
    let receiver = world.peers[reader].receiver(SlotId::video(slot));
    let seen = receiver
        .seen
        .iter()
        .find(|seen| seen.shown >= since && seen.stamp.source == source)?;
    Some(super::millis(seen.shown - since))
}

/// The most key frame requests that any sender got within a second.
fn most_requests(world: &World, from: Instant) -> f64 {
    let of = |peer: &crate::peer::Peer| most_within_a_second(&peer.plis_received, from);
    world.peers.iter().map(of).fold(0.0, f64::max)
}
