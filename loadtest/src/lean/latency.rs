//! Latency in the course of a run: one figure for minutes does not tell whether all of it was slow, or a moment.

use crate::histogram::Histogram;

/// Length of a window.
const WINDOW_US: u64 = 10_000_000;
/// An hour. What comes later counts in the last window.
const WINDOWS_MAX: usize = 360;

/// Latency of each window since the first packet that told it.
#[derive(Debug, Default)]
pub(super) struct Windows {
    began_us: Option<u64>,
    windows: Vec<Histogram>,
}

impl Windows {
    /// A packet that came at `at_us` had taken so long.
    pub(super) fn record(&mut self, at_us: u64, us: u64) {
        let began_us = *self.began_us.get_or_insert(at_us);
        let window = place(at_us.saturating_sub(began_us));
        if self.windows.len() <= window {
            self.windows.resize(window + 1, Histogram::default());
        }
        self.windows[window].record(us);
    }

    /// The windows that lie within two times as a whole; those in which nothing came are empty, also before the first packet.
    pub(super) fn between(&self, [from_us, to_us]: [u64; 2]) -> Vec<Histogram> {
        let began_us = self.began_us.unwrap_or(to_us).min(to_us);
        let before = place(began_us.saturating_sub(from_us));
        let from = place((from_us + WINDOW_US - 1).saturating_sub(began_us));
        let to = place(to_us - began_us);
        let windows = (from..to).map(|at| self.windows.get(at).cloned().unwrap_or_default());
        let empty = std::iter::repeat_n(Histogram::default(), before);
        empty.chain(windows).take(WINDOWS_MAX - 1).collect()
    }
}

fn place(us: u64) -> usize {
    usize::try_from(us / WINDOW_US).map_or(WINDOWS_MAX - 1, |window| window.min(WINDOWS_MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_within_two_times_are_told_and_no_others() {
        let (mut windows, second) = (Windows::default(), 1_000_000);
        let told = |windows: &Windows, from: u64, to: u64| {
            let windows = windows.between([from * second, to * second]);
            let most = windows.iter().map(|window| window.quantile_ms(1.0));
            most.map(|ms| ms.map(|ms| (ms / 5.0).round() as u64 * 5))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(&windows, 0, 1), []);
        assert_eq!(told(&windows, 95, 119), [None; 2], "nothing came at all");
        for at in 100..145 {
            windows.record(at * second, at * 1_000);
        }
        assert_eq!(told(&windows, 100, 130), [110, 120, 130].map(Some));
        assert_eq!(told(&windows, 101, 139), [120, 130].map(Some));
        assert_eq!(told(&windows, 105, 109), []);
        assert_eq!(told(&windows, 125, 171), [Some(140), Some(145), None, None]);
        assert_eq!(
            told(&windows, 79, 115),
            [None, None, Some(110)],
            "later than it began"
        );
        assert_eq!(told(&windows, 75, 95), [None; 2]);
        windows.record(u64::MAX, 7);
        assert_eq!(windows.windows.len(), WINDOWS_MAX);
        assert_eq!(told(&windows, 0, u64::MAX / second).len(), WINDOWS_MAX - 1);
    }
}
