//! What passes, what waits and in which order it goes, over wide, thin and shared ways.

use proptest::prelude::*;

use super::{
    super::testing::{base, ms},
    *,
};

impl<P> Pacer<P> {
    /// A packet of `stream`. Given back if it may go at once; else it waits for [`Self::poll`].
    fn push(&mut self, now: Instant, class: Class, stream: u32, bytes: u16, packet: P) -> Option<P> {
        match self.passes(now, class, stream, bytes) {
            Passes::Now => Some(packet),
            Passes::Behind(place) => {
                self.wait(now, place, stream, bytes, packet);
                None
            }
        }
    }
}

#[test]
fn what_the_way_carries_passes_straight_through() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::mbps(4));
    for i in 0..1_000_u64 {
        let now = t0 + ms(3 * i); // 1,000 bytes in 3 ms: 2.7 Mb/s
        assert_eq!(pacer.push(now, Class::Other, 1, 1_000, i), Some(i));
    }
    assert_eq!(pacer.poll_timeout(), None);
}

#[test]
fn where_the_estimate_is_what_the_line_takes_a_burst_is_spread_and_most_of_all_on_a_long_path() {
    let out_after = |headroom| {
        let t0 = base();
        let mut pacer = Pacer::new(t0, Bitrate::mbps(4));
        pacer.set_rate(t0, Bitrate::mbps(4), headroom);
        let mut push = |i: u64| pacer.push(t0, Class::Other, 1, 1_200, i).is_some();
        let mut out = (0..60).filter(|&i| push(i)).count();
        for turn in 1..=50 {
            out += std::iter::from_fn(|| pacer.poll(t0 + ms(2 * turn))).count();
        }
        out
    };
    let [usual, full, long] = [Headroom::Usual, Headroom::Full, Headroom::FullLong].map(out_after);
    // 100 ms of 6, 5 and 4.2 Mb/s, and what may go at once.
    assert!(
        usual == 60 && (55..60).contains(&full) && (46..51).contains(&long),
        "{usual} {full} {long}"
    );
}

#[test]
fn on_a_wide_open_way_a_picture_leaves_whole() {
    let at_once = |headroom, rate, share| {
        let t0 = base();
        let mut pacer = Pacer::new(t0, rate);
        pacer.set_rate(t0, rate, headroom);
        pacer.set_share(t0, share);
        let now = t0 + ms(1_000);
        (0..40)
            .filter(|&n| pacer.push(now, Class::Stage, 1, 1_200, n).is_some())
            .count()
    };
    let six = Bitrate::mbps(6);
    // 33,750 bytes, and 11,250: what goes last may go beyond them.
    assert_eq!(at_once(Headroom::Open, six, None), 29);
    assert_eq!(at_once(Headroom::Usual, six, None), 10);
    assert_eq!(
        at_once(Headroom::Open, six, Some(six)),
        7,
        "others share the line"
    );
    assert_eq!(at_once(Headroom::Open, Bitrate::mbps(1), None), 2, "a thin way");
}

#[test]
fn a_key_frame_waits_and_voices_overtake_it() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::kbps(500));
    let direct = (0..30)
        .filter(|&i| pacer.push(t0, Class::Other, 1, 1_200, i).is_some())
        .count();
    assert_eq!(direct, 2, "a burst of two packets");
    assert_eq!(pacer.push(t0, Class::Audio, 2, 100, 100), Some(100));
    assert_eq!(pacer.push(t0, Class::Repair, 3, 1_000, 101), None);
    let (mut now, mut out) = (t0, Vec::new());
    while let Some(at) = pacer.poll_timeout() {
        now = now.max(at);
        out.extend(std::iter::from_fn(|| pacer.poll(now)));
    }
    assert_eq!(out[0], 101, "a repair goes before the picture");
    assert!(out[1..].is_sorted() && out.len() == 29);
    assert!(now - t0 <= ms(400), "{:?}", now - t0);
}

#[test]
fn a_stream_stays_in_the_class_it_waits_in() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::kbps(100));
    for i in 0..5 {
        pacer.push(t0, Class::Other, 1, 1_200, i);
    }
    pacer.push(t0, Class::Stage, 1, 1_200, 5); // the picture moved to the stage
    let late = t0 + ms(1_000);
    let out: Vec<_> = (0..10_u64).flat_map(|i| pacer.poll(late + ms(100 * i))).collect();
    assert_eq!(out, [2, 3, 4, 5]);
}

