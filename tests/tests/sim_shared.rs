//! Points behind one line that nobody declared, when one of them is not heard, or cannot find out for the others.

use std::time::Duration;

use sfu::engine::{id::Rank, units::Bitrate};
use testkit::{
    link::{Bottleneck, Link},
    peer::Script,
    seeds::seeds,
    world::{Place, World},
};

const SECOND: Duration = Duration::from_secs(1);
/// Longest wait in the line.
const QUEUE: Duration = Duration::from_millis(400);

/// Five publishers, and a chair and a member behind one line of 2 Mb/s, after a minute: they were found to share it. The numbers of those two.
fn two_behind_one_line(seed: u64, chair: Script) -> (World, [usize; 2]) {
    let mut world = World::new(seed);
    let line = world.add_line(
        Bottleneck::new(Bitrate::mbps(8), QUEUE),
        Bottleneck::new(Bitrate::mbps(2), QUEUE),
    );
    for _ in 0..5 {
        world.join(Script::publisher(), Link::good(), Link::good());
    }
    let points = [(Rank::Chair, chair), (Rank::Member, Script::watcher(5))].map(|(rank, script)| {
        let place = Place {
            rank,
            known: Vec::new(),
            behind: Some(line),
        };
        world.join_at(place, script, Link::good(), Link::good())
    });
    for point in points {
        world.view(
            point,
            &[(0, 0, 720), (1, 1, 360), (2, 2, 360), (3, 3, 180), (4, 4, 180)],
        );
    }
    world.run_for(60 * SECOND);
    (world, points)
}

/// What each point's way is taken to carry, bits a second.
fn targets(world: &mut World) -> Vec<u64> {
    let points = world.room.report(world.now);
    points
        .iter()
        .map(|point| point.estimate.map_or(0, Bitrate::as_bps))
        .collect()
}

/// Nothing waits in the line.
fn is_calm(world: &World) -> bool {
    let from = world.now - SECOND;
    world.lines[0].down.record.max_between(from, world.now) < Duration::from_millis(25)
}

#[test]
fn who_is_not_heard_takes_nothing_from_those_on_its_line() {
    for seed in seeds(3) {
        for gone in [0, 1] {
            let (mut world, points) = two_behind_one_line(seed, Script::watcher(5));
            while !is_calm(&world) {
                world.run_for(Duration::from_millis(200));
            }
            let other = points[1 - gone];
            let before = targets(&mut world)[other];
            world.up(points[gone]).link.loss = 1.0;
            world.down(points[gone]).link.loss = 1.0;
            let mut least = u64::MAX;
            for _ in 0..25 {
                world.run_for(SECOND);
                least = least.min(targets(&mut world)[other]);
            }
            assert!(
                least >= before * 9 / 10,
                "seed {seed}, {gone} is gone: {before}, then {least}"
            );
        }
    }
}

#[test]
fn the_one_that_finds_out_for_all_is_one_that_can() {
    for seed in seeds(3) {
        let chair = Script {
            repairs: false,
            ..Script::watcher(5)
        };
        let (mut world, points) = two_behind_one_line(seed, chair);
        world.lines[0].down.rate = Some(Bitrate::mbps(20));
        let before = world.peers[points[1]].padding_received;
        world.run_for(15 * SECOND);
        let after = world.peers[points[1]].padding_received;
        assert!(
            after > before,
            "seed {seed}: nobody probes, {:?}",
            targets(&mut world)
        );
    }
}
