//! Which packets have a number while nothing speaks against a way: few.
//!
//! A receiver of 250 kb/s and more tells every 50 ms which numbers arrived, whatever there is to tell, and of a hundred receivers that is 2,000 datagrams a
//! second. While a way is calm and nobody wants more of it than it is known to carry, a few packets in a row tell as much as all. What they tell decides
//! nothing: packets in a row may all have waited for a busy receiver, and not in a queue. It only ends the calm: from then on all packets have numbers, and
//! what those tell is judged as ever (`docs/estimation.md`, *A calm way*; adr/0007).

use std::time::Instant;

use super::{
    ACKED_SPAN, Estimator, Micros, Sent, Trend,
    decide::WAIT_STRIDE_MAX,
    delay::Clock,
    loss::NOTABLE,
    sent::{News, Report},
};

/// So long nothing spoke against the way before few packets have numbers.
const CALM: Micros = 1_000_000;
/// Packets in a row that have: fewer do not tell a queue from one packet that was held up.
const ROW: u8 = 3;
/// From one row to the next: so many packets, within these bounds. What comes between waits so long to be noticed when the line takes less or loses some. A prime
/// number: what is lost of a voice by some rule is met by the rows, too.
const APART: u32 = 17;
const APART_MIN: Micros = 200_000;
const APART_MAX: Micros = 1_000_000;
/// The way is known to carry so many times what is sent.
const ROOM: f64 = 1.1;
/// A row of which nothing is told for so long and three round trips ends the calm; soon enough that silence is noticed when it is where all have numbers.
const PATIENCE: Micros = 400_000;

/// How a way came to be calm, and which packets have numbers then.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Since when nothing speaks against it; none while something does.
    calm: Option<Micros>,
    few: Option<Few>,
    /// Bytes that went without a number and are not counted as arrived yet.
    skipped: u64,
}

/// Few packets have numbers.
#[derive(Debug, Clone, Copy)]
struct Few {
    /// When the last row began.
    row: Micros,
    /// So many packets more belong to it.
    left: u8,
    /// Packets since it began.
    since: u32,
    /// Packets that leave at one time are a run of the kernel's: all of them have a number, or none.
    turn: Micros,
    numbered: bool,
}

impl Few {
    fn new(at: Micros) -> Self {
        Self {
            row: at,
            left: 0,
            since: 0,
            turn: at,
            numbered: true,
        }
    }

    /// Whether a packet that goes out has a number, and whether a row begins with it.
    fn next(&mut self, at: Micros) -> (bool, bool) {
        let mut begins = false;
        if at != self.turn {
            self.turn = at;
            let apart = at - self.row;
            begins = self.left == 0 && apart >= APART_MIN && (self.since >= APART || apart >= APART_MAX);
            if begins {
                (self.row, self.left, self.since) = (at, ROW, 0);
            }
            self.numbered = self.left > 0;
        }
        self.left = self.left.saturating_sub(u8::from(self.numbered));
        self.since = self.since.saturating_add(1);
        (self.numbered, begins)
    }
}

impl Samples {
    /// Few packets have numbers.
    pub(super) fn are_few(&self) -> bool {
        self.few.is_some()
    }

    /// Bytes that went without a number since the last call.
    pub(super) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }
}

impl Estimator {
    /// False if a packet that goes out now needs no number: then [`Estimator::handle_unnumbered`] is told of it, else
    /// [`Estimator::handle_sent`].
    pub fn wants_number(&mut self, now: Instant, kind: Sent) -> bool {
        if !self.samples.are_few() {
            return true;
        }
        let at = self.tick(now);
        if kind != Sent::Media || self.silence.lasts(at, self.patience()) {
            self.number_all();
        }
        let Some(few) = &mut self.samples.few else {
            return true;
        };
        let (numbered, begins) = few.next(at);
        // What goes beyond what is known to be carried is looked at closely.
        if begins && self.sends_more() {
            self.number_all();
        }
        numbered
    }

    /// A packet of so many bytes on the wire goes out now without a number.
    pub fn handle_unnumbered(&mut self, now: Instant, bytes: u16) {
        let at = self.tick(now);
        self.sent_rate.add(at, bytes);
        self.samples.skipped += u64::from(bytes);
    }

    /// Something speaks against the way: all packets have numbers, until it was calm again for a while.
    pub(super) fn number_all(&mut self) {
        self.samples.calm = None;
        self.samples.few = None;
    }

    /// Something changed that does not come from feedback.
    pub(super) fn stay_calm(&mut self) {
        if !self.may_be_calm() {
            self.number_all();
        }
    }

