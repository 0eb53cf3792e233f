//! A scripted meeting point: sends as a browser does, answers NACK and PLI, reports, and receives into slots.

mod buffers;
mod reports;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    control::SlotChange,
    engine::{
        id::{EndpointId, LineIndex, MediaKind, PointNumber, Rank, SlotId, SourceKind},
        packet::{Negotiated, NewEndpoint, SourceGrade, StreamOrigin},
        units::Bitrate,
    },
    wire::{
        ext::{AudioLevel, PlayoutDelay, transport_sequence},
        rtcp::{self, Rtcp},
        rtp::{self, RtpPacket},
    },
};

use self::buffers::Buffers;
use crate::{
    camera::Camera,
    decoder::Receiver,
    encoder::Outgoing,
    feedback::{Arrivals, Feedback},
    mic::Mic,
    negotiate::{OPUS, PLAYOUT_DELAY, RED, TRANSPORT_CC, VP8, negotiated},
    uplink::Uplink,
    world::OVERHEAD_BYTES,
};

/// Largest RTCP compound a peer makes.
const COMPOUND_BYTES_MAX: usize = 1_200;

/// What a point is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Sends a camera in three layers.
    pub camera: bool,
    /// Of these the highest alone, as what is published without simulcast: it leaves at the rate that it was set to.
    pub one_layer: bool,
    /// Sends a microphone.
    pub mic: bool,
    /// Receives that many pictures.
    pub video_slots: u8,
    /// Asks for lost packets again and answers those who ask; switched off to show what repair is worth.
    pub repairs: bool,
    /// Frames a second of its camera.
    pub fps: u8,
    /// Its camera makes temporal layers.
    pub temporal: bool,
    /// How it tells what reaches it.
    pub feedback: Feedback,
    /// Sends RED, and takes it, as Chromium does.
    pub red: bool,
    /// Sends what it is told to and no more; else all its layers, always.
    pub obeys: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            camera: true,
            one_layer: false,
            mic: true,
            video_slots: 4,
            repairs: true,
            fps: 15,
            temporal: true,
            feedback: Feedback::TransportWide,
            red: true,
            obeys: true,
        }
    }
}

impl Script {
    /// Sends, and receives voices alone.
    pub fn publisher() -> Self {
        Self {
            video_slots: 0,
            ..Self::default()
        }
    }

    /// Receives that many pictures, and sends nothing.
    pub fn watcher(video_slots: u8) -> Self {
        Self {
            camera: false,
            mic: false,
            video_slots,
            ..Self::default()
        }
    }
}

/// One point of the meeting.
#[derive(Debug)]
pub struct Peer {
    /// Its name in the room's shard.
    pub endpoint: EndpointId,
    /// Its number in the room.
    pub number: PointNumber,
    /// What it is made of.
    pub script: Script,
    /// Its camera.
    pub camera: Option<Camera>,
    /// Its microphone.
    pub mic: Option<Mic>,
    /// What it receives, by slot.
    pub receivers: BTreeMap<SlotId, Receiver>,
    /// What it was told its slots show, in order.
    pub announced: Vec<SlotChange>,
    /// Numbers that the node asked for again.
    pub nacks_received: u32,
    /// When the node asked for a key frame.
    pub plis_received: Vec<Instant>,
    /// Bytes received, all kinds.
    pub bytes_received: u64,
    /// Bytes of sound on the wire, IP and UDP headers and the tag included.
    pub sound_received: u64,
    /// Packets that were padding alone.
    pub padding_received: u32,
    /// Transport-wide feedback packets received for what it sends.
    pub feedback_received: u32,
    /// Packets of sound that came again.
    pub replays: u32,
    /// Round trip, as it would have measured it.
    pub rtt: Duration,
    /// What it knows of its own way up.
    pub uplink: Uplink,
    started: Instant,
    /// Pictures sent so far have left by then.
    paced_until: Instant,
    arrivals: Arrivals,
    transport_sequence: u16,
    slots: BTreeMap<u32, (SlotId, bool)>,
    media: Negotiated,
    reports: BTreeMap<u32, (u64, Instant)>,
    /// Per slot what was there at the last report: highest number, received.
    reported: BTreeMap<SlotId, (u64, u64)>,
    buffers: Buffers,
}

/// Pictures leave at so many times the rate of the sender's estimate, as browsers pace them.
const PACE: u64 = 5;
const PACE_OVER: u64 = 2;

