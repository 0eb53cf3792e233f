//! Where all is well few packets have a number, and what is known of the way is the same.

use super::sim::{App, Link, Losses, World, secs};
use crate::engine::{
    bwe::{Estimator, Sent},
    testing::ms,
    units::Bitrate,
};

/// One who sends `rate` and wants no more, through a line of so much, for half a minute.
fn content(seed: u64, rate: Bitrate, line: Bitrate) -> World {
    let mut world = World::new(seed, Link::new(line, 30), 1, rate);
    world.flows[0].app = App::Limited(rate);
    world.run(secs(30));
    world
}

/// Packets with a number that arrive in a second, of the next five.
fn numbered_a_second(world: &mut World) -> u64 {
    let before = world.flows[0].numbered;
    world.run(secs(5));
    (world.flows[0].numbered - before) / 5
}

#[test]
fn what_arrives_is_known_although_few_packets_are_numbered() {
    // Bits a second, packets with a number of those, each second at most.
    let table = [(60_000, 12), (1_000_000, 30), (3_000_000, 60)];
    for (rate, most) in table {
        let mut world = content(1, Bitrate::bps(rate), Bitrate::mbps(10));
        let numbered = numbered_a_second(&mut world);
        assert!((2..=most).contains(&numbered), "{rate}: {numbered} a second");
        let state = world.flows[0].estimator.state();
        let acked = state.acked.map_or(0, |acked| acked.as_bps());
        assert!(acked.abs_diff(rate) < rate / 4, "{rate}: {state:?}");
        assert!(
            state.target >= Bitrate::bps(rate) && !state.is_congested,
            "{state:?}"
        );
    }
}

#[test]
fn a_line_that_shrinks_below_what_is_sent_is_seen_as_soon_as_its_first_packet_waits() {
    for seed in 0..super::paths::SEEDS {
        let mut world = content(seed, Bitrate::mbps(3), Bitrate::mbps(10));
        world.link.rate = Bitrate::kbps(1_500);
        world.run(secs(3));
        let target = world.flows[0].estimator.target();
        assert!(target <= Bitrate::kbps(1_650), "{seed}: {}", world.tell(0));
        // With every packet numbered it is 240 ms; the queue itself delays what is told of it.
        let waited = world.wait(secs(30), secs(33));
        assert!(waited <= ms(700), "{seed}: {waited:?}");
        world.run(secs(3));
        let later = world.wait(secs(33), secs(36));
        assert!(later <= ms(150), "{seed}: {later:?}\n{}", world.tell(0));
    }
}

#[test]
fn loss_and_a_wish_for_more_bring_all_numbers_back() {
    let mut world = content(1, Bitrate::mbps(1), Bitrate::mbps(10));
    let few = numbered_a_second(&mut world);
    world.link.losses = Losses::Random(0.05);
    world.run(secs(2));
    let lossy = numbered_a_second(&mut world);
    assert!(lossy > 3 * few, "{few}, {lossy}");
    let mut world = content(1, Bitrate::mbps(1), Bitrate::mbps(10));
    let now = world.now();
    world.flows[0].estimator.set_wanted(now, Estimator::MAX);
    let more = numbered_a_second(&mut world);
    assert!(more > 3 * few, "{few}, {more}");
}

#[test]
fn feedback_that_gets_lost_does_not_look_like_a_thinner_line() {
    for seed in 0..super::paths::SEEDS {
        let mut world = content(seed, Bitrate::mbps(2), Bitrate::mbps(10));
        world.flows[0].deaf = 0.3;
        world.run(secs(30));
        let target = world.flows[0].estimator.target();
        assert!(target >= Bitrate::mbps(2), "{seed}: {}", world.tell(0));
        assert!(numbered_a_second(&mut world) < 100, "{seed}");
    }
}

#[test]
fn packets_of_one_moment_all_have_numbers_or_none_has() {
    let mut world = content(1, Bitrate::mbps(1), Bitrate::mbps(10));
    let begun = world.now();
    let estimator = &mut world.flows[0].estimator;
    let mut kinds = [0, 0];
    for frame in 0..90 {
        let now = begun + ms(33 * frame);
        let numbers: Vec<_> = (0..5)
            .map(|_| estimator.handle_sent(now, 1_200, Sent::Media))
            .collect();
        let all = numbers.iter().flatten().count();
        assert!(all == 0 || all == 5, "{numbers:?}");
        kinds[usize::from(all == 0)] += 1;
    }
    assert!(kinds[0] >= 4 && kinds[1] > 3 * kinds[0], "{kinds:?}");
}

/// Frames of five, 30 a second; what the receiver's machine takes in while it is held up, it takes in behind one another after it.
#[test]
fn a_receiver_that_is_held_up_now_and_then_is_no_queue_for_samples_either() {
    let mut world = content(1, Bitrate::mbps(2), Bitrate::mbps(10));
    let begun = world.now();
    let estimator = &mut world.flows[0].estimator;
    // Now and then for a tenth of a second.
    let arrives = |sent: u64| match sent % 2_400 {
        within @ 1_500..1_600 => sent + 1_600 - within,
        _ => sent,
    };
    let (mut out, mut numbered) = (Vec::new(), 0);
    for at in (0..20_000).step_by(3) {
        for packet in 0..if at % 33 == 0 { 5 } else { 0 } {
            let number = estimator.handle_sent(begun + ms(at), 1_200, Sent::Media);
            out.extend(number.map(|number| (4 * arrives(at) + packet, number)));
            numbered += u64::from(number.is_some());
        }
        if at % 60 == 0 {
            let (here, later): (Vec<_>, Vec<_>) = out.iter().partition(|(tick, _)| *tick <= 4 * at);
            out = later;
            let told: Vec<(u16, i64)> = here.iter().map(|&(tick, n)| (n, tick as i64)).collect();
            if !told.is_empty() {
                super::rules::tell(estimator, begun + ms(at), &told);
            }
        }
        assert!(!estimator.is_congested(), "{at}: {:?}", estimator.state());
    }
    assert!(numbered < 2_500, "{numbered}");
}
