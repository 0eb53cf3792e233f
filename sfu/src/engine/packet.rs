//! What goes in and out of a room.

use std::time::Instant;

use super::{
    descriptor::{LENGTH_MAX, Stamp},
    history::PacketRef,
    id::{
        EndpointId, LineIndex, MediaKind, PointNumber, Rank, ShortId, SlotId, SourceKind, SourceNumber, Ssrc,
    },
    page::{ClientState, SlotChange, Want},
    policy::VideoCodec,
    quality::LayerOrder,
    redundancy::Redundancy,
    shortfall::Shortfall,
    units::Bitrate,
};
use crate::wire::{
    codec::{vp8, vp9},
    ext,
    rtp::{self, HeaderFields},
};

/// A command to a room. RTP and RTCP have entrances of their own, without an enum in between.
#[derive(Debug, Clone)]
pub enum Input {
    /// A newcomer with its answered offer. Replaces the endpoint's former media if `endpoint` is known.
    Join(Box<NewEndpoint>),
    /// The endpoint's transport is up: sending may begin.
    Connected(EndpointId),
    /// It is gone. Its sources leave every slot; its numbers are not used again.
    Leave(EndpointId),
    /// The pictures it wants, the whole list.
    View(EndpointId, Vec<Want>),
    /// The voice it wants in `a0`; none: the one of the picture in `v0`.
    Voice(EndpointId, Option<SourceNumber>),
    /// A source of it goes on or off.
    Published(EndpointId, SourceKind, bool),
    /// Who has the floor, or nobody. It may be somebody who is not in yet, or is not for the moment.
    Floor(Option<PointNumber>),
    /// What the room may take of each line; replaces what was told before. A line that is not here has no limit.
    Lines(Vec<LineShare>),
    /// A second is over of which so many thousandths were spent working.
    Busy(u16),
    /// The lines on the way to the endpoint are others now, the nearest to the node first.
    Way(EndpointId, Vec<LineIndex>),
    /// What the endpoint's page says of itself.
    Client(EndpointId, ClientState),
}

/// What a room may take of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineShare {
    /// Which.
    pub line: LineIndex,
    /// From the node towards the endpoints.
    pub down: Bitrate,
    /// From the endpoints towards the node.
    pub up: Bitrate,
}

/// An endpoint that joins.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// Given by the driver.
    pub endpoint: EndpointId,
    /// Its number in the room.
    pub number: PointNumber,
    /// Sources that are on.
    pub published: Vec<SourceKind>,
    /// How much it counts when there is not enough for all.
    pub rank: Rank,
    /// What the way to it is taken to carry until it was measured, if not what the room's policy says.
    pub way_start: Option<Bitrate>,
    /// The lines on the way to it, the nearest to the node first.
    pub lines: Vec<LineIndex>,
    /// What offer and answer came to.
    pub media: Negotiated,
    /// First numbers of its slots, random (RFC 3550 §5.1), from the driver: one per slot in the order of
    /// [`Negotiated::slots`]; missing ones count as zero.
    pub origins: Vec<StreamOrigin>,
}

/// Random beginnings of one outgoing stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamOrigin {
    /// First sequence number of the stream, below 2^15: a receiver that misses the packets before a first wrap could never
    /// guess the rollover counter (RFC 3711 §3.3.1).
    pub sequence: u16,
    /// First sequence number of its RTX stream, below 2^15 likewise.
    pub rtx_sequence: u16,
    /// Added to all RTP times.
    pub timestamp: u32,
    /// First picture id (15 bits), and frame number of AV1.
    pub picture_id: u16,
    /// First TL0PICIDX.
    pub tl0_pic_idx: u8,
}

/// What offer and answer came to, the same for the life of the connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Ids of the RTP header extensions. In a bundle one id means the same in every m-section (RFC 8843 §10).
    pub extensions: ExtensionIds,
    /// What the client sends. At most four, one of each kind.
    pub sources: Vec<NegotiatedSource>,
    /// What it receives.
    pub slots: Vec<NegotiatedSlot>,
}

/// Ids 1 to 14 of the header extensions in use; none where the offer has it not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid` (RFC 8843)
    pub mid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id` (RFC 8852)
    pub rid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id` (RFC 8852)
    pub rrid: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level` (RFC 6464)
    pub audio_level: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`
    pub transport_cc: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`
    pub abs_send_time: Option<u8>,
    /// `urn:3gpp:video-orientation`
    pub orientation: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`
    pub playout_delay: Option<u8>,
    /// `https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension`
    pub dependency: Option<u8>,
}

/// A codec that the engine knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// RFC 7587.
    Opus,
    /// RFC 7741.
    Vp8,
    /// RFC 6184, packetization mode 1.
    H264,
    /// RFC 9628.
    Vp9,
    /// RTP Payload Format For AV1.
    Av1,
}

impl Codec {
    /// Ticks of RTP time a second.
    pub const fn clock_rate(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            Self::Vp8 | Self::H264 | Self::Vp9 | Self::Av1 => 90_000,
        }
    }
}

