//! The rate that the delay allows: up while nothing queues, down as soon as something does
//! (draft-ietf-rmcat-gcc-02 §5.5).

use super::{Micros, RATE_MAX, RATE_MIN, probe::Line};

/// Share of the acknowledged rate that is kept when a queue grows (§5.5 β, there 0.85): what is sent leaves a tenth of the target free
/// (`docs/allocation.md`), so at 0.9 a fifth of the line drains it.
const BACKOFF: f64 = 0.9;
/// A longer wait is drained faster: each second of it takes a whole from the share, so that it is gone in about one.
const DRAIN_FROM: Micros = 60_000;
const DRAIN_OVER: f64 = 1e6;
/// Least share kept while a long queue drains: voices go on.
const SHARE_MIN: f64 = 0.1;
/// The queue is empty again: back to the share that [`BACKOFF`] leaves.
pub(super) const DRAINED: Micros = 35_000;
/// Growth of a second while nobody knows what the line takes (§5.5 η).
const GROWTH: f64 = 0.08;
/// Least growth of a second near what the line takes: on long paths a packet per round trip takes minutes.
const GROWTH_NEAR: f64 = 0.01;
/// Bits by which the rate grows in each response time near what the line takes: one packet of 1,500 bytes (§5.5). All flows of
/// a line grow by the same number and shrink by the same share: so they become equal.
const STEP: f64 = 12_000.0;
/// On thin lines packets are smaller: one for each of so many pictures a second, and no less than that, bits.
const PICTURES: f64 = 30.0;
const STEP_MIN: f64 = 3_000.0;
/// The rate never grows above this multiple of what arrives: beyond it nothing was ever seen.
const SEEN: f64 = 1.5;
/// Up to this it always may, bits per second: three voices. Who gets one voice because there is no more would never get more.
const SEEN_LEAST: f64 = 200e3;
/// Nor, near what the line is known to take and while less arrives than that (bits a second, of all that share the line), above this multiple:
/// there the next layer is large beside what the line takes, and would try it with a key frame. A probe tries it with a tenth of that.
const THIN: f64 = 400e3;
const SEEN_THIN: f64 = 1.15;
/// The rate grows at most by this multiple in a response time.
const STRIDE: f64 = 1.7;
/// Share of what the line is known to take that a probe may claim which filled it.
const FULL_SHARE: f64 = 0.85;
/// Weight of the past in what the line takes.
const CAPACITY_MEMORY: f64 = 0.8;
/// What differs from it by so much is another line.
const CAPACITY_BAND: f64 = 0.2;

/// What is sent evenly stays that share below what the line is known to take, and more by so much of it for the square of each second since it was seen full (the shape of
/// RFC 9438 §4.2): near it for a while, then ever faster beyond.
const EVEN_SHARE: f64 = 0.95;
const EVEN_GROWTH: f64 = 0.0005;

/// What arrives, bits per second: the most of the last fifth and half of a second, and over the latter. On a thin line one picture alone can
/// make the former.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrives {
    pub lately: f64,
    pub steadily: f64,
}

impl Arrives {
    #[cfg(test)]
    pub(super) fn evenly(rate: f64) -> Self {
        Self {
            lately: rate,
            steadily: rate,
        }
    }
}

/// The rate and what it knows of the line.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    /// Bits per second, always within the bounds.
    target: f64,
    /// What arrived when the line was full.
    capacity: Option<f64>,
    /// When that was.
    full_at: Micros,
    /// The rate to go back to once the queue is drained.
    resume: Option<f64>,
    grown_at: Option<Micros>,
    /// How many ways grow on the same line, this one included.
    sharers: f64,
    /// What a probe showed and is not used yet, and when the next stride is due.
    proven: Option<(f64, Micros)>,
}

impl Rate {
    pub(super) fn new(start: f64) -> Self {
        Self {
            target: start,
            capacity: None,
            full_at: 0,
            resume: None,
            grown_at: None,
            sharers: 1.0,
            proven: None,
        }
    }

    pub(super) fn target(&self) -> f64 {
        self.target
    }

    /// A queue grows, or stands: packets wait so long, and so much arrives meanwhile. `busy` is what arrives packet behind packet.
    pub(super) fn back_off(&mut self, at: Micros, acked: f64, busy: Option<f64>, wait: Micros) {
        let excess = (wait - DRAIN_FROM).max(0) as f64 / DRAIN_OVER;
        let share = (BACKOFF - excess).max(SHARE_MIN);
        self.learn(acked, busy);
        self.full_at = at;
        self.resume = Some((acked * BACKOFF).min(self.resume.unwrap_or(self.target)));
        self.proven = None;
        self.lower(acked * share);
        self.grown_at = Some(at);
    }

