//! What is known of a way, for those who look at it.

use std::time::Duration;

use super::{ACKED_SPAN, Estimator, LIMITED_BELOW, Trend};
use crate::engine::units::Bitrate;

/// What the estimator knows, for inspection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EstimatorState {
    /// See [`Estimator::target`].
    pub target: Bitrate,
    /// What arrives, by the receiver's clock; none before it was measured.
    pub acked: Option<Bitrate>,
    /// Share of packets lost in the last second, 0 to 1.
    pub loss: f64,
    /// See [`Estimator::wait`].
    pub wait: Duration,
    /// What that wait does.
    pub trend: Trend,
    /// Its slope, on the scale of the detector's threshold, ms.
    pub slope: f64,
    /// See [`Estimator::is_congested`].
    pub is_congested: bool,
    /// Packets are lost, but not because of what is sent.
    pub is_random_loss: bool,
    /// Less is sent than the target allows: the target does not grow by itself.
    pub is_app_limited: bool,
    /// A probe is under way.
    pub is_probing: bool,
    /// The receiver tells what arrives. Otherwise its reports and REMB are the law.
    pub is_transport_wide: bool,
}

impl Estimator {
    /// All of it, for inspection.
    pub fn state(&self) -> EstimatorState {
        let verdict = self.loss.verdict();
        let sent = self.sent_rate.rate(ACKED_SPAN).unwrap_or(0.0);
        EstimatorState {
            target: self.target(),
            acked: self.acked.rate(ACKED_SPAN).map(|rate| Bitrate::bps(rate as u64)),
            loss: verdict.share,
            wait: self.wait(),
            trend: self.delay.trend(),
            slope: self.delay.slope(),
            is_congested: self.is_congested(),
            is_random_loss: verdict.random,
            is_app_limited: sent < self.rate.target() * LIMITED_BELOW,
            is_probing: self.probes.running(),
            is_transport_wide: self.told.is_some(),
        }
    }
}
