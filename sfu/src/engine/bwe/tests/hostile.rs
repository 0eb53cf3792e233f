//! Receivers that lie.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    engine::{
        bwe::{Estimator, ProbeId, Sent},
        testing::{base, ms},
        units::Bitrate,
    },
    wire::rtcp::{self, Builder, Rtcp},
};

/// Feedback as bytes, read back as the node reads it.
fn feed(
    estimator: &mut Estimator,
    at: Duration,
    epoch: std::time::Instant,
    compound: &[u8],
    most: usize,
) -> usize {
    let mut read = 0;
    for packet in rtcp::packets(compound) {
        if let Ok(Rtcp::TransportFeedback(feedback)) = packet {
            read += estimator.handle_feedback(epoch + at, &feedback, most);
        }
    }
    read
}

fn compound(base: u16, arrivals: &[(u16, i64)]) -> Vec<u8> {
    let mut out = Vec::new();
    // What cannot be written is not sent.
    let _ = Builder::new(&mut out, 200_000).transport_feedback(1, 2, 0, base, arrivals);
    out
}

/// A feedback of 65,535 packets, none of which arrived, by run lengths.
fn all_lost(base: u16) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend([0; 8]);
    body.extend(base.to_be_bytes());
    body.extend(u16::MAX.to_be_bytes());
    body.extend([0, 0, 1, 0]);
    body.extend([0x1F, 0xFF].repeat(9));
    body.resize(body.len().next_multiple_of(4), 0);
    let words = (body.len() / 4) as u16;
    let mut out = vec![0x8F, 205];
    out.extend(words.to_be_bytes());
    out.extend(body);
    out
}

#[test]
fn packets_never_sent_are_counted_and_change_nothing() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    for _ in 0..10 {
        estimator.handle_sent(t0, 1_000, Sent::Media);
    }
    let before = estimator.state();
    let lies: Vec<(u16, i64)> = (100..200).map(|number| (number, i64::from(number))).collect();
    assert_eq!(
        feed(&mut estimator, ms(50), t0, &compound(100, &lies), 1_000),
        100
    );
    assert_eq!(estimator.loss().unknown, 100);
    assert_eq!(estimator.state(), before);
}

#[test]
fn a_feedback_of_65535_packets_costs_no_more_than_allowed() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    for index in 0..10_000 {
        estimator.handle_sent(t0 + ms(index), 1_000, Sent::Media);
    }
    let lie = all_lost(0);
    assert_eq!(feed(&mut estimator, ms(10_000), t0, &lie, 500), 500);
    assert_eq!(feed(&mut estimator, ms(10_000), t0, &lie, usize::MAX), 65_535);
    let loss = estimator.loss();
    // Of 10,000 numbers the last 2,048 are remembered; each is lost once, however often it is said.
    assert_eq!(loss.lost, 2_048);
    assert_eq!(loss.unknown, 500 + 65_535 - 2_048);
    assert_eq!(feed(&mut estimator, ms(10_000), t0, &lie, usize::MAX), 65_535);
    assert_eq!(estimator.loss().lost, 2_048);
}

