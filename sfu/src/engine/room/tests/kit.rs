//! Scripted senders, and receivers that write down what they get.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{
    super::{
        cascade::{CascadeBatch, LinkId},
        id::Rank,
        packet::{Negotiated, NewEndpoint, Purpose, SourceGrade, StreamOrigin},
        selector::LayerStream,
        testing::{base, ms},
    },
    *,
};
use super::{received::*, terms::*};
use crate::engine::{id::SlotId, page::Want};
use crate::wire::{
    ext,
    rtcp::{self, Builder, Rtcp, SenderInfo},
    rtp::{self, HeaderFields},
};

pub(super) const FRAME_MS: u64 = 33;

/// A room, its senders, and all that came out of it.
pub(super) struct Kit {
    pub(super) room: Room,
    pub(super) start: Instant,
    pub(super) now: Instant,
    /// Layers that cameras send.
    pub(super) layers: u8,
    /// Bytes of a packet of a picture, at least.
    pub(super) payload: usize,
    /// (source, layer, number) of packets made that never arrived.
    pub(super) lost: Lost,
    pub(super) received: Vec<Received>,
    /// Transport-wide numbers that were told to have arrived.
    pub(super) told: BTreeSet<u16>,
    streams: BTreeMap<(u32, u8), Stream>,
    slot_changes: Vec<(u32, SlotChange)>,
    rtcp: Vec<(u32, Vec<u8>)>,
    asked: BTreeSet<u32>,
    /// What senders were last told to send.
    pub(super) orders: BTreeMap<u32, Vec<SourceGrade>>,
    /// What the room said to other halves.
    pub(super) crossed: Vec<(LinkId, CascadeBatch)>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    sequence: u16,
    time: u32,
    picture: u16,
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

impl Kit {
    /// Points 1 to `points`, microphone and camera on, connected.
    pub(super) fn new(points: u32) -> Self {
        let start = base();
        let mut kit = Self {
            room: Room::new(start, fast()),
            start,
            now: start,
            layers: 3,
            payload: 0,
            lost: BTreeSet::new(),
            received: Vec::new(),
            told: BTreeSet::new(),
            streams: BTreeMap::new(),
            slot_changes: Vec::new(),
            rtcp: Vec::new(),
            asked: BTreeSet::new(),
            orders: BTreeMap::new(),
            crossed: Vec::new(),
        };
        (1..=points).for_each(|number| kit.join(number));
        kit
    }

    pub(super) fn join(&mut self, number: u32) {
        self.join_as(number, Default::default());
    }

    pub(super) fn join_as(&mut self, number: u32, rank: Rank) {
        self.join_with(number, rank, negotiated());
    }

    pub(super) fn join_with(&mut self, number: u32, rank: Rank, media: Negotiated) {
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
            let payload = picture_payload(stream, layer, key, index, self.payload);
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
        let slots = &self.room.endpoints.get(EndpointId(1)).expect("it is in").video;
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
        self.room.handle_rtp(self.now, EndpointId(from), &made.bytes);
        self.drain();
    }

    fn receive(&mut self, forward: &Forward) {
        if forward.purpose == Purpose::Padding {
            return;
        }
        let mut bytes = [0; 1_500];
        let payload = self.room.payload(forward.payload.unwrap()).unwrap();
        let length = forward
            .write(payload, |at| self.room.payload(at), &mut bytes)
            .unwrap();
        self.received
            .push(Received::read(self.now, forward, &bytes[..length]));
    }

    pub(super) fn drain(&mut self) {
        let mut forwards = Vec::new();
        while self.room.poll_forwards(1, &mut forwards) {}
        forwards.iter().for_each(|forward| self.receive(forward));
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Quality { .. } => {}
                Output::Send {
                    endpoint, sources, ..
                } => {
                    self.orders.insert(endpoint.0, sources);
                }
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
        let mut batch = CascadeBatch::default();
        while let Some(link) = self.room.poll_cascade(self.now, &mut batch) {
            self.crossed.push((link, std::mem::take(&mut batch)));
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
        self.room.handle_rtcp(self.now, EndpointId(from), &bytes);
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
                let SenderInfo {
                    ntp, rtp, packets, ..
                } = report.info;
                Some(Report {
                    ssrc: report.ssrc,
                    ntp,
                    rtp,
                    packets,
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
    pub(super) packets: u32,
}

pub(super) fn packet(fields: &HeaderFields, extensions: &[(u8, &[u8])], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 1_400];
    let header = rtp::write_header(fields, None, extensions, &mut bytes).unwrap();
    bytes.truncate(header);
    bytes.extend_from_slice(payload);
    bytes
}

/// A descriptor with picture id (15 bits) and TL0PICIDX, then the frame's head, then what the sender knows of it.
fn picture_payload(stream: &Stream, layer: u8, key: bool, index: u8, least: usize) -> Vec<u8> {
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
    payload.resize(payload.len().max(least), 0);
    payload.extend([layer, index, u8::from(key && first)]);
    payload.extend(stream.sequence.to_be_bytes());
    payload.extend(stream.picture.to_be_bytes());
    payload
}
