//! What scripted sources send: packets that carry the truth about themselves, in numbered streams that can send them again.
//!
//! Each payload carries a [`Stamp`] of what it is, so that the decoder model knows the truth about every packet it sees. Pictures are made by
//! [`crate::camera`], voices by [`crate::mic`].

use std::collections::VecDeque;

use bytes::Bytes;
use sfu::wire::rtp;

/// The truth about a packet: which frame of which layer of which source it belongs to, and what that frame refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
    /// Nobody speaks: to make this up conceals nothing.
    pub silent: bool,
    /// Temporal layer, 0 lowest.
    pub temporal: u8,
    /// How many frames back those lie that this one refers to; 0 is none.
    pub refers_back: [u8; 2],
}

/// Bytes of a VP8 descriptor as the encoder writes it: X, I with 15 bits, L, T.
pub(crate) const DESCRIPTOR_BYTES: usize = 6;
/// Bytes of the VP8 frame header that the node reads for key frame and size.
pub(crate) const FRAME_HEADER_BYTES: usize = 10;
/// Bytes of a stamp.
pub(crate) const STAMP_BYTES: usize = 20;
const STAMP_MAGIC: [u8; 4] = *b"DCst";
/// Sent packets a source keeps for retransmission; older ones are gone.
const HISTORY_PACKETS: usize = 1_000;

impl Stamp {
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&STAMP_MAGIC);
        out.extend_from_slice(&self.source.to_be_bytes());
        out.extend_from_slice(&self.frame.to_be_bytes());
        let flags = u8::from(self.key) | u8::from(self.silent) << 1;
        out.extend_from_slice(&[self.layer, self.index, self.count, flags]);
        let [a, b] = self.refers_back;
        out.extend_from_slice(&[self.temporal, a, b, 0]);
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
        let [layer, index, count, flags] = [stamp[12], stamp[13], stamp[14], stamp[15]];
        Some(Self {
            source: word(4),
            layer,
            frame: word(8),
            index,
            count,
            key: flags & 1 != 0,
            silent: flags & 2 != 0,
            temporal: stamp[16],
            refers_back: [stamp[17], stamp[18]],
        })
    }

    /// Frames of the same layer that must have been decoded before this one.
    pub fn refers_to(self) -> impl Iterator<Item = u32> {
        self.refers_back
            .into_iter()
            .filter(|back| *back > 0)
            .map(move |back| self.frame.wrapping_sub(u32::from(back)))
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
    pub payload: Bytes,
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

    pub(crate) fn send(
        &mut self,
        header: rtp::HeaderFields,
        payload: Vec<u8>,
        rid: Option<&'static str>,
        level: Option<u8>,
    ) -> Outgoing {
        let packet = Outgoing {
            header,
            payload: payload.into(),
            rid,
            repair: false,
            level,
        };
        self.packets += 1;
        self.bytes = self.bytes.wrapping_add(packet.payload.len() as u32);
        self.timestamp = header.timestamp;
        if self.rtx_ssrc.is_some() {
            self.history.push_back((header.sequence, packet.clone()));
            if self.history.len() > HISTORY_PACKETS {
                self.history.pop_front();
            }
        }
        packet
    }

    pub(crate) fn next_sequence(&mut self) -> u16 {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        sequence
    }

    /// The packet again, as RTX (RFC 4588 §4), if it is still known.
    pub fn repair(&mut self, sequence: u16, rtx_payload_type: u8) -> Option<Outgoing> {
        let ssrc = self.rtx_ssrc?;
        let (_, packet) = self.history.iter().rfind(|(found, _)| *found == sequence)?;
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
            payload: payload.into(),
            repair: true,
            ..packet.clone()
        })
    }
}
