//! Scripted senders, and receivers that write down what they get.

use std::collections::{BTreeMap, BTreeSet};

use super::super::super::{
    id::{Rank, ShortId, Ssrc},
    packet::{
        Codec, ExtensionIds, Negotiated, NegotiatedSlot, NegotiatedSource, NewEndpoint, PayloadType, Purpose,
        StreamOrigin,
    },
    selector::LayerStream,
    testing::{base, ms},
};
use super::super::*;
use crate::{
    control::Want,
    wire::{
        codec::vp8,
        ext::{self, PlayoutDelay},
        red::{self, Red},
        rtcp::{self, Builder, Rtcp, SenderInfo},
        rtp::{self, HeaderFields},
    },
};

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(4),
    rid: Some(10),
    rrid: Some(11),
    audio_level: Some(1),
    transport_cc: Some(3),
    abs_send_time: None,
    orientation: None,
    playout_delay: Some(6),
    dependency: None,
};
pub(super) const OPUS: u8 = 111;
pub(super) const RED: u8 = 63;
const VP8: u8 = 96;
const RTX: u8 = 97;
pub(super) const FRAME_MS: u64 = 33;

/// A room, its senders, and all that came out of it.
pub(super) struct Kit {
    pub(super) room: Room,
    pub(super) start: Instant,
    pub(super) now: Instant,
    /// Layers that cameras send.
    pub(super) layers: u8,
    /// (source, layer, number) of packets made that never arrived.
    pub(super) lost: Lost,
    pub(super) received: Vec<Received>,
    streams: BTreeMap<(u32, u8), Stream>,
    slot_changes: Vec<(u32, SlotChange)>,
    rtcp: Vec<(u32, Vec<u8>)>,
    asked: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    sequence: u16,
    time: u32,
    picture: u16,
}

/// Packets that have no place in a slot: slot, source, layer, number.
pub(super) type Lost = BTreeSet<(SlotId, SourceNumber, u8, u16)>;

/// A packet that a receiver got.
#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) to: u32,
    pub(super) at: Instant,
    pub(super) slot: SlotId,
    pub(super) purpose: Purpose,
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    /// Former packets that came with it, time and payload.
    pub(super) redundant: Vec<(u32, Vec<u8>)>,
    pub(super) wire_sequence: u16,
    pub(super) time: u32,
    pub(super) source: SourceNumber,
    pub(super) transport: Option<u16>,
    pub(super) playout: Option<PlayoutDelay>,
    pub(super) original: Option<u16>,
    pub(super) payload: Vec<u8>,
    pub(super) picture: Option<u16>,
    pub(super) key_start: bool,
    /// As the sender made it: layer, number, picture.
    pub(super) layer: u8,
    pub(super) sequence_in: u16,
    pub(super) picture_in: u16,
}

/// A packet that a sender made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) source: SourceNumber,
    pub(super) layer: u8,
    pub(super) sequence: u16,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn point(number: u32) -> PointNumber {
    PointNumber::try_from(number).unwrap()
}

pub(super) fn camera(number: u32) -> SourceNumber {
    point(number).source(SourceKind::Camera)
}

pub(super) fn mic(number: u32) -> SourceNumber {
    point(number).source(SourceKind::Mic)
}

pub(super) fn want(slot: u8, source: SourceNumber, height: u16) -> Want {
    Want {
        slot: SlotId::video(slot),
        source,
        height,
        pinned: false,
    }
}

pub(super) fn audio_ssrc(index: u8) -> u32 {
    0x1000 + u32::from(index)
}

pub(super) fn video_ssrc(index: u8) -> u32 {
    0x2000 + u32::from(index)
}

pub(super) fn rtx_ssrc(index: u8) -> u32 {
    0x3000 + u32::from(index)
}

fn short(text: &str) -> ShortId {
    ShortId::new(text.as_bytes()).unwrap()
}

