//! Many endpoints behind one line.

use super::super::rate::{Arrives, Rate};
use super::{
    paths::SEEDS,
    sim::{Link, WANTED, World, secs},
};
use crate::engine::{testing::ms, units::Bitrate};

#[test]
fn ten_flows_share_one_line_within_a_quarter_and_keep_its_queue_short() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Link::new(Bitrate::mbps(8), 40), 10, WANTED);
        world.run(secs(90));
        let means: Vec<f64> = (0..10).map(|flow| world.mean(flow, 30..90)).collect();
        let fair = means.iter().sum::<f64>() / 10.0;
        assert!(fair >= 0.85 * 800e3, "{seed}: {fair}");
        for mean in &means {
            assert!((mean - fair).abs() <= 0.25 * fair, "{seed}: {means:?}");
        }
        let waited = world.wait(secs(0), secs(90));
        assert!(waited <= ms(200), "{seed}: {waited:?}");
    }
}

#[test]
fn who_comes_late_gets_a_share_and_harms_nobody() {
    for (first, later) in [(1, 1), (5, 5), (1, 9), (9, 1)] {
        for seed in 0..SEEDS / 2 {
            let mut world = World::new(seed, Link::new(Bitrate::mbps(8), 40), first, WANTED);
            world.run(secs(20));
            (0..later).for_each(|_| world.join(WANTED));
            world.run(secs(80));
            let flows = first + later;
            let means: Vec<f64> = (0..flows).map(|flow| world.mean(flow, 60..100)).collect();
            let fair = means.iter().sum::<f64>() / flows as f64;
            assert!(
                fair * flows as f64 >= 0.85 * 8e6,
                "{first}+{later} {seed}: {fair}"
            );
            for mean in &means {
                assert!(
                    (mean - fair).abs() <= 0.25 * fair,
                    "{first}+{later} {seed}: {means:?}"
                );
            }
            let waited = world.wait(secs(19), secs(100));
            assert!(waited <= ms(200), "{first}+{later} {seed}: {waited:?}");
        }
    }
}

#[test]
fn who_is_given_its_part_of_a_line_knows_its_part_of_what_the_line_takes() {
    let mut rate = Rate::new(1e6);
    rate.back_off(0, 1e6, None, 0);
    assert_eq!(rate.target(), 900e3);
    rate.level(450e3);
    assert_eq!(rate.target(), 450e3);
    assert!(rate.is_near());
    assert_eq!(
        rate.share_of_full(1e6),
        425e3,
        "half of the line, less the share that is kept"
    );
    rate.level(0.0);
    assert_eq!(rate.target(), 30e3);
}

#[test]
fn ways_that_share_a_line_grow_together_as_one_would() {
    let grown = |sharers: f64| {
        let mut rate = Rate::new(600e3);
        rate.back_off(0, 600e3, None, 0);
        rate.set_sharers(sharers);
        let before = rate.target();
        (1..=10).for_each(|tenth| rate.grow(tenth * 100_000, Arrives::evenly(600e3), 100_000, true));
        rate.target() - before
    };
    let (alone, one_of_four) = (grown(1.0), grown(4.0));
    assert!(
        (one_of_four * 4.0 / alone - 1.0).abs() < 0.01,
        "{alone} {one_of_four}"
    );
    assert!(grown(1_000.0) >= 5e3, "a hundredth a second at least");
}
