//! A meeting in which people come and go.

use std::time::{Duration, Instant};

use sfu::engine::id::SlotId;

use super::SECOND;
use crate::{
    link::Link,
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::World,
};

/// Points at a time, each with a camera.
const POINTS: usize = 20;
/// Newcomers, each in the place of whoever is there longest.
const NEWCOMERS: usize = 40;
const EACH: Duration = Duration::from_millis(500);
/// Pictures of each: a stage and three small ones.
const PICTURES: u8 = 4;
/// What a newcomer's first pictures are looked at for.
const AT_FIRST: Duration = Duration::from_secs(3);
/// Between two pictures of 25 a second, as for `freezeCount` (W3C webrtc-stats).
const STANDS: Duration = Duration::from_millis(190);

/// Twenty points on good ways, of whom one goes and one comes twice a second.
pub const NEWCOMERS_AND_LEAVERS: Scenario = Scenario {
    name: "20 points, one goes and one comes every 0.5 s",
    measures: &[
        at_most("a newcomer's pictures that stand in his first 3 s, %", 10.0),
        at_most("longest stand in a newcomer's first 3 s, ms", 500.0),
        at_least("a newcomer's pictures that came, %", 100.0),
        at_least(
            "fewest pictures a second of a newcomer, in four slots, behind his first second",
            60.0,
        ),
    ],
    run: newcomers,
};

fn newcomers(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let mut live: Vec<usize> = (0..POINTS).map(|_| join(&mut world)).collect();
    look(&mut world, &live);
    world.run_for(5 * SECOND);
    let mut came = Vec::new();
    for _ in 0..NEWCOMERS {
        world.leave(live.remove(0));
        live.push(join(&mut world));
        came.extend(live.last().map(|&point| (point, world.now)));
        look(&mut world, &live);
        world.run_for(EACH);
    }
    world.run_for(AT_FIRST);
    let pictures: Vec<Option<Duration>> = came
        .iter()
        .flat_map(|&(point, at)| (0..PICTURES).map(move |slot| (point, slot, at)))
        .map(|(point, slot, at)| longest_stand(&world, (point, slot), at))
        .collect();
    let percent = |count: usize| count as f64 * 100.0 / pictures.len() as f64;
    let stands = || pictures.iter().flatten();
    vec![
        percent(stands().filter(|stand| **stand > STANDS).count()),
        super::millis(stands().max().copied().unwrap_or_default()),
        percent(stands().count()),
        came.iter()
            .map(|&(point, at)| pictures_a_second(&world, point, at))
            .fold(f64::INFINITY, f64::min),
    ]
}

fn join(world: &mut World) -> usize {
    let script = Script {
        video_slots: PICTURES,
        fps: 25,
        ..Script::default()
    };
    world.join(script, Link::good(), Link::good())
}

/// Everybody has who is there longest on the stage, and the next ones behind himself small.
fn look(world: &mut World, live: &[usize]) {
    for (place, &point) in live.iter().enumerate() {
        let others: Vec<usize> = live.iter().copied().filter(|other| *other != point).collect();
        let (stage, small) = others.split_first().expect("there are twenty");
        let mut wants = vec![(0, *stage, 360)];
        wants.extend((1..PICTURES).map(|slot| (slot, small[(place + usize::from(slot)) % small.len()], 180)));
        world.view(point, &wants);
    }
}

/// The longest time between two pictures of one source in a slot, in the first seconds; none if none came.
fn longest_stand(world: &World, (point, slot): (usize, u8), at: Instant) -> Option<Duration> {
    let receiver = world.peers[point].receiver(SlotId::video(slot));
    receiver.seen.first()?;
    let pairs = receiver
        .seen
        .windows(2)
        .filter(|pair| pair[0].stamp.source == pair[1].stamp.source && pair[0].shown < at + AT_FIRST);
    Some(
        pairs
            .map(|pair| pair[1].shown - pair[0].shown)
            .max()
            .unwrap_or_default(),
    )
}

/// Pictures a second in all slots of a newcomer, behind his first second.
fn pictures_a_second(world: &World, point: usize, at: Instant) -> f64 {
    let span = at + SECOND..at + AT_FIRST;
    let slots = (0..PICTURES).map(|slot| world.peers[point].receiver(SlotId::video(slot)));
    let shown: usize = slots
        .map(|slot| slot.seen.iter().filter(|seen| span.contains(&seen.shown)).count())
        .sum();
    shown as f64 / (AT_FIRST - SECOND).as_secs_f64()
}
