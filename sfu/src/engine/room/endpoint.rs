//! One endpoint: its uplink, its sources, its slots and the way to it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    super::{
        ahead::Ahead,
        allocate::LAYERS_MAX,
        cascade::LinkId,
        id::{EndpointId, LineIndex, MediaKind, PointNumber, Rank, SlotId, SourceKind, SourceNumber, Ssrc},
        outbound::{Outbound, Raised},
        pacer::Class,
        packet::{
            Codec, ExtensionIds, Forward, Negotiated, NegotiatedSource, NewEndpoint, Purpose, SlotGrade,
            SourceGrade,
        },
        page::{ClientState, SlotChange, Want},
        redundancy::Need,
        repeats::Repeats,
        rewriter::Skip,
        slot::{Numbered, Offered, Reason, Slot, SourcePacket},
        stats::RoomStats,
        units::Bitrate,
        uplink::Uplink,
    },
    cpu::Cpu,
    report::Window,
    rtcp::ntp,
    source::Source,
    way::Way,
};
use crate::wire::rtcp::{Builder, SenderInfo};

/// One endpoint of a room.
#[derive(Debug)]
#[repr(C)] // what each packet asks lies together
pub(super) struct Endpoint {
    /// Slot `vN` is the N-th.
    pub(super) video: Vec<Slot>,
    /// Slot `aN` is the N-th.
    pub(super) audio: Vec<Slot>,
    pub(super) id: EndpointId,
    pub(super) connected: bool,
    /// There is a stream that padding can go in.
    pub(super) can_pad: bool,
    /// See [`Endpoint::take_sooner`].
    pub(super) sooner: bool,
    /// Is in the room's list of endpoints with something to say.
    pub(super) dirty: bool,
    /// A slot has one to be sent now.
    reports_due: bool,
    extensions: ExtensionIds,
    pub(super) outbound: Outbound,
    /// Next sender reports.
    pub(super) report_at: Option<Instant>,
    /// Its voices that go again, where it takes no RED.
    pub(super) repeats: Repeats,
    /// What of its stage goes again before it asks.
    pub(super) ahead: Ahead,
    pub(super) way: Way,
    /// By kind, in the order of [`SourceKind::ALL`].
    pub(super) sources: [Source; SourceKind::ALL.len()],
    pub(super) uplink: Uplink,
    pub(super) number: PointNumber,
    pub(super) rank: Rank,
    /// In which other half of the room it is; none: in this one.
    pub(super) home: Option<LinkId>,
    /// Another one each time that it joins.
    pub(super) incarnation: u32,
    /// Pictures wanted, by index of the video slot.
    pub(super) wants: BTreeMap<u8, Want>,
    /// The voice wanted in `a0`, if it is not to be that of the picture in `v0`.
    pub(super) voice: Option<SourceNumber>,
    /// The lines on its way, the nearest to the node first.
    pub(super) lines: Vec<LineIndex>,
    /// Whether its machine is fast enough.
    pub(super) cpu: Cpu,
    /// What its page said last.
    pub(super) client: ClientState,
    /// What was told of its slots last.
    pub(super) grades: Vec<SlotGrade>,
    /// What it was told to send last.
    pub(super) order: (Vec<SourceGrade>, u8),
    /// How many voices may have its slots, silent ones too.
    pub(super) voices: usize,
    /// Encodings of each kind that were agreed upon.
    pub(super) encodings: [u8; SourceKind::ALL.len()],
    /// Its camera sends its layers in one stream.
    pub(super) layered: bool,
    /// Whether its path loses so much that its voices need redundancy.
    pub(super) need: Need,
    /// Loss since the last look.
    pub(super) window: Window,
    /// Not yet told to the driver; at most one entry per slot.
    pub(super) changes: Vec<SlotChange>,
}

/// More slots of one kind are not served.
const SLOTS_MAX: usize = 64;
/// Sender reports go out so often.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Longest compound packet, header and trailer of SRTCP included it stays below any path's limit.
const COMPOUND_BYTES: usize = 1_200;

