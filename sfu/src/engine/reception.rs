//! How much of a stream the path lets through.

use std::time::{Duration, Instant};

use super::{
    id::Ssrc,
    seq::{RtpTime, Seq},
};
use crate::wire::rtcp::ReportBlock;

/// The figures of receiver reports (RFC 3550 §6.4.1). They are of the path: a packet that was repaired stays lost.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) base: Seq,
    pub(super) received: u64,
    expected_before: u64,
    received_before: u64,
    /// In 1/16 ticks.
    pub(super) jitter: i64,
    transit: Option<i64>,
    pub(super) last_report: Option<(u32, Instant)>,
}

impl Reception {
    pub(super) fn new(base: Seq) -> Self {
        Self {
            base,
            received: 1,
            expected_before: 0,
            received_before: 0,
            jitter: 0,
            transit: None,
            last_report: None,
        }
    }

    pub(super) fn arrived(&mut self, ticks: i64, time: RtpTime) {
        let transit = ticks.wrapping_sub(time.0 as i64);
        if let Some(before) = self.transit.replace(transit) {
            // A sender's leap in RTP time is no jitter; the clamp keeps the sum in its field.
            let difference = transit.wrapping_sub(before).saturating_abs().min(1 << 24);
            self.jitter += difference - (self.jitter + 8) / 16;
        }
    }

    /// How many packets should have come, the highest one being `highest`.
    pub(super) fn expected(&self, highest: Seq) -> u64 {
        highest.0 - self.base.0 + 1
    }

    pub(super) fn report(&mut self, now: Instant, ssrc: Ssrc, highest: Seq) -> Option<ReportBlock> {
        if self.received == self.received_before {
            return None;
        }
        let expected = self.expected(highest);
        let expected_now = expected - self.expected_before;
        let received_now = self.received - self.received_before;
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let lost = i64::try_from(expected).unwrap_or(i64::MAX) - i64::try_from(self.received).unwrap_or(0);
        let (last_sr, since) = self
            .last_report
            .map_or((0, Duration::ZERO), |(sr, at)| (sr, now - at));
        Some(ReportBlock {
            ssrc: ssrc.0,
            fraction_lost: (lost_now * 256 / expected_now.max(1)).min(255) as u8,
            lost: lost.clamp(-(1 << 23), (1 << 23) - 1) as i32,
            highest_sequence: (highest.0 - (1 << 16)) as u32,
            jitter: (self.jitter / 16) as u32,
            last_sr,
            delay_since_sr: u32::try_from(since.as_micros() * 65_536 / 1_000_000).unwrap_or(u32::MAX),
        })
    }
}
