//! Names: does the picture or voice belong to whom the slot message named?

use std::collections::VecDeque;

/// Announcements and observations kept per slot; the oldest are dropped.
const NAMES_MAX: usize = 64;
/// Observations of an unchanging source are at least this far apart.
const OBSERVE_US: u64 = 500_000;

/// What was announced for a slot, and what came.
#[derive(Debug, Default)]
pub(super) struct Names {
    announced: VecDeque<(u32, u32)>,
    observed: VecDeque<(Option<u32>, u32, u64)>,
}

/// An observation and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) csrc: Option<u32>,
    pub(super) time: u32,
    pub(super) named: Option<u32>,
}

impl Names {
    /// From RTP time `time` on the slot shows `source`.
    pub(super) fn announce(&mut self, source: u32, time: u32) {
        if self.announced.len() == NAMES_MAX {
            self.announced.pop_front();
        }
        self.announced.push_back((source, time));
    }

    /// The next observation up to a time and the name it has by now.
    pub(super) fn poll(&mut self, until_us: u64) -> Option<Compared> {
        self.observed.front().filter(|(_, _, at_us)| *at_us <= until_us)?;
        let (csrc, time, _) = self.observed.pop_front()?;
        Some(Compared {
            csrc,
            time,
            named: self.at(time),
        })
    }

    /// A unit came. Not each is compared: the first of a source, and some of those after it.
    pub(super) fn observe(&mut self, csrc: Option<u32>, time: u32, at_us: u64) {
        let fresh = self
            .observed
            .back()
            .is_none_or(|&(last, _, last_us)| last != csrc || at_us.saturating_sub(last_us) >= OBSERVE_US);
        if fresh {
            if self.observed.len() == NAMES_MAX {
                self.observed.pop_front();
            }
            self.observed.push_back((csrc, time, at_us));
        }
    }

    /// The page's rule: the last announcement whose time is not later.
    fn at(&self, time: u32) -> Option<u32> {
        let mut announced = self.announced.iter().rev();
        announced
            .find(|(_, from)| time.wrapping_sub(*from) <= i32::MAX as u32)
            .map(|&(source, _)| source)
    }
}
