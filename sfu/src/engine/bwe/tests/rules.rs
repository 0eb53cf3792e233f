//! Receivers without transport-wide feedback, deadlines, and what is asked of the pacer.

use std::time::Instant;

use crate::{
    engine::{
        bwe::{Estimator, Probe, Sent},
        testing::{base, ms},
        units::Bitrate,
    },
    wire::rtcp::{self, Builder, Rtcp},
};

/// Sends ten packets a tenth of a second, all of which arrive.
pub(super) fn tenth(estimator: &mut Estimator, at: Instant, ticks: i64) {
    let numbers: Vec<(u16, i64)> = (0..10)
        .map(|index| {
            let number = estimator.handle_sent(at + ms(10 * index), 300, Sent::Media);
            (number, ticks + 40 * index as i64)
        })
        .collect();
    tell(estimator, at + ms(100), &numbers);
}

pub(super) fn tell(estimator: &mut Estimator, at: Instant, arrivals: &[(u16, i64)]) {
    let mut out = Vec::new();
    Builder::new(&mut out, 10_000)
        .transport_feedback(1, 2, 0, arrivals[0].0, arrivals)
        .unwrap();
    for packet in rtcp::packets(&out).flatten() {
        if let Rtcp::TransportFeedback(feedback) = packet {
            estimator.handle_feedback(at, &feedback, 1_000);
        }
    }
}

/// Heard for a second, so that a probe may begin.
pub(super) fn heard(wanted: Bitrate) -> (Estimator, Instant, Instant) {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    estimator.set_wanted(t0, wanted);
    for round in 0..10 {
        tenth(&mut estimator, t0 + ms(100 * round), 400 * round as i64);
    }
    (estimator, t0, t0 + ms(1_000))
}

#[test]
fn a_queue_makes_no_way_long() {
    let mut estimator = Estimator::new(base());
    let mut at = base();
    let mut trips = |count: u32, trip: u64| {
        for _ in 0..count {
            at += ms(1_000);
            estimator.handle_round_trip(at, ms(trip));
        }
        estimator.is_long()
    };
    assert!(!trips(10, 40));
    assert!(!trips(3, 340), "it waits for 300 ms");
    assert!(trips(70, 620), "it goes over a satellite now");
    assert!(!trips(1, 40));
}

#[test]
fn numbers_are_given_in_a_row_whatever_a_packet_is() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    let first = estimator.handle_sent(t0, 100, Sent::Media);
    for step in 1..70_000u32 {
        let number = estimator.handle_sent(t0, 100, Sent::Repair);
        assert_eq!(number, first.wrapping_add(step as u16));
    }
}

#[test]
fn a_remb_is_a_cap_for_ten_seconds_and_never_a_target() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    for (said, allowed) in [
        (Bitrate::ZERO, Estimator::MIN),
        (Bitrate::bps(1 << 62), Estimator::START),
        (Bitrate::kbps(120), Bitrate::kbps(120)),
    ] {
        estimator.handle_remb(t0, said);
        assert_eq!(estimator.target(), allowed);
    }
    estimator.handle_timeout(t0 + ms(9_999));
    assert_eq!(estimator.target(), Bitrate::kbps(120));
    estimator.handle_timeout(t0 + ms(10_000));
    assert_eq!(estimator.target(), Estimator::START);
}

#[test]
fn without_transport_wide_feedback_report_loss_is_the_law() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    estimator.set_wanted(t0, Estimator::MAX);
    let mut at = t0;
    for _ in 0..30 {
        (0..100).for_each(|step| {
            estimator.handle_sent(at + ms(10 * step), 1_000, Sent::Media);
        });
        at += ms(1_000);
        estimator.handle_report_loss(at, 2);
        assert_eq!(estimator.poll_probe(at), None);
    }
    // 800 kb/s were sent: no more than a quarter as much again was ever tried.
    let grown = estimator.target();
    assert!(
        (Bitrate::kbps(990)..=Bitrate::kbps(1_010)).contains(&grown),
        "{grown:?}"
    );
    estimator.handle_report_loss(at + ms(1_000), 13); // 5 %: stays
    assert_eq!(estimator.target(), grown);
    estimator.handle_report_loss(at + ms(2_000), 128); // a half: a quarter less
    assert_eq!(estimator.target(), grown.percent(75));
    estimator.handle_report_loss(at + ms(2_001), 255); // another stream of the same report
    assert_eq!(estimator.target(), grown.percent(75));
    (0..99).for_each(|step| estimator.handle_report_loss(at + ms(3_000 + 1_000 * step), 255));
    assert_eq!(estimator.target(), Estimator::MIN);
}

