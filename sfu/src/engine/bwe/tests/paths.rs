//! One endpoint, paths of many kinds.

use std::time::Duration;

use super::sim::{App, Link, Losses, WANTED, World, secs};
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
        let mut world = alone(seed, link, WANTED);
        world.run(secs(70));
        // What is lost behind the bottleneck has used the line as well.
        let used = world.mean(0, 10..70) / 0.97 / line.as_bps() as f64;
        assert!(used >= 0.85, "{seed}: {used:.3}\n{}", world.tell(0));
        assert!(world.least(0, 5..70) >= 2.5e6, "{seed}: {}", world.tell(0));
    }
}

#[test]
fn a_way_without_a_limit_is_known_to_carry_twice_what_is_wanted_soon() {
    for seed in 0..SEEDS {
        let wanted = Bitrate::kbps(1_400);
        let mut world = alone(seed, Link::new(Bitrate::mbps(20), 10), wanted);
        world.flows[0].app = App::Limited(Bitrate::kbps(1_000));
        world.run(secs(2));
        let target = world.flows[0].estimator.target();
        assert!(
            target >= Bitrate::kbps(2_500),
            "{seed}: {target:?}\n{}",
            world.tell(0)
        );
        world.run(secs(18));
        let later = world.flows[0].estimator.target();
        assert!(later <= Bitrate::kbps(3_100), "{seed}: {later:?}");
    }
}

#[test]
fn looking_for_twice_what_is_wanted_makes_no_queue_where_that_does_not_pass() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::kbps(1_700), 40), Bitrate::kbps(1_400));
        world.flows[0].app = App::Limited(Bitrate::kbps(1_200));
        world.run(secs(20));
        let waited = world.wait(secs(0), secs(20));
        assert!(waited <= ms(60), "{seed}: {waited:?}\n{}", world.tell(0));
        let used = world.mean(0, 2..20);
        assert!(used >= 1.1e6, "{seed}: {used}\n{}", world.tell(0));
    }
}

#[test]
fn a_line_that_shrinks_and_comes_back_is_followed() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(4), 40), WANTED);
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

#[test]
fn common_paths_are_used_well_and_their_queues_stay_short() {
    let link = |kilobits, round_trip| Link::new(Bitrate::kbps(kilobits), round_trip);
    let lossy = |link, losses| Link { losses, ..link };
    let shallow = |link, queue| Link {
        queue: ms(queue),
        ..link
    };
    let shaky = |link, jitter| Link {
        jitter: ms(jitter),
        ..link
    };
    // (name, path, share of the line used at least, wait at most): the wait counts from the fifth second.
    let table = [
        // Five packets of a probe alone take 100 ms there.
        ("one voice", link(80, 100), 0.8, 250),
        ("thin", link(150, 100), 0.85, 100),
        ("ordinary", link(1_500, 40), 0.85, 60),
        ("fat", link(9_500, 20), 0.85, 60),
        ("long", lossy(link(2_000, 600), Losses::Random(0.01)), 0.82, 150),
        ("jittery", shaky(link(1_500, 40), 10), 0.85, 100),
        ("a policer", shallow(link(2_000, 40), 8), 0.8, 20),
        ("a short queue", shallow(link(2_000, 40), 30), 0.85, 50),
        (
            "one lost in ten",
            lossy(link(1_500, 60), Losses::Random(0.1)),
            0.9 * 0.8,
            100,
        ),
        (
            "bursts of a third",
            lossy(link(1_500, 60), THIRD_IN_BURSTS),
            0.7 * 0.6,
            150,
        ),
    ];
    for (name, link, used_least, wait_most) in table {
        for seed in 0..SEEDS {
            let mut world = alone(seed, link, WANTED);
            world.run(secs(40));
            let used = world.mean(0, 10..40) / link.rate.as_bps() as f64;
            assert!(used >= used_least, "{name} {seed}: {used:.3}\n{}", world.tell(0));
            let waited = world.wait(secs(5), secs(40));
            assert!(
                waited <= ms(wait_most),
                "{name} {seed}: {waited:?}\n{}",
                world.tell(0)
            );
        }
    }
}

/// 30 % in bursts of 3.6 packets.
const THIRD_IN_BURSTS: Losses = Losses::Bursts(0.119, 0.278);

#[test]
fn loss_without_a_queue_is_called_random_and_a_policer_is_not() {
    for seed in 0..SEEDS {
        let mut world = alone(
            seed,
            Link {
                losses: Losses::Random(0.08),
                ..Link::new(Bitrate::mbps(8), 60)
            },
            Bitrate::mbps(2),
        );
        world.flows[0].app = App::Limited(Bitrate::mbps(1));
        world.run(secs(10));
        let state = world.flows[0].estimator.state();
        assert!(state.is_random_loss && !state.is_congested, "{seed}: {state:?}");
        let mut policed = alone(
            seed,
            Link {
                queue: ms(1),
                ..Link::new(Bitrate::mbps(1), 60)
            },
            WANTED,
        );
        policed.run(secs(60));
        let loss = policed.flows[0].estimator.loss();
        let share = loss.lost as f64 / (loss.lost + loss.arrived) as f64;
        assert!(share <= 0.08, "{seed}: {share}\n{}", policed.tell(0));
    }
}

