//! One receive stream of an endpoint: what it shows, its numbers, and what it could send again.

use std::time::{Duration, Instant};

use super::{
    id::{EndpointId, MediaKind, ShortId, SlotId, SourceNumber, Ssrc},
    packet::{
        Codec, ExtensionIds, Forward, NegotiatedSlot, OutgoingHeader, PayloadPatch, PayloadType, Purpose,
        StreamOrigin,
    },
    redundancy::{Recent, Redundancy},
    rewriter::{Rewriter, Rewritten, Skip},
    ring::Ring,
    selector::{LayerSet, LayerStream, Selector, Target, Verdict},
    seq::{RtpTime, Seq},
};
pub use super::{
    numbered::{Numbered, Offered},
    source_packet::{Lost, Reason, SourcePacket},
};

/// One receive stream of an endpoint.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub struct Slot {
    /// Its name.
    pub id: SlotId,
    /// Of what is shown.
    codec: Option<Codec>,
    /// See [`Slot::is_lowered`].
    lowered: bool,
    /// The layer that flowed when pictures were left out.
    left: Option<u8>,
    /// Its SSRC.
    pub ssrc: Ssrc,
    /// SSRC of its repairs.
    rtx_ssrc: Option<Ssrc>,
    payloads: Payloads,
    /// Id of the dependency descriptor.
    dependency: Option<u8>,
    /// Something was sent since the last sender report.
    pub unreported: bool,
    /// A sender report is to go out now.
    pub report_due: bool,
    selector: Selector,
    /// Highest number that went out first time.
    newest: Option<Seq>,
    sent_packets: u32,
    sent_octets: u32,
    /// Its source and RTP time.
    last: Option<(SourceNumber, u32)>,
    mid: Option<(u8, ShortId)>,
    recent: Recent,
    rewriter: Rewriter,
    ring: Ring,
    rtx_next: u16,
    /// Since when it is to show the source it is to show now.
    aimed: Option<Instant>,
    /// The source told to the client last, and since when.
    told: Option<(SourceNumber, u32)>,
    /// Pictures were left out since: when it goes on it is told again.
    interrupted: bool,
}

impl Slot {
    /// A slot that shows nothing.
    pub fn new(slot: &NegotiatedSlot, extensions: &ExtensionIds, origin: StreamOrigin) -> Self {
        let rate = match slot.slot.kind {
            MediaKind::Audio => Codec::Opus.clock_rate(),
            MediaKind::Video => Codec::Vp8.clock_rate(),
        };
        Self {
            id: slot.slot,
            ssrc: slot.ssrc,
            rtx_ssrc: slot.rtx_ssrc,
            mid: extensions.mid.map(|id| (id, slot.mid)),
            dependency: slot.dependency,
            payloads: Payloads::new(&slot.payloads),
            selector: Selector::default(),
            lowered: false,
            left: None,
            codec: None,
            rewriter: Rewriter::new(slot.slot.kind, rate, origin),
            recent: Recent::new(slot.red),
            ring: Ring::new(slot.slot),
            rtx_next: origin.rtx_sequence,
            newest: None,
            last: None,
            sent_packets: 0,
            sent_octets: 0,
            unreported: false,
            report_due: false,
            aimed: None,
            told: None,
            interrupted: false,
        }
    }

    /// What flows.
    pub fn shown(&self) -> Option<LayerStream> {
        self.selector.shown()
    }

    /// The layer that flows: simulcast, or spatial where a source sends all in one stream.
    pub fn layer(&self) -> Option<u8> {
        self.selector.layer()
    }

    /// That stream flows, and of its source a lower layer is to flow.
    pub fn leaves(&self, stream: LayerStream) -> bool {
        self.selector.leaves(stream)
    }

    /// The highest temporal layer that flows, of those there are.
    pub fn temporal(&self) -> u8 {
        self.selector.temporal()
    }

    /// The receiver can show that codec.
    pub fn takes(&self, codec: Codec) -> bool {
        self.payload_type(codec).is_some()
    }

    /// What should flow.
    pub fn target(&self) -> Option<Target> {
        self.selector.target()
    }

    /// What should flow from now on; what flows goes on until the target begins.
    pub fn set_target(&mut self, now: Instant, target: Option<Target>) {
        if self.target().map(|t| t.source) != target.map(|t| t.source) {
            self.aimed = Some(now);
        }
        self.selector.set_target(target);
    }

    /// Its packets carry so many copies of former ones from now on; without effect if the receiver takes no RED.
    pub fn set_redundancy(&mut self, copies: u8) {
        self.recent.set(copies);
    }

