//! What one endpoint sends: streams learnt, repaired, reported.

mod begin;
mod described;
mod feedback;
mod limit;
mod recovery;

use std::time::{Duration, Instant};

use super::{
    arrival::{Arrival, AudioLevel, Picture},
    clock::{Nanos, SenderClock},
    id::{MediaKind, SourceKind, Ssrc},
    inbound::{Inbound, Refusal, RepairTime},
    keyframe::KeyFrameBroker,
    packet::{Codec, ExtensionIds, Negotiated},
    seq::{RtpTime, Seq},
    streams::{Identity, Role, Streams},
    twcc_receiver::TwccReceiver,
};
use crate::wire::{ext, rtcp::Builder, rtp::RtpPacket};

pub use feedback::CNAME;

/// Longest compound written: with all headers below it fits any path.
const COMPOUND_MAX: usize = 1_200;
/// A stream that has stopped says nothing of the way any more. Sound sends two or three packets a second in silence.
const JITTER_KEPT: Duration = Duration::from_secs(5);
/// After so long without a packet a layer begins again, with a key frame by itself.
const PAUSE: Duration = Duration::from_secs(1);

/// Everything one endpoint sends: it learns the streams, drops what was seen before, asks again for what is missing,
/// and reports. One call of [`Self::handle_rtp`] per packet gives at most one [`Arrival`].
///
/// Bounded by what was negotiated: at most eight layers, for each one stream of media and one of repairs.
#[derive(Debug)]
pub struct Uplink {
    epoch: Instant,
    now: Instant,
    own: Ssrc,
    extensions: ExtensionIds,
    limit: limit::Limit,
    streams: Streams,
    /// By index of [`Streams::layers`].
    layers: Vec<Layer>,
    brokers: [KeyFrameBroker; SourceKind::ALL.len()],
    sender: SenderClock,
    transport: TwccReceiver,
    repair_time: RepairTime,
    streams_begun: u32,
    nacked: Option<Instant>,
    report_due: Option<Instant>,
    /// When something is due, as it was when looked at last.
    due: Option<Instant>,
    /// Something happened since by which that may be another time.
    is_moved: bool,
    /// [`Self::poll_broken`] has to look at the layers, each of which lies elsewhere in memory.
    may_be_broken: bool,
    reports: u32,
    stats: UplinkStats,
    /// Reused by every batch.
    numbers: Vec<u16>,
    /// Redundant blocks of the last packet.
    pending: Option<recovery::Pending>,
}

#[derive(Debug, Default)]
struct Layer {
    /// Most have none: what was negotiated is not always sent.
    inbound: Option<Box<Inbound>>,
    begun: Option<Instant>,
    times: recovery::Times,
    described: described::Described,
}

/// A layer that lost a packet for good: its pictures are broken until the next key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Whose.
    pub source: SourceKind,
    /// Which layer, 0 is the lowest.
    pub layer: u8,
}

/// What an uplink counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UplinkStats {
    /// Media packets that should have come, over all streams that are or were there.
    pub expected: u64,
    /// Of these, those that came by themselves: what was repaired or recovered stays lost.
    pub received: u64,
    /// Media packets passed on, repaired ones included.
    pub packets: u64,
    /// Of these, restored from RTX.
    pub repaired: u64,
    /// Of these, restored from redundant blocks of later packets.
    pub recovered: u64,
    /// Numbers asked for, each time counted.
    pub nacked: u64,
    /// Numbers given up.
    pub given_up: u64,
    /// Key frames asked for.
    pub key_frame_requests: u64,
    /// Seen before.
    pub duplicates: u64,
    /// RTX of what is not missing: padding by which browsers measure the path.
    pub probes: u64,
    /// Without a payload.
    pub padding: u64,
    /// More than an endpoint may send.
    pub excess: u64,
    /// Nothing that was negotiated, or restarted too often.
    pub unknown: u64,
    /// Too old, or too far ahead alone.
    pub stray: u64,
    /// Payloads that their codec cannot have.
    pub malformed: u64,
    /// Sender reports not believed, or of unknown streams.
    pub reports_refused: u64,
}

impl UplinkStats {
    fn add_counts(&mut self, inbound: &Inbound) {
        let (expected, received) = inbound.counts();
        self.expected += expected;
        self.received += received;
    }
}

