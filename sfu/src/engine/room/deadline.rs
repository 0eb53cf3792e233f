//! When an endpoint wants to be told the time, and whether a packet may have brought that nearer.

use std::time::Instant;

use super::{super::packet::soonest, endpoint::Endpoint};

impl Endpoint {
    /// When it next wants to be told the time.
    pub(super) fn poll_timeout(&mut self) -> Option<Instant> {
        let checks = self.sources.iter().filter_map(|source| source.check_at).min();
        let again = soonest(self.repeats.poll_timeout(), self.ahead.poll_timeout());
        [self.report_at, checks, again, self.way_timeout()]
            .into_iter()
            .fold(self.uplink.poll_timeout(), soonest)
    }

    /// The same for its way alone.
    pub(super) fn way_timeout(&self) -> Option<Instant> {
        self.way.poll_timeout(self.can_pad)
    }

    /// What was sent to it since the last call may bring nearer when it wants to be told the time: nothing else that sending does can.
    pub(super) fn take_sooner(&mut self) -> bool {
        let goes_again = self.repeats.is_on() || self.ahead.is_on();
        std::mem::take(&mut self.sooner) | self.way.take_sooner() | goes_again
    }
}
