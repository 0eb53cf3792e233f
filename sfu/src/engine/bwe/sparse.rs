//! Where a way carries more than is sent and nothing waits, only some of its packets are numbered.
//!
//! A receiver tells of numbered packets alone, and tells nothing while none comes (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1): so the
//! sender decides how often it is told. On a way that is wide enough a feedback each 50 ms says each time that all is well. What goes out between is
//! counted, and arrives with the next number; the first packet that waits or is missing, and whoever wants more, brings all numbers back.

use std::collections::VecDeque;

use super::{Estimator, Micros, ROUND_TRIP_LONG, decide, loss, sent::Report};
use crate::engine::seq::Seq;

/// All was well for so long, with every packet numbered.
const CALM: Micros = 1_000_000;
/// The same behind more than a loss now and then: what is done about it needs to know how much is lost, and looks back for ten seconds.
const CALM_LOSSY: Micros = 15_000_000;
/// So many packets at least are numbered in a row, as far as they come within that time: a single one tells of jitter.
const SAMPLE: u32 = 5;
const SPELL: Micros = 100_000;
/// At most so much goes out without a number: it is the queue that nobody has heard of yet.
const BYTES_MAX: u32 = 48 << 10;
/// Nor is nobody told of anything for longer than that.
const PAUSE_MAX: Micros = 1_000_000;
/// Samples that wait longer bring all numbers back.
const WAIT_MAX: Micros = 20_000;
/// Gaps of which nothing was told yet: ten seconds of them. Where feedback stays away for longer the oldest is forgotten.
const GAPS_MAX: usize = 32;

/// Which packets are numbered, and what went out between them.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    /// Since when all is well.
    calm: Option<Micros>,
    /// When the last loss will have been long ago.
    unscathed: Micros,
    /// Packets are left out now.
    active: bool,
    /// When the last packet was numbered that began a row of samples, and how many it has.
    spell: (Micros, u32),
    /// When the last packet went out, and whether it was left out.
    last: (Micros, bool),
    /// Sent without a number since the last one that had one.
    skipped: u32,
    gaps: VecDeque<Gap>,
}

/// Bytes that went out without a number before that number.
#[derive(Debug, Clone, Copy)]
struct Gap {
    before: Seq,
    bytes: u32,
}

impl Sparse {
    /// A packet of so many bytes goes out: true if it needs no number. Those of one moment are one run: all of them have numbers, or none.
    pub(super) fn skips(&mut self, at: Micros, bytes: u16) -> bool {
        if !self.active {
            return false;
        }
        if self.last.0 != at {
            self.last = (at, self.leaves_out(at));
        }
        let skips = self.last.1;
        if skips {
            self.skipped += u32::from(bytes);
        } else {
            self.spell.1 += 1;
        }
        skips
    }

    fn leaves_out(&mut self, at: Micros) -> bool {
        let (begun, samples) = self.spell;
        if at - begun >= PAUSE_MAX || self.skipped >= BYTES_MAX {
            self.spell = (at, 0);
            return false;
        }
        samples >= SAMPLE || at - begun >= SPELL
    }

    /// A packet goes out under that number.
    pub(super) fn numbered(&mut self, number: Seq) {
        let bytes = std::mem::take(&mut self.skipped);
        if bytes == 0 {
            return;
        }
        if self.gaps.len() >= GAPS_MAX {
            self.gaps.pop_front();
        }
        let before = number;
        self.gaps.push_back(Gap { before, bytes });
    }

    /// That number arrived: the bytes that went out before it without one, as far as nobody was told of them.
    pub(super) fn take(&mut self, number: Seq) -> u32 {
        let mut bytes = 0;
        while let Some(gap) = self.gaps.front().filter(|gap| gap.before <= number) {
            bytes += gap.bytes;
            self.gaps.pop_front();
        }
        bytes
    }

    /// Something is amiss, or more is wanted: every packet is numbered from now on.
    pub(super) fn end(&mut self) {
        (self.calm, self.active) = (None, false);
    }

    /// More is lost than now and then: every packet is numbered from now on, for longer.
    pub(super) fn end_lossy(&mut self, at: Micros) {
        self.end();
        self.unscathed = at + CALM_LOSSY;
    }

    /// Whether some packets have no number.
    pub(super) fn is_active(&self) -> bool {
        self.active
    }

    /// Something is on its way that has no number.
    pub(super) fn has_skipped(&self) -> bool {
        self.skipped > 0
    }

    /// All is well. True if packets begin to be left out.
    fn calm(&mut self, at: Micros) -> bool {
        let since = *self.calm.get_or_insert(at);
        let begins = !self.active && at - since >= CALM && at >= self.unscathed;
        self.active |= begins;
        begins
    }
}

impl Estimator {
    /// A feedback told of so many samples that arrived. If they waited all packets are told of from now on. If they came behind one another no faster than is
    /// sent, too, that is a queue, and those before are of long ago; a machine that was held up takes in at once what came meanwhile.
    pub(super) fn heed_samples(&mut self, arrived: usize) {
        if !self.sparse.active || self.delay.queue.least_of(arrived) <= WAIT_MAX {
            return;
        }
        self.sparse.end();
        let passes = self.delay.busy_rate();
        if passes.is_some_and(|passes| passes < self.rate.target()) {
            self.delay.queue.keep(arrived);
        } else {
            self.delay.queue.excuse(arrived);
        }
    }

    /// What a feedback told is known: may packets go without numbers?
    pub(super) fn thin_out(&mut self, at: Micros) {
        let waits = self.delay.queue.wait() > decide::WAIT_STRIDE_MAX;
        let is_limited = self.rate.is_near() || self.rate.has_sharers() || self.round_trip >= ROUND_TRIP_LONG;
        let asks =
            self.probes.running() || self.rate.is_striding() || self.probes.wants_more(self.rate.target());
        if self.loss.verdict().share >= loss::NOTABLE {
            self.sparse.end_lossy(at);
        } else if waits || is_limited || asks || self.congested {
            self.sparse.end();
        } else if self.sparse.calm(at) {
            self.delay.forget_trend(); // what is sampled tells of waits, not of how they grow
        }
    }

    /// What went out without a number before a packet that arrived: it is taken to have arrived as others do, between the one before and that one.
    pub(super) fn learn_skipped(&mut self, report: &Report, arrived: Micros) -> u32 {
        let bytes = self.sparse.take(report.number);
        if bytes > 0 {
            let there = f64::from(bytes) * (1.0 - self.loss.verdict().share);
            self.acked.spread(arrived, there as u64);
            self.loss.add_unnumbered(bytes);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_tells_of_is_bounded_and_the_rest_counts_once() {
        let mut sparse = Sparse {
            active: true,
            ..Sparse::default()
        };
        let mut number = 0;
        for step in 1..200_000 {
            if !sparse.skips(step * 2_000, 1_000) {
                sparse.numbered(Seq(number));
                number += 1;
            }
            assert!(sparse.gaps.len() <= GAPS_MAX && sparse.skipped <= BYTES_MAX + 1_000);
        }
        assert!(number > 4_000, "{number}");
        let all = sparse.take(Seq(number));
        assert!(
            all >= GAPS_MAX as u32 * BYTES_MAX / 2 && sparse.take(Seq(number)) == 0,
            "{all}"
        );
    }
}
