//! AV1 as RTP payload (RTP Payload Format For AV1 §4.4): the aggregation header, and the layers that the first OBU names.

use crate::wire::{be, bits::Bits};

/// OBU_SEQUENCE_HEADER (AV1 §6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// What the head of a payload says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// Z: begins with the rest of an OBU of the packet before.
    pub continues: bool,
    /// N: a coded video sequence begins, which is at a key frame.
    pub starts_sequence: bool,
    /// Temporal layer of the first OBU, if it has an extension.
    pub temporal: Option<u8>,
}

impl Head {
    /// Reads the head. `None` if it is cut off, or begins a sequence in the middle of an OBU (§4.4: N with Z).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let aggregation = be::u8(payload, 0)?;
        let mut head = Self {
            continues: aggregation & 0x80 != 0,
            starts_sequence: aggregation & 0x08 != 0,
            temporal: None,
        };
        if head.continues {
            return (!head.starts_sequence).then_some(head);
        }
        head.temporal = units(payload).find_map(|unit| {
            let first = be::u8(unit, 0)?;
            // obu_extension_flag; then temporal_id(3), spatial_id(2), reserved(3) (AV1 §5.3.3).
            let extended = first & 0x04 != 0;
            extended.then(|| be::u8(unit, 1).map(|byte| byte >> 5)).flatten()
        });
        Some(head)
    }
}

/// Width and height that a sequence header in the payload allows at most.
pub fn frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    if be::u8(payload, 0)? & 0x80 != 0 {
        return None;
    }
    let is_header = |unit: &&[u8]| be::u8(unit, 0).is_some_and(|first| first >> 3 & 0x0F == SEQUENCE_HEADER);
    let unit = units(payload).find(is_header)?;
    let first = be::u8(unit, 0)?;
    let mut body = unit.get(if first & 0x04 != 0 { 2 } else { 1 }..)?;
    if first & 0x02 != 0 {
        let mut at = 0;
        leb128(body, &mut at)?;
        body = body.get(at..)?;
    }
    sequence_size(&mut Bits::new(body))
}

/// OBU elements of a payload: with a size before each, the last one without if W counts them (§4.4).
fn units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let count = payload.first().map_or(0, |first| first >> 4 & 3);
    let (mut at, mut index) = (1, 0);
    std::iter::from_fn(move || {
        if at >= payload.len() {
            return None;
        }
        index += 1;
        let end = if index == count {
            payload.len()
        } else {
            let size = leb128(payload, &mut at)?;
            at.checked_add(size)?
        };
        let unit = payload.get(at..end);
        at = unit.map_or(payload.len(), |_| end);
        unit
    })
}

/// Seven bits a byte, the lowest first (AV1 §4.10.5). More than 28 bits are refused: no packet is that long.
fn leb128(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut number = 0;
    for byte in 0..4 {
        let next = be::u8(bytes, *at)?;
        *at += 1;
        number |= usize::from(next & 0x7F) << (7 * byte);
        if next & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// AV1 §5.5.1, up to the greatest size. Sequences with timing or operating parameters, which no sender of meetings has, are left.
fn sequence_size(bits: &mut Bits<'_>) -> Option<(u16, u16)> {
    bits.read(3)?; // profile
    bits.read(1)?; // still picture
    if bits.flag()? {
        bits.read(5)?; // reduced header: one level
    } else {
        if bits.flag()? {
            return None; // timing info
        }
        let delays = bits.flag()?;
        let points = bits.read(5)? + 1;
        for _ in 0..points {
            bits.read(12)?; // layers of the operating point
            if bits.read(5)? > 7 {
                bits.read(1)?; // tier
            }
            if delays && bits.flag()? {
                bits.read(4)?;
            }
        }
    }
    let (width_bits, height_bits) = (bits.read(4)? + 1, bits.read(4)? + 1);
    let mut size = |count| Some((bits.read(count)? as u16).saturating_add(1));
    Some((size(width_bits)?, size(height_bits)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// OBU_FRAME with extension, temporal layer 2.
    const FRAME: [u8; 3] = [0x34, 0x40, 0x55];

    fn sequence(width: u32, height: u32) -> Vec<u8> {
        let mut bits = Vec::new();
        let mut put = |value: u32, count: u32| bits.extend((0..count).rev().map(|b| value >> b & 1));
        for (value, count) in [(0, 3), (0, 1), (0, 1), (0, 1), (0, 1), (0, 5), (0, 12), (5, 5)] {
            put(value, count);
        }
        put(15, 4);
        put(15, 4);
        put(width - 1, 16);
        put(height - 1, 16);
        put(0, 8);
        let byte = |chunk: &[u32]| {
            chunk
                .iter()
                .enumerate()
                .fold(0, |b, (at, &bit)| b | (bit as u8) << (7 - at))
        };
        bits.chunks(8).map(byte).collect()
    }

    fn key(width: u32, height: u32) -> Vec<u8> {
        let body = sequence(width, height);
        let mut payload = vec![0x28, body.len() as u8 + 2, 0x0A, body.len() as u8];
        payload.extend(body);
        payload.extend(FRAME);
        payload
    }

    #[test]
    fn a_key_frame_tells_its_size_and_layer() {
        let payload = key(640, 360);
        let head = Head::parse(&payload).expect("whole");
        assert_eq!(
            (head.continues, head.starts_sequence, head.temporal),
            (false, true, Some(2))
        );
        assert_eq!(frame_size(&payload), Some((640, 360)));
        assert_eq!(frame_size(&key(1920, 1080)), Some((1920, 1080)));
    }

    #[test]
    fn later_packets_tell_less() {
        let rest = Head::parse(&[0x90, 1, 2]).expect("whole");
        assert!(rest.continues && rest.temporal.is_none());
        assert_eq!(
            Head::parse(&[0x10, 0x30, 9]).map(|h| (h.starts_sequence, h.temporal)),
            Some((false, None))
        );
        assert_eq!((Head::parse(&[]), Head::parse(&[0x88, 1])), (None, None));
        assert_eq!(frame_size(&[0x10, 0x30, 9]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (Head::parse(&payload), frame_size(&payload));
        }
    }
}