fn negotiated() -> Negotiated {
    let vp8 = vec![PayloadType {
        codec: Codec::Vp8,
        media: VP8,
        rtx: Some(RTX),
    }];
    let opus = vec![PayloadType {
        codec: Codec::Opus,
        media: OPUS,
        rtx: None,
    }];
    let source = |kind, mid, payloads: &Vec<_>, rids: &[&str]| NegotiatedSource {
        kind,
        mid: short(mid),
        payloads: payloads.clone(),
        red: (kind == SourceKind::Mic).then_some(RED),
        rids: rids.iter().map(|rid| short(rid)).collect(),
        ssrcs: Vec::new(),
    };
    let audio = (0..6).map(|i| NegotiatedSlot {
        dependency: None,
        slot: SlotId::audio(i),
        mid: short(&format!("a{i}")),
        ssrc: Ssrc(audio_ssrc(i)),
        rtx_ssrc: None,
        payloads: opus.clone(),
        red: Some(RED),
    });
    let video = (0..4).map(|i| NegotiatedSlot {
        dependency: None,
        slot: SlotId::video(i),
        mid: short(&format!("v{i}")),
        ssrc: Ssrc(video_ssrc(i)),
        rtx_ssrc: Some(Ssrc(rtx_ssrc(i))),
        payloads: vp8.clone(),
        red: None,
    });
    Negotiated {
        extensions: EXTENSIONS,
        sources: vec![
            source(SourceKind::Mic, "0", &opus, &[]),
            source(SourceKind::Camera, "1", &vp8, &["q", "h", "f"]),
        ],
        slots: audio.chain(video).collect(),
    }
}

/// No feedback comes here: all ways are taken to carry everything.
fn fast() -> RoomPolicy {
    RoomPolicy {
        way_start: super::super::super::units::Bitrate::mbps(10),
        ..RoomPolicy::default()
    }
}

impl Kit {
    /// Points 1 to `points`, microphone and camera on, connected.
    pub(super) fn new(points: u32) -> Self {
        let start = base();
        let mut kit = Self {
            room: Room::new(start, fast()),
            start,
            now: start,
            layers: 3,
            lost: BTreeSet::new(),
            received: Vec::new(),
            streams: BTreeMap::new(),
            slot_changes: Vec::new(),
            rtcp: Vec::new(),
            asked: BTreeSet::new(),
        };
        (1..=points).for_each(|number| kit.join(number));
        kit
    }

    pub(super) fn join(&mut self, number: u32) {
        self.join_as(number, Default::default());
    }

    pub(super) fn join_as(&mut self, number: u32, rank: Rank) {
        let media = negotiated();
        let origin = StreamOrigin {
            sequence: 65_500,
            rtx_sequence: 65_535,
            timestamp: u32::MAX - 90_000,
            picture_id: 0x7ff0,
            tl0_pic_idx: 250,
        };
        let origins = vec![origin; media.slots.len()];
        let published = vec![SourceKind::Mic, SourceKind::Camera];
        let endpoint = EndpointId(number);
        let new = NewEndpoint {
            endpoint,
            number: point(number),
            published,
            rank,
            way_start: None,
            lines: Vec::new(),
            media,
            origins,
        };
        self.input(Input::Join(Box::new(new)));
        self.input(Input::Connected(endpoint));
    }

    pub(super) fn input(&mut self, input: Input) {
        self.room.handle(self.now, input);
        self.drain();
    }

    /// The view of point 1 + `index`.
    pub(super) fn view(&mut self, index: u32, wants: &[Want]) {
        self.input(Input::View(EndpointId(index + 1), wants.to_vec()));
    }

    /// So many times: what `each` does, then 33 ms pass.
    pub(super) fn run(&mut self, times: usize, mut each: impl FnMut(&mut Self)) {
        for _ in 0..times {
            each(self);
            self.advance(FRAME_MS);
        }
    }

    pub(super) fn advance(&mut self, milliseconds: u64) {
        let end = self.now + ms(milliseconds);
        while let Some(at) = self.room.poll_timeout().filter(|&at| at <= end) {
            self.wake(at);
        }
        self.now = end;
    }

    pub(super) fn wake(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.room.handle_timeout(self.now);
        self.drain();
    }

