//! Packets that went out more than once under one number, as repeats of sound do.
//!
//! A receiver tells of such a number at most once, when the first of them came that it had not had. Two things would be wrong without a closer
//! look: a packet that was lost and came as a repeat would pass for one that arrived late, so that the way seems to lose nothing and packets seem to
//! wait; and of those that came behind the first nobody tells, so that the way seems to carry less than it does.

use std::{collections::VecDeque, time::Instant};

use super::{
    Estimator, Micros,
    sent::{News, Report},
};
use crate::engine::seq::Seq;

/// Numbers remembered: repeats of a second of five voices. The oldest is forgotten: then what is told of it counts as of any packet.
const NUMBERS_MAX: usize = 256;
/// Two clocks and the ticks of feedback tell times apart by no less.
const BLUR: Micros = 5_000;

/// What was sent again lately.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// By number: each is repeated the first time in its turn.
    numbers: VecDeque<Again>,
}

/// A number that went out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Again {
    number: Seq,
    /// When it did so first.
    at: Micros,
    /// Of all its repeats.
    bytes: u32,
}

impl Repeated {
    fn note(&mut self, number: Seq, at: Micros, bytes: u16) {
        if let Some(place) = self.place(number) {
            self.numbers[place].bytes += u32::from(bytes);
            return;
        }
        if self.numbers.back().is_some_and(|last| last.number >= number) {
            return; // forgotten since its first repeat
        }
        if self.numbers.len() >= NUMBERS_MAX {
            self.numbers.pop_front();
        }
        let bytes = bytes.into();
        self.numbers.push_back(Again { number, at, bytes });
    }

    fn place(&self, number: Seq) -> Option<usize> {
        self.numbers
            .binary_search_by_key(&number, |again| again.number)
            .ok()
    }

    fn of(&self, number: Seq) -> Option<Again> {
        self.numbers.get(self.place(number)?).copied()
    }
}

impl Estimator {
    /// A packet of so many bytes on the wire goes out now under a number that was given before; none: without one, as before.
    pub fn handle_repeated(&mut self, now: Instant, number: Option<u16>, bytes: u16) {
        self.number_all(); // what is there has to be known
        let Some(number) = number else {
            return self.handle_unnumbered(now, bytes);
        };
        let at = self.tick(now);
        self.sent_rate.add(at, bytes);
        self.repeated.note(self.sent.number_of(number), at, bytes);
    }

    /// The receiver has told that a packet of that number arrived.
    pub fn is_there(&self, number: u16) -> bool {
        self.sent.is_there(number)
    }

    /// What is told of a number that went out more than once. True if a repeat came in place of the first: the first is lost, and
    /// neither when the repeat came nor how long it took tells anything of a queue.
    pub(super) fn learn_repeated(&mut self, report: &Report) -> bool {
        let (News::Arrived(arrived) | News::Late(arrived)) = report.news else {
            return false;
        };
        let Some(again) = self.repeated.of(report.number) else {
            return false;
        };
        let is_repeat = self.is_repeat(report.sent, arrived, again.at);
        // Of those behind it nobody tells; they are taken to have arrived as others do.
        let repeat = if is_repeat { report.bytes.into() } else { 0 };
        let behind = again.bytes.saturating_sub(repeat);
        let arriving = f64::from(behind) * (1.0 - self.loss.verdict().share);
        self.acked.add(arrived, arriving as u16);
        if !is_repeat {
            return false;
        }
        self.acked.add(arrived, report.bytes);
        if matches!(report.news, News::Arrived(_)) {
            self.sent.lost_at_first();
            self.loss.add_apart(report.bytes);
            if let Some(id) = report.probe {
                self.probes.told(id, report.sent, report.bytes, News::Lost);
            }
        }
        true
    }

    /// Whether what was sent then, and again at `again`, came so late that it is the repeat: by as much as that was later, and by more than
    /// packets wait.
    fn is_repeat(&self, sent: Micros, arrived: Micros, again: Micros) -> bool {
        let Some(base) = self.delay.queue.base() else {
            return false;
        };
        let late = arrived.saturating_sub(sent).saturating_sub(base);
        let apart = again - sent;
        late >= apart - BLUR && late - self.delay.queue.wait() >= apart / 2
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::Sent, *};
    use crate::{
        engine::{
            bwe::Trend,
            testing::{base, ms},
        },
        wire::rtcp::{self, Builder, Rtcp, TICK_MICROS},
    };