#[test]
fn while_packets_wait_in_the_line_nothing_is_sent_faster_than_it_takes_and_nothing_at_once() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::kbps(400));
    pacer.set_rate(t0, Bitrate::kbps(400), Headroom::Queued);
    let mut push = |i: u64| pacer.push(t0, Class::Other, 1, 1_000, i).is_some();
    assert_eq!((0..10).filter(|&i| push(i)).count(), 1);
    let out = (1..=100).map(|turn| usize::from(pacer.poll(t0 + ms(2 * turn)).is_some()));
    assert!((8..=10).contains(&out.sum::<usize>()), "200 ms of 400 kb/s");
}

#[test]
fn the_key_frame_of_a_large_picture_goes_out_little_faster_than_the_estimate() {
    let out_of = |class| {
        let t0 = base();
        let mut pacer = Pacer::new(t0, Bitrate::mbps(3));
        (0..100).for_each(|i| _ = pacer.push(t0, class, 1, 1_200, i));
        let turns = (1..=50).map(|turn| t0 + ms(2 * turn));
        turns
            .flat_map(|at| std::iter::from_fn(|| pacer.poll(at)).collect::<Vec<_>>())
            .count()
    };
    let (stage, other) = (out_of(Class::Stage), out_of(Class::Other));
    assert!(
        (34..=40).contains(&stage) && (43..=50).contains(&other),
        "{stage} {other}"
    );
}

#[test]
fn what_is_not_wanted_any_more_is_dropped_if_it_would_take_long() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::kbps(300));
    let mut push = |stream, i| _ = pacer.push(t0, Class::Stage, stream, 1_000, (stream, i));
    (0..24).for_each(|i| push(1, i));
    (0..4).for_each(|i| push(2, i));
    assert!(pacer.is_full() && !pacer.is_full_without(1) && pacer.is_full_without(2));
    assert_eq!(pacer.forget(2), 4, "107 ms");
    assert_eq!(pacer.forget(1), 21, "three went at once");
    assert!(pacer.is_empty() && pacer.poll_timeout().is_none());
    (0..3).for_each(|i| _ = pacer.push(t0 + ms(1), Class::Stage, 1, 1_000, (1, i)));
    assert_eq!((pacer.forget(1), pacer.len()), (0, 3), "80 ms");
}

#[test]
fn a_long_queue_takes_no_picture_that_begins() {
    let t0 = base();
    let mut pacer = Pacer::new(t0, Bitrate::kbps(300));
    for i in 0..10 {
        pacer.push(t0, Class::Other, 1, 1_200, i);
    }
    assert!(!pacer.is_full());
    for i in 0..10 {
        pacer.push(t0, Class::Other, 1, 1_200, i);
    }
    assert!(pacer.is_full());
}

proptest! {
    #[test]
    fn every_packet_goes_out_once_in_the_order_of_its_stream_and_no_queue_stands(
        steps in prop::collection::vec((0u64..20, 0usize..5, 0u32..4, 1u16..1_400), 1..400), kbps in 30u64..5_000
    ) {
        let mut pacer = Pacer::new(base(), Bitrate::kbps(kbps));
        let classes = [Class::Audio, Class::Repair, Class::Screen, Class::Stage, Class::Other];
        let (mut now, mut sent, mut count) = (base(), Vec::new(), 0);
        for (number, (wait, class, stream, bytes)) in steps.into_iter().enumerate() {
            let until = now + ms(wait);
            while let Some(at) = pacer.poll_timeout().filter(|&at| at <= until) {
                now = now.max(at);
                sent.extend(std::iter::from_fn(|| pacer.poll(now)));
            }
            now = until;
            // Voices are streams of their own.
            let stream = if class == 0 { 100 } else { stream };
            sent.extend(pacer.push(now, classes[class], stream, bytes, (stream, number)));
            count += 1;
        }
        let last = now;
        while let Some(at) = pacer.poll_timeout() {
            now = now.max(at);
            sent.extend(std::iter::from_fn(|| pacer.poll(now)));
        }
        prop_assert!(now - last <= ms(3_000));
        prop_assert_eq!(sent.len(), count);
        for stream in [0, 1, 2, 3, 100] {
            let numbers: Vec<_> = sent.iter().filter(|(s, _)| *s == stream).collect();
            prop_assert!(numbers.is_sorted());
        }
    }
}