    /// A picture of each layer of these cameras.
    pub(super) fn frames(&mut self, points: &[u32], key: bool) {
        for &number in points {
            for layer in 0..self.layers {
                for made in self.encode(number, layer, key) {
                    self.arrive(number, &made);
                }
            }
        }
    }

    /// A picture of one layer as packets.
    pub(super) fn encode(&mut self, number: u32, layer: u8, key: bool) -> Vec<Made> {
        let time = (self.now - self.start).as_millis() as u32 * 90;
        let stream = self.streams.entry((number, layer)).or_insert_with(|| Stream {
            sequence: 65_000 + u16::from(layer) * 100,
            time: 0,
            picture: 32_000,
        });
        stream.picture = stream.picture.wrapping_add(1) & 0x7fff;
        let time = time.wrapping_add(u32::from(layer) << 20);
        // Two pictures of one moment are a millisecond apart.
        stream.time = time.max(stream.time + 90);
        let count = if key { 3 + layer } else { 1 + layer };
        let mut packets = Vec::new();
        for index in 0..count {
            let payload = picture_payload(stream, layer, key, index);
            let rid = ["q", "h", "f"][usize::from(layer)];
            let fields = HeaderFields {
                marker: index + 1 == count,
                padding: false,
                payload_type: VP8,
                sequence: stream.sequence,
                timestamp: stream.time,
                ssrc: number * 16 + 1 + u32::from(layer),
            };
            let extensions: [(u8, &[u8]); 2] = [(4, b"1"), (10, rid.as_bytes())];
            let bytes = packet(&fields, &extensions, &payload);
            packets.push(Made {
                source: camera(number),
                layer,
                sequence: stream.sequence,
                bytes,
            });
            stream.sequence = stream.sequence.wrapping_add(1);
        }
        packets
    }

    /// 20 ms of voice of that level (-dBov).
    pub(super) fn voice(&mut self, number: u32, level: u8) {
        let made = self.speak(number, level);
        self.arrive(number, &made);
    }

    /// The packet of it.
    pub(super) fn speak(&mut self, number: u32, level: u8) -> Made {
        let stream = self.streams.entry((number, u8::MAX)).or_default();
        stream.sequence = stream.sequence.wrapping_add(1);
        stream.time = stream.time.wrapping_add(960);
        let level = ext::AudioLevel { voice: true, level }.write();
        let fields = HeaderFields {
            marker: false,
            padding: false,
            payload_type: OPUS,
            sequence: stream.sequence,
            timestamp: stream.time,
            ssrc: number * 16,
        };
        let mut payload = vec![0x78; 40];
        payload[1..3].copy_from_slice(&stream.sequence.to_be_bytes());
        payload[3] = number as u8;
        let bytes = packet(&fields, &[(4, b"0"), (1, &level)], &payload);
        Made {
            source: mic(number),
            layer: 0,
            sequence: stream.sequence,
            bytes,
        }
    }

    /// A packet that its sender's uplink had missed. What comes after the slots have gone on to something else has no
    /// place there any more.
    pub(super) fn arrive_late(&mut self, from: u32, made: &Made) {
        let before = self.room.stats().dropped.before_switch;
        let here = |shown: LayerStream| shown.source == made.source && shown.layer == made.layer;
        let slots = &self.room.endpoints[&EndpointId(1)].video;
        let shown: Vec<(SlotId, bool)> = slots
            .iter()
            .map(|s| (s.id, s.shown().is_some_and(here)))
            .collect();
        self.arrive(from, made);
        let dropped = self.room.stats().dropped.before_switch > before;
        for (slot, _) in shown.into_iter().filter(|(_, shown)| !shown || dropped) {
            self.lost.insert((slot, made.source, made.layer, made.sequence));
        }
    }

    /// A packet that never arrives.
    pub(super) fn lose(&mut self, made: &Made) {
        for slot in (0..4).map(SlotId::video) {
            self.lost.insert((slot, made.source, made.layer, made.sequence));
        }
    }

