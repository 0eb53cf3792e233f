//! When packets of a transport arrived, told to their sender
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01). A browser that hears nothing of it sends at its lowest rate.
//!
//! Every packet with a transport-wide number counts, repairs and padding too. Feedback goes out every 50 to 100 ms, more
//! often the more arrives; when nothing arrives nothing is sent. A number that arrives after it was told as lost
//! is told again, with all after it, as long as they are remembered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::seq::{Seq, end_of};
use crate::wire::rtcp::{Builder, NoRoom, TICK_MICROS};

/// Arrivals remembered; 5,000 a second for the time they are kept. At the limit the oldest is forgotten, told or not.
const ARRIVALS_MAX: usize = 2_500;
/// How long an arrival is remembered after it was told, in ticks: 500 ms.
const KEPT: i64 = 500_000 / TICK_MICROS as i64;
/// A number so far from the others belongs to a sender that began anew: all before is forgotten.
const JUMP_MAX: u64 = 8_192;

/// Records arrivals of one endpoint.
#[derive(Debug)]
pub(super) struct TwccReceiver {
    epoch: Instant,
    /// By number, ascending.
    arrivals: VecDeque<Arrived>,
    /// The number of the last of them.
    newest: Seq,
    /// First number of the next feedback; what lies below was told. None before the first arrival.
    begin: Option<Seq>,
    /// Numbers below it are forgotten.
    floor: Seq,
    /// When feedback is due; none while there is nothing new.
    due: Option<Instant>,
    interval: Duration,
    count: u8,
    media: u32,
}

/// Every endpoint has hundreds of them, so of number and time there is only what tells them apart.
#[derive(Debug, Clone, Copy)]
struct Arrived {
    seq: u32,
    /// Since the epoch; they wrap after twelve days.
    ticks: u32,
}

impl TwccReceiver {
    /// Times are told as counted from `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            arrivals: VecDeque::new(),
            newest: Seq(0),
            begin: None,
            floor: Seq(0),
            due: None,
            interval: Duration::from_millis(60),
            count: 0,
            media: 0,
        }
    }

    /// A packet of the stream `media` with that number arrived.
    pub(super) fn record(&mut self, now: Instant, media: u32, number: u16) {
        let reference = self.arrivals.back().map(|_| self.newest).or(self.begin);
        let seq = match reference.map(|r| (r, r.nearest(number))) {
            Some((reference, seq)) if seq.0.abs_diff(reference.0) <= JUMP_MAX => seq,
            Some((_, seq)) => self.restart(seq),
            None => self.restart(Seq::first(number)),
        };
        if seq < self.floor {
            return; // too late to be told without taking back what was told of its neighbours
        }
        let index = end_of(&self.arrivals, |a| self.seq(a) < seq);
        if self.arrivals.get(index).is_some_and(|a| self.seq(a) == seq) {
            return;
        }
        if index == self.arrivals.len() {
            self.newest = seq;
        }
        let arrived = Arrived {
            seq: seq.0 as u32,
            ticks: self.ticks(now) as u32,
        };
        self.arrivals.insert(index, arrived);
        self.begin = self.begin.map(|begin| begin.min(seq));
        self.media = media;
        self.due = Some(self.due.unwrap_or(now + self.interval));
        if self.arrivals.len() > ARRIVALS_MAX {
            self.forget_first();
        }
    }

    /// When feedback is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes one feedback packet if it is due. What did not fit stays due.
    pub(super) fn write(&mut self, now: Instant, own: u32, builder: &mut Builder<'_>) -> Result<(), NoRoom> {
        let (Some(begin), Some(due)) = (self.begin, self.due) else {
            return Ok(());
        };
        if due > now {
            return Ok(());
        }
        let from = self.arrivals.partition_point(|a| self.seq(a) < begin);
        let now_ticks = self.ticks(now);
        let untold: Vec<_> = self
            .arrivals
            .range(from..)
            .map(|a| (a.seq as u16, a.since(now_ticks)))
            .collect();
        let written = builder.transport_feedback(own, self.media, self.count, begin.wire(), &untold)?;
        self.count = self.count.wrapping_add(1);
        let begin = Seq(self.seq(&self.arrivals[from + written - 1]).0 + 1);
        self.begin = Some(begin);
        if written == untold.len() {
            self.interval = interval(written);
            self.due = None;
        }
        while self
            .arrivals
            .front()
            .is_some_and(|a| self.seq(a) < begin && now_ticks - a.since(now_ticks) > KEPT)
        {
            self.forget_first();
        }
        Ok(())
    }

    fn seq(&self, arrived: &Arrived) -> Seq {
        Seq(self.newest.0 - u64::from((self.newest.0 as u32).wrapping_sub(arrived.seq)))
    }

    /// Ticks since the epoch.
    fn ticks(&self, now: Instant) -> i64 {
        let since = now.saturating_duration_since(self.epoch);
        i64::try_from(since.as_micros() / u128::from(TICK_MICROS)).unwrap_or(i64::MAX)
    }

    fn restart(&mut self, seq: Seq) -> Seq {
        self.arrivals.clear();
        self.begin = Some(seq);
        self.floor = Seq(0);
        seq
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.arrivals.pop_front() {
            self.floor = Seq(self.seq(&first).0 + 1);
            self.begin = self.begin.map(|begin| begin.max(self.floor));
        }
    }
}