    /// Its receiver takes RED.
    pub fn takes_redundancy(&self) -> bool {
        self.recent.is_possible()
    }

    /// The source that its receiver shows: what flows, or what stands there until a key frame comes.
    pub fn on_page(&self) -> Option<SourceNumber> {
        let flows = self.shown().map(|shown| shown.source);
        flows.or(self.told.map(|(source, _)| source))
    }

    /// It has shown something else for so long that the source it should show is not going to come soon.
    pub fn is_stale(&self, now: Instant) -> bool {
        let other = match (self.on_page(), self.target()) {
            (Some(shown), Some(target)) => shown != target.source,
            _ => false,
        };
        other
            && self
                .aimed
                .is_none_or(|at| now.saturating_duration_since(at) >= PATIENCE)
    }

    /// See [`Selector::may_pass`].
    pub fn may_pass(&self, source: SourceNumber) -> LayerSet {
        self.selector.may_pass(source)
    }

    /// See [`Selector::waits_for`].
    pub fn waits_for(&self, source: SourceNumber, current: impl Fn(u8) -> Option<u32>) -> bool {
        self.selector.waits_for(source, current)
    }

    /// Nothing flows from now on. True if the client believes that something does.
    pub fn empty(&mut self) -> bool {
        self.left = None;
        self.selector.interrupt();
        self.codec = None;
        self.rewriter.end();
        self.told.take().is_some()
    }

    /// The source that the client was told, and the RTP time it began at.
    pub fn told(&self) -> Option<(SourceNumber, u32)> {
        self.told
    }

    /// The source shown is another one than the client was told, or comes back after pictures were left out: notes it. None
    /// if there is nothing new.
    pub fn tell(&mut self, first: &Numbered) -> Option<(SourceNumber, u32)> {
        let goes_on = !std::mem::take(&mut self.interrupted);
        if goes_on && self.told.is_some_and(|(source, _)| source == first.source) {
            return None;
        }
        self.told = Some((first.source, first.timestamp));
        self.told
    }

    /// A packet of a source that this slot may show.
    pub fn offer(&mut self, packet: &SourcePacket) -> Offered {
        let (original, starts) = (&packet.original, packet.starts());
        let verdict = self
            .selector
            .judge(packet.of, starts, original.timestamp, original.video.as_ref());
        // A sender may change its codec within a stream; that too needs a key frame.
        let recoded = self.codec.is_some_and(|codec| codec != original.codec);
        let switch = match verdict {
            Verdict::Forward | Verdict::Thin if recoded && starts => true,
            Verdict::Forward | Verdict::Thin if recoded => return Offered::NotShown,
            Verdict::Foreign => return Offered::Foreign,
            Verdict::Drop => return Offered::NotShown,
            Verdict::Thin => {
                return Offered::thinned(self.rewriter.leave_out(packet.sequence, original));
            }
            Verdict::Forward => false,
            Verdict::Switch => true,
        };
        let Some(payload_type) = self.payload_type(packet.original.codec) else {
            return Offered::Skipped(Reason::Codec);
        };
        match self.number(packet, switch) {
            Ok(rewritten) => {
                let mut numbered = Numbered::new(packet, rewritten, payload_type, self.selector.level());
                let (time, picture) = (packet.original.timestamp, packet.original.video);
                numbered.marker |= picture.is_some_and(|p| self.selector.ends_picture(time, &p));
                if switch {
                    Offered::Switched(numbered)
                } else {
                    Offered::Sent(numbered)
                }
            }
            Err(skip) => Offered::Skipped(Reason::Place(skip)),
        }
    }

    /// A packet of a source that this slot may show, while too much waits before the endpoint. A picture that has begun
    /// goes on, for its numbers are given; none begins. One of the base layer is missed by all behind it: nothing is shown until a key frame.
    pub fn hold(&mut self, packet: &SourcePacket) -> Offered {
        // Of what is shown a picture begins that is newer than all before: a late one has its numbers reserved, and not
        // every codec tells where one begins.
        let begins = if self.shown() == Some(packet.of) {
            self.selector.is_new(packet.original.timestamp)
        } else {
            packet.original.video.is_some_and(|video| video.starts_picture)
        };
        if !begins {
            return self.offer(packet);
        }
        let (original, starts) = (&packet.original, packet.starts());
        let (time, picture) = (original.timestamp, original.video.as_ref());
        self.selector.leave_out(packet.of, time, picture);
        match self.selector.judge(packet.of, starts, time, picture) {
            Verdict::Foreign => Offered::Foreign,
            Verdict::Drop => Offered::NotShown,
            Verdict::Thin => Offered::thinned(self.rewriter.leave_out(packet.sequence, original)),
            Verdict::Switch => Offered::Held,
            Verdict::Forward => {
                self.interrupt();
                Offered::Held
            }
        }
    }