/// So many packets of 500 bytes a second for a second, then a report without loss; the time after it.
fn reported_second(estimator: &mut Estimator, at: Instant, packets: u64, trip: u64) -> Instant {
    let after = at + ms(1_000);
    (0..packets).for_each(|packet| {
        estimator.handle_sent(at + ms(1_000 * packet / packets), 500, Sent::Media);
    });
    estimator.handle_round_trip(after, ms(trip));
    estimator.handle_report_loss(after, 0);
    after
}

#[test]
fn a_longer_round_trip_is_a_queue_until_less_does_not_make_it_shorter() {
    let mut at = base();
    let mut estimator = Estimator::new(at);
    for _ in 0..10 {
        at = reported_second(&mut estimator, at, 100, 60);
    }
    let before = estimator.target();
    at = reported_second(&mut estimator, at, 100, 90);
    assert!(estimator.target() > before, "30 ms are a burst on the way");
    let (held, sent) = (estimator.target(), Bitrate::kbps(400));
    at = reported_second(&mut estimator, at, 100, 150);
    assert_eq!(estimator.target(), held);
    at = reported_second(&mut estimator, at, 100, 260);
    let less = estimator.target();
    assert!(
        less < sent.percent(75) && less > sent.percent(60),
        "{held:?} {less:?}"
    );
    // What the next report says was so before that was seen.
    at = reported_second(&mut estimator, at, 80, 260);
    assert_eq!(estimator.target(), less);
    // Gone: it grows again.
    at = reported_second(&mut estimator, at, 80, 60);
    assert!(estimator.target() > less);
    // Another route: after a few steps the longer time is the ground.
    for _ in 0..8 {
        at = reported_second(&mut estimator, at, 80, 400);
    }
    let longer = estimator.target();
    assert!(longer > sent.percent(25), "{longer:?}");
    for _ in 0..10 {
        at = reported_second(&mut estimator, at, 80, 400);
    }
    assert!(estimator.target() > longer);
}

#[test]
fn a_remb_that_only_says_what_was_sent_leaves_room_for_a_try() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    // One voice is sent, and half as much again is what a receiver can know of.
    let mut at = reported_second(&mut estimator, t0, 14, 60);
    estimator.handle_remb(at, Bitrate::kbps(90));
    let tried = estimator.target();
    assert!(
        tried >= Bitrate::kbps(190) && tried <= Bitrate::kbps(220),
        "{tried:?}"
    );
    // It was sent, and the line did not take it: now the word counts, whatever is sent.
    at = reported_second(&mut estimator, at, 50, 60);
    estimator.handle_remb(at, Bitrate::kbps(90));
    assert_eq!(estimator.target(), Bitrate::kbps(90));
    at = reported_second(&mut estimator, at, 14, 60);
    estimator.handle_remb(at, Bitrate::kbps(90));
    assert_eq!(estimator.target(), Bitrate::kbps(90));
    for _ in 0..31 {
        at = reported_second(&mut estimator, at, 14, 60);
    }
    estimator.handle_remb(at, Bitrate::kbps(90));
    assert!(estimator.target() > Bitrate::kbps(180));
}

#[test]
fn reports_are_not_asked_where_feedback_is_heard() {
    let (mut estimator, _, now) = heard(Bitrate::ZERO);
    let before = estimator.target();
    estimator.handle_report_loss(now, 255);
    assert_eq!(estimator.target(), before);
    // Nobody asked for that, and it is made of packets without a number alone.
    estimator.handle_remb(now, Bitrate::kbps(50));
    assert_eq!(estimator.target(), before);
}

#[test]
fn a_way_on_which_nothing_was_sent_from_the_beginning_is_tried_four_times() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    estimator.set_wanted(t0, Bitrate::mbps(3));
    assert_eq!(estimator.poll_probe(t0 + ms(250)), None);
    assert_eq!(estimator.poll_timeout(), Some(t0 + ms(300)));
    for at in [300, 5_300, 15_300, 35_300] {
        estimator.handle_timeout(t0 + ms(at - 1));
        assert_eq!(estimator.poll_probe(t0 + ms(at - 1)), None);
        assert_eq!(estimator.poll_timeout(), Some(t0 + ms(at)));
        let probe = estimator
            .poll_probe(t0 + ms(at))
            .expect("nothing else would tell");
        estimator.handle_sent(t0 + ms(at), 300, Sent::Padding(probe.id));
        estimator.handle_timeout(t0 + ms(at + 1_000)); // it was looked whether anything is told
    }
    // Whoever tells nothing of them is not tried again.
    estimator.handle_timeout(t0 + ms(60_000));
    assert_eq!(estimator.poll_timeout(), None);
    assert_eq!(estimator.poll_probe(t0 + ms(600_000)), None);
}

