//! How long packets wait on the way: their delay above the least that was seen lately.

use super::Micros;

/// The least delay of the last [`BASES`] times this long is that of an empty queue. Two clocks that differ by 100 millionths
/// drift 2 ms apart in that time.
const BASE_SPAN: Micros = 5_000_000;
/// See [`BASE_SPAN`]. A queue that never drains for 20 s becomes the ground.
const BASES: usize = 4;
/// Waits that the queue is judged by: the least of them, so that jitter of single packets is no queue.
const RECENT: usize = 6;
/// See [`Queue::wait_lately`]: six packets of a line of 350 kb/s are 150 ms.
const LATELY: Micros = 60_000;
const LATELY_MIN: usize = 3;
/// Waits beyond it are told as it: nothing changes in what they lead to.
const WAIT_MAX: Micros = 10_000_000;

/// Delay of one way.
#[derive(Debug)]
pub(super) struct Queue {
    /// Least delay of each span, the newest first.
    bases: [Option<Micros>; BASES],
    /// Of all of them.
    base: Option<Micros>,
    span_began: Micros,
    /// (arrived, wait), the next place first.
    recent: [(Micros, Micros); RECENT],
    next: usize,
    last: Option<Micros>,
    /// The least of the recent waits: asked for each packet.
    least: Micros,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            bases: [None; BASES],
            base: None,
            span_began: 0,
            recent: [(0, 0); RECENT],
            next: 0,
            last: None,
            least: 0,
        }
    }

    /// Does the delay differ from the last one by more than `jump`?
    pub(super) fn is_jump(&self, delay: Micros, jump: Micros) -> bool {
        self.last
            .is_some_and(|last| delay.abs_diff(last) > jump.unsigned_abs())
    }

    /// A packet sent then took so long, by two clocks that have nothing to do with each other.
    pub(super) fn add(&mut self, sent: Micros, delay: Micros) {
        self.last = Some(delay);
        let passed = (sent - self.span_began) / BASE_SPAN;
        if passed > 0 {
            // Behind a pause the old ones are old, however little was sent: two clocks drift apart meanwhile.
            for _ in 0..passed.min(BASES as Micros) {
                self.bases.rotate_right(1);
                self.bases[0] = None;
            }
            self.span_began = sent;
            self.base = self.bases.iter().flatten().copied().min();
        }
        let least = |base: Option<Micros>| base.map_or(delay, |base| base.min(delay));
        self.bases[0] = Some(least(self.bases[0]));
        let base = least(self.base);
        self.base = Some(base);
        self.recent[self.next] = (sent + delay, (delay - base).clamp(0, WAIT_MAX));
        self.next = (self.next + 1) % RECENT;
        self.least = self.recent.iter().map(|(_, wait)| *wait).min().unwrap_or(0);
    }

    /// How long the last packets waited at least.
    pub(super) fn wait(&self) -> Micros {
        self.least
    }

    /// The same on a thin line, where six packets take long: of those that arrived in the last [`LATELY`], and no fewer than [`LATELY_MIN`].
    pub(super) fn wait_lately(&self) -> Micros {
        let newest = |back: usize| self.recent[(self.next + RECENT - 1 - back) % RECENT];
        let (last, _) = newest(0);
        let lately = |back: &usize| *back < LATELY_MIN || last - newest(*back).0 <= LATELY;
        (0..RECENT)
            .filter(lately)
            .map(|back| newest(back).1)
            .min()
            .unwrap_or(0)
    }

    /// The wait of now is that of an empty queue: it did not answer to a lower rate, so the path is longer than it was.
    pub(super) fn rebase(&mut self) {
        self.bases = [None; BASES];
        (self.bases[0], self.base) = (self.last, self.last);
        (self.recent, self.least) = ([(0, 0); RECENT], 0);
    }

    /// Delay of an empty queue.
    pub(super) fn base(&self) -> Option<Micros> {
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waited_before_a_pause_is_no_ground_behind_it() {
        let mut queue = Queue::new();
        (0..10).for_each(|step| queue.add(step * 10_000, 20_000));
        // Twenty minutes later, by a clock that drifts 100 millionths.
        let later = 1_200_000_000;
        (0..10).for_each(|step| queue.add(later + step * 10_000, 140_000));
        assert_eq!((queue.wait(), queue.base()), (0, Some(140_000)));
        // A pause of some seconds takes no ground away.
        (0..10).for_each(|step| queue.add(later + 8_000_000 + step * 10_000, 170_000));
        assert_eq!(queue.wait(), 30_000);
    }

    #[test]
    fn on_a_thin_line_a_queue_is_felt_after_three_packets_and_jitter_of_single_ones_is_none() {
        let mut queue = Queue::new();
        (0..10).for_each(|step| queue.add(step * 10_000, 20_000));
        // Sent within a moment, one arrives in 25 ms.
        (1..=4).for_each(|step| queue.add(100_000, 20_000 + step * 25_000));
        assert_eq!((queue.wait(), queue.wait_lately()), (0, 50_000));
        (0..3).for_each(|step| queue.add(300_000 + step * 5_000, 20_000 + step % 2 * 30_000));
        assert_eq!((queue.wait(), queue.wait_lately()), (0, 0));
    }
}