    /// Nothing goes on before a key frame.
    fn interrupt(&mut self) {
        self.left = self.former_layer();
        self.selector.interrupt();
        self.rewriter.end();
        self.interrupted = true;
    }

    fn number(&mut self, packet: &SourcePacket, switch: bool) -> Result<Rewritten, Skip> {
        if switch || packet.resumes {
            let rewritten = if switch {
                self.rewriter.begin(packet.sequence, &packet.original)?
            } else {
                self.rewriter.resume(packet.sequence, &packet.original)?
            };
            self.recent.begin();
            let original = &packet.original;
            let former = self.former_layer();
            self.selector
                .switched(packet.of, original.timestamp, original.video.as_ref());
            self.lowered = self.layer() < former;
            self.left = None;
            self.codec = Some(original.codec);
            return Ok(rewritten);
        }
        match self.rewriter.follow(packet.sequence, &packet.original) {
            Err(Skip::Jump) if packet.starts() => self.number(packet, true),
            Err(Skip::Jump) => {
                self.interrupt(); // a key frame of the target heals it
                Err(Skip::Jump)
            }
            result => result,
        }
    }

    /// Remembers a packet as sent now, and gives what is to go out, still without the transport's number.
    ///
    /// A stream is sealed in the order of its numbers and no other (an index of AES-GCM must never come twice), so a
    /// packet that was overtaken goes to its reserved number as RTX, or not at all where there is none; as redundancy of
    /// later ones it still may.
    pub fn send(
        &mut self,
        now: Instant,
        numbered: &Numbered,
    ) -> Option<(OutgoingHeader, Option<Redundancy>)> {
        let overtaken = self.newest.is_some_and(|newest| numbered.sequence <= newest);
        let piece = numbered.piece();
        let redundancy = self.recent.of(&piece).filter(|_| !overtaken);
        self.recent.note(piece);
        // Served from the history and then offered once more, as the newest packet of its source: it is on its way.
        let sent = overtaken && self.ring.find(numbered.sequence).is_some();
        if sent || overtaken && self.rtx_ssrc.is_none() {
            return None;
        }
        self.sent_packets = self.sent_packets.wrapping_add(1);
        self.sent_octets = self.sent_octets.wrapping_add(numbered.size.into());
        self.unreported = true;
        if self.rtx_ssrc.is_some() {
            self.ring.insert(now, numbered);
        }
        if overtaken {
            return self.repair(now, numbered).map(|header| (header, None));
        }
        self.newest = Some(numbered.sequence);
        self.last = Some((numbered.source, numbered.timestamp));
        let mut header = self.header(numbered);
        let redundancy = redundancy.map(|(payload_type, redundancy)| {
            header.payload_type = payload_type;
            self.sent_octets = self.sent_octets.wrapping_add(redundancy.extra.into());
            redundancy
        });
        Some((header, redundancy))
    }

    fn header(&self, packet: &Numbered) -> OutgoingHeader {
        OutgoingHeader {
            marker: packet.marker,
            payload_type: packet.payload_type,
            sequence: packet.sequence.wire(),
            timestamp: packet.timestamp,
            ssrc: self.ssrc,
            source: packet.source,
            mid: self.mid,
            transport_sequence: None,
            playout_delay: None,
            dependency: self.dependency,
            original_sequence: None,
            padding: 0,
        }
    }

    /// A packet that the receiver misses: its entry, if it can go as RTX and was not sent within `pause`.
    pub fn lost(&mut self, now: Instant, wire: u16, pause: Duration) -> Result<Numbered, Lost> {
        let sequence = self.rewriter.next().nearest(wire);
        let sent = self.ring.find(sequence).filter(|_| self.rtx_ssrc.is_some());
        if self.ring.is_resent(now, sequence, pause) {
            Err(Lost::Recent)
        } else {
            sent.ok_or(Lost::Unknown)
        }
    }

    /// It shows pictures, and that packet is of no use any more: of a higher layer that was left; or, on a full way, from before the key frame
    /// that the slot went over to last, or of a slot where nothing flows.
    pub fn is_past(&self, sequence: Seq, is_full: bool) -> bool {
        let is_past = match self.rewriter.began() {
            Some(began) => sequence < began && (is_full || self.lowered),
            None => is_full,
        };
        self.id.kind == MediaKind::Video && is_past
    }

