//! What receivers and senders report.

use std::time::{Duration, Instant};

use super::{
    super::{
        id::{EndpointId, MediaKind, SlotId, Ssrc},
        outbound::Raised,
        slot::Lost,
        units::Bitrate,
    },
    Room,
};
use crate::wire::rtcp::{self, Nack, ReportBlock, Rtcp, TransportFeedback};

/// Packets sent again because of one datagram. The rest is refused and counted; the receiver asks again.
const REPAIRS_MAX: usize = 256;
/// Repairs that wait to be earned take no more than what the way carries in this time.
const REPAIRS_TIME: Duration = Duration::from_millis(250);
/// Statuses of transport-wide feedback that are read from one datagram; a lying header could name millions. The rest is left unread.
const STATUSES_MAX: usize = 4_096;
/// Packets of a compound that are looked at, more than an honest one has.
const PACKETS_MAX: usize = 64;
/// Second of the NTP era at which a room's clock begins. Only differences have a meaning.
const NTP_EPOCH_SECONDS: u64 = 3_900_000_000;

/// What is left of the work that one datagram may cause.
struct Budget {
    repairs: usize,
    statuses: usize,
}

impl Room {
    /// One compound RTCP packet in plaintext from `from`. Bounded work, whatever is in it.
    pub fn handle_rtcp(&mut self, now: Instant, from: EndpointId, compound: &[u8]) {
        let now = self.advance(now);
        if !self.endpoints.contains(from) {
            self.stats.commands_refused += 1;
            return;
        }
        let mut budget = Budget {
            repairs: REPAIRS_MAX,
            statuses: STATUSES_MAX,
        };
        for packet in rtcp::packets(compound).take(PACKETS_MAX) {
            match packet {
                // It comes twenty times a second and is not touched for it: there is nothing to say to that.
                Ok(Rtcp::TransportFeedback(feedback)) => {
                    self.handle_feedback(now, from, &feedback, &mut budget);
                }
                Ok(packet) => {
                    self.handle_rtcp_packet(now, from, &packet, &mut budget);
                    self.touch(from);
                }
                Err(_) => self.stats.rtcp_malformed += 1,
            }
        }
    }

    fn handle_rtcp_packet(&mut self, now: Instant, from: EndpointId, packet: &Rtcp<'_>, budget: &mut Budget) {
        if self
            .endpoints
            .get_mut(from)
            .is_some_and(|endpoint| endpoint.way.heard())
        {
            self.estimate_changed(now, from);
        }
        let Some(endpoint) = self.endpoints.get_mut(from) else {
            return;
        };
        match packet {
            Rtcp::SenderReport(report) => {
                endpoint.uplink.handle_sender_report(
                    now,
                    Ssrc(report.ssrc),
                    report.info.ntp,
                    report.info.rtp,
                );
                report
                    .reports()
                    .for_each(|block| self.handle_block(now, from, &block));
            }
            Rtcp::ReceiverReport(report) => {
                report
                    .reports()
                    .for_each(|block| self.handle_block(now, from, &block));
            }
            Rtcp::Goodbye(bye) => {
                bye.ssrcs()
                    .for_each(|ssrc| endpoint.uplink.handle_bye(now, Ssrc(ssrc)));
            }
            Rtcp::Nack(nack) => self.handle_nack(now, from, nack, budget),
            Rtcp::PictureLoss(request) => self.handle_key_frame_request(now, from, Ssrc(request.media_ssrc)),
            Rtcp::Fir(fir) => fir
                .entries()
                .take(PACKETS_MAX)
                .for_each(|(ssrc, _)| self.handle_key_frame_request(now, from, Ssrc(ssrc))),
            Rtcp::Remb(remb) => {
                endpoint.way.handle_remb(now, Bitrate::bps(remb.bitrate));
                self.estimate_changed(now, from);
            }
            Rtcp::TransportFeedback(_) => {} // never comes here
            Rtcp::SourceDescription(_) | Rtcp::Other { .. } => {}
        }
    }

    fn handle_block(&mut self, now: Instant, from: EndpointId, block: &ReportBlock) {
        let ntp = ntp(now.saturating_duration_since(self.epoch));
        let Some(endpoint) = self.endpoints.get_mut(from) else {
            return;
        };
        let Some(slot) = endpoint.slot_of(Ssrc(block.ssrc)) else {
            self.stats.rtcp_unknown += 1;
            return;
        };
        let round_trip =
            endpoint
                .outbound
                .handle_round_trip((ntp >> 16) as u32, block.last_sr, block.delay_since_sr);
        if let Some(round_trip) = round_trip {
            endpoint.way.handle_round_trip(now, round_trip);
        }
        endpoint.way.handle_report_loss(now, block.fraction_lost);
        if slot.kind == MediaKind::Video && block.fraction_lost > 0 {
            endpoint.outbound.handle_loss(now);
        }
        // Who tells of single packets tells more than a report does.
        if !endpoint.tells_packets() {
            endpoint.window.handle_block(block);
            let is_voice = slot.kind == MediaKind::Audio;
            if is_voice && endpoint.loss_told(now, block.fraction_lost.into(), 256) {
                self.plan_now(now);
            }
        }
        self.estimate_changed(now, from);
    }

