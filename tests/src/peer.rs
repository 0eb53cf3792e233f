//! A scripted meeting point: sends as a browser does, answers NACK and PLI, reports, and receives into slots.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::{
    control::SlotChange,
    engine::{
        id::{EndpointId, PointNumber, ShortId, SlotId, SourceKind, Ssrc},
        packet::{
            Codec, ExtensionIds, Negotiated, NegotiatedSlot, NegotiatedSource, NewEndpoint, PayloadType,
            StreamOrigin,
        },
    },
    wire::{
        ext::AudioLevel,
        rtcp::{self, Builder, ReportBlock, Rtcp, SenderInfo},
        rtp::{self, RtpPacket},
    },
};

use crate::{
    decoder::Receiver,
    encoder::{Camera, Mic, Outgoing, Sender},
};

const EXTENSIONS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: Some(2),
    rrid: Some(3),
    audio_level: Some(4),
    transport_cc: Some(5),
    abs_send_time: None,
    orientation: None,
    playout_delay: Some(6),
};
const OPUS: PayloadType = PayloadType {
    codec: Codec::Opus,
    media: 111,
    rtx: None,
};
const VP8: PayloadType = PayloadType {
    codec: Codec::Vp8,
    media: 96,
    rtx: Some(97),
};

/// Largest RTCP compound a peer makes.
const COMPOUND_BYTES_MAX: usize = 1_200;

/// What a point is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Script {
    /// Sends a camera in three layers.
    pub camera: bool,
    /// Sends a microphone.
    pub mic: bool,
    /// Receives that many pictures.
    pub video_slots: u8,
    /// Asks for lost packets again and answers those who ask; switched off to show what repair is worth.
    pub repairs: bool,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            camera: true,
            mic: true,
            video_slots: 4,
            repairs: true,
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
    /// Key frames that the node asked for.
    pub plis_received: u32,
    /// Bytes received, all kinds.
    pub bytes_received: u64,
    /// Transport-wide feedback packets received for what it sends.
    pub feedback_received: u32,
    /// Round trip, as it would have measured it.
    pub rtt: Duration,
    started: Instant,
    transport_sequence: u16,
    slots: BTreeMap<u32, (SlotId, bool)>,
    media: Negotiated,
    reports: BTreeMap<u32, (u64, Instant)>,
}

impl Peer {
    /// A point that starts to send at `now`.
    pub fn new(now: Instant, number: PointNumber, script: Script, path_doubles: bool) -> Self {
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
        Self {
            endpoint: EndpointId(number.get() + 100),
            number,
            script,
            camera: script
                .camera
                .then(|| Camera::new(number.source(SourceKind::Camera), base + 10, VP8.media)),
            mic: script
                .mic
                .then(|| Mic::new(number.source(SourceKind::Mic), base + 2, OPUS.media)),
            receivers,
            announced: Vec::new(),
            nacks_received: 0,
            plis_received: 0,
            bytes_received: 0,
            feedback_received: 0,
            rtt: Duration::from_millis(50),
            started: now,
            transport_sequence: 65_000,
            slots,
            media,
            reports: BTreeMap::new(),
        }
    }