    pub(super) fn arrive(&mut self, from: u32, made: &Made) {
        let mut out = Vec::new();
        self.room
            .handle_rtp(self.now, EndpointId(from), &made.bytes, &mut out);
        out.iter().for_each(|forward| self.receive(forward));
        self.drain();
    }

    fn receive(&mut self, forward: &Forward) {
        let mut bytes = [0; 1_500];
        let payload = self.room.payload(forward.payload.unwrap()).unwrap();
        let length = forward
            .write(payload, |at| self.room.payload(at), &mut bytes)
            .unwrap();
        self.received
            .push(Received::read(self.now, forward, &bytes[..length]));
    }

    fn drain(&mut self) {
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Forward(forward) => self.receive(&forward),
                Output::Quality { .. } | Output::Send { .. } => {}
                Output::Slots { endpoint, changes } => {
                    self.slot_changes
                        .extend(changes.into_iter().map(|change| (endpoint.0, change)));
                }
                Output::Rtcp { to, bytes } => {
                    assert!(bytes.len() <= 1_200);
                    let packets = rtcp::packets(&bytes).map(Result::unwrap);
                    if packets
                        .into_iter()
                        .any(|p| matches!(p, Rtcp::PictureLoss(_) | Rtcp::Fir(_)))
                    {
                        self.asked.insert(to.0);
                    }
                    self.rtcp.push((to.0, bytes));
                }
                Output::Speaker(_) => {}
            }
        }
    }

    pub(super) fn asked(&self, number: u32) -> bool {
        self.asked.contains(&number)
    }

    pub(super) fn take_asked(&mut self, number: u32) -> bool {
        self.asked.remove(&number)
    }

    /// What a receiver got for the first time, in order.
    pub(super) fn sent(&self, to: u32) -> Vec<Received> {
        let first = |r: &&Received| r.to == to && r.purpose != Purpose::Repair;
        self.received.iter().filter(first).cloned().collect()
    }

    /// All that a receiver got in its place: what had been overtaken came as RTX.
    pub(super) fn placed(&self, to: u32) -> Vec<Received> {
        let mine = self.received.iter().filter(|r| r.to == to).cloned();
        mine.map(|r| Received {
            wire_sequence: r.original.unwrap_or(r.wire_sequence),
            ..r
        })
        .collect()
    }

    pub(super) fn repairs(&self, to: u32) -> Vec<Received> {
        let again = |r: &&Received| r.to == to && r.purpose == Purpose::Repair;
        self.received.iter().filter(again).cloned().collect()
    }

    pub(super) fn slots(&self, to: u32) -> Vec<SlotChange> {
        self.slot_changes
            .iter()
            .filter(|(endpoint, _)| *endpoint == to)
            .map(|(_, change)| *change)
            .collect()
    }

    /// What each audio slot carried last, by the last 6 sounds of each.
    pub(super) fn hears(&self, to: u32) -> Vec<Option<SourceNumber>> {
        let snapshot = self.room.slots(EndpointId(to));
        let source = |index| {
            snapshot
                .iter()
                .find(|c| c.slot == SlotId::audio(index))
                .and_then(|c| c.source)
        };
        (0..6).map(source).collect()
    }

    pub(super) fn feedback(&mut self, from: u32, write: impl FnOnce(&mut Builder<'_>)) {
        let mut bytes = Vec::new();
        write(&mut Builder::new(&mut bytes, 1_400));
        let mut forwards = Vec::new();
        self.room
            .handle_rtcp(self.now, EndpointId(from), &bytes, &mut forwards);
        forwards.iter().for_each(|forward| self.receive(forward));
        self.drain();
    }

    pub(super) fn nack(&mut self, from: u32, slot: SlotId, lost: &[u16]) {
        self.feedback(from, |builder| {
            let written = builder.nack(1, video_ssrc(slot.index), lost).unwrap();
            assert_eq!(written, lost.len());
        });
    }

    pub(super) fn picture_loss(&mut self, from: u32, slot: SlotId) {
        self.feedback(from, |builder| {
            builder.picture_loss(1, video_ssrc(slot.index)).unwrap()
        });
    }

    pub(super) fn reports(&self, to: u32) -> Vec<Report> {
        let mine = self.rtcp.iter().filter(|(endpoint, _)| *endpoint == to);
        let packets = mine
            .flat_map(|(_, bytes)| rtcp::packets(bytes))
            .map(Result::unwrap);
        let report = |packet| match packet {
            Rtcp::SenderReport(report) => {
                let SenderInfo { ntp, rtp, .. } = report.info;
                Some(Report {
                    ssrc: report.ssrc,
                    ntp,
                    rtp,
                })
            }
            _ => None,
        };
        packets.filter_map(report).collect()
    }

    pub(super) fn names(&self, to: u32) -> BTreeMap<u32, Vec<u8>> {
        let mine = self.rtcp.iter().filter(|(endpoint, _)| *endpoint == to);
        let mut names = BTreeMap::new();
        for packet in mine.flat_map(|(_, bytes)| rtcp::packets(bytes)) {
            if let Ok(Rtcp::SourceDescription(description)) = packet {
                names.extend(description.cnames().map(|(ssrc, name)| (ssrc, name.to_vec())));
            }
        }
        names
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Report {
    pub(super) ssrc: u32,
    pub(super) ntp: u64,
    pub(super) rtp: u32,
}

pub(super) fn packet(fields: &HeaderFields, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1_400];
    let header = rtp::write_header(fields, None, extensions, &mut bytes).unwrap();
    bytes.truncate(header);
    bytes.extend_from_slice(payload);
    bytes
}

/// A descriptor with picture id (15 bits) and TL0PICIDX, then the frame's head, then what the sender knows of it.
fn picture_payload(stream: &Stream, layer: u8, key: bool, index: u8) -> Vec<u8> {
    let first = index == 0;
    let [high, low] = stream.picture.to_be_bytes();
    let mut payload = vec![
        0x80 | u8::from(first) << 4,
        0xc0,
        high | 0x80,
        low,
        stream.picture as u8,
    ];
    let height = 180u16 << layer;
    let [h0, h1] = height.to_le_bytes();
    let tag = u8::from(!key) | 0x10;
    let head = if first && key {
        vec![tag, 0, 0, 0x9d, 1, 0x2a, 64, 1, h0, h1]
    } else {
        vec![tag, 0, 0]
    };
    payload.extend(head);
    payload.extend([layer, index, u8::from(key && first)]);
    payload.extend(stream.sequence.to_be_bytes());
    payload.extend(stream.picture.to_be_bytes());
    payload
}

impl Received {
    fn read(at: Instant, forward: &Forward, bytes: &[u8]) -> Self {
        let packet = RtpPacket::parse(bytes).unwrap();
        let header = &forward.header;
        assert_eq!(
            (packet.sequence(), packet.timestamp()),
            (header.sequence, header.timestamp)
        );
        let (original, payload) = match header.original_sequence {
            Some(_) => {
                let (number, payload) = packet.payload().split_first_chunk::<2>().unwrap();
                (Some(u16::from_be_bytes(*number)), payload)
            }
            None => (None, packet.payload()),
        };
        let red = (packet.payload_type() == RED).then(|| Red::parse(payload).unwrap());
        let payload = red.map_or(payload, |red| red.primary().payload);
        let former = |b: &red::Block<'_>| {
            (
                packet.timestamp().wrapping_sub(b.offset.into()),
                b.payload.to_vec(),
            )
        };
        let redundant = red.map_or_else(Vec::new, |red| red.redundant().iter().map(former).collect());
        let descriptor = vp8::Descriptor::parse(payload).filter(|_| forward.slot.kind == MediaKind::Video);
        let tail = |from_end: usize| payload[payload.len() - from_end];
        let number = |from_end| u16::from_be_bytes([tail(from_end), tail(from_end - 1)]);
        let video = descriptor.is_some();
        let mid = packet.extension(4).unwrap();
        assert_eq!(mid, forward.slot.to_string().as_bytes());
        Self {
            to: forward.to.0,
            at,
            slot: forward.slot,
            purpose: forward.purpose,
            ssrc: packet.ssrc(),
            payload_type: packet.payload_type(),
            marker: packet.marker(),
            redundant,
            wire_sequence: packet.sequence(),
            time: packet.timestamp(),
            source: SourceNumber::try_from(packet.csrcs().next().unwrap()).unwrap(),
            transport: packet.extension(3).and_then(ext::transport_sequence),
            playout: packet.extension(6).and_then(PlayoutDelay::read),
            original,
            payload: payload.to_vec(),
            picture: descriptor.and_then(|d| d.picture_id).map(|id| id.get()),
            key_start: video && tail(5) == 1,
            layer: if video { tail(7) } else { 0 },
            sequence_in: if video {
                number(4)
            } else {
                u16::from_be_bytes([payload[1], payload[2]])
            },
            picture_in: if video { number(2) } else { 0 },
        }
    }
}

