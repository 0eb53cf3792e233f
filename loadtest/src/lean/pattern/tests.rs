//! What a pattern sends, and when.

use rand::SeedableRng as _;

use super::*;
use crate::{media::unmark_frame, sender::Ssrcs};

fn pattern(plan: PatternPlan) -> (Pattern, Instant) {
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let began = Instant::now();
    let outgoing = Outgoing {
        point: 3,
        ssrcs: Ssrcs::random(&mut rng, 1),
        mic_mid: "0".into(),
        camera_mid: "0".into(),
        mic_extensions: Default::default(),
        camera_extensions: Default::default(),
        fps: 15,
    };
    let now = Now {
        instant: began,
        us: 1,
    };
    (Pattern::new(plan, outgoing, now, &mut rng), began)
}

/// Packets of a second from the beginning on, by the instants they left at.
fn second(plan: PatternPlan) -> Vec<Vec<Packet>> {
    let (mut pattern, began) = pattern(plan);
    pattern.grow(began.checked_sub(Duration::from_secs(60)).unwrap_or(began));
    let mut sent = Vec::new();
    loop {
        let instant = pattern.poll_timeout();
        if instant >= pattern.began + Duration::from_secs(1) {
            return sent;
        }
        assert!(instant >= began);
        let (mut out, mut reports) = (Vec::new(), Vec::new());
        pattern.handle_timeout(Now { instant, us: 5 }, &mut out, &mut reports);
        sent.extend((!out.is_empty()).then_some(out));
    }
}

#[test]
fn frames_leave_at_once_or_spread_and_are_as_long_as_asked() {
    for (even, groups, each) in [(false, 30, 10), (true, 300, 1)] {
        let plan = PatternPlan {
            sound: false,
            rate: 300,
            frame: 10,
            even,
            bytes: 1_200,
            sizes: Sizes::Equal,
        };
        let sent = second(plan);
        assert_eq!(sent.len(), groups);
        assert!(sent.iter().all(|group| group.len() == each));
        let packets: Vec<Packet> = sent.into_iter().flatten().collect();
        assert!(
            packets
                .iter()
                .all(|packet| packet.payload.len() == 1_200 - OVERHEAD)
        );
        assert_eq!(packets.iter().filter(|packet| packet.header.marker).count(), 30);
        let times: std::collections::BTreeSet<u32> =
            packets.iter().map(|packet| packet.header.timestamp).collect();
        assert_eq!(times.len(), 30);
        assert!(
            packets
                .iter()
                .all(|packet| unmark_frame(&packet.payload).is_some())
        );
    }
}

#[test]
fn the_rate_grows_when_all_are_there() {
    let plan = PatternPlan {
        sound: false,
        rate: 600,
        frame: 20,
        even: false,
        bytes: 1_200,
        sizes: Sizes::Equal,
    };
    let (mut pattern, began) = pattern(plan);
    let second = |pattern: &mut Pattern, from: u64| {
        let (mut out, mut reports) = (Vec::new(), Vec::new());
        for ms in from * 1_000..(from + 1) * 1_000 {
            let instant = began + Duration::from_millis(ms);
            pattern.handle_timeout(Now { instant, us: 1 }, &mut out, &mut reports);
        }
        out.len()
    };
    second(&mut pattern, 0);
    let waiting = second(&mut pattern, 1);
    assert!((11..=14).contains(&waiting), "120 kb/s: {waiting}");
    pattern.grow(began + Duration::from_secs(2));
    let growing: Vec<usize> = (2..10).map(|from| second(&mut pattern, from)).collect();
    assert!(growing.is_sorted(), "{growing:?}");
    assert!(growing[7].abs_diff(600) <= 20, "{growing:?}");
}

#[test]
fn what_is_missed_is_sent_again_and_a_key_frame_when_asked() {
    let plan = PatternPlan {
        sound: false,
        rate: 100,
        frame: 1,
        even: false,
        bytes: 300,
        sizes: Sizes::Equal,
    };
    let (mut pattern, began) = pattern(plan);
    pattern.grow(began.checked_sub(Duration::from_secs(60)).unwrap_or(began));
    let key = |packet: &Packet| packet.payload[6] & 1 == 0;
    let now = Now {
        instant: pattern.began,
        us: 5,
    };
    let next = |pattern: &mut Pattern| {
        pattern.begin_frame(now);
        pattern.packet(now, 0)
    };
    let first = next(&mut pattern);
    let second = next(&mut pattern);
    pattern.handle_key_frame_request(pattern.ssrc);
    let third = next(&mut pattern);
    assert_eq!([&first, &second, &third].map(key), [true, false, true]);
    let mut out = Vec::new();
    let ssrc = pattern.ssrc;
    pattern.handle_nack(ssrc, &[second.header.sequence_number, 9], &mut out);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].payload[2..], second.payload[..]);
}

#[test]
fn sizes_as_libwebrtc_makes_them_differ_by_a_byte_but_for_the_first_and_from_frame_to_frame() {
    let plan = PatternPlan {
        sound: false,
        rate: 300,
        frame: 5,
        even: false,
        bytes: 1_200,
        sizes: Sizes::Parted,
    };
    let mut rests = std::collections::BTreeSet::new();
    for frame in second(plan) {
        let sizes: Vec<usize> = frame
            .iter()
            .map(|packet| packet.payload.len() + OVERHEAD)
            .collect();
        let (first, rest) = (sizes[0], &sizes[1..]);
        assert!(
            rest.is_sorted() && rest[rest.len() - 1] - rest[0] <= 1,
            "{sizes:?}"
        );
        assert!(first < rest[0] && rest[0] - first <= 16, "{sizes:?}");
        assert!(
            sizes.iter().all(|&size| (1_100..=1_200).contains(&size)),
            "{sizes:?}"
        );
        assert!(frame.iter().all(|packet| unmark_frame(&packet.payload).is_some()));
        rests.insert(sizes);
    }
    assert!(rests.len() > 10, "frames are not equally large");
}

#[test]
fn whoever_sends_little_is_not_late_and_whoever_was_held_up_is() {
    for (rate, frame) in [(1, 10), (5, 10), (300, 10)] {
        let plan = PatternPlan {
            sound: false,
            rate,
            frame,
            even: false,
            bytes: 1_200,
            sizes: Sizes::Equal,
        };
        let late = |held_up: Duration| {
            let (mut pattern, _) = pattern(plan);
            let (mut out, mut reports) = (Vec::new(), Vec::new());
            let instant = pattern.began + held_up;
            pattern.handle_timeout(Now { instant, us: 5 }, &mut out, &mut reports);
            pattern.counts().late
        };
        assert_eq!(late(Duration::ZERO), 0, "{rate}");
        assert_eq!(late(Duration::from_secs(60)), 1, "{rate}");
    }
}
