//! The VP8 payload descriptor (RFC 7741 §4.2) and the first bytes of the frame behind it (RFC 6386 §9.1).

use crate::wire::be;

/// A picture id, in the width that it has on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureId {
    /// 0 to 127.
    Bits7(u8),
    /// 0 to 32,767.
    Bits15(u16),
}

impl PictureId {
    /// As a plain number.
    pub fn get(self) -> u16 {
        match self {
            Self::Bits7(id) => id.into(),
            Self::Bits15(id) => id,
        }
    }
}

/// What the descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// N: nothing refers to this frame, it can be dropped alone.
    pub non_reference: bool,
    /// S: a partition begins in this packet.
    pub start_of_partition: bool,
    /// PID: which partition, 0 to 7.
    pub partition: u8,
    /// Counts frames.
    pub picture_id: Option<PictureId>,
    /// Counts frames of temporal layer 0.
    pub tl0_pic_idx: Option<u8>,
    /// Temporal layer, 0 to 3, and Y: the frame refers to layer 0 alone, so a receiver can go up to this layer here.
    pub temporal: Option<(u8, bool)>,
    /// KEYIDX: counts key frames, 0 to 31.
    pub key_index: Option<u8>,
    len: u8,
}

/// Where the optional fields stand: offsets into the payload.
#[derive(Debug, Clone, Copy, Default)]
struct Layout {
    picture_id: Option<(usize, bool)>,
    tl0_pic_idx: Option<usize>,
    temporal: Option<usize>,
    len: usize,
}

impl Layout {
    fn of(payload: &[u8]) -> Option<Self> {
        let first = be::u8(payload, 0)?;
        let mut layout = Self {
            len: 1,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            let present = be::u8(payload, 1)?;
            layout.len = 2;
            if present & 0x80 != 0 {
                let wide = be::u8(payload, layout.len)? & 0x80 != 0;
                layout.picture_id = Some((layout.len, wide));
                layout.len += if wide { 2 } else { 1 };
            }
            if present & 0x40 != 0 {
                layout.tl0_pic_idx = Some(layout.len);
                layout.len += 1;
            }
            // One byte for both TID (T) and KEYIDX (K).
            if present & 0x30 != 0 {
                layout.temporal = Some(layout.len);
                layout.len += 1;
            }
        }
        (layout.len <= payload.len()).then_some(layout)
    }
}

impl Descriptor {
    /// Parses the head of a payload. `None` if it ends within the descriptor.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let layout = Layout::of(payload)?;
        let first = be::u8(payload, 0)?;
        let present = if first & 0x80 != 0 { be::u8(payload, 1)? } else { 0 };
        let picture_id = match layout.picture_id {
            Some((at, true)) => Some(PictureId::Bits15(be::u16(payload, at)? & 0x7FFF)),
            Some((at, false)) => Some(PictureId::Bits7(be::u8(payload, at)?)),
            None => None,
        };
        let indices = layout.temporal.and_then(|at| be::u8(payload, at)).unwrap_or(0);
        Some(Self {
            non_reference: first & 0x20 != 0,
            start_of_partition: first & 0x10 != 0,
            partition: first & 7,
            picture_id,
            tl0_pic_idx: layout.tl0_pic_idx.and_then(|at| be::u8(payload, at)),
            temporal: (present & 0x20 != 0).then_some((indices >> 6, indices & 0x20 != 0)),
            key_index: (present & 0x10 != 0).then_some(indices & 0x1F),
            len: layout.len as u8, // at most 6
        })
    }

    /// Bytes of the descriptor, 1 to 6.
    pub fn header_len(&self) -> usize {
        self.len.into()
    }

    /// The frame begins in this packet.
    pub fn starts_frame(&self) -> bool {
        self.start_of_partition && self.partition == 0
    }
}

/// This packet begins a key frame (RFC 6386 §9.1: the lowest bit of the frame is 0).
pub fn is_key_frame(payload: &[u8]) -> bool {
    first_partition(payload)
        .and_then(|frame| be::u8(frame, 0))
        .is_some_and(|first| first & 1 == 0)
}

/// Width and height of a key frame in pixels, from the packet that begins it. `None` for any other packet, and without
/// the start code.
pub fn frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    let frame = first_partition(payload)?;
    let &[first, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = frame.first_chunk()? else {
        return None;
    };
    // The two high bits of each are the scaling that a player may apply.
    let size = (
        u16::from_le_bytes([w0, w1]) & 0x3FFF,
        u16::from_le_bytes([h0, h1]) & 0x3FFF,
    );
    (first & 1 == 0).then_some(size)
}

/// The frame's first bytes, if it begins in this packet.
fn first_partition(payload: &[u8]) -> Option<&[u8]> {
    let descriptor = Descriptor::parse(payload)?;
    if descriptor.starts_frame() {
        payload.get(descriptor.header_len()..)
    } else {
        None
    }
}

/// Writes another picture id and TL0PICIDX over those in the descriptor, in the width they have (the id's higher bits
/// are cut off). What the descriptor has not is not added. False, and nothing changed, if it cannot be parsed.
pub fn patch(payload: &mut [u8], picture_id: Option<u16>, tl0_pic_idx: Option<u8>) -> bool {
    let Some(layout) = Layout::of(payload) else {
        return false;
    };
    if let (Some(id), Some((at, wide))) = (picture_id, layout.picture_id) {
        let [high, low] = id.to_be_bytes();
        match payload.get_mut(at..) {
            Some([a, b, ..]) if wide => [*a, *b] = [high | 0x80, low],
            Some([a, ..]) => *a = low & 0x7F,
            _ => {}
        }
    }
    if let (Some(index), Some(slot)) = (tl0_pic_idx, layout.tl0_pic_idx.and_then(|at| payload.get_mut(at))) {
        *slot = index;
    }
    true
}

#[cfg(test)]
#[path = "vp8_tests.rs"]
mod tests;
