//! When a session writes what there is to tell.

use std::time::{Duration, Instant};

/// When a session writes. When 239 points join at once, everybody is told several hundred things, and each alone would cost a system
/// call here and a wake-up there. So behind a write that followed others closely there is a rest in which messages gather; a
/// message after a pause, and the first answers of a conversation, go at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    wrote: Option<Instant>,
    /// Writes in a row that followed the one before closely.
    close: u32,
}

/// What gathers waits no longer.
const GATHER: Duration = Duration::from_millis(25);
/// Closer than that is close.
const CLOSE: Duration = Duration::from_millis(50);
/// So many go at once, however close.
const CLOSE_MAX: u32 = 3;

impl Pace {
    /// Something was written; until when the next should gather, if it should.
    pub(super) fn wrote(&mut self, now: Instant) -> Option<Instant> {
        let before = self.wrote.replace(now);
        let is_close = before.is_some_and(|before| now < before + CLOSE);
        self.close = if is_close { self.close.saturating_add(1) } else { 0 };
        (self.close > CLOSE_MAX).then(|| now + GATHER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_closely_gathers_and_what_comes_after_a_pause_goes_at_once() {
        let start = Instant::now();
        let ms = |ms: u64| start + Duration::from_millis(ms);
        let mut pace = Pace::default();
        // When something is written, and until when the next gathers, in milliseconds.
        for (at, until) in [
            (0, None),
            (1, None), // hello, join and what a page is told first are answered at once
            (2, None),
            (3, None),
            (4, Some(29)),
            (29, Some(54)),
            (78, Some(103)),
            (128, None), // a pause
            (129, None),
            (130, None),
            (131, None),
            (132, Some(157)),
        ] {
            assert_eq!(pace.wrote(ms(at)), until.map(ms), "{at}");
        }
    }
}
