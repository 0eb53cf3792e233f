//! One endpoint, paths of many kinds.

use super::sim::{App, Link, Losses, World, secs};
use crate::engine::{bwe::Estimator, testing::ms, units::Bitrate};

/// Each sentence holds for so many seeds.
pub(super) const SEEDS: u64 = 20;

fn alone(seed: u64, link: Link, wanted: Bitrate) -> World {
    World::new(seed, link, 1, wanted)
}

#[test]
fn a_satellite_path_with_random_loss_is_used_for_a_minute() {
    for seed in 0..SEEDS {
        let line = Bitrate::mbps(4);
        let link = Link {
            losses: Losses::Random(0.03),
            ..Link::new(line, 620)
        };
        let mut world = alone(seed, link, Estimator::MAX);
        world.run(secs(70));
        // What is lost behind the bottleneck has used the line as well.
        let used = world.mean(0, 10..70) / 0.97 / line.as_bps() as f64;
        assert!(used >= 0.85, "{seed}: {used:.3}\n{}", world.tell(0));
        assert!(world.least(0, 5..70) >= 2.5e6, "{seed}: {}", world.tell(0));
    }
}

#[test]
fn a_line_that_shrinks_and_comes_back_is_followed() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(4), 40), Estimator::MAX);
        world.run(secs(20));
        world.link.rate = Bitrate::kbps(350);
        world.run(secs(30));
        let waited = world.wait(secs(22), secs(50));
        assert!(waited <= ms(150), "{seed}: {waited:?}\n{}", world.tell(0));
        let thin = world.mean(0, 25..50);
        assert!(thin >= 0.8 * 350e3, "{seed}: {thin}\n{}", world.tell(0));
        world.link.rate = Bitrate::mbps(4);
        world.run(secs(12));
        let back = world.flows[0].estimator.target();
        assert!(
            back >= Bitrate::kbps(3_200),
            "{seed}: {back:?}\n{}",
            world.tell(0)
        );
    }
}

#[test]
fn an_application_that_sends_little_keeps_its_estimate_and_does_not_drift() {
    for seed in 0..SEEDS {
        let sends = Bitrate::kbps(400);
        let mut world = alone(seed, Link::new(Bitrate::mbps(4), 60), Bitrate::ZERO);
        world.flows[0].app = App::Limited(sends);
        world.run(secs(60));
        let target = world.flows[0].estimator.target().as_bps() as f64;
        assert!(target <= 1.5 * 400e3 * 1.05, "{seed}: {target}");
        assert!(target >= 400e3, "{seed}: {target}");
    }
}

#[test]
fn a_higher_layer_is_reached_in_three_seconds_after_a_quiet_minute() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(4), 60), Bitrate::kbps(300));
        world.flows[0].app = App::Limited(Bitrate::kbps(250));
        world.run(secs(60));
        let (now, wanted) = (world.now(), Bitrate::kbps(2_500));
        world.flows[0].estimator.set_wanted(now, wanted);
        world.run(secs(3));
        let target = world.flows[0].estimator.target();
        assert!(target >= wanted, "{seed}: {target:?}\n{}", world.tell(0));
        assert!(world.wait(secs(60), secs(63)) <= ms(50), "{seed}");
    }
}
