//! When a session writes what there is to tell.

use std::time::{Duration, Instant};

/// When a session writes. When 239 points join at once, everybody is told several hundred things, and each alone would cost a system
/// call here and a wake-up there. So what follows other messages closely gathers; a message after a rest, and the first
/// answers of a conversation, go at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    wrote: Option<Instant>,
    /// Writes in a row that followed the one before closely.
    close: u32,
}

/// Closer than that is close, and what gathers waits no longer.
const GATHER: Duration = Duration::from_millis(25);
/// So many go at once, however close.
const CLOSE_MAX: u32 = 3;

impl Pace {
    /// Until when a message that is to be written now should wait for others.
    pub(super) fn rest(&mut self, now: Instant) -> Option<Instant> {
        let until = self
            .wrote
            .map(|wrote| wrote + GATHER)
            .filter(|&until| now < until);
        self.close = if until.is_some() {
            self.close.saturating_add(1)
        } else {
            0
        };
        until.filter(|_| self.close > CLOSE_MAX)
    }

    pub(super) fn wrote(&mut self, now: Instant) {
        self.wrote = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_closely_gathers_and_what_comes_after_a_rest_goes_at_once() {
        let start = Instant::now();
        let ms = |ms: u64| Duration::from_millis(ms);
        let mut pace = Pace::default();
        // When there is something to tell, and until when it waits for more, in milliseconds.
        for (at, until) in [
            (0, None),
            (1, None), // hello, join and what a page is told first are answered at once
            (2, None),
            (3, None),
            (4, Some(28)),
            (30, Some(53)),
            (54, Some(78)),
            (104, None), // a rest
            (105, None),
            (106, None),
            (107, None),
            (108, Some(132)),
        ] {
            let now = start + ms(at);
            assert_eq!(pace.rest(now), until.map(|until| start + ms(until)), "{at}");
            pace.wrote(until.map_or(now, |until| start + ms(until)));
        }
    }
}