    /// A lower layer than the one that flows, or did before pictures were left out, begins with that packet.
    pub fn lowers_with(&self, packet: &SourcePacket) -> bool {
        packet.starts() && self.selector.is_target(packet.of) && Some(packet.of.layer) < self.former_layer()
    }

    /// The layer that flows, or did before pictures were left out.
    fn former_layer(&self) -> Option<u8> {
        self.layer().or(self.left)
    }

    /// What flows took the place of a higher layer.
    pub fn is_lowered(&self) -> bool {
        self.lowered
    }

    /// The repair of a packet that [`Slot::lost`] gave, still without the transport's number.
    pub fn repair(&mut self, now: Instant, packet: &Numbered) -> Option<OutgoingHeader> {
        let header = self.again(packet)?;
        self.ring.note_resent(now, packet.sequence).then_some(header)
    }

    /// The same before anybody asked: who does will be answered, for both may be lost.
    pub fn again(&mut self, packet: &Numbered) -> Option<OutgoingHeader> {
        let media = packet.payload_type;
        let payload_type = self.payloads.iter().find(|p| p.media == media)?.rtx?;
        let ssrc = self.rtx_ssrc?;
        let sequence = self.rtx_next;
        self.rtx_next = sequence.wrapping_add(1);
        let original_sequence = Some(packet.sequence.wire());
        Some(OutgoingHeader {
            payload_type,
            ssrc,
            sequence,
            original_sequence,
            ..self.header(packet)
        })
    }

    /// Its stream of repairs may carry padding; also before any picture: a way on which pictures do not fit yet is found out
    /// by padding alone.
    pub fn takes_padding(&self) -> bool {
        self.rtx_ssrc.is_some() && self.payloads.iter().any(|p| p.rtx.is_some())
    }

    /// A packet of nothing but so many bytes of padding, as a repair of nothing. It names what the slot shows or showed last,
    /// else `nobody`.
    pub fn padding(&mut self, to: EndpointId, nobody: SourceNumber, bytes: u8) -> Option<Forward> {
        let ssrc = self.rtx_ssrc?;
        let payload_type = self.payloads.iter().find_map(|p| p.rtx)?;
        let (source, timestamp) = self.last.unwrap_or((nobody, 0));
        let sequence = self.rtx_next;
        self.rtx_next = sequence.wrapping_add(1);
        let header = OutgoingHeader {
            marker: false,
            payload_type,
            sequence,
            timestamp,
            ssrc,
            source,
            mid: self.mid,
            transport_sequence: None,
            playout_delay: None,
            dependency: None,
            original_sequence: None,
            padding: bytes,
        };
        Some(Forward {
            to,
            slot: self.id,
            purpose: Purpose::Padding,
            header,
            payload: None,
            size: 0,
            patch: PayloadPatch::None,
            redundancy: None,
            again: false,
            base: false,
        })
    }

    /// A packet of so many bytes of payload went out once more: also that was transmitted (RFC 3550 §6.4.1).
    pub fn note_repeat(&mut self, size: u16) {
        self.sent_packets = self.sent_packets.wrapping_add(1);
        self.sent_octets = self.sent_octets.wrapping_add(size.into());
        self.unreported = true;
    }

    /// For a sender report: RTP time at `time` on the node's clock, packets and bytes sent.
    pub fn report(&mut self, time: Duration) -> (RtpTime, u32, u32) {
        self.unreported = false;
        self.report_due = false;
        (self.rewriter.time_at(time), self.sent_packets, self.sent_octets)
    }

    fn payload_type(&self, codec: Codec) -> Option<u8> {
        self.payloads.iter().find(|p| p.codec == codec).map(|p| p.media)
    }
}

/// Codecs that a slot takes; there are four of pictures. They lie in the slot itself, for each packet asks them.
#[derive(Debug)]
struct Payloads([Option<PayloadType>; 4]);

impl Payloads {
    fn new(payloads: &[PayloadType]) -> Self {
        Self(std::array::from_fn(|at| payloads.get(at).copied()))
    }

    fn iter(&self) -> impl Iterator<Item = &PayloadType> {
        self.0.iter().flatten()
    }
}

/// A source that does not begin for so long leaves the slot empty: no old face in its tile for ever.
const PATIENCE: Duration = Duration::from_secs(3);

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
