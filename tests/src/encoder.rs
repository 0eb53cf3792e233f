//! Scripted sources: a camera in simulcast layers and a microphone, as a browser sends them.
//!
//! Each payload carries a [`Stamp`] of what it is, so that the decoder model knows the truth about every packet it sees.

use std::{collections::VecDeque, time::Duration};

use sfu::{engine::id::SourceNumber, wire::rtp};

/// The truth about a packet: which frame of which layer of which source it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose.
    pub source: u32,
    /// Simulcast layer, 0 lowest; 0 for sound.
    pub layer: u8,
    /// Counts frames of the layer from 0.
    pub frame: u32,
    /// Packet of the frame, from 0.
    pub index: u8,
    /// Packets the frame has.
    pub count: u8,
    /// A key frame.
    pub key: bool,
}

/// Bytes of a VP8 descriptor as this encoder writes it: X, I with 15 bits, L, T.
const DESCRIPTOR_BYTES: usize = 6;
/// Bytes of the VP8 frame header that the node reads for key frame and size.
const FRAME_HEADER_BYTES: usize = 10;
const STAMP_BYTES: usize = 16;
const STAMP_MAGIC: [u8; 4] = *b"DCst";
/// Sent packets a source keeps for retransmission; older ones are gone.
const HISTORY_PACKETS: usize = 1_000;
/// Largest payload that keeps a packet below 1,200 bytes with its extensions.
const PAYLOAD_MAX: usize = 1_100;

impl Stamp {
    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&STAMP_MAGIC);
        out.extend_from_slice(&self.source.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        out.extend_from_slice(&[self.layer, self.index, self.count, u8::from(self.key)]);
    }

    /// Reads the stamp of a payload, video (behind descriptor and frame header) or sound (behind the first byte).
    pub fn read(payload: &[u8], video: bool) -> Option<Self> {
        let at = if video {
            DESCRIPTOR_BYTES + FRAME_HEADER_BYTES
        } else {
            1
        };
        let stamp = payload.get(at..at + STAMP_BYTES)?;
        if stamp[..4] != STAMP_MAGIC {
            return None;
        }
        let word = |i: usize| u32::from_be_bytes([stamp[i], stamp[i + 1], stamp[i + 2], stamp[i + 3]]);
        let [layer, index, count, key] = [stamp[12], stamp[13], stamp[14], stamp[15]];
        Some(Self {
            source: word(4),
            layer,
            frame: word(8),
            index,
            count,
            key: key == 1,
        })
    }
}

/// One RTP stream of a sender: numbers, SSRC, what was sent.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its RTX SSRC, if repairs go that way.
    pub rtx_ssrc: Option<u32>,
    /// Packets sent first time.
    pub packets: u32,
    /// Bytes of payload sent first time.
    pub bytes: u32,
    /// RTP time of the newest packet.
    pub timestamp: u32,
    sequence: u16,
    rtx_sequence: u16,
    history: VecDeque<(u16, Outgoing)>,
}

/// A packet to be written with its extensions by the peer that sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Fixed header.
    pub header: rtp::HeaderFields,
    /// Payload.
    pub payload: Vec<u8>,
    /// Restriction id of the layer, if the source has layers.
    pub rid: Option<&'static str>,
    /// Sent again: the rid goes in the rrid extension.
    pub repair: bool,
    /// RFC 6464 level, for sound.
    pub level: Option<u8>,
}

impl Sender {
    /// A stream that begins at the given number.
    pub fn new(ssrc: u32, rtx_ssrc: Option<u32>, sequence: u16) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            packets: 0,
            bytes: 0,
            timestamp: 0,
            sequence,
            rtx_sequence: 7,
            history: VecDeque::new(),
        }
    }

    fn send(
        &mut self,
        header: rtp::HeaderFields,
        payload: Vec<u8>,
        rid: Option<&'static str>,
        level: Option<u8>,
    ) -> Outgoing {
        let packet = Outgoing {
            header,
            payload,
            rid,
            repair: false,
            level,
        };
        self.packets += 1;
        self.bytes += packet.payload.len() as u32;
        self.timestamp = header.timestamp;
        if self.rtx_ssrc.is_some() {
            self.history.push_back((header.sequence, packet.clone()));
            if self.history.len() > HISTORY_PACKETS {
                self.history.pop_front();
            }
        }
        packet
    }

    fn next_sequence(&mut self) -> u16 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// The packet again, as RTX (RFC 4588 §4), if it is still known.
    pub fn repair(&mut self, sequence: u16, rtx_payload_type: u8) -> Option<Outgoing> {
        let ssrc = self.rtx_ssrc?;
        let (_, packet) = self.history.iter().find(|(found, _)| *found == sequence)?;
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&packet.payload);
        let header = rtp::HeaderFields {
            ssrc,
            sequence: self.rtx_sequence,
            payload_type: rtx_payload_type,
            ..packet.header
        };
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        Some(Outgoing {
            header,
            payload,
            repair: true,
            ..packet.clone()
        })
    }
}

/// One simulcast layer.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its stream.
    pub sender: Sender,
    /// Restriction id.
    pub rid: &'static str,
    width: u16,
    height: u16,
    frame_bytes: usize,
    picture_id: u16,
    frame: u32,
    /// Key frames made.
    pub key_frames: u32,
}

/// A camera with three layers. A request for a key frame on one makes one on all, as browsers do.
#[derive(Debug, Clone)]
pub struct Camera {
    /// Its number in the room.
    pub source: SourceNumber,
    /// Lowest first.
    pub layers: Vec<Layer>,
    /// A key frame is due with the next frame.
    pub key_wanted: bool,
    payload_type: u8,
    timestamp_origin: u32,
}

