//! What the line takes, seen while our own packets wait behind one another: how far apart it sets them.
//!
//! A sender that is limited by its application sends less than the line takes, so what arrives of it says little of the
//! line; yet its bursts (a picture is one) are spread by the line, and that spread is the line's rate for this flow.

use std::collections::VecDeque;

use super::Micros;

/// Pairs of packets older than this, by arrival, are forgotten.
const SPAN: Micros = 500_000;
/// Pairs that make a rate, and how long the line was busy with them: less is chance, or a clock that ticks in steps.
const PAIRS_MIN: usize = 4;
const BUSY_MIN: Micros = 20_000;
/// A pair counts that arrived so much farther apart than it was sent, in percent: else the line did not spread it.
const SPREAD_PERCENT: i64 = 125;
/// Pairs remembered; the oldest are forgotten.
const PAIRS_MAX: usize = 512;

/// Pairs of packets of which the second waited for the first.
#[derive(Debug, Default)]
pub(super) struct Dispersion {
    pairs: VecDeque<Pair>,
    last: Option<(Micros, Micros)>,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    arrived: Micros,
    apart: Micros,
    bytes: u16,
}

impl Dispersion {
    /// A packet arrived. `base` is the delay of an empty queue, by the same two clocks. One that overtook another tells
    /// nothing.
    pub(super) fn add(&mut self, sent: Micros, arrived: Micros, bytes: u16, base: Option<Micros>) {
        let Some((last_sent, last_arrived)) = self.last.filter(|(s, a)| sent >= *s && arrived >= *a) else {
            self.last = Some(
                self.last
                    .map_or((sent, arrived), |last| last.max((sent, arrived))),
            );
            return;
        };
        self.last = Some((sent, arrived));
        let apart = arrived - last_arrived;
        let waited = base.is_some_and(|base| sent + base <= last_arrived);
        if waited && apart * 100 >= (sent - last_sent) * SPREAD_PERCENT {
            if self.pairs.len() == PAIRS_MAX {
                self.pairs.pop_front();
            }
            self.pairs.push_back(Pair {
                arrived,
                apart,
                bytes,
            });
        }
        while self
            .pairs
            .front()
            .is_some_and(|pair| arrived - pair.arrived > SPAN)
        {
            self.pairs.pop_front();
        }
    }

    /// Bits per second that the line took of this flow while it was busy with it; none if it was not, or not for long.
    pub(super) fn rate(&self) -> Option<f64> {
        let busy: Micros = self.pairs.iter().map(|pair| pair.apart).sum();
        let bytes: u64 = self.pairs.iter().map(|pair| u64::from(pair.bytes)).sum();
        (self.pairs.len() >= PAIRS_MIN && busy >= BUSY_MIN).then(|| bytes as f64 * 8e6 / busy as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Micros = -7_000_000;

    /// Bursts of 5 packets every 200 ms, and a voice every 20 ms, through a line of 300 kb/s.
    fn through_a_line(bursts: i64) -> Dispersion {
        let mut packets: Vec<(Micros, u16)> = (0..bursts)
            .flat_map(|burst| (0..5).map(move |n| (burst * 200_000 + n * 8_000, 600)))
            .chain((0..50).map(|n| (n * 20_000 + 3_000, 110)))
            .collect();
        packets.sort_unstable();
        let (mut free, mut dispersion) = (0, Dispersion::default());
        for (sent, bytes) in packets {
            free = free.max(sent) + i64::from(bytes) * 8_000_000 / 300_000;
            dispersion.add(sent, BASE + free, bytes, Some(BASE + 3_000));
        }
        dispersion
    }

    #[test]
    fn bursts_of_one_that_sends_half_show_the_whole_line() {
        let rate = through_a_line(5).rate().expect("five bursts");
        assert!((285e3..315e3).contains(&rate), "{rate}");
    }

    #[test]
    fn one_that_never_waits_for_itself_shows_nothing() {
        assert_eq!(through_a_line(0).rate(), None);
        // Others fill the queue: what is sent evenly arrives evenly.
        let mut voice = Dispersion::default();
        for n in 0..50 {
            voice.add(n * 20_000, BASE + n * 20_000 + 80_000, 110, Some(BASE));
        }
        assert_eq!(voice.rate(), None);
    }

    #[test]
    fn what_was_overtaken_and_what_is_old_counts_for_nothing() {
        let mut dispersion = through_a_line(5);
        dispersion.add(2_000, BASE + 1_400_000, 600, Some(BASE));
        assert!(dispersion.rate().is_some());
        dispersion.add(2_000_000, BASE + 2_003_000, 600, Some(BASE));
        assert_eq!(dispersion.rate(), None);
    }
}
