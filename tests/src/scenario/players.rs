//! Players of one stream that was published without simulcast: nothing smaller can be had, and no voice tells what their ways carry.

use sfu::engine::units::Bitrate;

use super::{SECOND, seconds_until};
use crate::{
    feedback::Feedback,
    link::Link,
    peer::Script,
    report::{Scenario, at_least, at_most},
    world::World,
};

const PLAYERS: usize = 5;

/// They come to a stream that is far larger than what an unknown way is taken to carry.
pub const PLAYERS_OF_ONE: Scenario = Scenario {
    name: "five players come to one stream of 2.4 Mb/s",
    measures: &[
        at_most("first picture of the last, s", 2.0),
        at_least("frames a second from then on", 28.0),
        at_most("freezes of one stream", 0.0),
    ],
    run: players_of_one,
};

fn players_of_one(seed: u64) -> Vec<f64> {
    let mut world = World::new(seed);
    let publisher = world.join(
        Script {
            fps: 30,
            temporal: false,
            one_layer: true,
            mic: false,
            // What publishes in such a way sends what it was set to, whatever its line takes.
            feedback: Feedback::Reports,
            obeys: false,
            ..Script::publisher()
        },
        Link::good(),
        Link::good(),
    );
    if let Some(camera) = &mut world.peers[publisher].camera {
        camera.set_usual(0, Bitrate::kbps(2_400));
    }
    world.run_for(5 * SECOND);
    let since = world.now;
    let players: Vec<usize> = (0..PLAYERS)
        .map(|_| {
            let player = world.join(Script::watcher(1), Link::good(), Link::good());
            world.view(player, &[(0, publisher, 720)]);
            player
        })
        .collect();
    world.run_for(5 * SECOND);
    let first = |&player: &usize| seconds_until(&world, (player, 0), since, |_| true);
    let last = players.iter().map(first).fold(0.0, f64::max);
    let from = world.now;
    world.run_for(20 * SECOND);
    let seen = players
        .iter()
        .map(|&player| world.watched(player, 0, from, world.now));
    let (fps, freezes): (Vec<f64>, Vec<f64>) = seen
        .map(|seen| (seen.fps(20 * SECOND), f64::from(seen.freezes)))
        .unzip();
    vec![
        last,
        fps.into_iter().fold(f64::INFINITY, f64::min),
        freezes.into_iter().fold(0.0, f64::max),
    ]
}
