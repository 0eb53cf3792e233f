//! A packet that has its place in a slot.

use super::{
    id::{EndpointId, MediaKind, SlotId, SourceNumber},
    packet::{Forward, OutgoingHeader, PacketRef, PayloadPatch, Purpose},
    redundancy::Piece,
    rewriter::Rewritten,
    seq::Seq,
    source_packet::SourcePacket,
    thinning::Wanted,
};

/// A packet with its place in the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Number in the slot.
    pub sequence: Seq,
    /// RTP time.
    pub timestamp: u32,
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) source: SourceNumber,
    pub(super) at: PacketRef,
    pub(super) patch: PayloadPatch,
    /// Bytes of payload.
    pub size: u16,
}

impl Numbered {
    /// A packet with the numbers that the slot gave it, where layers above `level` are left out.
    pub(super) fn new(packet: &SourcePacket, rewritten: Rewritten, payload_type: u8, level: Wanted) -> Self {
        let frame = packet.original.frame.zip(rewritten.frame);
        Self {
            sequence: rewritten.sequence,
            timestamp: rewritten.timestamp.wire(),
            marker: packet.original.marker,
            payload_type,
            source: packet.of.source,
            at: packet.at,
            patch: frame.map_or(rewritten.patch, |(frame, number)| {
                PayloadPatch::Av1(frame.stamp(number, level))
            }),
            size: packet.size,
        }
    }

    /// The packet as it goes out with that header.
    pub fn forward(&self, to: EndpointId, slot: SlotId, header: OutgoingHeader) -> Forward {
        let purpose = match (header.original_sequence, slot.kind) {
            (Some(_), _) => Purpose::Repair,
            (None, MediaKind::Audio) => Purpose::Audio,
            (None, MediaKind::Video) => Purpose::Video,
        };
        Forward {
            to,
            slot,
            purpose,
            header,
            payload: Some(self.at),
            size: self.size,
            patch: self.patch,
            redundancy: None,
            again: false,
        }
    }

    /// As redundancy of later ones.
    pub(super) fn piece(&self) -> Piece {
        Piece {
            sequence: self.sequence,
            timestamp: self.timestamp,
            payload_type: self.payload_type,
            position: self.at.position,
            size: self.size,
        }
    }

    /// Where its payload is.
    pub fn at(&self) -> PacketRef {
        self.at
    }
}
