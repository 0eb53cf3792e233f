//! A way on which nothing is sent, so that no feedback comes: what feedback moves on elsewhere, time does here.
//!
//! Who wants one picture alone and no voice is sent nothing but probes until its way is known to carry that picture. What the last feedback said, of a
//! queue too, is not true any more, and of what a probe showed nobody else will tell whether the line takes it.

use super::{ACKED_SPAN, Estimator, Micros, WAIT_GROW_MAX};

/// A way on which nothing was sent for so long from its beginning is tried with padding alone ...
pub(super) const UNTRIED: Micros = 300_000;
/// ... and again after so long, then twice as long, up to this: who tells nothing then never does.
pub(super) const UNTRIED_PAUSE: Micros = 5_000_000;
const UNTRIED_MAX: Micros = 40_000_000;

impl Estimator {
    /// All that was sent is told of, for a response time.
    pub(super) fn is_idle(&self) -> bool {
        self.idle_from().is_some_and(|from| self.at >= from)
    }

    /// From when on it is, unless something is sent.
    fn idle_from(&self) -> Option<Micros> {
        let told = self
            .told
            .filter(|_| self.silence.since().is_none() && !self.samples.are_few())?;
        Some(told + self.response())
    }

    /// What was told says nothing of now: all of it is told, or nothing is any more.
    pub(super) fn is_old(&self) -> bool {
        self.is_idle() || !self.is_heard()
    }

    /// From when on the way is tried with padding alone: nothing else was sent from the beginning, and nothing is told. Where something fits, its key
    /// frame has come by then.
    pub(super) fn untried_from(&self) -> Option<Micros> {
        self.untried.filter(|_| self.told.is_none()).map(|(from, _)| from)
    }

    /// A probe begins. Of one that is the first something may be told that gets lost: there are a few more, ever later.
    pub(super) fn try_again(&mut self, at: Micros) {
        let pause = self.untried.map_or(UNTRIED_MAX, |(_, pause)| pause);
        self.untried = (pause < UNTRIED_MAX).then_some((at + pause, pause * 2));
    }

    /// When [`Self::move_on`] has something to do, or probes may begin that may not now.
    pub(super) fn moves_on(&self) -> Option<Micros> {
        let strides_at = self.rate.strides_at();
        let is_full = self.congested || self.delay.queue.wait() > WAIT_GROW_MAX;
        let waits =
            strides_at.is_some() || is_full || self.silence.is_told() || !self.acked.is_known(ACKED_SPAN);
        if let Some(since) = self.silence.since() {
            let unheard = since + self.patience();
            return (waits && self.at < unheard).then_some(unheard);
        }
        let from = self.idle_from().filter(|_| waits)?;
        if self.at < from {
            return Some(from);
        }
        strides_at.map(|at| at.max(from))
    }

    /// The next stride towards what a probe showed.
    pub(super) fn move_on(&mut self, at: Micros) {
        if self.is_idle() {
            self.rate.stride(at, self.response());
        }
    }
}