    /// All packets have numbers, and feedback was judged.
    pub(super) fn grow_calm(&mut self, at: Micros, news: &[Report]) {
        let has_lost = news.iter().any(|report| report.news == News::Lost);
        if has_lost || !self.is_calm() {
            self.samples.calm = None;
            return;
        }
        let since = *self.samples.calm.get_or_insert(at);
        if at - since >= CALM {
            self.samples.few = Some(Few::new(at));
            // What is told of few packets is no part of what was measured of all.
            self.delay.pause();
            self.loss.pause();
        }
    }

    /// Few packets have numbers, and something was told of them.
    pub(super) fn watch(&mut self, news: &[Report]) {
        let mut has_lost = false;
        for report in news {
            match report.news {
                News::Lost => has_lost = true,
                News::Late(arrived) | News::Arrived(arrived) => {
                    if self.delay.watch(report, arrived) == Clock::Jumped {
                        self.acked.reset();
                    }
                    self.acked.add(arrived, report.bytes);
                }
            }
        }
        if has_lost || self.delay.queue.wait_lately() > WAIT_STRIDE_MAX {
            self.number_all();
        }
    }

    /// Nothing is told of the last row.
    pub(super) fn doubt_samples(&mut self, at: Micros) {
        if self.samples.are_few() && self.silence.lasts(at, self.patience()) {
            self.number_all();
        }
    }

    /// How long a row may stay untold.
    pub(super) fn samples_patience(&self) -> Micros {
        PATIENCE + 3 * self.round_trip
    }

    /// Nothing waits, nothing is lost, nobody wants more, no limit is known, and nobody else counts on what is found out.
    fn is_calm(&self) -> bool {
        !self.congested
            && self.delay.trend() == Trend::Steady
            && self.delay.queue.wait() <= WAIT_STRIDE_MAX
            && self.loss.verdict().share < NOTABLE
            && self.may_be_calm()
            && !self.probes.running()
            && !self.rate.is_striding()
            && !self.sends_more()
    }

    /// The same by what does not come from feedback.
    fn may_be_calm(&self) -> bool {
        !self.rate.is_shared()
            && !self.rate.is_near()
            && !self.is_long()
            && !self.probes.wants_more(self.rate.target())
    }

