//! What follows from feedback: whether the line is full, and the rate.

use super::{
    ACKED_SPAN, Estimator, LIMITED_BELOW, Micros, RATE_MAX, RATE_MIN, Stubborn, Trend, WAIT_GROW_MAX,
    probe::Shown, rate,
};
use crate::engine::units::Bitrate;

/// While a queue stands, what arrived over so long is what the line takes; older arrivals only tell of another line.
const ACKED_SPAN_QUEUED: Micros = 200_000;
/// What arrived packet behind packet lately is less by this factor than what arrived in all of that time: the line has just become thinner.
const OTHER_LINE: f64 = 2.0;
/// A wait beyond this stands in the way of a conversation: the rate goes down whatever the trend says.
pub(super) const WAIT_MAX: Micros = 120_000;
/// A wait above [`WAIT_GROW_MAX`] is a standing queue after so long and a response time.
const STANDS: Micros = 500_000;
/// A wait beyond it that grew by so much since the last feedback needs no trend, which takes twenty groups to see it.
const WAIT_RISING: Micros = 40_000;
const RISE: Micros = 15_000;
/// A trend is believed from this wait on: it is seen late, and what grew and is gone was a burst, not a queue. A line
/// that is overfilled by a tenth is here after a quarter of a second.
const WAIT_GROWS: Micros = 25_000;
/// ... and on long paths from this part of the response time on: one back-off too many costs them half a minute.
const LONG_RESPONSES: Micros = 20;
/// A growing wait below this, right after a probe, is the one that the probe made.
pub(super) const WAIT_PROBED: Micros = 60_000;
/// The next stride to what a probe showed is taken below this wait only.
pub(super) const WAIT_STRIDE_MAX: Micros = 10_000;
/// For so long: a target that just rose is not sent yet.
const LIMITED_LONG: Micros = 1_000_000;

/// More loss than that is not made up for by what is sent evenly.
const LOST_MAX: f64 = 0.1;

impl Estimator {
    /// What encoders should fill at most, whatever the target: by what the line is known to take. None if that is not known.
    pub fn even(&self) -> Option<Bitrate> {
        let arriving = self.told.and_then(|_| self.rate.even(self.at))?;
        // What is lost whatever is sent takes its part of the line before it is.
        let loss = self.loss.verdict();
        let lost = if loss.random {
            loss.share.min(LOST_MAX)
        } else {
            0.0
        };
        let rate = arriving / (1.0 - lost);
        Some(Bitrate::bps(rate.clamp(RATE_MIN, RATE_MAX) as u64))
    }

    /// The rate that follows from what is known now.
    pub(super) fn decide(&mut self, at: Micros) {
        let wait = self.delay.queue.wait();
        let span = if wait > WAIT_GROW_MAX {
            ACKED_SPAN_QUEUED
        } else {
            ACKED_SPAN
        };
        let short = self.acked.rate(ACKED_SPAN_QUEUED);
        let Some(steadily) = self.acked.rate(span) else {
            self.judge_probes(at);
            return;
        };
        let acked = steadily.max(short.unwrap_or(0.0));
        let loss = self.loss.verdict();
        let trend = self.delay.trend();
        self.judge_probes(at);
        let sent = self.sent_rate.rate(ACKED_SPAN).unwrap_or(0.0);
        let limited = sent < self.rate.target() * LIMITED_BELOW;
        self.limited = limited.then(|| self.limited.unwrap_or(at));
        let own = wait < WAIT_PROBED && self.probes.disturbs(at, self.response());
        let stands = self.stands(at, wait, trend);
        let grown = WAIT_GROWS.max(self.response() / LONG_RESPONSES);
        let trends = trend == Trend::Growing && wait >= grown && !own;
        let lately = self.delay.queue.wait_lately();
        let rises = lately > WAIT_RISING && (lately > self.waited + RISE || self.thinner(acked).is_some());
        let grows = !self.planned && (trends || rises);
        self.waited = lately;
        self.congested = grows || stands || loss.congestion;
        if self.congested {
            self.back_off(at, acked, wait);
            if !self.silence.is_told() {
                self.probes.abort(at, self.response());
            }
        } else if trend == Trend::Steady && wait <= WAIT_GROW_MAX {
            if wait <= rate::DRAINED {
                self.rate.drained();
            }
            let calm = wait <= WAIT_STRIDE_MAX;
            let arrives = rate::Arrives {
                lately: acked,
                steadily, // nothing waits, so over the longer span
            };
            self.rate.grow(at, arrives, self.response(), calm);
        }
        if let Some(limit) = loss.limit {
            self.rate.lower(limit);
        }
        self.doubt_queue(at, wait);
    }

