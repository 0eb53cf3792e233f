//! What a point says: requests for what is missing, feedback, reports, and its media.

use std::time::Instant;

use sfu::wire::rtcp::{Builder, ReportBlock, SenderInfo};

use super::{COMPOUND_MAX, Judge, OWN_SSRC, Point, REPORT_PAUSE, Slot, TICK};
use crate::{
    lean::egress::{Egress, Way},
    sender::Now,
};

impl Point {
    /// Asks for what is missing.
    pub(super) fn ask(&mut self, now: Now, egress: &mut Egress) {
        let mut compound = Vec::new();
        let mut missing = Vec::new();
        let mut waits = false;
        for slot in self.slots.iter_mut().filter(|_| self.judging) {
            missing.clear();
            let key = match &mut slot.judge {
                Judge::Headers(tally) => {
                    if !tally.is_waiting() {
                        continue;
                    }
                    waits = true;
                    tally.poll_nacks(now.us, &mut missing);
                    tally.poll_key_frame_request(now.us)
                }
                Judge::Whole(check) => {
                    waits = true;
                    missing = check.poll_nacks(now.us);
                    check.poll_key_frame_request(now.us)
                }
            };
            let mut builder = Builder::new(&mut compound, COMPOUND_MAX);
            // Voices are not repaired. What does not fit is asked for at the next look.
            if slot.judge.is_of_pictures() && !missing.is_empty() {
                self.nacks += u64::from(builder.nack(OWN_SSRC, slot.ssrc, &missing).is_ok());
            }
            if key {
                self.key_frame_requests += u64::from(builder.picture_loss(OWN_SSRC, slot.ssrc).is_ok());
            }
        }
        if waits && self.next_tick.is_none() {
            self.next_tick = Some(now.instant + TICK);
        }
        if !compound.is_empty() {
            self.send_rtcp(egress, &compound);
        }
    }

    /// Feedback and reports.
    pub(super) fn say(&mut self, now: Now, egress: &mut Egress) {
        let Some(transport) = &mut self.transport else {
            self.next_report = now.instant + REPORT_PAUSE;
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        let Some((sealer, _)) = transport.contexts() else {
            self.next_report = self.next_report.max(now.instant + REPORT_PAUSE / 2);
            return;
        };
        let media = self.slots.first().map_or(0, |slot| slot.ssrc);
        self.feedback
            .poll(now.instant, media, COMPOUND_MAX, &mut |compound| {
                egress.send_rtcp(&way, sealer, compound);
            });
        if self.next_report <= now.instant {
            self.next_report = now.instant + REPORT_PAUSE;
            let blocks: Vec<ReportBlock> = self
                .slots
                .iter_mut()
                .filter_map(|slot| block(slot, now))
                .collect();
            let mut compound = Vec::new();
            let written = Builder::new(&mut compound, COMPOUND_MAX).receiver_report(OWN_SSRC, &blocks);
            if written.is_ok() && !blocks.is_empty() {
                egress.send_rtcp(&way, sealer, &compound);
            }
        }
    }

    /// Sends media and the reports about it.
    pub(super) fn flush(&mut self, egress: &mut Egress) {
        if self.packets.is_empty() && self.reports.is_empty() {
            return;
        }
        let mut compound = Vec::new();
        let mut builder = Builder::new(&mut compound, COMPOUND_MAX);
        for report in self.reports.drain(..) {
            let info = SenderInfo {
                ntp: report.ntp_time,
                rtp: report.rtp_time,
                packets: report.packet_count,
                octets: report.octet_count,
            };
            // At most four of 28 bytes and their names fit.
            let _ = builder.sender_report(report.ssrc, &info, &[]);
            let _ = builder.source_description(report.ssrc, b"point");
        }
        let packets = std::mem::take(&mut self.packets);
        if let Some(transport) = &mut self.transport {
            let way = Way {
                socket: &self.socket,
                state: &self.state,
                to: transport.remote(),
            };
            if let Some((sealer, _)) = transport.contexts() {
                self.not_sent += egress.send_rtp(&way, sealer, &packets);
                if !compound.is_empty() {
                    egress.send_rtcp(&way, sealer, &compound);
                }
            }
        }
        self.packets = packets;
        self.packets.clear();
    }

    pub(super) fn send_rtcp(&mut self, egress: &mut Egress, compound: &[u8]) {
        let Some(transport) = &mut self.transport else {
            return;
        };
        let way = Way {
            socket: &self.socket,
            state: &self.state,
            to: transport.remote(),
        };
        if let Some((sealer, _)) = transport.contexts() {
            egress.send_rtcp(&way, sealer, compound);
        }
    }
}

/// What is reported of a slot; nothing if nothing came since the last report.
fn block(slot: &mut Slot, now: Now) -> Option<ReportBlock> {
    let Judge::Headers(tally) = &mut slot.judge else {
        return None;
    };
    let (fraction_lost, lost, highest_sequence) = tally.poll_report()?;
    let since = |at: Instant| now.instant.saturating_duration_since(at);
    let (last_sr, delay) = slot.last_report.map_or((0, 0), |(middle, at)| {
        (middle, (since(at).as_micros() * 65_536 / 1_000_000) as u32)
    });
    Some(ReportBlock {
        ssrc: slot.ssrc,
        fraction_lost,
        lost,
        highest_sequence,
        jitter: 0,
        last_sr,
        delay_since_sr: delay,
    })
}
