//! What the uplink tells the sender: reports, requests for key frames and for what is missing.

use std::time::{Duration, Instant};

use super::{
    super::{
        id::{SourceKind, Ssrc},
        inbound::Inbound,
        packet::soonest,
    },
    PAUSE, Uplink,
};
use crate::wire::rtcp::Builder;

/// Least time between two batches of NACKs of an endpoint.
const NACK_TICK: Duration = Duration::from_millis(8);
/// Sources that have key frames.
const VIDEO: [SourceKind; 2] = [SourceKind::Camera, SourceKind::Screen];
/// Canonical name of the node in its reports (RFC 3550 §6.5.1). It says nothing about the machine.
pub const CNAME: &[u8] = b"diemcau";

impl Uplink {
    pub(super) fn feedback_due(&self) -> Option<Instant> {
        let nack = self.inbounds().map(Inbound::due).fold(None, soonest);
        let nack = nack.map(|due| self.nacked.map_or(due, |at| due.max(at + NACK_TICK)));
        let key_frame = VIDEO
            .into_iter()
            .map(|source| {
                let due = self.brokers[source as usize].due(self.repair_time.get())?;
                self.lowest_live(source).map(|_| due)
            })
            .fold(None, soonest);
        soonest(
            soonest(nack, key_frame),
            soonest(self.transport.due(), self.report_due),
        )
    }

    pub(super) fn write_reports(&mut self, builder: &mut Builder<'_>) {
        if self.report_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.reports = self.reports.wrapping_add(1);
        self.report_due = Some(self.now + report_interval(self.own, self.reports));
        let blocks: Vec<_> = self
            .layers
            .iter_mut()
            .filter_map(|l| l.inbound.as_mut()?.report(self.now))
            .collect();
        if !blocks.is_empty() {
            // At most eight blocks and a name of seven bytes: they fit an empty compound.
            let _ = builder.receiver_report(self.own.0, &blocks);
            let _ = builder.source_description(self.own.0, CNAME);
        }
    }

    pub(super) fn write_key_frame_requests(&mut self, builder: &mut Builder<'_>) {
        for source in VIDEO {
            let Some(ssrc) = self.lowest_live(source) else {
                continue;
            };
            self.forget_stopped(source);
            if self.brokers[source as usize].poll(self.now, self.repair_time.get()) {
                self.stats.key_frame_requests += 1;
                let _ = builder.picture_loss(self.own.0, ssrc.0); // 12 bytes behind one report: they fit
            }
        }
    }

    pub(super) fn write_nacks(&mut self, builder: &mut Builder<'_>) {
        if self.nacked.is_some_and(|at| self.now < at + NACK_TICK) {
            return;
        }
        for inbound in self.layers.iter_mut().filter_map(|l| l.inbound.as_mut()) {
            // At worst each number takes four bytes, behind twelve of header.
            let limit = builder.room().saturating_sub(12) / 4;
            self.numbers.clear();
            inbound.ask(self.now, self.repair_time, limit, &mut self.numbers);
            if !self.numbers.is_empty() {
                self.nacked = Some(self.now);
                self.stats.nacked += self.numbers.len() as u64;
                let _ = builder.nack(self.own.0, inbound.ssrc.0, &self.numbers); // within its limit
            }
        }
    }

    /// A layer that rests while another one of its source goes on was stopped, and nobody waits for it.
    fn forget_stopped(&mut self, source: SourceKind) {
        let all = self.streams.layers().iter().zip(&self.layers);
        let sent = all.filter_map(|(id, layer)| {
            let inbound = layer.inbound.as_ref().filter(|_| id.source == source)?;
            Some((id.layer, inbound.last_packet))
        });
        let newest = sent.clone().map(|(_, last)| last).max();
        for (layer, last) in sent {
            if newest.is_some_and(|newest| newest.saturating_duration_since(last) > PAUSE) {
                self.brokers[source as usize].forget(layer);
            }
        }
    }

    /// SSRC of the lowest layer that sends now, else of the lowest that ever sent.
    fn lowest_live(&self, source: SourceKind) -> Option<Ssrc> {
        let mut sending = self
            .streams
            .layers()
            .iter()
            .zip(&self.layers)
            .filter_map(|(id, layer)| {
                let inbound = layer.inbound.as_ref().filter(|_| id.source == source)?;
                Some((
                    self.now.saturating_duration_since(inbound.last_packet) <= PAUSE,
                    inbound.ssrc,
                ))
            });
        let first = sending.next()?;
        if first.0 {
            Some(first.1)
        } else {
            Some(sending.find(|s| s.0).unwrap_or(first).1)
        }
    }
}

/// About a second, another for each report and endpoint, so that those of a room do not come in step.
pub(super) fn report_interval(own: Ssrc, reports: u32) -> Duration {
    let varied = own.0.wrapping_add(reports).wrapping_mul(0x9E37_79B1) >> 16;
    Duration::from_millis(800 + u64::from(varied % 400))
}