impl Arrived {
    /// When it arrived, in ticks since the epoch.
    fn since(&self, now: i64) -> i64 {
        now + i64::from(self.ticks.wrapping_sub(now as u32).cast_signed())
    }
}

/// By what the last feedback told: a voice alone needs few, megabits need many.
const fn interval(told: usize) -> Duration {
    Duration::from_millis(match told {
        0..=6 => 100,
        7..=60 => 60,
        _ => 50,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{
        super::testing::{base, ms},
        *,
    };
    use crate::wire::rtcp::{self, Rtcp};

    /// What a sender learns: number -> arrival in ticks, none for lost; and how many packets it took.
    fn read(receiver: &mut TwccReceiver, now: Instant) -> (BTreeMap<u16, Option<i64>>, usize) {
        let (mut told, mut packets) = (BTreeMap::new(), 0);
        while receiver.due().is_some_and(|due| due <= now) {
            let mut out = Vec::new();
            receiver
                .write(now, 1, &mut Builder::new(&mut out, 1_200))
                .expect("fits an empty compound");
            assert!(out.len() <= 1_200);
            packets += 1;
            for packet in rtcp::packets(&out) {
                let Ok(Rtcp::TransportFeedback(feedback)) = packet else {
                    panic!("not feedback")
                };
                let mut at = i64::from(feedback.reference_time) * 256;
                for (number, delta) in feedback.statuses() {
                    at += delta.map_or(0, i64::from);
                    told.insert(number, delta.map(|_| at));
                }
            }
        }
        (told, packets)
    }

    #[test]
    fn lost_packets_are_shown_and_nothing_is_said_when_nothing_came() {
        let t0 = base();
        let mut receiver = TwccReceiver::new(t0);
        for n in [65_534u16, 65_535, 1, 2] {
            receiver.record(t0 + ms(u64::from(n % 7)), 5, n);
        }
        assert_eq!(read(&mut receiver, t0 + ms(20)).1, 0);
        let (told, packets) = read(&mut receiver, t0 + ms(100));
        assert_eq!(packets, 1);
        let expected = [
            (65_534, Some(0)),
            (65_535, Some(4)),
            (0, None),
            (1, Some(4)),
            (2, Some(8)),
        ];
        assert_eq!(told, expected.into_iter().collect());
        assert_eq!(receiver.due(), None);
    }

    #[test]
    fn what_was_told_as_lost_is_told_again_when_it_comes() {
        let t0 = base();
        let mut receiver = TwccReceiver::new(t0);
        [10u16, 12, 13]
            .into_iter()
            .for_each(|n| receiver.record(t0, 5, n));
        assert_eq!(read(&mut receiver, t0 + ms(100)).0[&11], None);
        receiver.record(t0 + ms(120), 5, 11);
        receiver.record(t0 + ms(120), 5, 14);
        let (told, _) = read(&mut receiver, t0 + ms(300));
        let expected = [(11, Some(480)), (12, Some(0)), (13, Some(0)), (14, Some(480))];
        assert_eq!(told, expected.into_iter().collect());
    }

    #[test]
    fn a_sender_that_begins_anew_is_followed() {
        let t0 = base();
        let mut receiver = TwccReceiver::new(t0);
        for n in [100u16, 101, 30_000, 30_001, 9, 10] {
            receiver.record(t0, 5, n);
        }
        let (told, _) = read(&mut receiver, t0 + ms(100));
        assert_eq!(told.into_keys().collect::<Vec<_>>(), [9, 10]);
    }

    proptest! {
        #[test]
        fn a_sender_learns_every_arrival_and_no_other(
            packets in prop::collection::vec((0u64..40, 1u16..30, any::<bool>()), 1..600), first: u16
        ) {
            let t0 = base();
            let mut receiver = TwccReceiver::new(t0);
            let (mut now, mut number) = (t0 + ms(1_000), first);
            let (mut truth, mut told, mut untold) = (BTreeMap::new(), BTreeMap::new(), 0usize);
            for (later, step, arrives) in packets {
                now += ms(later);
                number = number.wrapping_add(step);
                if arrives && truth.insert(number, (now - t0).as_micros() as i64 / TICK_MICROS as i64).is_none() {
                    receiver.record(now, 5, number);
                    untold += 1;
                }
                let (new, packets) = read(&mut receiver, now);
                told.extend(new);
                if packets > 0 { untold = 0; }
                prop_assert!(receiver.arrivals.len() <= ARRIVALS_MAX && untold < 200);
            }
            told.extend(read(&mut receiver, now + ms(100)).0);
            told.retain(|_, at| at.is_some());
            prop_assert_eq!(told, truth.into_iter().map(|(n, at)| (n, Some(at))).collect::<BTreeMap<_, _>>());
        }
    }
}
