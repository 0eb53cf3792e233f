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
    observed: VecDeque<Observed>,
}

#[derive(Debug, Clone, Copy)]
struct Observed {
    csrc: Option<u32>,
    time: u32,
    at_us: u64,
    resumes: bool,
}

/// An observation and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    pub(super) csrc: Option<u32>,
    pub(super) time: u32,
    pub(super) named: Option<u32>,
    /// The source came back after a pause, but the slot message does not tell that it began anew.
    pub(super) unexplained: bool,
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
        self.observed
            .front()
            .filter(|observed| observed.at_us <= until_us)?;
        let Observed {
            csrc, time, resumes, ..
        } = self.observed.pop_front()?;
        let begins = self
            .announced
            .iter()
            .any(|&(source, from)| Some(source) == csrc && from == time);
        Some(Compared {
            csrc,
            time,
            named: self.at(time),
            unexplained: resumes && !begins,
        })
    }

    /// A unit came. Not each is compared: the first of a source, the first after a pause, and some of those after it.
    pub(super) fn observe(&mut self, csrc: Option<u32>, time: u32, at_us: u64, resumes: bool) {
        let same = |last: &Observed| last.csrc == csrc && at_us.saturating_sub(last.at_us) < OBSERVE_US;
        if !resumes && self.observed.back().is_some_and(same) {
            return;
        }
        if self.observed.len() == NAMES_MAX {
            self.observed.pop_front();
        }
        self.observed.push_back(Observed {
            csrc,
            time,
            at_us,
            resumes,
        });
    }

    /// The page's rule: the last announcement whose time is not later.
    fn at(&self, time: u32) -> Option<u32> {
        let mut announced = self.announced.iter().rev();
        announced
            .find(|(_, from)| time.wrapping_sub(*from) <= i32::MAX as u32)
            .map(|&(source, _)| source)
    }
}
