//! Many points behind one line.

use std::time::{Duration, Instant};

use sfu::{
    control::Cause,
    engine::{
        id::{LineIndex, Rank},
        packet::{LineShare, SlotGrade},
        units::Bitrate,
    },
};

use super::{SECOND, bps, busiest_second, drops, let_speak, millis, rate};
use crate::{
    link::{Bottleneck, Link},
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::{Place, World},
};

/// The one line that there is.
const LINE: LineIndex = LineIndex(0);
/// What it carries downward.
const DOWN: Bitrate = Bitrate::mbps(8);
/// What the line of cameras carries upward.
const UP: Bitrate = Bitrate::mbps(4);
/// Longest wait in a line: enough to show a queue that nobody keeps short.
const QUEUE: Duration = Duration::from_millis(400);
/// Points at a site.
const POINTS: usize = 10;

fn site(world: &mut World, up: Bitrate, down: Bitrate) -> usize {
    world.add_line(Bottleneck::new(up, QUEUE), Bottleneck::new(down, QUEUE))
}

/// Five publishers with good lines, then ten receivers behind one.
fn ten_receivers(world: &mut World, known: bool) -> Vec<usize> {
    let line = site(world, Bitrate::mbps(8), DOWN);
    if known {
        world.set_budgets(vec![LineShare {
            line: LINE,
            down: DOWN,
            up: Bitrate::mbps(8),
        }]);
    }
    for _ in 0..5 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let_speak(world, &[0, 1, 2]);
    let ranks = [Rank::Chair, Rank::Secretary]
        .into_iter()
        .chain([Rank::Member; POINTS - 2]);
    ranks
        .map(|rank| {
            let place = Place {
                rank,
                known: if known { vec![LINE] } else { Vec::new() },
                behind: Some(line),
            };
            world.join_at(place, Script::watcher(5), Link::good(), Link::good())
        })
        .collect()
}

/// Each of ten finds out for itself.
pub const SITE_UNKNOWN: Scenario = Scenario {
    name: "10 points behind one 8 Mb/s line, no line budget known",
    measures: &[
        at_most("farthest from the mean share, %", 25.0),
        at_most("queue, ms", 200.0),
        at_least("share of the line used, %", 70.0),
    ],
    run: site_unknown,
};

fn site_unknown(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let points = ten_receivers(&mut world, false);
    for &point in &points {
        world.view(
            point,
            &[(0, 0, 720), (1, 1, 360), (2, 2, 360), (3, 3, 180), (4, 4, 180)],
        );
    }
    world.run_for(60 * SECOND);
    let from = world.now;
    world.run_for(60 * SECOND);
    let to = world.now;
    let rates: Vec<f64> = points
        .iter()
        .map(|&point| rate(world.down_record(point), from, to))
        .collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let farthest = rates
        .iter()
        .map(|rate| (rate / mean - 1.0).abs())
        .fold(0.0, f64::max);
    let line = &world.lines[0].down.record;
    vec![
        farthest * 100.0,
        millis(line.max_between(from, to)),
        rate(line, from, to) / bps(DOWN) * 100.0,
    ]
}

/// The node knows the line and shares it.
pub const SITE_KNOWN: Scenario = Scenario {
    name: "10 points behind one 8 Mb/s line, its budget known",
    measures: &[
        at_most("most in any second, share of the budget, %", 100.0),
        at_least("fewest voices heard at any point", 3.0),
        at_least("stage at 360p or more at the worst point, % of the time", 99.0),
        at_least("stage, frames a second at the worst point", 7.0),
        at_least("chair at 720p, % of the time", 95.0),
        at_most("packets lost by congestion", 0.0),
        at_most("shortfalls that name anything but the line", 0.0),
        at_most("points that get less and are not told of the line", 0.0),
    ],
    run: site_known,
};