    /// What the line takes when it is full. Where less arrives because less is sent, and what arrives packet behind packet still does at the rate that is
    /// known, nothing became thinner.
    fn learn(&mut self, acked: f64, busy: Option<f64>) {
        let is_known = |known: f64, rate: f64| (rate - known).abs() < known * CAPACITY_BAND;
        self.capacity = Some(match self.capacity {
            Some(known) if is_known(known, acked) => {
                known * CAPACITY_MEMORY + acked * (1.0 - CAPACITY_MEMORY)
            }
            Some(known) if acked < known && busy.is_some_and(|busy| is_known(known, busy)) => known,
            _ => acked,
        });
    }

    /// The queue is empty again.
    pub(super) fn drained(&mut self) {
        if let Some(rate) = self.resume.take() {
            self.raise(rate);
        }
    }

    /// Nothing queues. `response` is the time after which a change is seen: a round trip and the wait for feedback.
    pub(super) fn grow(&mut self, at: Micros, arrives: Arrives, response: Micros, calm: bool) {
        let acked = arrives.lately;
        if calm {
            self.stride(at, response);
        }
        let passed = (at - self.grown_at.unwrap_or(at)).clamp(0, 1_000_000) as f64 / 1e6;
        self.grown_at = Some(at);
        if self
            .capacity
            .is_some_and(|known| acked > known * (1.0 + CAPACITY_BAND))
        {
            self.capacity = None; // the line takes more than it did
        }
        let step = (self.target / PICTURES).clamp(STEP_MIN, STEP) * 1e6 / response.max(10_000) as f64;
        let step = step / self.sharers;
        let growth = if self.is_near() { GROWTH_NEAR } else { GROWTH };
        let wanted = self.target + passed * step.max(self.target * growth);
        let seen = if acked * self.sharers < THIN && self.is_near() {
            arrives.steadily * SEEN_THIN
        } else {
            acked * SEEN
        };
        self.raise(wanted.min(seen.max(SEEN_LEAST)));
    }

    /// A probe showed that so much passes. It is taken in strides: others may have probed the same line at the same time,
    /// and nobody knows before a response time whether it takes all of them.
    pub(super) fn prove(&mut self, at: Micros, rate: f64, response: Micros) {
        match &mut self.proven {
            Some((proven, due)) if at < *due => *proven = proven.max(rate),
            _ => self.take_stride(at, rate, response),
        }
    }

    fn take_stride(&mut self, at: Micros, rate: f64, response: Micros) {
        let stride = self.target * STRIDE;
        self.proven = (rate > stride).then_some((rate, at + response));
        let rate = rate.min(stride);
        if self
            .capacity
            .is_some_and(|known| rate > known * (1.0 + CAPACITY_BAND))
        {
            self.capacity = None;
        }
        self.raise(rate);
    }

    /// What a probe showed that filled the line. A burst takes more than its share from flows that send evenly; where the
    /// line is known that knowledge is better.
    pub(super) fn share_of_full(&self, rate: f64) -> f64 {
        self.capacity.map_or(rate, |known| rate.min(known * FULL_SHARE))
    }

    /// What may be sent evenly now, by what the line is known to take; none if that is not known, or others grow on it, too.
    pub(super) fn even(&self, at: Micros) -> Option<f64> {
        let seconds = (at - self.full_at) as f64 / 1e6;
        let known = self.capacity.filter(|_| self.sharers <= 1.0);
        known.map(|known| known * (EVEN_SHARE + EVEN_GROWTH * seconds * seconds))
    }

    /// Is the rate near what the line was last known to take?
    pub(super) fn is_near(&self) -> bool {
        self.capacity
            .is_some_and(|known| self.target > known * (1.0 - 2.0 * CAPACITY_BAND))
    }

    /// What is known of the line, for a probe.
    pub(super) fn line(&self, is_long: bool) -> Line {
        match self.capacity {
            _ if self.is_near() => Line::Near,
            None if !self.is_shared() && !is_long => Line::Open,
            _ => Line::Known,
        }
    }

    /// Is there more to come of what was proven?
    pub(super) fn is_striding(&self) -> bool {
        self.proven.is_some()
    }

    /// When the next stride may be taken.
    pub(super) fn strides_at(&self) -> Option<Micros> {
        self.proven.map(|(_, due)| due)
    }

    /// The next stride, if it is time.
    pub(super) fn stride(&mut self, at: Micros, response: Micros) {
        if let Some((rate, _)) = self.proven.filter(|(_, due)| *due <= at) {
            self.take_stride(at, rate, response);
        }
    }