impl Endpoint {
    pub(super) fn new(epoch: Instant, now: Instant, way_start: Bitrate, new: NewEndpoint) -> Self {
        let (mut audio, mut video) = (Vec::new(), Vec::new());
        let origins = new
            .origins
            .iter()
            .copied()
            .chain(std::iter::repeat(Default::default()));
        for (slot, origin) in new.media.slots.iter().zip(origins) {
            let list = match slot.slot.kind {
                MediaKind::Audio => &mut audio,
                MediaKind::Video => &mut video,
            };
            if usize::from(slot.slot.index) == list.len() && list.len() < SLOTS_MAX {
                list.push(Slot::new(slot, &new.media.extensions, origin));
            }
        }
        [&mut audio, &mut video].into_iter().for_each(Vec::shrink_to_fit);
        let own = audio
            .first()
            .or(video.first())
            .map_or(Ssrc(1), |slot: &Slot| slot.ssrc);
        Self {
            id: new.endpoint,
            number: new.number,
            rank: new.rank,
            home: None,
            incarnation: 0,
            connected: false,
            can_pad: video.iter().any(Slot::takes_padding),
            uplink: Uplink::new(epoch, &new.media, own),
            sources: SourceKind::ALL.map(|kind| Source::new(new.number.source(kind))),
            audio,
            video,
            wants: BTreeMap::new(),
            voice: None,
            outbound: Outbound::new(),
            way: Way::new(now, way_start, new.media.extensions.transport_cc),
            lines: new.lines,
            cpu: Cpu::default(),
            client: ClientState::default(),
            grades: Vec::new(),
            order: (Vec::new(), 0),
            voices: usize::MAX,
            encodings: SourceKind::ALL.map(|kind| encodings(&new.media, kind)),
            layered: new.media.sources.iter().any(is_layered),
            need: Need::default(),
            repeats: Repeats::default(),
            ahead: Ahead::default(),
            window: Window::default(),
            extensions: new.media.extensions,
            changes: Vec::new(),
            report_at: None,
            reports_due: false,
            dirty: false,
            sooner: false,
        }
    }

    pub(super) fn source(&self, kind: SourceKind) -> &Source {
        &self.sources[kind as usize]
    }

    pub(super) fn source_mut(&mut self, kind: SourceKind) -> &mut Source {
        &mut self.sources[kind as usize]
    }

    /// Encodings of that kind that were agreed upon.
    pub(super) fn encodings(&self, kind: SourceKind) -> u8 {
        self.encodings[kind as usize]
    }

    /// Its source of that kind is to come with its layers in one stream.
    pub(super) fn is_layered(&self, kind: SourceKind) -> bool {
        kind == SourceKind::Camera && self.layered
    }

    /// So many voices from now on. True if that is news.
    pub(super) fn set_voices(&mut self, voices: usize) -> bool {
        std::mem::replace(&mut self.voices, voices) != voices
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.audio.iter().chain(&self.video)
    }

    pub(super) fn slot(&self, id: SlotId) -> Option<&Slot> {
        let list = if id.kind == MediaKind::Audio {
            &self.audio
        } else {
            &self.video
        };
        list.get(usize::from(id.index))
    }

