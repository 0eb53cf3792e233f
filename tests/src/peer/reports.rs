//! What a point asks for and tells the node: lost packets, key frames, feedback, reports.

use std::time::{Duration, Instant};

use sfu::{
    engine::packet::NegotiatedSlot,
    wire::rtcp::{Builder, ReportBlock, SenderInfo},
};

use super::{COMPOUND_BYTES_MAX, Peer};
use crate::{encoder::Sender, feedback::Feedback};

/// Shares of fewer packets are chance.
const LOSS_OF_MIN: u64 = 20;

impl Peer {
    /// What arrived since the last time, if it tells that.
    pub fn feedback(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let own = self.number.get() * 1_000 + 1;
        match self.script.feedback {
            Feedback::TransportWide => self.arrivals.report(own),
            Feedback::Reports => Vec::new(),
            Feedback::Remb => {
                let ssrcs: Vec<u32> = self.media.slots.iter().map(|slot| slot.ssrc.0).collect();
                let lost = self.lost_share();
                self.arrivals.remb(now, own, &ssrcs, lost).into_iter().collect()
            }
        }
    }

    /// It lies about when those packets arrived that it has not spoken of yet.
    pub fn bend_arrivals(&mut self, bend: impl FnMut(i64) -> i64) {
        self.arrivals.bend(bend);
    }

    /// Share of what was sent to all its slots that is missing, since the last report; nothing is said of fewer than [`LOSS_OF_MIN`] packets.
    fn lost_share(&self) -> f64 {
        let (mut expected, mut received) = (0, 0);
        for (slot, receiver) in &self.receivers {
            let Some(highest) = receiver.highest else { continue };
            let (before, got) = self
                .reported
                .get(slot)
                .copied()
                .unwrap_or((highest, receiver.received));
            expected += highest - before;
            received += receiver.received - got;
        }
        if expected < LOSS_OF_MIN {
            return 0.0;
        }
        1.0 - (received as f64 / expected as f64).min(1.0)
    }

    /// Requests that are due: lost packets and key frames.
    pub fn ask(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let own = self.number.get() * 1_000 + 1;
        let mut builder = Builder::new(&mut out, COMPOUND_BYTES_MAX);
        for slot in &self.media.slots {
            let Some(receiver) = self.receivers.get_mut(&slot.slot) else {
                continue;
            };
            let (lost, key) = receiver.ask(now, self.rtt);
            if self.script.repairs && slot.rtx_ssrc.is_some() && !lost.is_empty() {
                builder.nack(own, slot.ssrc.0, &lost).ok()?;
            }
            if key {
                builder.picture_loss(own, slot.ssrc.0).ok()?;
            }
        }
        (!out.is_empty()).then_some(out)
    }

    /// Reports of what it sends and receives, each second. Its page looks at the same time whether voices must wait longer.
    pub fn report(&mut self, now: Instant) -> Vec<u8> {
        self.buffers.adjust(now, &mut self.receivers, self.script.red);
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, COMPOUND_BYTES_MAX);
        let slots = self.media.slots.clone();
        let blocks: Vec<ReportBlock> = slots
            .iter()
            .filter_map(|slot| self.block(now, slot))
            .take(20)
            .collect();
        builder
            .receiver_report(self.number.get() * 1_000 + 1, &blocks)
            .expect("the first packet fits");
        let age = now - self.started;
        let mut senders: Vec<(&Sender, u32)> = self.mic.iter().map(|mic| (&mic.sender, 48_000)).collect();
        senders.extend(
            self.camera
                .iter()
                .flat_map(|camera| camera.layers.iter().map(|layer| (&layer.sender, 90_000))),
        );
        for (sender, _) in senders.iter().filter(|(sender, _)| sender.packets > 0) {
            // The clock of this sender: seconds since 1900 at its start, by its number, so that senders differ.
            let ntp = (u64::from(3_900_000_000 + self.number.get()) << 32) + ntp_fraction(age);
            let info = SenderInfo {
                ntp,
                rtp: sender.timestamp,
                packets: sender.packets,
                octets: sender.bytes,
            };
            builder
                .sender_report(sender.ssrc, &info, &[])
                .expect("four reports fit");
        }
        out
    }

    fn block(&mut self, now: Instant, slot: &NegotiatedSlot) -> Option<ReportBlock> {
        let receiver = self.receivers.get(&slot.slot)?;
        let (first, highest) = (receiver.first?, receiver.highest?);
        let (ntp, reported) = self.reports.get(&slot.ssrc.0).copied().unwrap_or((0, now));
        let lost = (highest - first + 1).saturating_sub(receiver.received);
        let counts = (highest, receiver.received);
        let (before, got) = self.reported.insert(slot.slot, counts).unwrap_or((first, 1));
        let (expected, came) = (highest - before, counts.1 - got);
        // RFC 3550 A.3: in 256ths, of this interval; late packets may make it less than nothing.
        let fraction_lost = expected.saturating_sub(came) * 256 / expected.max(1);
        Some(ReportBlock {
            ssrc: slot.ssrc.0,
            fraction_lost: fraction_lost.min(255) as u8,
            lost: lost as i32,
            highest_sequence: highest as u32,
            jitter: 0,
            last_sr: (ntp >> 16) as u32,
            delay_since_sr: ((now - reported).as_micros() * 65_536 / 1_000_000) as u32,
        })
    }
}

/// A duration as NTP 32.32 fixed point.
fn ntp_fraction(time: Duration) -> u64 {
    (time.as_secs() << 32) + (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000
}