impl From<VideoCodec> for Codec {
    fn from(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::Vp8 => Self::Vp8,
            VideoCodec::H264 => Self::H264,
            VideoCodec::Vp9 => Self::Vp9,
            VideoCodec::Av1 => Self::Av1,
        }
    }
}

/// Payload types of a codec and of its RTX (RFC 4588).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PayloadType {
    /// Which codec.
    pub codec: Codec,
    /// Its payload type, 0 to 127.
    pub media: u8,
    /// That of its RTX, if repairs go that way.
    pub rtx: Option<u8>,
}

/// An m-section the client sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedSource {
    /// Which source.
    pub kind: SourceKind,
    /// Its media id.
    pub mid: ShortId,
    /// Accepted codecs, the first is the wanted one.
    pub payloads: Vec<PayloadType>,
    /// Payload type of RED over its Opus (RFC 2198), if the client may send it.
    pub red: Option<u8>,
    /// Restriction ids of its simulcast layers, lowest first; empty without simulcast.
    pub rids: Vec<ShortId>,
    /// SSRCs the offer names (`a=ssrc`, with its RTX of `a=ssrc-group:FID`), for clients that send no mid extension.
    pub ssrcs: Vec<(Ssrc, Option<Ssrc>)>,
}

/// An m-section the client receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedSlot {
    /// Which slot.
    pub slot: SlotId,
    /// Its media id.
    pub mid: ShortId,
    /// Its SSRC for life, chosen by the driver, unlike any other of this endpoint.
    pub ssrc: Ssrc,
    /// SSRC of its repairs; none for audio or where the client knows no RTX.
    pub rtx_ssrc: Option<Ssrc>,
    /// Id of the dependency descriptor, if it takes that with AV1.
    pub dependency: Option<u8>,
    /// Codecs it takes.
    pub payloads: Vec<PayloadType>,
    /// Payload type of RED over its Opus (RFC 2198), if the client takes it.
    pub red: Option<u8>,
}

/// A packet for an endpoint: header as it goes out, payload by reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forward {
    /// To whom.
    pub to: EndpointId,
    /// In which slot.
    pub slot: SlotId,
    /// Why it is sent; a pacer's priority.
    pub purpose: Purpose,
    /// Its header.
    pub header: OutgoingHeader,
    /// Its payload; none for padding alone.
    pub payload: Option<PacketRef>,
    /// Bytes of that.
    pub size: u16,
    /// What to change in the payload.
    pub patch: PayloadPatch,
    /// Former payloads that go along with it; then the header's payload type is RED.
    pub redundancy: Option<Redundancy>,
    /// The very same bytes will be sent once more: they are kept until then.
    pub again: bool,
    /// Of the base temporal layer of a picture, as key frames are: all that comes behind leans on it.
    pub base: bool,
}

/// Why a packet is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Sound, first time.
    Audio,
    /// RTX of something lost.
    Repair,
    /// Picture, first time.
    Video,
    /// Nothing but size, to find out what the path carries.
    Padding,
    /// Sound that went out before, byte for byte as it was sealed then.
    Repeat,
}

/// An RTP header as it goes out (RFC 3550 §5.1), with the extensions the node writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP time.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: Ssrc,
    /// The source, written as the only CSRC.
    pub source: SourceNumber,
    /// mid extension.
    pub mid: Option<(u8, ShortId)>,
    /// Transport-wide number (extension id, number), counted per endpoint over all its slots and repairs.
    pub transport_sequence: Option<(u8, u16)>,
    /// Playout delay (extension id, minimum and maximum in units of 10 ms, 12 bits each).
    pub playout_delay: Option<(u8, u16, u16)>,
    /// Id of the dependency descriptor, where the payload has one before it.
    pub dependency: Option<u8>,
    /// RTX: the original sequence number, written before the payload (RFC 4588 §4).
    pub original_sequence: Option<u16>,
    /// Bytes of RTP padding after the payload, 0 to 255.
    pub padding: u8,
}

/// A change of the first bytes of a payload, so that a slot stays continuous.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PayloadPatch {
    /// As it came.
    #[default]
    None,
    /// VP8 payload descriptor (RFC 7741 §4.2).
    Vp8 {
        /// Picture id, written in the width the descriptor has (7 or 15 bits).
        picture_id: Option<u16>,
        /// TL0PICIDX.
        tl0_pic_idx: Option<u8>,
    },
    /// VP9 payload descriptor (RFC 9628 §4.2).
    Vp9 {
        /// Picture id, written in the width the descriptor has.
        picture_id: Option<u16>,
        /// TL0PICIDX.
        tl0_pic_idx: Option<u8>,
    },
    /// Dependency descriptor, which stands before the payload and goes into the header.
    Av1(Stamp),
}