fn site_known(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let points = ten_receivers(&mut world, true);
    for &point in &points {
        world.view(point, &[(0, 0, 720)]);
    }
    world.run_for(30 * SECOND);
    let from = world.now;
    world.run_for(30 * SECOND);
    let to = world.now;
    let line = &world.lines[0].down.record;
    let voices = points
        .iter()
        .map(|&point| world.experience(point, from, to).voices.sources.len());
    let stage = |point: usize, height| {
        let watched = world.watched(point, 0, from, to);
        watched.share_at(height, from, to) * 100.0
    };
    let worst_stage = points.iter().map(|&point| stage(point, 360));
    let frames = points
        .iter()
        .map(|&point| world.watched(point, 0, from, to).fps(to - from));
    let (untold, others) = causes(&world, &points, from, Cause::LineBudget);
    vec![
        busiest_second(line, from, to) / bps(DOWN) * 100.0,
        voices.min().unwrap_or(0) as f64,
        worst_stage.fold(100.0, f64::min),
        frames.fold(f64::INFINITY, f64::min),
        stage(points[0], 720),
        drops(line, from, to),
        others,
        untold,
    ]
}

/// How many of the points get less than they want and were last told of another cause or of none, and how often another cause was
/// named since `from`.
fn causes(world: &World, points: &[usize], from: Instant, cause: Cause) -> (f64, f64) {
    let named = |grades: &crate::world::Grades| -> Vec<Cause> {
        let shortfalls = grades.slots.iter().filter_map(|slot| slot.shortfall);
        shortfalls.map(|shortfall| shortfall.cause).collect()
    };
    let untold = points.iter().filter(|&&point| {
        let last = world.grades.iter().rfind(|grades| grades.peer == point);
        let is_met = |grade: &SlotGrade| grade.height >= Some(720) && grade.rate_percent == 100;
        last.is_none_or(|grades| !grades.slots.iter().all(is_met) && !named(grades).contains(&cause))
    });
    let others = world
        .grades
        .iter()
        .filter(|grades| grades.at >= from && points.contains(&grades.peer))
        .flat_map(named)
        .filter(|named| *named != cause);
    (untold.count() as f64, others.count() as f64)
}

/// Ten cameras send through one thin line; one is on everybody's stage.
pub const CAMERAS_BEHIND: Scenario = Scenario {
    name: "ten cameras behind one 4 Mb/s up, 1 on stage",
    measures: &[
        at_least("stage at 720p, % of the time", 95.0),
        at_least("stage, frames a second", 12.0),
        at_least("others as wanted, or less with a reason", 9.0),
        at_most("queue, ms", 100.0),
        at_most("packets lost by congestion", 0.0),
    ],
    run: cameras_behind,
};

fn cameras_behind(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let line = site(&mut world, UP, Bitrate::mbps(50));
    world.set_budgets(vec![LineShare {
        line: LINE,
        down: Bitrate::mbps(50),
        up: UP,
    }]);
    for _ in 0..POINTS {
        let place = Place {
            known: vec![LINE],
            behind: Some(line),
            ..Place::default()
        };
        world.join_at(place, Script::publisher(), Link::good(), Link::good());
    }
    let_speak(&mut world, &[0, 1]);
    let watcher = world.join(Script::watcher(10), Link::good(), Link::good());
    let wants: Vec<(u8, usize, u16)> = (0..POINTS)
        .map(|camera| (camera as u8, camera, if camera == 0 { 720 } else { 360 }))
        .collect();
    world.view(watcher, &wants);
    world.run_for(20 * SECOND);
    let from = world.now;
    world.run_for(40 * SECOND);
    let to = world.now;
    let stage = world.watched(watcher, 0, from, to);
    let told = (1..POINTS as u8).filter(|&slot| {
        let watched = world.watched(watcher, slot, to - SECOND, to);
        let full = watched.heights.last().is_some_and(|(_, height)| *height >= 360);
        full || has_reason(&world, watcher, slot)
    });
    let told = told.count() as f64;
    let line = &world.lines[line].up.record;
    vec![
        stage.share_at(720, from, to) * 100.0,
        stage.fps(to - from),
        told,
        millis(line.max_between(from, to)),
        drops(line, from, to),
    ]
}

fn has_reason(world: &World, peer: usize, slot: u8) -> bool {
    let last = world.grades.iter().rfind(|grades| grades.peer == peer);
    last.is_some_and(|grades| {
        grades
            .slots
            .iter()
            .any(|grade| grade.slot.index == slot && grade.shortfall.is_some())
    })
}
