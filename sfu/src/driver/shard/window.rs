//! How long a busy shard lets datagrams gather before it takes the next batch.
//!
//! A turn has a price of its own: a wake-up, system calls, a way through every receiver's state. While turns follow each other
//! closely, they begin a little apart, so that each takes more, and runs get longer. What comes after a rest is taken at once.

use std::time::{Duration, Instant};

/// Turns of a busy shard begin at least so far apart ...
const LEAST: Duration = Duration::from_micros(500);
/// ... and at most: what a packet may wait for others.
const MOST: Duration = Duration::from_millis(2);
/// Between them as far as this many times the work of one: a shard that has much to do gathers more.
const SHARE: u32 = 2;

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
        self.is_busy = before.is_some_and(|before| now.saturating_duration_since(before) < 2 * LEAST)
            || self.is_busy && before.is_some_and(|before| now.saturating_duration_since(before) < 2 * MOST);
    }

    /// The turn is over: for how long datagrams may gather before the next; none when that may come at once.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        let work = now.saturating_duration_since(self.began.filter(|_| self.is_busy)?);
        let apart = (work * SHARE).clamp(LEAST, MOST);
        apart.checked_sub(work).filter(|rest| !rest.is_zero())
    }
}