    pub(super) fn slot_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        let list = if id.kind == MediaKind::Audio {
            &mut self.audio
        } else {
            &mut self.video
        };
        list.get_mut(usize::from(id.index))
    }

    pub(super) fn slot_of(&self, ssrc: Ssrc) -> Option<SlotId> {
        self.slots().find(|slot| slot.ssrc == ssrc).map(|slot| slot.id)
    }

    /// The picture on the stage, also where it stands still for a moment: its voice stays where it is.
    pub(super) fn stage(&self) -> Option<SourceNumber> {
        self.video.first()?.on_page()
    }

    /// Nothing flows in that slot any more.
    pub(super) fn empty(&mut self, id: SlotId) {
        if self.slot_mut(id).is_some_and(Slot::empty) {
            self.tell(SlotChange {
                slot: id,
                source: None,
                time: None,
            });
        }
    }

    /// A later change of a slot takes the place of one that is not told yet.
    fn tell(&mut self, change: SlotChange) {
        self.changes.retain(|earlier| earlier.slot != change.slot);
        self.changes.push(change);
    }

    /// A packet for one of its slots. What is to be sent is added to `out`.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        id: SlotId,
        packet: &SourcePacket,
        late: Raised,
        stats: &mut RoomStats,
        out: &mut Vec<Forward>,
    ) -> Offered {
        let Some(slot) = self.slot(id) else {
            return Offered::Foreign;
        };
        let full = match id.kind {
            MediaKind::Audio => false, // voices never wait
            MediaKind::Video if slot.lowers_with(packet) && self.way.is_queueing() => {
                self.way.is_full_without(slot.ssrc)
            }
            // A layer that is left for want of room would only fill the queue that the lower one has to wait in.
            MediaKind::Video => self.way.is_full() || slot.leaves(packet.of) && self.way.is_queueing(),
        };
        let Some(slot) = self.slot_mut(id) else {
            return Offered::Foreign;
        };
        let offered = if full {
            slot.hold(packet)
        } else {
            slot.offer(packet)
        };
        match offered {
            Offered::Sent(numbered) => self.send(now, id, &numbered, late, stats, out),
            Offered::Switched(numbered) => {
                slot.report_due = true;
                let told = slot.tell(&numbered);
                let (lowered, ssrc) = (slot.is_lowered(), slot.ssrc);
                if lowered && self.way.is_queueing() {
                    // The key frame takes the decoder past what waits, and would have to wait behind it.
                    stats.dropped.queue += self.way.forget(ssrc) as u64;
                }
                self.reports_due = true;
                if let Some((source, time)) = told {
                    self.tell(SlotChange {
                        slot: id,
                        source: Some(source),
                        time: Some(time),
                    });
                }
                stats.switches += u64::from(id.kind == MediaKind::Video);
                self.send(now, id, &numbered, late, stats, out);
            }
            Offered::Skipped(reason) => *counter(stats, reason) += 1,
            Offered::Held => stats.dropped.queue += 1,
            Offered::NotShown | Offered::Foreign => {}
        }
        offered
    }

    fn send(
        &mut self,
        now: Instant,
        id: SlotId,
        numbered: &Numbered,
        late: Raised,
        stats: &mut RoomStats,
        out: &mut Vec<Forward>,
    ) {
        let Some(slot) = self.slot_mut(id) else { return };
        let Some((header, redundancy)) = slot.send(now, numbered) else {
            stats.dropped.too_late += 1;
            return;
        };
        self.outbound.earn_repairs(numbered.size);
        let size = numbered.size + redundancy.map_or(0, |redundancy| redundancy.extra);
        let mut forward = numbered.forward(self.id, id, header);
        forward.redundancy = redundancy;
        forward.header.playout_delay = self.playout_delay(now, id.kind, late);
        if self.way.pace(now, class(&forward), &mut forward, size) {
            self.departs(now, &mut forward);
            out.push(forward);
        }
        stats.forwarded += 1;
        if self.report_at.is_none() {
            self.report_at = Some(now + REPORT_EVERY);
            self.sooner = true;
        }
    }

    /// It has sent transport-wide feedback: some agree upon it and never do.
    pub(super) fn tells_packets(&self) -> bool {
        self.way.state().is_transport_wide
    }

    /// A packet of a slot that the receiver misses, to be sent again: now, or when its time has come.
    pub(super) fn repair(
        &mut self,
        now: Instant,
        id: SlotId,
        numbered: &Numbered,
        late: Raised,
    ) -> Option<Option<Forward>> {
        let header = self.slot_mut(id)?.repair(now, numbered)?;
        let mut forward = numbered.forward(self.id, id, header);
        forward.header.playout_delay = self.playout_delay(now, id.kind, late);
        let passes = self.way.pace(now, Class::Repair, &mut forward, numbered.size);
        Some(passes.then_some(forward))
    }

    /// There is a stream that padding can go in.
    pub(super) fn takes_padding(&self) -> bool {
        self.can_pad
    }

    /// The next packet whose time to go has come, or padding for a probe.
    pub(super) fn poll_paced(&mut self, now: Instant) -> Option<Forward> {
        let again = self.repeat(now).or_else(|| self.repair_ahead(now));
        if again.is_some() {
            return again;
        }
        if let Some(mut next) = self.way.poll(now) {
            self.departs(now, &mut next);
            return Some(next);
        }
        let padding = self.way.padding(now, self.can_pad)?;
        let nobody = self.number.source(SourceKind::Camera);
        let slot = self.video.iter_mut().find(|slot| slot.takes_padding());
        let forward = slot?.padding(self.id, nobody, padding)?;
        Some(self.way.depart_padding(now, forward))
    }

    /// What the path adds to a header: the playout delay, with the id of its extension.
    fn playout_delay(&mut self, now: Instant, kind: MediaKind, late: Raised) -> Option<(u8, u16, u16)> {
        let id = self
            .extensions
            .playout_delay
            .filter(|_| kind == MediaKind::Video)?;
        let (least, greatest) = self.outbound.playout_delay(now, late)?;
        Some((id, least, greatest))
    }

    /// The time for reports has come.
    pub(super) fn handle_report_time(&mut self, now: Instant) {
        let mut any = false;
        for slot in self
            .audio
            .iter_mut()
            .chain(&mut self.video)
            .filter(|slot| slot.unreported)
        {
            slot.report_due = true;
            any = true;
        }
        self.reports_due |= any;
        self.report_at = any.then(|| now + REPORT_EVERY);
    }

    /// Reports that are due, as compounds; `age` is the room's.
    pub(super) fn reports(&mut self, age: impl FnOnce() -> Duration, mut give: impl FnMut(Vec<u8>)) {
        if !std::mem::take(&mut self.reports_due) {
            return;
        }
        let time = age();
        let ntp = ntp(time);
        let mut bytes = Vec::new();
        for slot in self
            .audio
            .iter_mut()
            .chain(&mut self.video)
            .filter(|slot| slot.report_due)
        {
            let (rtp, packets, octets) = slot.report(time);
            let info = SenderInfo {
                ntp,
                rtp: rtp.wire(),
                packets,
                octets,
            };
            if bytes.len() + REPORT_BYTES > COMPOUND_BYTES {
                give(std::mem::take(&mut bytes));
            }
            let mut builder = Builder::new(&mut bytes, REPORT_BYTES);
            let name = canonical_name(slot.id);
            let written = builder
                .sender_report(slot.ssrc.0, &info, &[])
                .and_then(|_| builder.source_description(slot.ssrc.0, name.as_bytes()));
            debug_assert!(written.is_ok(), "a report and a short name fit");
        }
        if !bytes.is_empty() {
            give(bytes);
        }
    }

    /// What it counted by itself.
    pub(super) fn add_to(&self, stats: &mut RoomStats) {
        stats.uplinks += self.uplink.stats();
        stats.paths += self.way.loss();
    }
}

