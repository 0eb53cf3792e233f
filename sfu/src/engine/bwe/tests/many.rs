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
        let waited = world.wait(secs(3), secs(90));
        assert!(waited <= ms(200), "{seed}: {waited:?}");
    }
}