#[test]
fn an_arrival_told_twice_counts_once_and_a_loss_may_be_corrected() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    let numbers: Vec<u16> = (0..4)
        .map(|_| estimator.handle_sent(t0, 100, Sent::Media))
        .collect();
    let first = compound(numbers[0], &[(numbers[0], 0), (numbers[3], 9)]);
    for _ in 0..2 {
        feed(&mut estimator, ms(50), t0, &first, 100);
    }
    feed(
        &mut estimator,
        ms(99),
        t0,
        &compound(numbers[2], &[(numbers[2], 5)]),
        100,
    );
    let loss = estimator.loss();
    assert_eq!((loss.arrived, loss.lost, loss.late, loss.unknown), (2, 2, 1, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Sent(u16, u8),
    Told(Vec<(u16, i64)>),
    Bytes(Vec<u8>),
    Lost(u16),
    Remb(u64),
    Report(u8),
    RoundTrip(u64),
    Wanted(u64),
    Wait(u64),
    Back(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let arrivals = prop::collection::vec((0u16..40, -40_000i64..40_000), 1..40);
    prop_oneof![
        6 => (any::<u16>(), any::<u8>()).prop_map(|(bytes, kind)| Step::Sent(bytes, kind)),
        4 => (any::<u16>(), arrivals, any::<i32>()).prop_map(|(base, gaps, ticks)| {
            let (mut number, mut at) = (base, i64::from(ticks) << 10);
            Step::Told(gaps.into_iter().map(|(gap, delta)| {
                number = number.wrapping_add(gap);
                at += delta;
                (number, at)
            }).collect())
        }),
        1 => prop::collection::vec(any::<u8>(), 8..80).prop_map(Step::Bytes),
        1 => any::<u16>().prop_map(Step::Lost),
        1 => any::<u64>().prop_map(Step::Remb),
        1 => any::<u8>().prop_map(Step::Report),
        1 => any::<u64>().prop_map(Step::RoundTrip),
        1 => any::<u64>().prop_map(Step::Wanted),
        4 => (0u64..3_000).prop_map(Step::Wait),
        1 => (0u64..10_000).prop_map(Step::Back),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_is_claimed_the_target_stays_within_its_bounds(steps in prop::collection::vec(step(), 1..300)) {
        let t0 = base();
        let mut estimator = Estimator::new(t0);
        let (mut at, mut probe, mut numbers) = (ms(20_000), None, 0u16);
        for step in steps {
            let now = t0 + at;
            match step {
                Step::Sent(bytes, kind) => for _ in 0..=kind % 32 {
                    let id = probe.unwrap_or(ProbeId(kind.into()));
                    let kind = [Sent::Media, Sent::Repair, Sent::Padding(id), Sent::Probing(id)][usize::from(kind % 4)];
                    numbers = estimator.handle_sent(now, bytes, kind);
                },
                Step::Told(mut arrivals) => {
                    // Half of the lies are about packets that were sent.
                    let shift = if arrivals.len() % 2 == 0 { numbers.wrapping_sub(arrivals[0].0).wrapping_sub(40) } else { 0 };
                    arrivals.iter_mut().for_each(|arrival| arrival.0 = arrival.0.wrapping_add(shift));
                    let bytes = compound(arrivals[0].0, &arrivals);
                    prop_assert!(feed(&mut estimator, at, t0, &bytes, 500) <= 500);
                }
                Step::Bytes(mut body) => {
                    body.resize(body.len().next_multiple_of(4), 0);
                    let mut bytes = vec![0x8F, 205];
                    bytes.extend(((body.len() / 4) as u16).to_be_bytes());
                    bytes.extend(body);
                    feed(&mut estimator, at, t0, &bytes, 500);
                }
                Step::Lost(base) => { feed(&mut estimator, at, t0, &all_lost(base), 500); }
                Step::Remb(rate) => estimator.handle_remb(now, Bitrate::bps(rate)),
                Step::Report(lost) => estimator.handle_report_loss(now, lost),
                Step::RoundTrip(micros) => estimator.handle_round_trip(now, Duration::from_micros(micros)),
                Step::Wanted(rate) => estimator.set_wanted(now, Bitrate::bps(rate)),
                Step::Wait(time) => at += ms(time),
                Step::Back(time) => at -= at.min(ms(time)),
            }
            if estimator.poll_timeout().is_some_and(|due| due <= t0 + at) {
                estimator.handle_timeout(t0 + at);
            }
            let wanted = estimator.poll_probe(t0 + at);
            prop_assert!(wanted.is_none_or(|probe| probe.rate <= Estimator::MAX && probe.bytes < 100_000));
            probe = wanted.map(|probe| probe.id).or(probe);
            prop_assert!((Estimator::MIN..=Estimator::MAX).contains(&estimator.target()));
            let state = estimator.state();
            prop_assert!((0.0..=1.0).contains(&state.loss) && state.slope.is_finite());
            prop_assert!(estimator.poll_timeout().is_none_or(|due| due < t0 + Duration::from_secs(1 << 22)));
        }
    }
}
