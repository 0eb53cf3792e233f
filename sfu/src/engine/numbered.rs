//! A packet that has its place in a slot, or has none.

use super::{
    history::PacketRef,
    id::{EndpointId, MediaKind, SlotId, SourceNumber},
    packet::{Forward, OutgoingHeader, PayloadPatch, Purpose},
    redundancy::Piece,
    rewriter::{Rewritten, Skip},
    seq::Seq,
    source_packet::{Reason, SourcePacket},
    wanted::Wanted,
};

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offered {
    /// To be sent.
    Sent(Numbered),
    /// To be sent; the slot shows something else from here on. Packets of the same stream behind it that arrived before
    /// it follow.
    Switched(Numbered),
    /// Of another layer than the slot shows, or of a temporal layer above the wanted.
    NotShown,
    /// Begins a picture, and too much waits before the endpoint: nothing is shown until the next key frame.
    Held,
    /// Not sent.
    Skipped(Reason),
    /// The slot has nothing to do with the source.
    Foreign,
}

impl Offered {
    /// A packet that is not sent on purpose. `in_stretch`: it has no number, because those behind it are moved down.
    pub(super) fn thinned(in_stretch: bool) -> Self {
        if in_stretch {
            Self::NotShown
        } else {
            Self::Skipped(Reason::Place(Skip::BeforeStretch))
        }
    }
}

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
    /// See [`SourcePacket::is_base`].
    pub(super) base: bool,
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
            base: packet.is_base(),
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
            base: self.base,
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