/// From deadline to deadline for so long; what each probe sends is told of 50 ms later.
fn probe_alone(estimator: &mut Estimator, from: Instant, time: std::time::Duration) {
    /// When it is told, and what arrived when.
    type Told = (Instant, Vec<(u16, i64)>);
    let (mut now, mut told) = (from, Vec::<Told>::new());
    let mut turns = 0..2_000;
    while let Some(at) = told
        .first()
        .map(|told| told.0)
        .into_iter()
        .chain(estimator.poll_timeout())
        .min()
        .filter(|&at| at <= from + time)
    {
        turns.next().expect("a deadline that nothing is done at");
        now = now.max(at);
        if told.first().is_some_and(|told| told.0 <= now) {
            tell(estimator, now, &told.remove(0).1);
        }
        estimator.handle_timeout(now);
        if let Some(probe) = estimator.poll_probe(now) {
            let ticks = (now - from).as_micros() as i64 / 250;
            let arrivals = play(estimator, probe, now, ticks + 80, 1.0);
            told.push((now + ms(50), arrivals));
        }
    }
}

#[test]
fn a_way_that_is_sent_nothing_but_probes_is_found_to_carry_what_is_wanted() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    estimator.set_wanted(t0, Bitrate::mbps(6));
    probe_alone(&mut estimator, t0, ms(6_000));
    assert!(estimator.target() >= Bitrate::mbps(6), "{:?}", estimator.target());
}

#[test]
fn a_queue_of_before_says_nothing_of_a_way_that_has_been_idle() {
    let (mut estimator, _, mut now) = heard(Bitrate::mbps(6));
    // Each tenth of a second what is sent arrives 40 ms later than before.
    for round in 0..10 {
        tenth(&mut estimator, now, 400 * 20 + 560 * round);
        now += ms(100);
    }
    assert!(estimator.is_congested());
    let before = estimator.target();
    probe_alone(&mut estimator, now, ms(20_000));
    assert!(
        estimator.target() >= Bitrate::mbps(6),
        "{before:?} then {:?}",
        estimator.target()
    );
}

#[test]
fn the_first_probes_alone_look_for_what_is_expected() {
    let (mut estimator, _, now) = heard(Bitrate::ZERO);
    estimator.set_expected(Bitrate::mbps(3));
    let mut rates = Vec::new();
    for round in 0..100 {
        let at = now + ms(100 * round);
        tenth(&mut estimator, at, 400 * (10 + round) as i64);
        let at = at + ms(100);
        if let Some(probe) = estimator.poll_probe(at) {
            assert!(probe.is_first);
            rates.push(probe.rate);
            (0..10).for_each(|_| _ = estimator.handle_sent(at, 1_000, Sent::Padding(probe.id)));
        }
    }
    assert_eq!(rates.len(), 2, "{rates:?}");
    assert!(rates[0] < rates[1] && rates[1] <= Bitrate::mbps(3), "{rates:?}");
}

#[test]
fn nothing_is_probed_before_feedback_or_without_a_wish() {
    let t0 = base();
    let mut estimator = Estimator::new(t0);
    estimator.set_wanted(t0, Estimator::MAX);
    estimator.handle_sent(t0, 100, Sent::Media);
    assert_eq!(estimator.poll_probe(t0 + ms(9_999)), None);
    assert_eq!(estimator.poll_timeout(), None);
    let (mut content, _, now) = heard(Bitrate::kbps(200));
    assert_eq!(content.poll_probe(now + ms(99_999)), None);
}