#[test]
fn lost_feedback_is_no_lost_line() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(2), 40), WANTED);
        world.flows[0].deaf = 0.3;
        world.run(secs(40));
        let used = world.mean(0, 10..40) / 2e6;
        assert!(used >= 0.85, "{seed}: {used}\n{}", world.tell(0));
    }
}

#[test]
fn an_estimate_decays_while_nothing_is_heard_and_comes_back() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(2), 40), WANTED);
        world.run(secs(10));
        world.flows[0].deaf = 1.0;
        world.run(secs(2));
        let after_two = world.flows[0].estimator.target();
        assert!(after_two < Bitrate::kbps(1_400), "{seed}: {after_two:?}");
        world.run(secs(8));
        assert_eq!(world.flows[0].estimator.target(), Estimator::MIN, "{seed}");
        world.flows[0].deaf = 0.0;
        world.run(secs(6));
        let back = world.flows[0].estimator.target();
        assert!(
            back >= Bitrate::kbps(1_500),
            "{seed}: {back:?}\n{}",
            world.tell(0)
        );
    }
}

/// 1.5 Mb/s over a line of 5 with a deep queue, which just stood still for so long and now delivers what it held.
fn stopped(seed: u64, stop: Duration) -> World {
    let link = Link {
        queue: secs(10),
        ..Link::new(Bitrate::mbps(5), 60)
    };
    let mut world = alone(seed, link, Bitrate::kbps(1_500));
    world.flows[0].app = App::Limited(Bitrate::kbps(1_500));
    world.run(secs(15));
    world.stop(stop);
    world.run(stop);
    world
}

#[test]
fn a_line_that_stopped_and_delivers_what_it_held_is_soon_used_as_before() {
    for stop in (1..=6).map(secs) {
        for seed in 0..SEEDS {
            let mut world = stopped(seed, stop);
            world.run(secs(4));
            let back = world.flows[0].estimator.target();
            assert!(
                back >= Bitrate::kbps(1_200),
                "{stop:?} {seed}: {back:?}\n{}",
                world.tell(0)
            );
        }
    }
}

#[test]
fn a_line_that_is_thin_behind_what_it_held_is_not_overfilled() {
    for stop in (1..=6).map(secs) {
        for seed in 0..SEEDS {
            let mut world = stopped(seed, stop);
            world.link.rate = Bitrate::kbps(300);
            let back = world.now;
            world.run(secs(12));
            let waited = world.wait(back + secs(2), back + secs(12));
            assert!(
                waited <= ms(150),
                "{stop:?} {seed}: {waited:?}\n{}",
                world.tell(0)
            );
        }
    }
}

#[test]
fn a_longer_path_is_no_queue() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(2), 40), WANTED);
        world.run(secs(20));
        world.link.one_way = ms(170);
        world.run(secs(12));
        let back = world.flows[0].estimator.target();
        assert!(
            back >= Bitrate::kbps(1_500),
            "{seed}: {back:?}\n{}",
            world.tell(0)
        );
    }
}

#[test]
fn a_receiver_whose_clock_is_set_or_drifts_keeps_its_estimate() {
    const HOUR: i64 = 3_600 * 4_000;
    for (step, drift) in [
        (HOUR, 0),
        (-HOUR, 0),
        (4_000, 0),
        (-4_000, 0),
        (0, 200),
        (0, -200),
    ] {
        for seed in 0..SEEDS {
            let mut world = alone(seed, Link::new(Bitrate::mbps(2), 40), WANTED);
            world.flows[0].drift = drift;
            world.run(secs(20));
            world.flows[0].clock += step;
            world.run(secs(20));
            let used = world.mean(0, 30..40) / 2e6;
            assert!(used >= 0.8, "{step} {drift} {seed}: {used}\n{}", world.tell(0));
        }
    }
}

#[test]
fn probes_stop_at_what_is_wanted() {
    for seed in 0..SEEDS {
        let wanted = Bitrate::kbps(900);
        let mut world = alone(seed, Link::new(Bitrate::mbps(8), 40), wanted);
        world.flows[0].app = App::Limited(Bitrate::kbps(300));
        world.run(secs(30));
        let target = world.flows[0].estimator.target();
        // Once for what the way has to spare.
        assert!(
            target >= wanted && target <= Bitrate::kbps(2_000),
            "{seed}: {target:?}"
        );
        let state = world.flows[0].estimator.state();
        assert!(state.is_app_limited && !state.is_probing, "{seed}: {state:?}");
        // 300 kb/s and the first probes are all that was sent: padding ends when the goal is reached.
        assert!(world.mean(0, 10..30) <= 310e3, "{seed}: {}", world.tell(0));
    }
}

#[test]
fn pictures_sent_at_once_are_no_queue() {
    for seed in 0..SEEDS {
        let mut world = alone(seed, Link::new(Bitrate::mbps(4), 40), WANTED);
        world.flows[0].app = App::Pictures(25);
        world.run(secs(30));
        let used = world.mean(0, 10..30) / 4e6;
        assert!(used >= 0.85, "{seed}: {used}\n{}", world.tell(0));
        // 40 ms of it are the picture itself.
        let waited = world.wait(secs(5), secs(30));
        assert!(waited <= ms(120), "{seed}: {waited:?}");
    }
}
