//! Whether packets are lost because too many are sent, or just so.
//!
//! The idea is that of the published descriptions of a loss-based estimator in its second version: loss is explained by a
//! share that is lost whatever is sent, and a bandwidth above which everything is lost, and those two are chosen that
//! explain best what was seen at different rates. Beside that the queue is a witness: a full one is a reason.

use std::collections::VecDeque;

use super::Micros;

/// What is seen at one rate: packets sent within this time, and at least so many.
const SPAN: Micros = 250_000;
const PACKETS: u32 = 20;
/// Or so long, where few are sent.
const SPAN_MAX: Micros = 2_000_000;
/// Observations kept; 6 s at ordinary rates. The oldest is forgotten first.
const OBSERVATIONS: usize = 24;
/// Newest observations that make the share shown: one second.
const SHOWN: usize = 4;
/// Less loss than this is everybody's.
pub(super) const NOTABLE: f64 = 0.02;
/// More than the loss that comes without a queue by this, while packets wait, is congestion.
const EXCESS: f64 = 0.05;
/// And by so many standard deviations.
const DEVIATIONS: f64 = 2.5;
/// Packets that wait longer than this stand in a queue.
const WAITING: Micros = 40_000;
/// How much better (natural logarithm of the likelihood) a limit must explain what was seen than chance alone, where each
/// packet is lost by itself; more where losses come in bursts.
const EVIDENCE: f64 = 10.0;
/// Shares lost whatever is sent, that are tried.
const SHARES: [f64; 8] = [0.001, 0.01, 0.02, 0.04, 0.07, 0.12, 0.2, 0.3];
/// Of the rates seen each third is tried: they change slowly, and the search stays below a tenth of a millisecond.
const RATES_STEP: usize = 3;
/// Limits that are tried, as multiples of the rates seen.
const LIMITS: [f64; 3] = [0.8, 0.9, 1.0];

/// Losses come in bursts if their share varies so many times more than if each packet were lost by itself: a policer takes packets one by one.
const BURSTY: f64 = 2.0;

/// What losses say.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Verdict {
    /// Share lost in the last second.
    pub(super) share: f64,
    /// Loss in a queue, or above a limit.
    pub(super) congestion: bool,
    /// Loss whatever is sent.
    pub(super) random: bool,
    /// The limit that explains it, bits per second.
    pub(super) limit: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Observation {
    rate: f64,
    arrived: u32,
    lost: u32,
    /// Losses after a packet that arrived.
    bursts: u32,
    wait: Micros,
}

impl Observation {
    /// Of all of them; the rate and the wait are worth nothing then.
    fn sum<'o>(all: impl Iterator<Item = &'o Self>) -> Self {
        all.fold(Self::default(), |sum, seen| Self {
            arrived: sum.arrived + seen.arrived,
            lost: sum.lost + seen.lost,
            bursts: sum.bursts + seen.bursts,
            ..sum
        })
    }

    /// Less a part of it.
    fn without(&self, part: &Self) -> Self {
        Self {
            arrived: self.arrived - part.arrived,
            lost: self.lost - part.lost,
            bursts: self.bursts - part.bursts,
            ..*self
        }
    }

    /// How many times more the lost share varies than if each packet were lost by itself: with bursts, each packet says
    /// less. From the chances that a burst begins and ends, as a chain of two states has it.
    fn burstiness(&self) -> f64 {
        let bursts = f64::from(self.bursts);
        let changes = bursts / f64::from(self.arrived.max(1)) + bursts / f64::from(self.lost.max(1));
        let memory = (1.0 - changes).clamp(0.0, 0.9);
        (1.0 + memory) / (1.0 - memory)
    }

    fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from((self.lost + self.arrived).max(1))
    }
}

/// Losses of one way.
#[derive(Debug)]
pub(super) struct Loss {
    seen: VecDeque<Observation>,
    running: Option<Running>,
    in_burst: bool,
    verdict: Verdict,
}

/// An observation that is not full yet.
#[derive(Debug)]
struct Running {
    first: Micros,
    last: Micros,
    bytes: u64,
    seen: Observation,
}

impl Loss {
    pub(super) fn new() -> Self {
        Self {
            seen: VecDeque::with_capacity(OBSERVATIONS),
            running: None,
            in_burst: false,
            verdict: Verdict::default(),
        }
    }

    /// Not all packets are told of from now on: what is seen of so few is no observation, and what was seen before is too old to be compared with what comes behind.
    pub(super) fn pause(&mut self) {
        self.running = None;
        self.seen.clear();
        self.in_burst = false;
    }

    /// The first that is told of a packet. Returns whether an observation is full, with a new verdict.
    pub(super) fn add(&mut self, sent: Micros, bytes: u16, lost: bool, wait: Micros) -> bool {
        let running = self.running.get_or_insert(Running {
            first: sent,
            last: sent,
            bytes: 0,
            seen: Observation::default(),
        });
        let span = sent - running.first;
        let packets = running.seen.arrived + running.seen.lost;
        let full = (span >= SPAN && packets >= PACKETS) || span >= SPAN_MAX;
        if full {
            let mut seen = running.seen;
            seen.rate = running.bytes as f64 * 8e6 / span as f64;
            self.running = None;
            self.close(seen);
            self.add(sent, bytes, lost, wait);
            return true;
        }
        running.last = running.last.max(sent);
        running.bytes += u64::from(bytes);
        running.seen.wait = running.seen.wait.max(wait);
        if lost {
            running.seen.lost += 1;
            running.seen.bursts += u32::from(!self.in_burst);
        } else {
            running.seen.arrived += 1;
        }
        self.in_burst = lost;
        false
    }

