//! A way on which nothing is sent, so that no feedback comes: what feedback moves on elsewhere, time does here.
//!
//! Who wants one picture alone and no voice is sent nothing but probes until its way is known to carry that picture. What the last feedback said, of a
//! queue too, is not true any more, and of what a probe showed nobody else will tell whether the line takes it.

use super::{ACKED_SPAN, Estimator, Micros, WAIT_GROW_MAX};

impl Estimator {
    /// All that was sent is told of, for a response time.
    pub(super) fn is_idle(&self) -> bool {
        self.idle_from().is_some_and(|from| self.at >= from)
    }

    /// From when on it is, unless something is sent.
    fn idle_from(&self) -> Option<Micros> {
        let told = self
            .told
            .filter(|_| self.silence.is_answered() && !self.samples.are_few())?;
        Some(told + self.response())
    }

    /// When [`Self::move_on`] has something to do, or probes may begin that may not now.
    pub(super) fn moves_on(&self) -> Option<Micros> {
        let strides_at = self.rate.strides_at();
        let is_full = self.congested || self.delay.queue.wait() > WAIT_GROW_MAX;
        let waits = strides_at.is_some() || is_full || !self.acked.is_known(ACKED_SPAN);
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