    /// What the driver would tell the room when this point joins.
    pub fn newcomer(&self) -> NewEndpoint {
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
            rank: Default::default(),
            lines: Vec::new(),
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

    /// Packets of the camera's next frame, all layers.
    pub fn camera_frame(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let age = now - self.started;
        let packets = self
            .camera
            .as_mut()
            .map(|camera| camera.frame(age))
            .unwrap_or_default();
        packets.iter().map(|packet| self.write(packet, b"1")).collect()
    }

    /// The microphone's next packet.
    pub fn voice(&mut self) -> Option<Vec<u8>> {
        let packet = self.mic.as_mut()?.packet();
        Some(self.write(&packet, b"0"))
    }

    fn write(&mut self, packet: &Outgoing, mid: &[u8]) -> Vec<u8> {
        let sequence = self.transport_sequence.to_be_bytes();
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let level = packet.level.map(|level| {
            AudioLevel {
                voice: level < 100,
                level,
            }
            .write()
        });
        let mut extensions: Vec<(u8, &[u8])> = vec![(1, mid), (5, &sequence)];
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
        bytes
    }

    /// RTP from the node.
    pub fn handle_rtp(&mut self, now: Instant, bytes: &[u8]) {
        self.bytes_received += bytes.len() as u64;
        let packet = RtpPacket::parse(bytes).expect("the node sends RTP");
        let Some((slot, repair)) = self.slots.get(&packet.ssrc()).copied() else {
            panic!("the node sent an SSRC that is no slot of this point");
        };
        let receiver = self.receivers.get_mut(&slot).expect("each slot has a receiver");
        if repair {
            receiver.handle_repair(now, &packet);
        } else {
            receiver.handle_media(now, &packet);
        }
    }

    /// RTCP from the node; answers with packets sent again.
    pub fn handle_rtcp(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut again = Vec::new();
        for packet in rtcp::packets(bytes) {
            match packet.expect("the node sends well-formed RTCP") {
                Rtcp::Nack(nack) => {
                    let lost: Vec<u16> = nack.lost().collect();
                    self.nacks_received += lost.len() as u32;
                    if self.script.repairs {
                        again.extend(self.repair(nack.media_ssrc, &lost));
                    }
                }
                Rtcp::PictureLoss(_) => {
                    self.plis_received += 1;
                    if let Some(camera) = &mut self.camera {
                        camera.key_wanted = true;
                    }
                }
                Rtcp::SenderReport(report) => {
                    self.reports.insert(report.ssrc, (report.info.ntp, now));
                }
                Rtcp::TransportFeedback(_) => self.feedback_received += 1,
                _ => {}
            }
        }
        again
    }

    fn repair(&mut self, ssrc: u32, lost: &[u16]) -> Vec<Vec<u8>> {
        let Some(camera) = &mut self.camera else {
            return Vec::new();
        };
        let Some(layer) = camera.layers.iter_mut().find(|layer| layer.sender.ssrc == ssrc) else {
            return Vec::new();
        };
        let packets: Vec<_> = lost
            .iter()
            .filter_map(|number| layer.sender.repair(*number, 97))
            .collect();
        packets.iter().map(|packet| self.write(packet, b"1")).collect()
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

    /// Reports of what it sends and receives, each second.
    pub fn report(&mut self, now: Instant) -> Vec<u8> {
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, COMPOUND_BYTES_MAX);
        let blocks: Vec<ReportBlock> = self
            .media
            .slots
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

    fn block(&self, now: Instant, slot: &NegotiatedSlot) -> Option<ReportBlock> {
        let receiver = self.receivers.get(&slot.slot)?;
        let (first, highest) = (receiver.first?, receiver.highest?);
        let (ntp, came) = self.reports.get(&slot.ssrc.0).copied().unwrap_or((0, now));
        let lost = (highest - first + 1).saturating_sub(receiver.received);
        Some(ReportBlock {
            ssrc: slot.ssrc.0,
            fraction_lost: 0,
            lost: lost as i32,
            highest_sequence: highest as u32,
            jitter: 0,
            last_sr: (ntp >> 16) as u32,
            delay_since_sr: ((now - came).as_micros() * 65_536 / 1_000_000) as u32,
        })
    }

    /// The receiver of a slot.
    pub fn receiver(&self, slot: SlotId) -> &Receiver {
        &self.receivers[&slot]
    }
}

/// A duration as NTP 32.32 fixed point.
fn ntp_fraction(time: Duration) -> u64 {
    (time.as_secs() << 32) + (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000
}

fn negotiated(base: u32, script: Script) -> Negotiated {
    let id = |text: &str| ShortId::new(text.as_bytes()).expect("a short id");
    let mut sources = Vec::new();
    if script.mic {
        let ssrcs = vec![(Ssrc(base + 2), None)];
        sources.push(NegotiatedSource {
            kind: SourceKind::Mic,
            mid: id("0"),
            payloads: vec![OPUS],
            red: None,
            rids: Vec::new(),
            ssrcs,
        });
    }
    if script.camera {
        let rids = vec![id("q"), id("h"), id("f")];
        sources.push(NegotiatedSource {
            kind: SourceKind::Camera,
            mid: id("1"),
            payloads: vec![VP8],
            red: None,
            rids,
            ssrcs: Vec::new(),
        });
    }
    let audio = (0..6).map(|i| (SlotId::audio(i), vec![OPUS], None));
    let video =
        (0..script.video_slots).map(|i| (SlotId::video(i), vec![VP8], Some(Ssrc(base + 200 + u32::from(i)))));
    let slots = audio
        .chain(video)
        .enumerate()
        .map(|(i, (slot, payloads, rtx_ssrc))| NegotiatedSlot {
            slot,
            mid: id(&(i + 2).to_string()),
            ssrc: Ssrc(base + 100 + i as u32),
            rtx_ssrc,
            payloads,
            red: None,
        });
    Negotiated {
        extensions: EXTENSIONS,
        sources,
        slots: slots.collect(),
    }
}