/// Something for the driver.
#[derive(Debug, Clone)]
pub enum Output {
    /// A compound RTCP packet in plaintext, at most 1,200 bytes.
    Rtcp {
        /// To whom.
        to: EndpointId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Slots of an endpoint show something else.
    Slots {
        /// Whose.
        endpoint: EndpointId,
        /// Only those that changed.
        changes: Vec<SlotChange>,
    },
    /// Another point is loudest.
    Speaker(Option<PointNumber>),
    /// What the video slots of an endpoint get.
    Quality {
        /// Whose.
        endpoint: EndpointId,
        /// All that have something wanted in them.
        slots: Vec<SlotGrade>,
    },
    /// What an endpoint is to send.
    Send {
        /// Who.
        endpoint: EndpointId,
        /// All its pictures.
        sources: Vec<SourceGrade>,
        /// Length of its voice packets in milliseconds.
        voice_ms: u8,
    },
}

/// What a video slot gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotGrade {
    /// Which.
    pub slot: SlotId,
    /// Height of the pictures; none if it gets none.
    pub height: Option<u16>,
    /// Share of the source's pictures in a second, in percent.
    pub rate_percent: u8,
    /// Why that is less than wanted.
    pub shortfall: Option<Shortfall>,
}

/// What is to be sent of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceGrade {
    /// Which.
    pub source: SourceKind,
    /// Its encodings, lowest first.
    pub layers: Vec<LayerOrder>,
    /// Why that is less than receivers want.
    pub shortfall: Option<Shortfall>,
}

impl Forward {
    /// With so many bytes of RTP padding.
    #[must_use]
    pub fn padded(mut self, bytes: u8) -> Self {
        self.header.padding = bytes;
        self
    }

    /// Writes the packet in plaintext: header, CSRC, extensions, the original number of a repair, the patched payload or its
    /// RED, padding. `find` gives the payloads of its redundancy. Returns its length; none if `out` is too short or the
    /// payload is not what the patch is for.
    pub fn write<'p>(
        &self,
        payload: &'p [u8],
        find: impl Fn(PacketRef) -> Option<&'p [u8]>,
        out: &mut [u8],
    ) -> Option<usize> {
        let mut place;
        let (described, payload) = match &self.patch {
            PayloadPatch::Av1(stamp) => {
                place = [0; LENGTH_MAX];
                stamp.part(payload, &mut place)?
            }
            _ => (&[][..], payload),
        };
        let mut end = self.header.write(described, out)?;
        if let (Some(redundancy), Some(at)) = (&self.redundancy, self.payload) {
            let length = redundancy.write(at, payload, find, out.get_mut(end..)?)?;
            return Some(end + length);
        }
        if let Some(original) = self.header.original_sequence {
            out.get_mut(end..end + 2)?
                .copy_from_slice(&original.to_be_bytes());
            end += 2;
        }
        let body = out.get_mut(end..end.checked_add(payload.len())?)?;
        body.copy_from_slice(payload);
        let patched = match self.patch {
            PayloadPatch::None | PayloadPatch::Av1(_) => true,
            PayloadPatch::Vp8 {
                picture_id,
                tl0_pic_idx,
            } => vp8::patch(body, picture_id, tl0_pic_idx),
            PayloadPatch::Vp9 {
                picture_id,
                tl0_pic_idx,
            } => vp9::patch(body, picture_id, tl0_pic_idx),
        };
        end += payload.len();
        let padding = self.header.padding;
        if padding > 0 {
            let tail = out.get_mut(end..end + usize::from(padding))?;
            tail.fill(0);
            *tail.last_mut()? = padding; // RFC 3550 §5.1: the last byte counts them, itself included
            end += usize::from(padding);
        }
        patched.then_some(end)
    }
}

impl OutgoingHeader {
    fn write(&self, descriptor: &[u8], out: &mut [u8]) -> Option<usize> {
        let fields = HeaderFields {
            marker: self.marker,
            padding: self.padding > 0,
            payload_type: self.payload_type,
            sequence: self.sequence,
            timestamp: self.timestamp,
            ssrc: self.ssrc.0,
        };
        let transport = self
            .transport_sequence
            .map(|(id, number)| (id, ext::write_transport_sequence(number)));
        let playout = self
            .playout_delay
            .map(|(id, min, max)| (id, ext::PlayoutDelay { min, max }.write()));
        let mut list: [(u8, &[u8]); 4] = [(0, &[]); 4];
        let mut length = 0;
        let mut add = |id: u8, value| {
            list[length] = (id, value);
            length += 1;
        };
        if let Some((id, mid)) = &self.mid {
            add(*id, mid.as_bytes());
        }
        if let Some((id, number)) = &transport {
            add(*id, number);
        }
        if let Some((id, delays)) = &playout {
            add(*id, delays);
        }
        if let Some(id) = self.dependency.filter(|_| !descriptor.is_empty()) {
            add(id, descriptor);
        }
        rtp::write_header(&fields, Some(self.source.get()), list.get(..length)?, out)
    }
}

/// The earlier of two deadlines, either of which may be missing.
pub fn soonest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl NegotiatedSource {
    /// Sound or picture.
    pub fn media(&self) -> MediaKind {
        self.kind.media()
    }
}
