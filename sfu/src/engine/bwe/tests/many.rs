//! Many endpoints behind one line.

use super::{
    paths::SEEDS,
    sim::{Link, World, secs},
};
use crate::engine::{bwe::Estimator, testing::ms, units::Bitrate};

#[test]
fn ten_flows_share_one_line_within_a_quarter_and_keep_its_queue_short() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, Link::new(Bitrate::mbps(8), 40), 10, Estimator::MAX);
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
            let mut world = World::new(seed, Link::new(Bitrate::mbps(8), 40), first, Estimator::MAX);
            world.run(secs(20));
            (0..later).for_each(|_| world.join(Estimator::MAX));
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