/// What a decoder relies on, for each slot of one receiver.
pub(super) fn check_continuity(received: Vec<Received>, lost: &Lost) {
    let slots: BTreeSet<SlotId> = received.iter().map(|r| r.slot).collect();
    for slot in slots {
        let packets: Vec<&Received> = received.iter().filter(|r| r.slot == slot).collect();
        check_slot(&packets, slot.kind == MediaKind::Video, lost);
    }
}

fn check_slot(packets: &[&Received], video: bool, lost: &Lost) {
    let mut reference = 1u64 << 20 | u64::from(packets[0].wire_sequence);
    let mut ordered: Vec<(u64, &Received)> = Vec::new();
    for packet in packets {
        let distance = packet.wire_sequence.wrapping_sub(reference as u16).cast_signed();
        reference = reference.wrapping_add_signed(distance.into());
        ordered.push((reference, packet));
    }
    ordered.sort_by_key(|(sequence, _)| *sequence);
    assert!(
        !video || ordered[0].1.key_start,
        "the first stretch begins with a key frame"
    );
    for pair in ordered.windows(2) {
        let ((number_a, a), (number_b, b)) = (pair[0], pair[1]);
        assert!(number_a < number_b, "a number twice: {a:?} {b:?}");
        let step = b.time.wrapping_sub(a.time).cast_signed();
        // A slot that came back to a source may be served with the very key frame that it showed before.
        let again = b.key_start && b.sequence_in.wrapping_sub(a.sequence_in).cast_signed() <= 0;
        let same_stream = (a.source, a.layer) == (b.source, b.layer) && !again;
        if same_stream && !b.key_start {
            let gap = number_b - number_a;
            assert_eq!(
                gap,
                u64::from(b.sequence_in.wrapping_sub(a.sequence_in)),
                "a hole: {a:?} {b:?}"
            );
            for missing in 1..gap {
                let number = a.sequence_in.wrapping_add(missing as u16);
                // What came late may have its place in a later stretch, that began again with the same key frame.
                let later = |r: &&Received| (r.source, r.layer, r.sequence_in) == (a.source, a.layer, number);
                assert!(
                    lost.contains(&(a.slot, a.source, a.layer, number)) || packets.iter().any(later),
                    "not forwarded: {number} of {a:?}"
                );
            }
        }
        if !video {
            assert!(step > 0, "time stands still or goes back: {a:?} {b:?}");
            continue;
        }
        assert!(
            same_stream || b.key_start,
            "a stretch without a key frame: {a:?} {b:?}"
        );
        if !same_stream {
            assert_eq!(number_b, number_a + 1, "a hole at a switch");
        }
        let same_picture = same_stream && a.picture_in == b.picture_in;
        assert_eq!(step == 0, same_picture, "{a:?} {b:?}");
        assert!(step >= 0, "time goes back: {a:?} {b:?}");
        let pictures = b.picture.unwrap().wrapping_sub(a.picture.unwrap()) & 0x7fff;
        let expected = if same_stream {
            b.picture_in.wrapping_sub(a.picture_in) & 0x7fff
        } else {
            1
        };
        assert!(
            pictures == expected || (b.key_start && pictures == 1),
            "picture ids: {a:?} {b:?}"
        );
    }
}