    fn handle_feedback(
        &mut self,
        now: Instant,
        from: EndpointId,
        feedback: &TransportFeedback<'_>,
        budget: &mut Budget,
    ) {
        let age = now.saturating_duration_since(self.epoch);
        let Some(endpoint) = self.endpoints.get_for_packet(from) else {
            return;
        };
        let (before, was_due) = (endpoint.way.loss(), endpoint.way_timeout());
        budget.statuses -= endpoint
            .way
            .handle_feedback((now, age), feedback, budget.statuses);
        let after = endpoint.way.loss();
        let lost = after.lost - before.lost;
        let all = lost + after.arrived - before.arrived;
        let needs_plan = endpoint.loss_told(now, lost, all);
        let change = endpoint.way.follow(now);
        if endpoint.way_timeout() != was_due {
            self.endpoints.ask(from);
        }
        if needs_plan {
            self.plan_now(now); // with the estimate as it is now, too
        } else {
            self.way_changed(now, change);
        }
    }

    fn handle_nack(&mut self, now: Instant, from: EndpointId, nack: &Nack<'_>, budget: &mut Budget) {
        let Some(slot) = self
            .endpoints
            .get(from)
            .and_then(|e| e.slot_of(Ssrc(nack.media_ssrc)))
        else {
            self.stats.rtcp_unknown += 1;
            return;
        };
        // Repairs share their numbers with packets that were overtaken.
        self.distribute();
        let late = self.late_of(from, slot);
        for number in nack.lost() {
            if budget.repairs == 0 {
                self.stats.refused.budget += 1;
                continue;
            }
            budget.repairs -= 1;
            self.repair(now, from, slot, number, late);
        }
    }

    fn repair(&mut self, now: Instant, from: EndpointId, slot: SlotId, number: u16, late: Raised) {
        let Some(endpoint) = self.endpoints.get_mut(from) else {
            return;
        };
        let refused = &mut self.stats.refused;
        let pause = endpoint.outbound.round_trip();
        let is_full = endpoint.way.is_congested();
        let lost = endpoint
            .slot_mut(slot)
            .map_or(Err(Lost::Unknown), |slot| slot.lost(now, number, pause));
        let packet = match lost {
            Ok(packet) => packet,
            Err(Lost::Unknown) => return refused.unknown += 1,
            Err(Lost::Recent) => return refused.recent += 1,
        };
        endpoint.outbound.handle_loss(now);
        // The key frame takes the decoder past it; what little the way carries is for what comes behind that.
        if endpoint
            .slot(slot)
            .is_some_and(|slot| slot.is_past(packet.sequence, is_full))
        {
            return refused.past += 1;
        }
        if self.histories.get(now, packet.at()).is_none() {
            return refused.gone += 1;
        }
        let carried = endpoint.way.planned().over(REPAIRS_TIME).as_bytes();
        endpoint.outbound.limit_repairs(carried);
        if !endpoint.outbound.spend_repair(packet.size) {
            return refused.budget += 1;
        }
        if let Some(repair) = endpoint.repair(now, slot, &packet, late) {
            self.stats.repaired += 1;
            self.forwards.extend(repair);
        }
    }

    /// A receiver cannot decode what a slot shows.
    fn handle_key_frame_request(&mut self, now: Instant, from: EndpointId, ssrc: Ssrc) {
        // What it asks for may be in the batch.
        self.distribute();
        let Some(endpoint) = self.endpoints.get(from) else {
            return;
        };
        let slot = endpoint.slot_of(ssrc).and_then(|id| endpoint.slot(id));
        let Some(slot) = slot.filter(|slot| slot.id.kind == MediaKind::Video) else {
            self.stats.rtcp_unknown += 1;
            return;
        };
        self.stats.key_frame_requests += 1;
        if let Some(shown) = slot.shown() {
            self.ask(now, shown.source, shown.layer);
        }
    }

    /// Playout delay that the source shown in a slot asks for.
    fn late_of(&self, endpoint: EndpointId, slot: SlotId) -> Raised {
        let shown = self.endpoints.get(endpoint).and_then(|e| e.slot(slot)?.shown());
        shown
            .and_then(|shown| self.source(shown.source))
            .map(|source| source.late)
            .unwrap_or_default()
    }
}

/// NTP time in a room of that age: seconds since 1900 in the high half, their fraction in the low half.
pub(super) fn ntp(age: Duration) -> u64 {
    let fraction = (u64::from(age.subsec_nanos()) << 32) / 1_000_000_000;
    ((NTP_EPOCH_SECONDS + age.as_secs()) << 32) | fraction
}