    /// A packet of so many bytes was lost of which nobody told at its place among the others: it says nothing of how they were lost together.
    pub(super) fn add_apart(&mut self, bytes: u16) {
        if let Some(running) = &mut self.running {
            running.bytes += u64::from(bytes);
            running.seen.lost += 1;
        }
    }

    /// A packet told as lost arrived after all.
    pub(super) fn correct(&mut self) {
        let newest = self.running.as_mut().map(|running| &mut running.seen);
        if let Some(seen) = newest
            .into_iter()
            .chain(self.seen.iter_mut().rev())
            .find(|seen| seen.lost > 0)
        {
            seen.lost -= 1;
            seen.arrived += 1;
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    fn close(&mut self, seen: Observation) {
        if self.seen.len() == OBSERVATIONS {
            self.seen.pop_front();
        }
        self.seen.push_back(seen);
        let share = self.shown();
        if share < NOTABLE {
            let random = self.verdict.random && Observation::sum(self.seen.iter()).share() >= NOTABLE;
            self.verdict = Verdict {
                share,
                random,
                ..Verdict::default()
            };
            return;
        }
        let queueing = seen.wait >= WAITING && seen.share() > self.tolerated(&seen);
        let limit = self.limit();
        let congestion = queueing || limit.is_some_and(|limit| seen.rate > limit);
        self.verdict = Verdict {
            share,
            congestion,
            random: !congestion && limit.is_none(),
            limit,
        };
    }

    fn shown(&self) -> f64 {
        Observation::sum(self.seen.iter().rev().take(SHOWN)).share()
    }

    /// Share that may be lost among so many packets without a reason: what is lost while nothing waits, and some more.
    fn tolerated(&self, seen: &Observation) -> f64 {
        let calm = Observation::sum(self.seen.iter().filter(|seen| seen.wait < WAITING));
        let share = calm.share();
        let packets = f64::from((seen.lost + seen.arrived).max(1));
        let deviation = (share * (1.0 - share) * calm.burstiness() / packets).sqrt();
        share + EXCESS.max(DEVIATIONS * deviation)
    }

    /// The limit that explains the losses better than chance, if one does: by far better than one share lost all the time, and where losses come in bursts
    /// better than a share that changed.
    fn limit(&self) -> Option<f64> {
        let all = Observation::sum(self.seen.iter());
        let chance = self.likelihood(f64::INFINITY, all.share());
        let evidence = EVIDENCE * all.burstiness();
        let shower = if all.burstiness() >= BURSTY {
            self.shower()
        } else {
            f64::NEG_INFINITY
        };
        let mut best = ((chance + evidence).max(shower), None);
        for seen in self.seen.iter().step_by(RATES_STEP) {
            for limit in LIMITS.map(|part| part * seen.rate) {
                for share in SHARES {
                    let likelihood = self.likelihood(limit, share);
                    if likelihood > best.0 {
                        best = (likelihood, Some(limit));
                    }
                }
            }
        }
        best.1
    }

    /// The same for chance alone, were another share lost from some time on: a shower begins when it will, and what was sent just then says nothing
    /// of a limit.
    fn shower(&self) -> f64 {
        let alone = |seen: &Observation| {
            let lost = seen.share().clamp(1e-4, 1.0 - 1e-4);
            f64::from(seen.lost) * lost.ln() + f64::from(seen.arrived) * (1.0 - lost).ln()
        };
        let all = Observation::sum(self.seen.iter());
        let begins = self.seen.iter().scan(Observation::default(), |before, seen| {
            *before = Observation::sum([&*before, seen].into_iter());
            Some(alone(before) + alone(&all.without(before)))
        });
        begins.fold(f64::NEG_INFINITY, f64::max)
    }

    /// Natural logarithm of the likelihood of what was seen, were all above `limit` lost and `share` of the rest.
    fn likelihood(&self, limit: f64, share: f64) -> f64 {
        let term = |chance: f64, seen: &Observation| {
            let lost = chance.clamp(1e-4, 1.0 - 1e-4);
            f64::from(seen.lost) * lost.ln() + f64::from(seen.arrived) * (1.0 - lost).ln()
        };
        let (over, below): (f64, Observation) =
            self.seen
                .iter()
                .fold((0.0, Observation::default()), |(over, below), seen| {
                    if seen.rate <= limit {
                        return (over, Observation::sum([&below, seen].into_iter()));
                    }
                    let above = (seen.rate - limit) / seen.rate;
                    (over + term(share + (1.0 - share) * above, seen), below)
                });
        over + term(share, &below)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many observations of 30 packets in 300 ms, every `lost`-th of which is lost, and the verdict behind each.
    fn observe(loss: &mut Loss, from: Micros, count: i64, bytes: u16, lost: i64) -> Vec<Verdict> {
        (0..=count * 30)
            .filter_map(|packet| {
                let is_lost = packet % lost == lost - 1;
                let full = loss.add(from + packet * 10_000, bytes, is_lost, 0);
                full.then(|| loss.verdict())
            })
            .collect()
    }

    #[test]
    fn what_was_seen_at_another_rate_before_a_calm_time_is_no_limit_behind_it() {
        let mut loss = Loss::new();
        observe(&mut loss, 0, 24, 100, i64::MAX);
        loss.pause();
        // Half an hour later.
        let verdicts = observe(&mut loss, 1_800_000_000, 12, 1_500, 8);
        assert!(verdicts.len() >= 10, "{}", verdicts.len());
        for verdict in verdicts {
            assert!(verdict.random && verdict.limit.is_none(), "{verdict:?}");
        }
    }
}
