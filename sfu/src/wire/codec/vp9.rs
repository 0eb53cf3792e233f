//! The VP9 payload descriptor (RFC 9628 §4.2).

use crate::wire::be;

pub use super::vp8::PictureId;

/// What the descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// P: leans on earlier pictures. Without it on none: it may still lean on a lower spatial layer of its own picture.
    pub inter_picture: bool,
    /// F: flexible mode, each frame names what it leans on.
    pub flexible: bool,
    /// B: first packet of a frame (one spatial layer of a picture).
    pub starts_frame: bool,
    /// E: last packet of a frame.
    pub ends_frame: bool,
    /// Z: no frame of a higher spatial layer leans on this one. What follows within the picture is not needed for those above.
    pub not_for_higher: bool,
    /// Counts pictures; all spatial layers of a picture share it.
    pub picture_id: Option<PictureId>,
    /// Layer indices.
    pub layers: Option<Layers>,
    /// What the scalability structure says, if it is in this packet.
    pub structure: Option<Structure>,
    len: usize,
}

/// Layer indices of a frame (RFC 9628 §4.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layers {
    /// TID, 0 to 7.
    pub temporal: u8,
    /// U: nothing after it in its layer leans on what was before it in this temporal layer: a receiver can go up here.
    pub switching_up: bool,
    /// SID, 0 to 7.
    pub spatial: u8,
    /// D: leans on the next lower spatial layer of the same picture.
    pub inter_layer: bool,
    /// Counts pictures of temporal layer 0; not in flexible mode.
    pub tl0_pic_idx: Option<u8>,
}

/// Scalability structure (RFC 9628 §4.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    /// Spatial layers, 1 to 8.
    pub spatial_layers: u8,
    /// Width and height of each, if told.
    pub sizes: Option<[(u16, u16); SPATIAL_MAX]>,
}

/// Spatial layers that a structure can name.
pub const SPATIAL_MAX: usize = 8;

/// Where the optional fields stand.
#[derive(Debug, Clone, Copy, Default)]
struct Layout {
    picture_id: Option<(usize, bool)>,
    layers: Option<usize>,
    tl0_pic_idx: Option<usize>,
    structure: Option<usize>,
    len: usize,
}

/// References of a frame in flexible mode (RFC 9628 §4.2: up to three).
const REFERENCES_MAX: usize = 3;

impl Layout {
    fn of(payload: &[u8]) -> Option<Self> {
        let first = be::u8(payload, 0)?;
        let mut layout = Self {
            len: 1,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            let wide = be::u8(payload, 1)? & 0x80 != 0;
            layout.picture_id = Some((1, wide));
            layout.len += if wide { 2 } else { 1 };
        }
        let flexible = first & 0x10 != 0;
        if first & 0x20 != 0 {
            layout.layers = Some(layout.len);
            layout.len += 1;
            if !flexible {
                layout.tl0_pic_idx = Some(layout.len);
                layout.len += 1;
            }
        }
        if flexible && first & 0x40 != 0 {
            let mut references = 0;
            loop {
                let more = be::u8(payload, layout.len)? & 1 != 0;
                (layout.len, references) = (layout.len + 1, references + 1);
                if !more {
                    break;
                }
                if references == REFERENCES_MAX {
                    return None;
                }
            }
        }
        if first & 0x02 != 0 {
            layout.structure = Some(layout.len);
            layout.len = structure_end(payload, layout.len)?;
        }
        (layout.len <= payload.len()).then_some(layout)
    }
}

fn structure_end(payload: &[u8], at: usize) -> Option<usize> {
    let head = be::u8(payload, at)?;
    let mut end = at + 1;
    if head & 0x10 != 0 {
        end += 4 * (usize::from(head >> 5) + 1);
    }
    if head & 0x08 != 0 {
        let pictures = be::u8(payload, end)?;
        end += 1;
        for _ in 0..pictures {
            end += 1 + usize::from(be::u8(payload, end)? >> 2 & 3);
        }
    }
    Some(end)
}

impl Descriptor {
    /// Parses the head of a payload. `None` if it ends within the descriptor, or names more than three references.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let layout = Layout::of(payload)?;
        let first = be::u8(payload, 0)?;
        let picture_id = match layout.picture_id {
            Some((at, true)) => Some(PictureId::Bits15(be::u16(payload, at)? & 0x7FFF)),
            Some((at, false)) => Some(PictureId::Bits7(be::u8(payload, at)?)),
            None => None,
        };
        let layers = layout
            .layers
            .and_then(|at| be::u8(payload, at))
            .map(|byte| Layers {
                temporal: byte >> 5,
                switching_up: byte & 0x10 != 0,
                spatial: byte >> 1 & 7,
                inter_layer: byte & 1 != 0,
                tl0_pic_idx: layout.tl0_pic_idx.and_then(|at| be::u8(payload, at)),
            });
        Some(Self {
            inter_picture: first & 0x40 != 0,
            flexible: first & 0x10 != 0,
            starts_frame: first & 0x08 != 0,
            ends_frame: first & 0x04 != 0,
            not_for_higher: first & 0x01 != 0,
            picture_id,
            layers,
            structure: layout.structure.and_then(|at| read_structure(payload, at)),
            len: layout.len,
        })
    }

    /// Bytes of the descriptor.
    pub fn header_len(&self) -> usize {
        self.len
    }

    /// Spatial layer, 0 where the sender tells none.
    pub fn spatial(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.spatial)
    }

    /// This packet begins a key picture: the lowest spatial layer, leaning on nothing.
    pub fn starts_key_picture(&self) -> bool {
        self.starts_frame && !self.inter_picture && self.spatial() == 0
    }
}

fn read_structure(payload: &[u8], at: usize) -> Option<Structure> {
    let head = be::u8(payload, at)?;
    let spatial_layers = (head >> 5) + 1;
    let mut structure = Structure {
        spatial_layers,
        sizes: None,
    };
    if head & 0x10 != 0 {
        let mut sizes = [(0, 0); SPATIAL_MAX];
        for (layer, size) in sizes.iter_mut().enumerate().take(spatial_layers.into()) {
            let at = at + 1 + layer * 4;
            *size = (be::u16(payload, at)?, be::u16(payload, at + 2)?);
        }
        structure.sizes = Some(sizes);
    }
    Some(structure)
}

/// Writes another picture id and TL0PICIDX over those in the descriptor, in the width they have. What the descriptor has
/// not is not added. False, and nothing changed, if it cannot be parsed.
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
    if let (Some(index), Some(place)) = (tl0_pic_idx, layout.tl0_pic_idx.and_then(|at| payload.get_mut(at))) {
        *place = index;
    }
    true
}

#[cfg(test)]
#[path = "vp9_tests.rs"]
mod tests;