impl Peer {
    /// A point that starts to send at `now`.
    pub fn new(now: Instant, number: PointNumber, script: Script, path_doubles: bool, seed: u64) -> Self {
        let base = number.get() * 1_000;
        let media = negotiated(base, script);
        let receivers = media
            .slots
            .iter()
            .map(|s| (s.slot, Receiver::new(s.slot, path_doubles)))
            .collect();
        let mut slots = BTreeMap::new();
        for slot in &media.slots {
            slots.insert(slot.ssrc.0, (slot.slot, false));
            if let Some(rtx) = slot.rtx_ssrc {
                slots.insert(rtx.0, (slot.slot, true));
            }
        }
        let uplink = Uplink::new(now);
        let seed = seed.wrapping_mul(1_000_003) + u64::from(number.get());
        let camera = || {
            let mut camera = Camera::new(number.source(SourceKind::Camera), base + 10, VP8.media, seed);
            (camera.fps, camera.temporal) = (script.fps, script.temporal);
            if script.one_layer {
                camera.keep_highest();
            }
            if script.feedback == Feedback::TransportWide {
                camera.set_budget(Duration::ZERO, uplink.estimate());
            }
            camera
        };
        let red = script.red.then_some(RED);
        let mic = || Mic::new(number.source(SourceKind::Mic), base + 2, OPUS.media, red, !seed);
        Self {
            endpoint: EndpointId(number.get() + 100),
            number,
            script,
            camera: script.camera.then(camera),
            mic: script.mic.then(mic),
            receivers,
            announced: Vec::new(),
            nacks_received: 0,
            plis_received: Vec::new(),
            bytes_received: 0,
            sound_received: 0,
            padding_received: 0,
            feedback_received: 0,
            rtt: Duration::from_millis(50),
            uplink,
            started: now,
            paced_until: now,
            arrivals: Arrivals::default(),
            transport_sequence: 65_000,
            slots,
            media,
            reports: BTreeMap::new(),
            reported: BTreeMap::new(),
            buffers: Buffers::default(),
            replays: 0,
        }
    }

    /// What the driver would tell the room when this point joins.
    pub fn newcomer(&self, rank: Rank, lines: Vec<LineIndex>) -> NewEndpoint {
        let published = [
            (self.script.mic, SourceKind::Mic),
            (self.script.camera, SourceKind::Camera),
        ];
        NewEndpoint {
            endpoint: self.endpoint,
            number: self.number,
            published: published
                .into_iter()
                .filter(|(on, _)| *on)
                .map(|(_, kind)| kind)
                .collect(),
            rank,
            way_start: None,
            lines,
            media: self.media.clone(),
            origins: (0..self.media.slots.len() as u16)
                .map(|i| StreamOrigin {
                    sequence: 65_530_u16.wrapping_add(i * 977),
                    rtx_sequence: 65_000_u16.wrapping_add(i * 31),
                    timestamp: u32::MAX - 900 * u32::from(i),
                    picture_id: 0x7FF8,
                    tl0_pic_idx: 250,
                })
                .collect(),
        }
    }

    /// Packets of the camera's next frame, all layers, each with the time it leaves.
    pub fn camera_frame(&mut self, now: Instant) -> Vec<(Instant, Outgoing)> {
        let age = now - self.started;
        let packets = self
            .camera
            .as_mut()
            .map(|camera| camera.frame(age))
            .unwrap_or_default();
        self.pace(now, packets)
    }

    /// When packets leave: one behind the other at the pace of the estimate.
    fn pace(&mut self, now: Instant, packets: Vec<Outgoing>) -> Vec<(Instant, Outgoing)> {
        let set = self.camera.as_ref().filter(|_| self.script.one_layer);
        let rate = set.map_or(self.uplink.estimate(), Camera::wanted);
        let rate = rate.as_bps() * PACE / PACE_OVER;
        let mut at = self.paced_until.max(now);
        let paced = packets.into_iter().map(|packet| {
            let leaves = at;
            let bits = (packet.payload.len() as u64 + 60) * 8;
            at += Duration::from_nanos(bits * 1_000_000_000 / rate.max(1));
            (leaves, packet)
        });
        let paced = paced.collect();
        self.paced_until = at;
        paced
    }

    /// The microphone's next packet.
    pub fn voice(&mut self) -> Option<Outgoing> {
        Some(self.mic.as_mut()?.packet())
    }

    /// What the node tells it to send.
    pub fn obey(&mut self, now: Instant, sources: &[SourceGrade], voice_ms: u8) {
        if !self.script.obeys {
            return;
        }
        if let Some(mic) = &mut self.mic {
            mic.packet_ms = if voice_ms >= 60 { 60 } else { 20 };
        }
        let grade = sources.iter().find(|grade| grade.source == SourceKind::Camera);
        if let (Some(camera), Some(grade)) = (&mut self.camera, grade) {
            camera.obey(now - self.started, &grade.layers);
            // Headers and the voice besides.
            let wanted = camera.wanted().as_bps() / 4 * 5 + 100_000;
            self.uplink.try_out(Bitrate::bps(wanted));
        }
    }

    /// A packet as it leaves now, with its extensions.
    pub fn write(&mut self, now: Instant, packet: &Outgoing) -> Vec<u8> {
        let mid: &[u8] = if packet.rid.is_some() { b"1" } else { b"0" };
        let number = self.transport_sequence;
        let sequence = number.to_be_bytes();
        self.transport_sequence = number.wrapping_add(1);
        let level = packet.level.map(|level| {
            AudioLevel {
                voice: level < 100,
                level,
            }
            .write()
        });
        let mut extensions: Vec<(u8, &[u8])> = vec![(1, mid), (TRANSPORT_CC, &sequence)];
        if let Some(rid) = packet.rid {
            extensions.push((if packet.repair { 3 } else { 2 }, rid.as_bytes()));
        }
        if let Some(level) = &level {
            extensions.push((4, level));
        }
        let mut bytes = vec![0; 1_500];
        let length =
            rtp::write_header(&packet.header, None, &extensions, &mut bytes).expect("fits 1,500 bytes");
        bytes.truncate(length);
        bytes.extend_from_slice(&packet.payload);
        self.uplink.handle_sent(now, number, bytes.len());
        bytes
    }