/// Sends a probe at its rate; its packets arrive at `arriving` times the time they took.
pub(super) fn play(
    estimator: &mut Estimator,
    probe: Probe,
    now: Instant,
    ticks: i64,
    arriving: f64,
) -> Vec<(u16, i64)> {
    let packets = u32::from(probe.packets).max(probe.bytes.div_ceil(1_200));
    let size = probe.bytes.div_ceil(packets);
    (0..=packets)
        .map(|index| {
            let micros = u64::from(index * size) * 8_000_000 / probe.rate.as_bps();
            let number = estimator.handle_sent(
                now + std::time::Duration::from_micros(micros),
                size as u16,
                Sent::Padding(probe.id),
            );
            (number, ticks + (micros as f64 * arriving / 250.0) as i64)
        })
        .collect()
}

#[test]
fn the_first_probes_are_three_and_six_times_the_start_and_what_they_show_is_used_in_strides() {
    let (mut estimator, _, now) = heard(Estimator::MAX);
    let start = estimator.target().as_bps() as f64;
    let three = estimator.poll_probe(now).unwrap();
    assert!(three.packets >= 5 && three.bytes * 8 >= (three.rate.as_bps() * 15 / 1_000) as u32);
    assert_eq!(estimator.poll_probe(now), None); // not before the first is sent
    let mut arrivals = play(&mut estimator, three, now, 4_000, 1.0);
    let six = estimator.poll_probe(now + ms(30)).unwrap();
    for (probe, multiple) in [(three, 3.0), (six, 6.0)] {
        assert!((probe.rate.as_bps() as f64 / start / multiple - 1.0).abs() < 0.01);
    }
    arrivals.extend(play(&mut estimator, six, now + ms(30), 4_120, 1.0));
    tell(&mut estimator, now + ms(100), &arrivals);
    let first = estimator.target().as_bps() as f64;
    assert!((1.65..=1.75).contains(&(first / start)), "{first}");
    for round in 1..12 {
        tenth(&mut estimator, now + ms(100 * round), 4_000 + 400 * round as i64);
    }
    let then = estimator.target().as_bps() as f64;
    assert!((5.4..=6.6).contains(&(then / start)), "{then}");
}

#[test]
fn a_probe_that_arrives_slowly_shows_what_the_line_takes_and_one_that_is_lost_shows_nothing() {
    let (mut estimator, _, now) = heard(Bitrate::kbps(700));
    let before = estimator.target();
    let probe = estimator.poll_probe(now).unwrap();
    let arrivals = play(&mut estimator, probe, now, 4_000, 1.5);
    tell(&mut estimator, now + ms(100), &arrivals);
    let shown = estimator.target().as_bps() as f64 / probe.rate.as_bps() as f64;
    assert!((0.5..0.67).contains(&shown), "{shown}");

    let (mut estimator, _, now) = heard(Bitrate::kbps(700));
    let probe = estimator.poll_probe(now).unwrap();
    let arrivals = play(&mut estimator, probe, now, 4_000, 1.0);
    tell(
        &mut estimator,
        now + ms(100),
        &[arrivals[0], arrivals[arrivals.len() - 1]],
    );
    assert!(estimator.target().percent(95) <= before);
    assert_eq!(estimator.poll_probe(now + ms(1_000)), None);
    estimator.handle_timeout(now + ms(1_000)); // it was looked whether anything is told
    let again = estimator.poll_timeout().unwrap();
    assert!(again >= now + ms(1_500) && again <= now + ms(3_000));
}

#[test]
fn the_first_probe_in_vain_is_followed_sooner_than_the_next_but_not_on_a_long_path() {
    for (round_trip, waits) in [(20, [1_500, 3_000, 4_500]), (600, [3_000, 4_500, 6_750])] {
        let (mut estimator, _, mut now) = heard(Bitrate::kbps(700));
        estimator.handle_round_trip(now, ms(round_trip));
        for wait in waits {
            assert!(estimator.poll_probe(now).is_some());
            // Nothing of it is sent: it is judged when its time is over.
            while estimator.state().is_probing {
                now = estimator.poll_timeout().unwrap();
                estimator.handle_timeout(now);
            }
            let due = now + ms(wait);
            assert_eq!(estimator.poll_probe(due - ms(1)), None, "{round_trip}, {wait}");
            now = due;
        }
    }
}