/// What goes first, of what goes for the first time. A picture is as important as the slot it is in, a screen is read.
/// A packet that was overtaken on its way here goes as a repair, but behind those of its picture that wait: before them, it
/// would make the receiver ask for all of them.
fn class(forward: &Forward) -> Class {
    match forward.purpose {
        Purpose::Audio | Purpose::Repeat => Class::Audio,
        Purpose::Video | Purpose::Repair | Purpose::Padding => {
            picture_class(forward.slot, forward.header.source.kind())
        }
    }
}

/// The same of what a video slot shows.
pub(super) fn picture_class(slot: SlotId, kind: SourceKind) -> Class {
    match kind {
        SourceKind::Screen => Class::Screen,
        _ if slot == SlotId::video(0) => Class::Stage,
        _ => Class::Other,
    }
}

/// Layers of that kind that were agreed upon: its encodings, or what a camera puts into one of them where its codec can.
fn encodings(media: &Negotiated, kind: SourceKind) -> u8 {
    let source = media.sources.iter().find(|source| source.kind == kind);
    source.map_or(0, |source| {
        let encodings = match source.rids.len() {
            0 if is_layered(source) => LAYERS_MAX,
            count => count.max(1),
        };
        u8::try_from(encodings).unwrap_or(u8::MAX)
    })
}

/// A camera that sends its spatial layers in one stream (scalable coding); nothing in an offer says how many.
fn is_layered(source: &NegotiatedSource) -> bool {
    let codec = source.payloads.first().map(|payload| payload.codec);
    source.kind == SourceKind::Camera
        && source.rids.is_empty()
        && matches!(codec, Some(Codec::Vp9 | Codec::Av1))
}

/// A sender report with a source description of a name of up to 15 bytes.
const REPORT_BYTES: usize = 28 + 28;

/// The stage pair shares a name, so that a receiver may synchronise it (RFC 3550 §6.5.1).
fn canonical_name(slot: SlotId) -> String {
    if slot.index == 0 {
        "stage".to_owned()
    } else {
        slot.to_string()
    }
}

fn counter(stats: &mut RoomStats, reason: Reason) -> &mut u64 {
    let dropped = &mut stats.dropped;
    match reason {
        Reason::Place(Skip::BeforeStretch) => &mut dropped.before_switch,
        Reason::Place(Skip::TooLate) => &mut dropped.too_late,
        Reason::Place(Skip::Overlap) => &mut dropped.overlap,
        Reason::Place(Skip::Jump) => &mut dropped.jump,
        Reason::Codec => &mut dropped.codec,
    }
}