    /// The node tells what its slots show.
    pub fn handle_changes(&mut self, now: Instant, changes: Vec<SlotChange>) {
        for change in &changes {
            if let Some(receiver) = self.receivers.get_mut(&change.slot) {
                receiver.handle_change(now, change.source.is_none());
            }
        }
        self.announced.extend(changes);
    }

    /// RTP from the node.
    pub fn handle_rtp(&mut self, now: Instant, bytes: &[u8]) {
        self.bytes_received += bytes.len() as u64;
        let packet = RtpPacket::parse(bytes).expect("the node sends RTP");
        if self.is_replay(&packet) {
            return;
        }
        self.arrivals.note_bytes(bytes.len());
        if let Some(number) = packet.extension(TRANSPORT_CC).and_then(transport_sequence) {
            self.arrivals.note(now, number);
        }
        let Some((slot, repair)) = self.slots.get(&packet.ssrc()).copied() else {
            panic!("the node sent an SSRC that is no slot of this point");
        };
        self.padding_received += u32::from(packet.payload().is_empty() && packet.padding_len() > 0);
        if slot.kind == MediaKind::Audio {
            self.sound_received += (bytes.len() + OVERHEAD_BYTES) as u64;
        }
        let receiver = self.receivers.get_mut(&slot).expect("each slot has a receiver");
        if packet.payload_type() == RED {
            receiver.handle_red(now, &packet);
        } else if repair {
            receiver.handle_repair(now, &packet);
        } else {
            let delay = packet.extension(PLAYOUT_DELAY).and_then(PlayoutDelay::read);
            receiver.handle_media(now, &packet, delay);
        }
    }

    /// Its transport opened that packet of sound before: what comes again is dropped before anything else sees it (RFC 3711 §3.3.2).
    fn is_replay(&mut self, packet: &RtpPacket<'_>) -> bool {
        let slot = self.slots.get(&packet.ssrc()).map(|(slot, _)| *slot);
        let voice = slot.filter(|slot| slot.kind == MediaKind::Audio && !self.script.red);
        let receiver = voice.and_then(|slot| self.receivers.get(&slot));
        let is_replay = receiver.is_some_and(|receiver| receiver.has(packet.sequence()));
        self.replays += u32::from(is_replay);
        is_replay
    }

    /// RTCP from the node; answers with packets sent again.
    pub fn handle_rtcp(&mut self, now: Instant, bytes: &[u8]) -> Vec<(Instant, Outgoing)> {
        let mut again = Vec::new();
        for packet in rtcp::packets(bytes) {
            match packet.expect("the node sends well-formed RTCP") {
                Rtcp::Nack(nack) => {
                    let lost: Vec<u16> = nack.lost().collect();
                    self.nacks_received += lost.len() as u32;
                    if self.script.repairs {
                        again.extend(self.repair(now, nack.media_ssrc, &lost));
                    }
                }
                Rtcp::PictureLoss(_) => {
                    self.plis_received.push(now);
                    if let Some(camera) = &mut self.camera {
                        camera.key_wanted = true;
                    }
                }
                Rtcp::SenderReport(report) => {
                    self.reports.insert(report.ssrc, (report.info.ntp, now));
                }
                Rtcp::TransportFeedback(feedback) => {
                    self.feedback_received += 1;
                    if self.uplink.handle_feedback(now, &feedback) {
                        self.adapt(now);
                    }
                }
                _ => {}
            }
        }
        again
    }

    /// Pictures take what the voice leaves of the way up.
    fn adapt(&mut self, now: Instant) {
        let voice = if self.mic.is_some() { 50_000 } else { 0 };
        let left = self.uplink.estimate().as_bps().saturating_sub(voice);
        let age = now - self.started;
        if let Some(camera) = &mut self.camera {
            // Headers, tags and repairs take a tenth.
            camera.set_budget(age, Bitrate::bps(left / 10 * 9));
        }
    }

    fn repair(&mut self, now: Instant, ssrc: u32, lost: &[u16]) -> Vec<(Instant, Outgoing)> {
        let layers = self.camera.iter_mut().flat_map(|camera| &mut camera.layers);
        let Some(layer) = layers.into_iter().find(|layer| layer.sender.ssrc == ssrc) else {
            return Vec::new();
        };
        let packets: Vec<_> = lost
            .iter()
            .filter_map(|number| layer.sender.repair(*number, 97))
            .collect();
        packets.into_iter().map(|packet| (now, packet)).collect()
    }

    /// The receiver of a slot.
    pub fn receiver(&self, slot: SlotId) -> &Receiver {
        &self.receivers[&slot]
    }
}
