//! Ways on which little or nothing is sent, and nothing is told of it.

use std::time::Instant;

use super::{
    rules::{heard, play, tell, tenth},
    sim::secs,
};
use crate::engine::{
    bwe::{Estimator, Sent},
    testing::{base, ms},
    units::Bitrate,
};

/// A line that fills, then an outage: of the last packets nothing is told, and nothing more is sent.
#[test]
fn a_way_that_nothing_was_told_of_before_nothing_was_sent_is_probed() {
    let (mut estimator, t0, mut now) = heard(Bitrate::mbps(2));
    for round in 0..10 {
        tenth(&mut estimator, now, 400 * 10 + 500 * round);
        now += ms(100);
    }
    assert!(estimator.wait() > ms(100), "{:?}", estimator.state());
    (0..20).for_each(|step| _ = estimator.handle_sent(now + ms(step), 300, Sent::Media));
    let (cut, mut probes) = (now, 0);
    while let Some(at) = estimator.poll_timeout().filter(|&at| at <= cut + secs(8)) {
        now = now.max(at);
        estimator.handle_timeout(now);
        probes += u32::from(estimator.poll_probe(now).is_some());
    }
    assert!(probes > 0, "{:?}", estimator.state());
    // The line is back, and tells of one: what waited before the outage says nothing of it.
    let probe = loop {
        now = estimator.poll_timeout().expect("another one follows").max(now);
        estimator.handle_timeout(now);
        if let Some(probe) = estimator.poll_probe(now) {
            break probe;
        }
    };
    let ticks = (now - t0).as_millis() as i64 * 4;
    let arrivals = play(&mut estimator, probe, now, ticks, 1.0);
    let before = estimator.target();
    tell(&mut estimator, now + ms(50), &arrivals);
    assert!(!estimator.is_congested() && estimator.target() > before);
}

/// One picture alone is wanted and no voice, from a way of which the feedback on some of the first probes gets lost.
#[test]
fn a_lost_feedback_on_a_first_probe_does_not_end_the_search() {
    for lost in [vec![1], vec![0], vec![], vec![0, 1, 2], vec![2]] {
        let t0 = base();
        let mut estimator = Estimator::new(t0);
        estimator.set_wanted(t0, Bitrate::mbps(3));
        let (mut now, mut told, mut probes) = (t0, Vec::new(), 0);
        let mut turns = 0..2_000;
        while let Some(at) = told
            .first()
            .map(|(at, _)| *at)
            .into_iter()
            .chain(estimator.poll_timeout())
            .min()
            .filter(|&at| at <= t0 + secs(if lost.contains(&0) { 60 } else { 15 }))
        {
            turns.next().expect("a deadline that nothing is done at");
            now = now.max(at);
            if told.first().is_some_and(|(at, _)| *at <= now) {
                let (_, arrivals): (_, Vec<_>) = told.remove(0);
                tell(&mut estimator, now, &arrivals);
            }
            estimator.handle_timeout(now);
            if let Some(probe) = estimator.poll_probe(now) {
                let ticks = (now - t0).as_micros() as i64 / 250;
                let arrivals = play(&mut estimator, probe, now, ticks + 80, 1.0);
                if !lost.contains(&probes) {
                    told.push((now + ms(50), arrivals));
                }
                probes += 1;
            }
        }
        assert!(
            estimator.target() >= Bitrate::mbps(3),
            "{lost:?} lost, {probes} sent: {:?}",
            estimator.state()
        );
    }
}

/// A voice of so many milliseconds to a player without transport-wide feedback. Which deadlines there were.
fn speak(estimator: &mut Estimator, now: &mut Instant, millis: u64) -> usize {
    let mut deadlines = 0;
    for _ in 0..millis / 20 {
        estimator.handle_sent(*now, 160, Sent::Media);
        if estimator
            .poll_timeout_without_probes()
            .is_some_and(|at| at <= *now)
        {
            estimator.handle_timeout(*now);
            deadlines += 1;
        }
        *now += ms(20);
    }
    deadlines
}

#[test]
fn a_player_that_reports_nothing_is_sent_the_least_until_it_does() {
    let (mut now, start) = (base(), Bitrate::mbps(3));
    let mut estimator = Estimator::starting_at(now, start);
    // Every other report of 7.4 s is lost.
    for _ in 0..4 {
        assert_eq!(speak(&mut estimator, &mut now, 14_800), 0);
        estimator.handle_report_loss(now, 0);
        assert!(estimator.target() >= start, "{:?}", estimator.state());
    }
    // What was not sent is not told of.
    speak(&mut estimator, &mut now, 10_000);
    now += secs(3_600);
    assert_eq!(speak(&mut estimator, &mut now, 2_000), 0);
    let before = estimator.target();
    assert!(before >= start);
    assert_eq!(speak(&mut estimator, &mut now, 20_000), 1);
    assert_eq!(estimator.target(), Estimator::MIN);
    estimator.handle_report_loss(now, 0);
    assert!(estimator.target() >= before, "{:?}", estimator.state());
    // A REMB is something, too.
    speak(&mut estimator, &mut now, 10_000);
    estimator.handle_remb(now, Bitrate::mbps(1));
    assert_eq!(speak(&mut estimator, &mut now, 10_000), 0);
}