    /// What is sent comes close to what the way is known to carry.
    fn sends_more(&self) -> bool {
        let sent = self.sent_rate.rate(ACKED_SPAN);
        sent.is_some_and(|sent| sent * ROOM > self.rate.target())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::{
        engine::{
            testing::{base, ms},
            units::Bitrate,
        },
        wire::rtcp::{self, Builder, Rtcp, TICK_MICROS},
    };

    /// A receiver that is sent 1.2 Mb/s in pictures of five packets, and tells every 50 ms what came.
    struct Way {
        estimator: Estimator,
        /// Milliseconds since the beginning.
        at: u64,
        told: u16,
        /// (number, arrives) of what is under way.
        under_way: VecDeque<(u16, u64)>,
        /// Packets with a number among all, of the last [`Way::run`].
        numbered: (u32, u32),
        feedbacks: u32,
        tells: bool,
    }

    impl Way {
        fn new() -> Self {
            let mut way = Self {
                estimator: Estimator::starting_at(base(), Bitrate::mbps(3)),
                at: 0,
                told: 0,
                under_way: VecDeque::new(),
                numbered: (0, 0),
                feedbacks: 0,
                tells: true,
            };
            way.estimator.set_wanted(base(), Bitrate::mbps(2));
            way
        }

        /// So many milliseconds. `delay`: of what is sent at that time, none if it is lost.
        fn run(&mut self, millis: u64, delay: impl Fn(u64) -> Option<u64>) {
            (self.numbered, self.feedbacks) = ((0, 0), 0);
            for _ in 0..millis {
                self.at += 1;
                let now = base() + ms(self.at);
                self.estimator.handle_timeout(now);
                if self.at.is_multiple_of(40) {
                    (0..5).for_each(|_| self.send(now, &delay));
                    self.is_whole();
                }
                if self.at.is_multiple_of(50) && self.tells {
                    self.tell(now);
                }
            }
        }

        fn send(&mut self, now: Instant, delay: impl Fn(u64) -> Option<u64>) {
            self.numbered.1 += 1;
            if !self.estimator.wants_number(now, Sent::Media) {
                return self.estimator.handle_unnumbered(now, 1_200);
            }
            self.numbered.0 += 1;
            let number = self.estimator.handle_sent(now, 1_200, Sent::Media);
            if let Some(delay) = delay(self.at) {
                self.under_way.push_back((number, self.at + delay));
            }
        }

        /// Packets of one time are a run: five have a number, or none.
        fn is_whole(&self) {
            assert_eq!(self.numbered.0 % 5, 0);
        }

        fn tell(&mut self, now: Instant) {
            let mut came = Vec::new();
            while self.under_way.front().is_some_and(|(_, at)| *at <= self.at) {
                let (number, at) = self.under_way.pop_front().expect("there is one");
                came.push((number, (at * 1_000 / TICK_MICROS) as i64));
            }
            let Some(&(last, _)) = came.last() else { return };
            let mut out = Vec::new();
            let written = Builder::new(&mut out, 1_200).transport_feedback(1, 2, 0, self.told, &came);
            assert_eq!(written, Ok(came.len()));
            self.told = last.wrapping_add(1);
            self.feedbacks += 1;
            for packet in rtcp::packets(&out).flatten() {
                if let Rtcp::TransportFeedback(feedback) = packet {
                    self.estimator.handle_feedback(now, &feedback, 1_000);
                }
            }
        }
    }

    /// A way that was calm for so long that few packets have numbers.
    fn calm() -> Way {
        let mut way = Way::new();
        way.run(5_000, |_| Some(10));
        way.run(5_000, |_| Some(10));
        assert!(way.estimator.samples.are_few());
        way
    }

    #[test]
    fn on_a_calm_way_few_packets_have_numbers_and_what_is_known_of_it_stays() {
        let mut way = calm();
        let target = way.estimator.target();
        way.run(10_000, |_| Some(10));
        let (numbered, all) = way.numbered;
        assert!(numbered * 5 <= all, "{numbered} of {all}");
        // One row each 200 ms, told at once.
        assert!((40..=55).contains(&way.feedbacks), "{}", way.feedbacks);
        assert_eq!(way.estimator.target(), target);
        let state = way.estimator.state();
        let acked = state.acked.map_or(0, |rate| rate.as_bps());
        assert!((1_000_000..1_400_000).contains(&acked), "{acked}");
        assert_eq!(way.estimator.loss().lost, 0);
    }

    #[test]
    fn whoever_wants_more_than_is_known_ends_it_at_once() {
        let mut way = calm();
        let (now, more) = (base() + ms(way.at), Bitrate::mbps(6));
        way.estimator.set_wanted(now, more);
        assert!(!way.estimator.samples.are_few() && way.estimator.poll_probe(now).is_some());
        let mut way = calm();
        way.estimator.set_sharers(2);
        assert!(!way.estimator.samples.are_few());
        let mut way = calm();
        assert!(way.estimator.wants_number(now, Sent::Repair));
        assert!(!way.estimator.samples.are_few(), "something was lost");
    }

    #[test]
    fn a_wait_or_a_loss_ends_it_and_decides_nothing_by_itself() {
        let mut way = calm();
        let target = way.estimator.target();
        // One picture in half a second finds the receiver busy for 60 ms: not a queue.
        let began = way.at;
        way.run(20_000, |at| Some(if (at - began) % 520 < 40 { 70 } else { 10 }));
        assert!(way.estimator.target() >= target, "{:?}", way.estimator.state());
        let mut way = calm();
        way.run(1_000, |at| (at % 3 > 0).then_some(10));
        assert!(!way.estimator.samples.are_few());
        assert_eq!(way.numbered.0 % 5, 0);
        // A second of calm later it is as before.
        way.run(3_000, |_| Some(10));
        way.run(5_000, |_| Some(10));
        assert!(way.estimator.samples.are_few());
    }

    #[test]
    fn a_line_that_takes_less_is_noticed_within_a_row_and_followed() {
        let mut way = calm();
        let began = way.at;
        // 1.2 Mb/s into 0.8: half a second waits behind each second.
        way.run(1_500, |at| Some(10 + (at - began) / 2));
        assert!(!way.estimator.samples.are_few() && way.estimator.is_congested());
        assert!(way.estimator.target() < Bitrate::kbps(1_200));
    }

    #[test]
    fn a_row_that_nothing_is_told_of_ends_it_and_the_rate_falls_as_soon_as_ever() {
        let mut way = calm();
        let target = way.estimator.target();
        way.tells = false;
        way.run(1_000, |_| None);
        assert!(!way.estimator.samples.are_few());
        way.run(1_500, |_| None);
        assert!(way.estimator.target() < target);
    }
}
