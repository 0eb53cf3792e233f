//! A node that has more to do than it can.

use std::time::{Duration, Instant};

use sfu::{
    control::Cause,
    engine::packet::{Input, SlotGrade},
};

use super::{SECOND, let_speak, rate};
use crate::{
    link::Link,
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::World,
};

const POINTS: usize = 6;
/// How long the node has less time than the meeting takes.
const SHORT_FOR: u32 = 30;
/// What it has time for then, in percent of what the meeting takes.
const TIME_PERCENT: f64 = 60.0;

/// Six points with wide lines meet; for half a minute the node has time for 60 % of that.
pub const NODE_BUSY: Scenario = Scenario {
    name: "a node with time for 60 % of its meeting for 30 s",
    measures: &[
        at_most("seconds of more work than time", 8.0),
        at_least("voices playable, %", 99.0),
        at_most("longest stand of a stage, s", 1.0),
        at_least("points told that it is the node", POINTS as f64),
        at_most("shortfalls that name anything but the node", 0.0),
        at_most("back at full, s", 45.0),
    ],
    run: node_busy,
};

fn node_busy(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    for _ in 0..POINTS {
        let script = Script {
            video_slots: POINTS as u8 - 1,
            ..Script::default()
        };
        world.join(script, Link::good(), Link::good());
    }
    let_speak(&mut world, &[0, 1, 2]);
    for point in 0..POINTS {
        let others = (1..POINTS).map(|next| (point + next) % POINTS);
        let height = |slot| if slot == 0 { 720 } else { 180 };
        let wants: Vec<(u8, usize, u16)> = (0..)
            .zip(others)
            .map(|(slot, whose)| (slot, whose, height(slot)))
            .collect();
        world.view(point, &wants);
    }
    world.run_for(20 * SECOND);
    let began = world.now;
    let time = sent(&world, began - 5 * SECOND) * TIME_PERCENT / 100.0;
    let mut short = 0;
    for _ in 0..SHORT_FOR {
        world.run_for(SECOND);
        let work = sent(&world, world.now - SECOND) / time;
        short += u32::from(work > 1.0);
        tell(&mut world, work);
    }
    let ended = world.now;
    // What is there to do now takes two thirds of the time there is.
    let time = time * 100.0 / TIME_PERCENT * 1.5;
    for _ in 0..60 {
        world.run_for(SECOND);
        let work = sent(&world, world.now - SECOND) / time;
        tell(&mut world, work);
    }
    let points = || 0..POINTS;
    let heard = points().map(|point| world.experience(point, began, world.now).voices.playable());
    let stood = points().map(|point| world.watched(point, 0, began, world.now).longest_freeze);
    let named: Vec<(usize, Cause)> = world
        .grades
        .iter()
        .filter(|grades| grades.at >= began + SECOND)
        .flat_map(|grades| {
            let shortfalls = grades.slots.iter().filter_map(|slot| slot.shortfall);
            shortfalls.map(|shortfall| (grades.peer, shortfall.cause))
        })
        .collect();
    let is_told = |point: &usize| named.contains(&(*point, Cause::Node));
    vec![
        f64::from(short),
        heard.fold(1.0, f64::min) * 100.0,
        stood.max().unwrap_or_default().as_secs_f64(),
        points().filter(is_told).count() as f64,
        f64::from(named_wrongly(&world, began + SECOND)),
        points()
            .map(|point| back(&world, point, ended))
            .fold(0.0, f64::max),
    ]
}

/// A second is over, of which that share was work. The room is told as by a shard.
fn tell(world: &mut World, work: f64) {
    let thousandths = (work.min(1.0) * 1_000.0) as u16;
    if world.room.minds(thousandths) {
        world.room.handle(world.now, Input::Busy(thousandths));
    }
}

/// Bits a second towards all points since then.
fn sent(world: &World, since: Instant) -> f64 {
    (0..POINTS)
        .map(|point| rate(world.down_record(point), since, world.now))
        .sum()
}

/// Shortfalls that name something else. Where the node has time again a layer is still to come for the moment that its sender needs to begin: that
/// is no wrong name unless it stands for a second.
fn named_wrongly(world: &World, since: Instant) -> u32 {
    let told = world.grades.iter().enumerate();
    let wrong = told
        .filter(|(_, grades)| grades.at >= since)
        .map(|(place, grades)| {
            let stands = |slot: &&SlotGrade| {
                let later = &world.grades[place + 1..];
                let next = later.iter().find(|next| {
                    let same = next.slots.iter().find(|next| next.slot == slot.slot);
                    next.peer == grades.peer && same.is_none_or(|same| same.shortfall != slot.shortfall)
                });
                let until = next.map_or(world.now, |next| next.at);
                until.saturating_duration_since(grades.at) >= SECOND
            };
            let is_wrong = |slot: &&SlotGrade| match slot.shortfall.map(|shortfall| shortfall.cause) {
                None | Some(Cause::Node) => false,
                Some(Cause::NotSent) => stands(slot),
                Some(_) => true,
            };
            grades.slots.iter().filter(is_wrong).count() as u32
        });
    wrong.sum()
}

/// How long after that a point was last told of a picture that is less than wanted.
fn back(world: &World, point: usize, ended: Instant) -> f64 {
    let told = world.grades.iter().filter(|grades| grades.peer == point);
    let is_less = |slots: &[SlotGrade]| slots.iter().any(|slot| slot.shortfall.is_some());
    let mut since = Duration::ZERO;
    let mut less = false;
    for grades in told {
        if less && !is_less(&grades.slots) {
            since = grades.at.saturating_duration_since(ended);
        }
        less = is_less(&grades.slots);
    }
    if less { f64::INFINITY } else { since.as_secs_f64() }
}