impl Uplink {
    /// For an answered offer. Captures are counted from `epoch`, one for the whole room; `own` is the SSRC under
    /// which the node reports (any SSRC of one of the endpoint's slots serves).
    pub fn new(epoch: Instant, media: &Negotiated, own: Ssrc) -> Self {
        let streams = Streams::new(media);
        Self {
            epoch,
            now: epoch,
            own,
            extensions: media.extensions,
            limit: limit::Limit::default(),
            layers: streams.layers().iter().map(|_| Layer::default()).collect(),
            streams,
            brokers: Default::default(),
            sender: SenderClock::default(),
            transport: TwccReceiver::new(epoch),
            repair_time: RepairTime::default(),
            streams_begun: 0,
            nacked: None,
            report_due: None,
            due: None,
            is_moved: false,
            may_be_broken: false,
            reports: 0,
            stats: UplinkStats::default(),
            numbers: Vec::new(),
            pending: None,
        }
    }

    /// A packet. What it brings that was not there before: a media packet first seen, or one restored from RTX. All else
    /// is counted. Older packets that it brought besides wait in [`Self::poll_recovered`].
    pub fn handle_rtp<'p>(&mut self, now: Instant, packet: &RtpPacket<'p>) -> Option<Arrival<'p>> {
        self.now = self.now.max(now);
        self.pending = None;
        let bytes = packet.header_len() + packet.payload().len() + usize::from(packet.padding_len());
        if !self.limit.take(self.now, bytes) {
            self.stats.excess += 1;
            return None;
        }
        if let Some(number) = self
            .extension(packet, self.extensions.transport_cc)
            .and_then(ext::transport_sequence)
        {
            self.is_moved |= self.transport.due().is_none();
            self.transport.record(self.now, packet.ssrc(), number);
        }
        let Some(identity) = self.streams.identify(packet) else {
            self.stats.unknown += 1;
            return None;
        };
        let arrival = match identity.role {
            Role::Media => self.media(packet, identity),
            Role::Repair => self.repair(packet, identity),
        }?;
        self.stats.packets += 1;
        if arrival.video.is_some_and(|v| v.key_frame) {
            self.is_moved = true;
            self.brokers[arrival.source as usize].handle_key_frame(arrival.layer);
            if let Some(inbound) = &mut self.layers[identity.layer].inbound {
                inbound.handle_key_frame(arrival.sequence);
            }
        }
        self.note_sound(identity, &arrival);
        Some(arrival)
    }

    /// A sender report of one of the streams: NTP time in 32.32 fixed point and RTP time of the same moment.
    pub fn handle_sender_report(&mut self, now: Instant, ssrc: Ssrc, ntp: u64, rtp: u32) {
        self.now = self.now.max(now);
        let nanos = self.nanos();
        let layer = self.streams.by_media_ssrc(ssrc);
        let Some(inbound) = layer.and_then(|layer| self.layers[layer].inbound.as_mut()) else {
            self.stats.reports_refused += 1;
            return;
        };
        inbound.handle_sender_report(self.now, ntp);
        let believed = self
            .sender
            .handle_report(nanos, ntp)
            .is_some_and(|at| inbound.clock.handle_report(nanos, &self.sender, at, rtp));
        if !believed {
            self.stats.reports_refused += 1;
        }
    }

    /// The sender has ended that stream. What its SSRC is stays known: libwebrtc says so, up to Chrome 109 and Safari 15, of each
    /// layer that is switched off, and when that layer comes back its packets tell neither `mid` nor `rid` any more.
    pub fn handle_bye(&mut self, now: Instant, ssrc: Ssrc) {
        self.now = self.now.max(now);
        if let Some(layer) = self.streams.by_media_ssrc(ssrc) {
            let id = self.streams.layers()[layer];
            if let Some(ended) = self.layers[layer].inbound.take() {
                self.stats.add_counts(&ended);
                // What was overtaken by it begins no stream.
                self.layers[layer].begun = Some(self.now);
            }
            self.brokers[id.source as usize].forget(id.layer);
            self.is_moved = true;
        }
    }

    /// Asks for a key frame of that layer. Coalesced with what others asked for, at most two requests a second for a
    /// source, repeated until the key frame comes or 10 s have passed.
    pub fn request_key_frame(&mut self, now: Instant, source: SourceKind, layer: u8) {
        self.now = self.now.max(now);
        let mut layers = self.streams.layers().iter();
        let layers = layers.find(|l| l.source == source).map_or(1, |l| l.layers);
        if source.media() == MediaKind::Video {
            self.is_moved = true;
            // Spatial layers of one stream have their key frames together.
            self.brokers[source as usize].request(self.now, layer.min(layers - 1));
        }
    }

    /// A layer broken since the last call; ask for a key frame if anybody watches it. Ask until `None`, after
    /// [`Self::handle_rtp`] and [`Self::handle_timeout`].
    pub fn poll_broken(&mut self) -> Option<Broken> {
        if !self.may_be_broken {
            return None;
        }
        let ids = self.streams.layers();
        let broken = ids.iter().zip(&mut self.layers).find_map(|(id, layer)| {
            let broken = layer.inbound.as_deref_mut().is_some_and(Inbound::take_broken);
            (broken && id.source.media() == MediaKind::Video).then_some(Broken {
                source: id.source,
                layer: id.layer,
            })
        });
        self.may_be_broken = broken.is_some();
        broken
    }

    /// When that layer last sent a packet; none if it never did.
    pub fn last_packet(&self, source: SourceKind, layer: u8) -> Option<Instant> {
        self.inbound(source, layer).map(|inbound| inbound.last_packet)
    }

    /// When a packet of that layer was last found missing and asked for; none if never. Receivers of it need room for
    /// the repair.
    pub fn last_loss(&self, source: SourceKind, layer: u8) -> Option<Instant> {
        self.inbound(source, layer).and_then(|inbound| inbound.last_loss)
    }

    /// Measured time from a NACK to its repair; 100 ms before the first one.
    pub fn repair_time(&self) -> Duration {
        self.repair_time.get()
    }

    /// What was counted so far.
    pub fn stats(&self) -> UplinkStats {
        let mut stats = self.stats;
        self.inbounds().for_each(|inbound| stats.add_counts(inbound));
        stats
    }

    /// Greatest interarrival jitter of its streams, but for those that sent their last packet more than [`JITTER_KEPT`] before the others did.
    pub fn jitter(&self) -> Duration {
        let last = self.inbounds().map(|inbound| inbound.last_packet).max();
        let lately = self
            .inbounds()
            .filter(|inbound| last <= Some(inbound.last_packet + JITTER_KEPT));
        lately.map(Inbound::jitter).max().unwrap_or_default()
    }

    /// Does what is due; then call [`Self::poll_rtcp`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.is_moved = true;
        self.may_be_broken = true;
        for inbound in self.layers.iter_mut().filter_map(|l| l.inbound.as_mut()) {
            self.stats.given_up += inbound.give_up(self.now);
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_rtcp`] next.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        if std::mem::take(&mut self.is_moved) {
            self.due = self.feedback_due();
        }
        debug_assert_eq!(self.due, self.feedback_due(), "nothing moved");
        self.due
    }

    /// Writes one compound RTCP packet of at most 1,200 bytes into `out` (cleared first), or returns false when there is
    /// none due. Call until false. Feedback goes without a report where none is due (RFC 5506).
    pub fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        self.now = self.now.max(now);
        self.is_moved = true;
        out.clear();
        let mut builder = Builder::new(out, COMPOUND_MAX);
        self.write_reports(&mut builder);
        self.write_key_frame_requests(&mut builder);
        self.write_nacks(&mut builder);
        // What does not fit stays due and begins the next compound.
        let _ = self.transport.write(self.now, self.own.0, &mut builder);
        !out.is_empty()
    }

    fn media<'p>(&mut self, packet: &RtpPacket<'p>, identity: Identity) -> Option<Arrival<'p>> {
        let Some(payload) = self.primary(packet, identity) else {
            self.stats.malformed += 1;
            return None;
        };
        if identity.new {
            return self.begin(packet, identity, payload, None);
        }
        let Some(inbound) = self.layers[identity.layer].inbound.as_mut() else {
            return self.begin(packet, identity, payload, None);
        };
        let resumed = self.now.saturating_duration_since(inbound.last_packet) > PAUSE;
        let time = (!payload.is_empty()).then(|| packet.timestamp());
        let lacked = inbound.lacks();
        let accepted = inbound.accept(self.now, packet.sequence(), time);
        self.is_moved |= lacked || inbound.lacks();
        self.may_be_broken |= inbound.is_broken();
        match accepted {
            Ok(seq) => {
                if resumed {
                    self.is_moved = true;
                    let source = self.streams.layers()[identity.layer].source;
                    self.brokers[source as usize].handle_beginning(self.now);
                }
                self.arrive(packet, identity, seq, payload, false)
            }
            Err(Refusal::Restart(head)) => self.begin(packet, identity, payload, Some(head)),
            Err(Refusal::Duplicate) => {
                self.stats.duplicates += 1;
                None
            }
            Err(Refusal::Stray) => {
                self.stats.stray += 1;
                None
            }
        }
    }

    /// RTX (RFC 4588 §4): two bytes of original number, then the payload.
    fn repair<'p>(&mut self, packet: &RtpPacket<'p>, identity: Identity) -> Option<Arrival<'p>> {
        if identity.new {
            self.streams
                .learn(Ssrc(packet.ssrc()), identity.layer, Role::Repair);
        }
        let Some((original, payload)) = packet.payload().split_first_chunk() else {
            self.stats.padding += 1;
            return None;
        };
        self.is_moved = true;
        let inbound = self.layers[identity.layer].inbound.as_mut();
        let missing = inbound
            .and_then(|i| i.accept_repair(self.now, u16::from_be_bytes(*original), &mut self.repair_time));
        let Some(seq) = missing else {
            self.stats.probes += 1;
            return None;
        };
        let arrival = self.arrive(packet, identity, seq, payload, true)?;
        self.stats.repaired += 1;
        Some(arrival)
    }

    fn arrive<'p>(
        &mut self,
        packet: &RtpPacket<'p>,
        identity: Identity,
        sequence: Seq,
        payload: &'p [u8],
        repaired: bool,
    ) -> Option<Arrival<'p>> {
        let nanos = self.nanos();
        let since = self.now.saturating_duration_since(self.epoch);
        let inbound = self.layers[identity.layer].inbound.as_mut()?;
        if payload.is_empty() {
            self.stats.padding += 1;
            return None;
        }
        let timestamp: RtpTime = inbound.unwrap_time(sequence, packet.timestamp());
        if !repaired {
            inbound.note_arrival(since, timestamp);
        }
        inbound.clock.resume(&self.sender, timestamp);
        let capture = inbound.clock.capture(nanos, timestamp);
        let stream = inbound.stream;
        let id = self.streams.layers()[identity.layer];
        let (mut heights, mut descriptor) = (None, None);
        let video = match identity.codec {
            Codec::Opus => None,
            Codec::Vp8 => Some(Picture::of_vp8(payload)),
            Codec::H264 => Some(Picture::of_h264(payload)),
            Codec::Vp9 => Some(Picture::of_vp9(payload, id.layers == 1)),
            Codec::Av1 => {
                let value = self.extension(packet, self.extensions.dependency);
                let described = &mut self.layers[identity.layer].described;
                let told = described.read(sequence, value, payload, id.layers == 1);
                (heights, descriptor) = (told.heights, told.descriptor);
                Some(told.picture)
            }
        };
        if video == Some(None) {
            self.stats.malformed += 1;
            return None;
        }
        let level = self
            .extension(packet, self.extensions.audio_level)
            .and_then(AudioLevel::read);
        Some(Arrival {
            source: id.source,
            layer: id.layer,
            layers: id.layers,
            stream,
            sequence,
            timestamp,
            capture,
            marker: packet.marker(),
            codec: identity.codec,
            payload,
            video: video.flatten(),
            level,
            heights,
            descriptor,
            repaired,
        })
    }

    fn inbounds(&self) -> impl Iterator<Item = &Inbound> {
        self.layers.iter().filter_map(|l| l.inbound.as_deref())
    }

    fn inbound(&self, source: SourceKind, layer: u8) -> Option<&Inbound> {
        let index = self
            .streams
            .layers()
            .iter()
            .position(|l| l.source == source && l.layer == layer)?;
        self.layers[index].inbound.as_deref()
    }

    fn extension<'p>(&self, packet: &RtpPacket<'p>, id: Option<u8>) -> Option<&'p [u8]> {
        packet.extension(id?)
    }

    fn nanos(&self) -> Nanos {
        let since = self.now.saturating_duration_since(self.epoch);
        Nanos::try_from(since.as_nanos()).unwrap_or(Nanos::MAX)
    }
}

#[cfg(test)]
mod tests;