#[test]
fn a_probe_that_the_node_sent_too_slowly_is_sent_again_soon() {
    let (mut estimator, _, now) = heard(Bitrate::kbps(700));
    let before = estimator.target();
    let asked = estimator.poll_probe(now).unwrap();
    // The thread was busy: at a third of the rate asked for, and it arrived as it was sent.
    let slow = Probe {
        rate: asked.rate.percent(33),
        ..asked
    };
    let arrivals = play(&mut estimator, slow, now, 4_000, 1.0);
    assert!(asked.rate.percent(33) <= before.percent(105));
    tell(&mut estimator, now + ms(200), &arrivals);
    assert_eq!(estimator.poll_probe(now + ms(600)), None);
    assert!(estimator.poll_probe(now + ms(800)).is_some());
}

#[test]
fn a_probe_nobody_sends_is_given_up() {
    let (mut estimator, _, now) = heard(Bitrate::mbps(2));
    let before = estimator.target();
    estimator.poll_probe(now).unwrap();
    assert!(estimator.state().is_probing);
    let mut due = estimator.poll_timeout().unwrap();
    for _ in 0..3 {
        estimator.handle_timeout(due);
        due = estimator.poll_timeout().unwrap().max(due);
    }
    assert!(!estimator.state().is_probing);
    assert_eq!(estimator.target(), before);
}

#[test]
fn a_growing_queue_ends_a_probe_and_none_begins_for_five_seconds() {
    let (mut estimator, _, now) = heard(Estimator::MAX);
    let before = estimator.target();
    estimator.poll_probe(now).unwrap();
    // Each tenth of a second arrives half as fast as it is sent.
    for round in 0..8 {
        let at = now + ms(100 * round);
        let numbers: Vec<(u16, i64)> = (0..10)
            .map(|index| {
                let number = estimator.handle_sent(at + ms(10 * index), 300, Sent::Media);
                (number, 4_000 + 80 * (10 * round + index) as i64)
            })
            .collect();
        tell(&mut estimator, at + ms(100), &numbers);
    }
    let state = estimator.state();
    assert!(state.is_congested && !state.is_probing, "{state:?}");
    assert!(state.target < before && state.wait > ms(100), "{state:?}");
    for step in 0..49 {
        assert_eq!(estimator.poll_probe(now + ms(800 + 100 * step)), None);
    }
}

/// A hundred packets a second of 1,200 bytes. Every second the receiver's machine is held up for 200 ms; what came meanwhile is taken in
/// behind one another after it, and a feedback speaks of the first of it.
#[test]
fn a_receiver_that_is_held_up_now_and_then_is_no_thin_line() {
    let (mut estimator, t0, _) = heard(Bitrate::mbps(1));
    let began = t0 + ms(1_000);
    let arrives = |sent: u64| match sent % 1_000 {
        within @ 600..800 => sent + 800 - within + (within - 600) / 5,
        _ => sent,
    };
    let (mut out, mut least) = (Vec::new(), estimator.target());
    for sent in (0..10_000).step_by(10) {
        let number = estimator.handle_sent(began + ms(sent), 1_200, Sent::Media);
        out.push((arrives(sent), number));
        if sent % 100 == 20 {
            let (here, later): (Vec<_>, Vec<_>) = out.iter().partition(|(at, _)| *at <= sent);
            // Ticks of 250 µs, from one second on.
            let told: Vec<(u16, i64)> = here
                .iter()
                .map(|(at, n)| (*n, 4 * (1_000 + *at) as i64))
                .collect();
            if !told.is_empty() {
                tell(&mut estimator, began + ms(sent + 20), &told);
            }
            out = later;
        }
        if sent > 2_000 {
            least = least.min(estimator.target());
        }
    }
    assert!(least >= Estimator::START, "{least:?}");
}

/// A screen that changes every two seconds, to a receiver whose radio sleeps meanwhile: what was sent within 30 ms is handed over at once, 200 ms later.
#[test]
fn what_is_handed_over_late_and_all_at_once_is_no_thin_line() {
    let (mut estimator, t0, mut now) = heard(Bitrate::mbps(2));
    estimator.level(Bitrate::mbps(2));
    tenth(&mut estimator, now, 4_000);
    for _ in 0..5 {
        now += ms(2_000);
        let numbers: Vec<u16> = (0..12)
            .map(|index| estimator.handle_sent(now + ms(index * 30 / 11), 1_200, Sent::Media))
            .collect();
        let arrived = 4 * (now + ms(230) - t0).as_millis() as i64;
        let arrivals: Vec<(u16, i64)> = numbers.iter().map(|&number| (number, arrived)).collect();
        tell(&mut estimator, now + ms(250), &arrivals);
        assert!(estimator.target() >= Estimator::START, "{:?}", estimator.state());
    }
}