    /// So many ways, this one included, are known to share the line: together they grow as one.
    pub(super) fn set_sharers(&mut self, sharers: f64) {
        self.sharers = sharers;
    }

    /// Others are known to share the line.
    pub(super) fn is_shared(&self) -> bool {
        self.sharers > 1.0
    }

    /// Its part of what several found out about one line. What it knows of the line itself changes with it.
    pub(super) fn level(&mut self, part: f64) {
        let part = part.clamp(RATE_MIN, RATE_MAX);
        let share = part / self.target;
        self.capacity = self.capacity.map(|known| known * share);
        self.resume = self.resume.map(|rate| rate * share);
        self.target = part;
    }

    /// Nothing is told any more: that share of it is left, and what a probe showed is not true any more.
    pub(super) fn doubt(&mut self, share: f64) {
        self.proven = None;
        self.lower(self.target * share);
    }

    /// What was told since `before` told nothing of the line.
    pub(super) fn go_back(&mut self, before: &Self) {
        *self = Self {
            sharers: self.sharers,
            ..before.clone()
        };
    }

    /// Not above that.
    pub(super) fn lower(&mut self, bound: f64) {
        self.target = self.target.min(bound).clamp(RATE_MIN, RATE_MAX);
    }

    /// Not below that.
    pub(super) fn raise(&mut self, bound: f64) {
        self.target = self.target.max(bound).clamp(RATE_MIN, RATE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_what_a_thin_line_takes_growth_ends_close_above_what_arrives() {
        let grown = |start: f64, full: Option<f64>, acked: f64| {
            let mut rate = Rate::new(start);
            full.into_iter().for_each(|full| rate.back_off(0, full, None, 0));
            (1..600).for_each(|step| rate.grow(step * 100_000, Arrives::evenly(acked), 200_000, true));
            rate.target() / acked
        };
        let table = [
            (grown(300e3, Some(300e3), 250e3), SEEN_THIN, "it was seen full"),
            (grown(300e3, None, 250e3), SEEN, "nobody knows what it takes"),
            (grown(3e6, Some(3e6), 2.5e6), SEEN, "it is not thin"),
        ];
        for (multiple, expected, why) in table {
            assert!((multiple - expected).abs() < 0.01, "{multiple}: {why}");
        }
    }

    #[test]
    fn one_picture_that_arrives_at_once_lifts_no_thin_line() {
        let mut rate = Rate::new(300e3);
        rate.back_off(0, 300e3, None, 0);
        let arrives = Arrives {
            lately: 340e3,
            steadily: 270e3,
        };
        (1..600).for_each(|step| rate.grow(step * 100_000, arrives, 200_000, true));
        assert!((rate.target() / arrives.steadily - SEEN_THIN).abs() < 0.01);
    }

    #[test]
    fn what_is_sent_evenly_stays_near_what_the_line_takes_for_ten_seconds_and_then_leaves_it_faster_and_faster()
     {
        let mut rate = Rate::new(1e6);
        assert_eq!(rate.even(0), None, "it was never full");
        rate.back_off(1_000_000, 1e6, None, 0);
        let after = |rate: &Rate, seconds: i64| rate.even((seconds + 1) * 1_000_000).map(|even| even.round());
        assert_eq!(
            [0, 10, 20].map(|seconds| after(&rate, seconds)),
            [950e3, 1_000e3, 1_150e3].map(Some)
        );
        rate.set_sharers(2.0);
        assert_eq!(
            after(&rate, 0),
            None,
            "others send there, too: each has to find its part"
        );
        rate.set_sharers(1.0);
        rate.grow(22_000_000, Arrives::evenly(1.3e6), 200_000, true);
        assert_eq!(after(&rate, 21), None, "it takes more than it did");
    }

    #[test]
    fn what_a_line_takes_is_known_on_while_its_queue_drains() {
        let known_after = |acked: f64, busy: Option<f64>| {
            let mut rate = Rate::new(1e6);
            rate.back_off(0, 350e3, None, 0);
            rate.back_off(100_000, acked, busy, 0);
            (rate.capacity.unwrap_or(0.0) / 1e3).round()
        };
        let table = [
            (
                known_after(250e3, Some(340e3)),
                350.0,
                "less arrives because less is sent",
            ),
            (known_after(250e3, Some(250e3)), 250.0, "it became thinner"),
            (known_after(250e3, None), 250.0, "nothing says otherwise"),
            (known_after(300e3, Some(250e3)), 340.0, "a fifth of what is new"),
            (
                known_after(800e3, Some(350e3)),
                800.0,
                "more arrived than it was known to take",
            ),
        ];
        for (known, expected, why) in table {
            assert_eq!(known, expected, "{why}");
        }
    }
}