impl Camera {
    /// Time between frames: 15 a second.
    pub const FRAME_TIME: Duration = Duration::from_micros(66_667);

    /// 180p, 360p and 720p at 120, 450 and 1,500 kb/s.
    pub fn new(source: SourceNumber, first_ssrc: u32, payload_type: u8) -> Self {
        let layer = |i: u32, rid, width, height, kbps: usize| Layer {
            sender: Sender::new(
                first_ssrc + 2 * i,
                Some(first_ssrc + 2 * i + 1),
                65_500_u16.wrapping_add(i as u16 * 30),
            ),
            rid,
            width,
            height,
            frame_bytes: kbps * 1_000 / 8 / 15,
            picture_id: 0x7FF0 + i as u16,
            frame: 0,
            key_frames: 0,
        };
        let layers = vec![
            layer(0, "q", 320, 180, 120),
            layer(1, "h", 640, 360, 450),
            layer(2, "f", 1280, 720, 1_500),
        ];
        Self {
            source,
            layers,
            key_wanted: true,
            payload_type,
            timestamp_origin: first_ssrc.wrapping_mul(7_919),
        }
    }

    /// The packets of the frame captured at `age` after the camera's start.
    pub fn frame(&mut self, age: Duration) -> Vec<Outgoing> {
        let key = std::mem::take(&mut self.key_wanted);
        let timestamp = self
            .timestamp_origin
            .wrapping_add((age.as_micros() * 90 / 1_000) as u32);
        let mut out = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            layer.frame(
                self.source,
                index as u8,
                key,
                timestamp,
                self.payload_type,
                &mut out,
            );
        }
        out
    }
}

impl Layer {
    fn frame(
        &mut self,
        source: SourceNumber,
        layer: u8,
        key: bool,
        timestamp: u32,
        payload_type: u8,
        out: &mut Vec<Outgoing>,
    ) {
        let bytes = if key {
            self.frame_bytes * 5
        } else {
            self.frame_bytes
        };
        let count = bytes.div_ceil(PAYLOAD_MAX).max(1);
        let size = (bytes / count).max(DESCRIPTOR_BYTES + FRAME_HEADER_BYTES + STAMP_BYTES);
        for index in 0..count {
            let stamp = Stamp {
                source: source.get(),
                layer,
                frame: self.frame,
                index: index as u8,
                count: count as u8,
                key,
            };
            let payload = self.payload(stamp, size);
            let header = rtp::HeaderFields {
                marker: index + 1 == count,
                payload_type,
                sequence: self.sender.next_sequence(),
                timestamp,
                ssrc: self.sender.ssrc,
                padding: false,
            };
            out.push(self.sender.send(header, payload, Some(self.rid), None));
        }
        self.frame += 1;
        self.key_frames += u32::from(key);
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
    }

    fn payload(&self, stamp: Stamp, size: usize) -> Vec<u8> {
        let start = if stamp.index == 0 { 0x10 } else { 0 };
        let [id_high, id_low] = self.picture_id.to_be_bytes();
        // X | S, then I L T, a 15-bit picture id, TL0PICIDX, TID 0 (RFC 7741 §4.2).
        let mut payload = vec![
            0x80 | start,
            0xE0,
            0x80 | id_high,
            id_low,
            self.picture_id as u8,
            0x20,
        ];
        // RFC 6386 §9.1: bit 0 of the frame tag is 0 in a key frame, then start code, width and height.
        payload.extend_from_slice(&[u8::from(!stamp.key) | 0x10, 0, 0, 0x9D, 0x01, 0x2A]);
        payload.extend_from_slice(&self.width.to_le_bytes());
        payload.extend_from_slice(&self.height.to_le_bytes());
        stamp.write(&mut payload);
        payload.resize(size, stamp.frame as u8 ^ stamp.index);
        payload
    }
}

/// A microphone: one packet each 20 ms.
#[derive(Debug, Clone)]
pub struct Mic {
    /// Its number in the room.
    pub source: SourceNumber,
    /// Its stream.
    pub sender: Sender,
    /// Level of the voice in -dBov, 127 silence.
    pub level: u8,
    payload_type: u8,
    frame: u32,
}

impl Mic {
    /// Time between packets.
    pub const FRAME_TIME: Duration = Duration::from_millis(20);

    /// A microphone that speaks at -30 dBov.
    pub fn new(source: SourceNumber, ssrc: u32, payload_type: u8) -> Self {
        Self {
            source,
            sender: Sender::new(ssrc, None, 40_000),
            level: 30,
            payload_type,
            frame: 0,
        }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Outgoing {
        let stamp = Stamp {
            source: self.source.get(),
            layer: 0,
            frame: self.frame,
            index: 0,
            count: 1,
            key: false,
        };
        // TOC of a 20 ms CELT frame (RFC 6716 §3.1), then the stamp.
        let mut payload = vec![0xF8];
        stamp.write(&mut payload);
        payload.resize(80, 0);
        let header = rtp::HeaderFields {
            marker: self.frame == 0,
            payload_type: self.payload_type,
            sequence: self.sender.next_sequence(),
            timestamp: self.frame.wrapping_mul(960).wrapping_add(self.sender.ssrc),
            ssrc: self.sender.ssrc,
            padding: false,
        };
        self.frame += 1;
        self.sender.send(header, payload, None, Some(self.level))
    }
}
