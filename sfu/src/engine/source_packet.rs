//! A packet of a source, with what a slot has to know of it, and why it may not be sent.

use super::{
    arrival::{Arrival, Picture},
    history::PacketRef,
    packet::Codec,
    rewriter::{Original, Skip},
    selector::LayerStream,
    seq::Seq,
};
use crate::wire::codec::opus::Toc;

/// Of sound that does not say how long it lasts: 20 ms, as browsers send it.
const LASTS: u32 = 960;

/// A packet of a source on its way to slots.
#[derive(Debug, Clone, Copy)]
pub struct SourcePacket {
    /// Of which stream.
    pub of: LayerStream,
    /// Its number there.
    pub sequence: Seq,
    /// Where its payload is.
    pub at: PacketRef,
    /// Bytes of payload, with the dependency descriptor before it.
    pub size: u16,
    /// What is rewritten.
    pub original: Original,
    /// The first of its source after silence that was not forwarded: it begins a stretch.
    pub resumes: bool,
}

impl SourcePacket {
    /// From what the uplink gave.
    pub fn new(of: LayerStream, at: PacketRef, arrival: &Arrival<'_>) -> Self {
        let original = Original {
            timestamp: arrival.timestamp,
            capture: arrival.capture,
            marker: arrival.marker,
            lasts: lasts(arrival),
            codec: arrival.codec,
            video: arrival.video,
            frame: arrival.descriptor.map(|carried| carried.frame),
        };
        let kept = original.frame.map_or(0, |frame| usize::from(frame.length()));
        let size = u16::try_from(kept + arrival.payload.len()).unwrap_or(u16::MAX);
        Self {
            of,
            sequence: arrival.sequence,
            at,
            size,
            original,
            resumes: false,
        }
    }

    /// It is the first after silence: it begins a talk spurt (RFC 3551 §4.1).
    pub fn resume(&mut self) {
        self.resumes = true;
        self.original.marker = true;
    }

    /// Of a picture's base temporal layer: all that comes behind leans on it. So do all pictures of a sender that does not tell layers, but those that it
    /// says nothing leans on.
    pub(super) fn is_base(&self) -> bool {
        let is_base = |picture: Picture| picture.temporal.unwrap_or(0) == 0 && !picture.disposable;
        self.original.video.is_some_and(is_base)
    }

    /// A decoder can begin with it.
    pub(super) fn starts(&self) -> bool {
        self.original
            .video
            .is_none_or(|video| video.key_frame && video.starts_picture)
    }
}

/// In ticks; at most 5,760.
fn lasts(arrival: &Arrival<'_>) -> u16 {
    match arrival.codec {
        Codec::Opus => Toc::parse(arrival.payload).map_or(LASTS, Toc::ticks) as u16,
        Codec::Vp8 | Codec::H264 | Codec::Vp9 | Codec::Av1 => 0,
    }
}

/// Why a packet of what the slot shows is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It has no place in the slot's numbers or time.
    Place(Skip),
    /// The receiver does not take this codec.
    Codec,
}

/// Why a packet is not sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Not in the ring, or the receiver takes no RTX.
    Unknown,
    /// Sent again a moment ago.
    Recent,
}