    /// A minute of a voice, each packet of which goes again 60 ms later unless it is told to be there. `lost`: the n-th that is sent does not arrive; `delay`: of
    /// what is sent at that time, in ms. Every 100 ms the receiver tells what came, of each number what came first.
    fn voice(lost: impl Fn(u64) -> bool, delay: impl Fn(u64) -> u64) -> Estimator {
        let t0 = base();
        let mut estimator = Estimator::new(t0);
        let (mut sent, mut numbers) = (0, Vec::new());
        let (mut arriving, mut next) = (BTreeMap::new(), 0);
        for step in 0..3_000_u64 {
            let at = 20 * step;
            let now = t0 + ms(at);
            let mut send = |number: u16| {
                sent += 1;
                if !lost(sent) && number >= next {
                    let first = arriving.entry(number).or_insert(u64::MAX);
                    *first = at.saturating_add(delay(at)).min(*first);
                }
            };
            let number = estimator.handle_sent(now, 160, Sent::Media);
            numbers.push(number);
            send(number);
            if let Some(again) = numbers.len().checked_sub(4).map(|at| numbers[at])
                && !estimator.is_there(again)
            {
                estimator.handle_repeated(now, Some(again), 160);
                send(again);
            }
            if step % 5 == 4 {
                let told: Vec<(u16, i64)> = arriving
                    .iter()
                    .filter(|(_, arrives)| **arrives <= at)
                    .map(|(&number, arrives)| (number, (arrives * 1_000 / TICK_MICROS) as i64))
                    .collect();
                arriving.retain(|_, arrives| *arrives > at);
                tell(&mut estimator, now, next, &told);
                next = told.last().map_or(next, |(number, _)| number + 1);
            }
        }
        estimator
    }

    fn tell(estimator: &mut Estimator, now: Instant, next: u16, told: &[(u16, i64)]) {
        let Some(&(first, _)) = told.first() else { return };
        let mut out = Vec::new();
        let written = Builder::new(&mut out, 1_200).transport_feedback(1, 2, 0, next.min(first), told);
        assert_eq!(written, Ok(told.len()));
        for packet in rtcp::packets(&out).flatten() {
            if let Rtcp::TransportFeedback(feedback) = packet {
                estimator.handle_feedback(now, &feedback, 1_000);
            }
        }
    }

    fn lost_share(estimator: &Estimator) -> f64 {
        let loss = estimator.loss();
        loss.lost as f64 / (loss.lost + loss.arrived) as f64
    }

    #[test]
    fn what_came_as_a_repeat_is_a_loss_and_no_wait() {
        let chance = |nth: u64| (nth.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32) % 1_009;
        let estimator = voice(|nth| chance(nth) < 303, |_| 30);
        let share = lost_share(&estimator);
        assert!((0.27..0.33).contains(&share), "{share}");
        let state = estimator.state();
        assert_eq!(
            (state.wait, state.trend),
            (std::time::Duration::ZERO, Trend::Steady)
        );
        assert!(!state.is_congested && state.is_random_loss, "{state:?}");
    }

    #[test]
    fn what_nobody_tells_of_arrived_too() {
        // Of 50 packets a second and some 30 repeats all arrive: 64 kb/s and some 38.
        let estimator = voice(|_| false, |_| 30);
        let acked = estimator.state().acked.map_or(0, |rate| rate.as_bps());
        assert!((90_000..120_000).contains(&acked), "{acked}");
        assert_eq!(estimator.loss().lost, 0);
    }

    #[test]
    fn what_waits_in_a_queue_is_not_taken_for_its_repeat() {
        // From half a minute on packets wait for up to 150 ms more, and less again.
        let wave = |at: u64| (at % 2_000).min(2_000 - at % 2_000) * 150 / 1_000;
        let estimator = voice(|_| false, |at| 30 + if at > 30_000 { wave(at) } else { 0 });
        assert!(lost_share(&estimator) < 0.01, "{:?}", estimator.loss());
    }

    #[test]
    fn numbers_are_bounded_and_those_never_given_change_nothing() {
        let mut estimator = Estimator::new(base());
        (0..u16::MAX).for_each(|number| estimator.handle_repeated(base(), Some(number), 160));
        assert!(estimator.repeated.numbers.len() <= NUMBERS_MAX && !estimator.is_there(7));
        let mut repeated = Repeated::default();
        (0..1_000).for_each(|number| repeated.note(Seq(number), 0, 160));
        repeated.note(Seq(5), 0, 160);
        assert_eq!((repeated.numbers.len(), repeated.of(Seq(5))), (NUMBERS_MAX, None));
        repeated.note(Seq(999), 7, 160);
        let twice = Again {
            number: Seq(999),
            at: 0,
            bytes: 320,
        };
        assert_eq!(repeated.of(Seq(999)), Some(twice));
    }
}
