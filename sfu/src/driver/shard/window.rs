//! How long a busy shard lets datagrams gather before it takes the next batch.
//!
//! A turn has a price of its own: a wake-up, system calls, a way through every receiver's state. While turns follow each other
//! closely, they begin a little apart, so that each takes more, and runs get longer. What comes after a rest is taken at once.

use std::time::{Duration, Instant};

/// Turns of a busy shard begin at least so far apart: what a packet may wait for others. A shard whose turns take longer never rests.
const APART: Duration = Duration::from_micros(300);

/// When turns began, and how far they are to be apart.
#[derive(Debug, Default)]
pub(super) struct Window {
    began: Option<Instant>,
    is_busy: bool,
}

impl Window {
    /// A turn begins. It is busy when it follows the one before so closely that a window's rest may have lain between.
    pub(super) fn begin(&mut self, now: Instant) {
        let before = self.began.replace(now);
        let apart = before.map_or(Duration::MAX, |before| now.saturating_duration_since(before));
        self.is_busy = apart < 2 * APART;
    }

    /// The turn is over: for how long datagrams may gather before the next; none when that may come at once.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let work = now.saturating_duration_since(self.began.filter(|_| self.is_busy)?);
        APART.checked_sub(work).filter(|rest| !rest.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_with_little_to_do_never_rests_and_a_busy_one_by_its_work() {
        let start = Instant::now();
        let us = |us: u64| Duration::from_micros(us);
        let mut window = Window::default();
        // When a turn begins, how long it works, for how long it then rests, in microseconds.
        for (at, work, rest) in [
            (0, 100, None), // the first
            (5_000, 100, None),
            (5_600, 100, None),
            (6_199, 100, Some(200)), // behind the one before
            (6_499, 299, Some(1)),
            (6_799, 300, None), // it has as much to do as it can gather
            (7_099, 500, None),
            (7_599, 20, Some(280)),
            (9_000, 100, None), // and then not
        ] {
            window.begin(start + us(at));
            assert_eq!(window.rest(start + us(at + work)), rest.map(us), "{at}");
        }
    }
}