    /// The line is full. What arrives tells what it takes; where little was sent before, what arrives behind one another tells it. When
    /// that is more than the target, or less was sent than may be, it is the queue of one burst, or of others: the target goes
    /// down by its share, once in a response time.
    fn back_off(&mut self, at: Micros, acked: f64, wait: Micros) {
        if let Some(lately) = self.thinner(acked) {
            return self.rate.back_off(at, lately, None, wait);
        }
        let busy = self.delay.busy_rate();
        let is_limited = self.limited.is_some_and(|since| at - since > LIMITED_LONG);
        let target = self.rate.target();
        let shown = if (is_limited || self.planned) && wait <= WAIT_MAX {
            Some(target)
        } else {
            // A thin line takes so long for a few packets that it is known what passes; what comes all at once was held up by something else. On a line of less
            // than 100 kb/s it is not known either: there the wait, which grows, takes the target down within a second.
            busy.or(is_limited.then_some(target))
        };
        let takes = shown.map_or(acked, |shown| shown.min(target).max(acked));
        if takes <= acked {
            return self.rate.back_off(at, acked, busy, wait);
        }
        if self.softened.is_some_and(|last| at - last < self.response()) {
            return;
        }
        self.softened = Some(at);
        self.rate.back_off(at, takes, busy, wait);
    }

    /// What the line takes now, if that is far less than what arrived in the time that the rate is taken over: that time began on another line.
    fn thinner(&self, acked: f64) -> Option<f64> {
        let lately = self.delay.busy_lately().filter(|_| !self.planned);
        lately.filter(|lately| lately * OTHER_LINE < acked)
    }

    /// Does a queue stand that does not grow? What is sent is just what the line takes, with a queue before it: no trend
    /// sees that.
    fn stands(&mut self, at: Micros, wait: Micros, trend: Trend) -> bool {
        if wait <= WAIT_GROW_MAX || trend == Trend::Draining {
            self.standing = None;
            return false;
        }
        let since = *self.standing.get_or_insert(at);
        wait > WAIT_MAX || at - since > STANDS + self.response()
    }

    /// A wait that does not change although the rate was lowered is no queue of ours: the path is longer than it was. A second and three
    /// response times are given for the answer; in the first half of them a small wait is not acted upon yet.
    fn doubt_queue(&mut self, at: Micros, wait: Micros) {
        if wait <= WAIT_GROW_MAX {
            self.stubborn = None;
            return;
        }
        match self.stubborn {
            Some(stubborn) if wait * 5 > stubborn.wait * 4 => {
                if at - stubborn.since > 2 * STANDS + 3 * self.response() {
                    self.delay.queue.rebase();
                    self.stubborn = None;
                }
            }
            _ => self.stubborn = Some(Stubborn { since: at, wait }),
        }
    }

    pub(super) fn judge_probes(&mut self, at: Micros) {
        while let Some(shown) = self.probes.judge(at, self.response(), self.rate.target()) {
            let rate = match shown {
                Shown::Free(rate) => rate,
                Shown::Full(rate) => self.rate.share_of_full(rate),
                Shown::Nothing => continue,
            };
            self.rate.prove(at, rate, self.response());
        }
    }
}
