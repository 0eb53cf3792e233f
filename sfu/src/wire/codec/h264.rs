//! H.264 as RTP payload (RFC 6184): where a key frame begins, and the size its parameter set tells.
//!
//! Packetization modes 0 and 1 are read: single NAL units, STAP-A and FU-A.

use crate::wire::be;

/// Types of NAL units (ITU-T H.264 table 7-1, RFC 6184 table 1).
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETERS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// What a payload holds, as far as forwarding needs it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Payload {
    /// A sequence parameter set is in it: a decoder can begin with it.
    pub has_parameters: bool,
    /// A slice of an IDR picture is in it, or a part of one.
    pub is_idr: bool,
    /// No picture leans on it (nal_ref_idc is 0).
    pub disposable: bool,
}

impl Payload {
    /// Reads a payload. `None` if it is empty, forbidden (F bit), of a type that mode 1 has not, or cut off within an
    /// aggregate.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = be::u8(payload, 0)?;
        if first & 0x80 != 0 {
            return None;
        }
        let mut parsed = Self {
            disposable: first & 0x60 == 0,
            ..Self::default()
        };
        match first & 0x1F {
            1..=23 => parsed.note(first),
            STAP_A => {
                let mut any = false;
                for unit in Units(payload.get(1..)?) {
                    parsed.note(be::u8(unit?, 0)?);
                    any = true;
                }
                any.then_some(())?;
            }
            FU_A => parsed.note(be::u8(payload, 1)?),
            _ => return None,
        }
        Some(parsed)
    }

    fn note(&mut self, header: u8) {
        self.has_parameters |= header & 0x1F == SEQUENCE_PARAMETERS;
        self.is_idr |= header & 0x1F == IDR_SLICE;
    }
}

/// Width and height of the pictures in pixels, cropping taken off, if a whole sequence parameter set is in the payload
/// and can be read.
pub fn frame_size(payload: &[u8]) -> Option<(u16, u16)> {
    match be::u8(payload, 0)? & 0x1F {
        SEQUENCE_PARAMETERS => sps_size(payload),
        STAP_A => {
            let mut units = Units(payload.get(1..)?);
            let sps = units.find_map(|unit| {
                unit.filter(|unit| be::u8(unit, 0).is_some_and(|h| h & 0x1F == SEQUENCE_PARAMETERS))
            });
            sps_size(sps?)
        }
        _ => None,
    }
}

/// NAL units of a STAP-A (RFC 6184 §5.7.1): two bytes of size, then the unit. `None` for one that is cut off or empty, and
/// then the end.
struct Units<'p>(&'p [u8]);

impl<'p> Iterator for Units<'p> {
    type Item = Option<&'p [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let end = be::u16(self.0, 0).map(|size| 2 + usize::from(size));
        let unit = end
            .and_then(|end| self.0.get(2..end))
            .filter(|unit| !unit.is_empty());
        self.0 = match (unit, end) {
            (Some(_), Some(end)) => self.0.get(end..).unwrap_or_default(),
            _ => &[],
        };
        Some(unit)
    }
}

/// ITU-T H.264 §7.3.2.1.1, as far as the size.
fn sps_size(unit: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(unit.get(1..)?);
    let profile = bits.read(8)?;
    bits.read(16)?; // constraints, level
    bits.golomb()?; // id
    let mut chroma = 1;
    // Profiles whose set tells the chroma format.
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma = bits.golomb().filter(|&format| format <= 3)?;
        let separate = chroma == 3 && bits.read(1)? == 1;
        bits.golomb()?; // depth of luma
        bits.golomb()?; // depth of chroma
        bits.read(1)?;
        if bits.read(1)? == 1 {
            skip_scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
        if separate {
            chroma = 0;
        }
    }
    bits.golomb()?; // frame number
    skip_picture_order(&mut bits)?;
    bits.golomb()?; // reference frames
    bits.read(1)?;
    let width = (bits.golomb()? + 1).checked_mul(16)?;
    let map_units = bits.golomb()? + 1;
    let fields = 2 - bits.read(1)?;
    let height = map_units.checked_mul(16 * fields)?;
    if fields == 2 {
        bits.read(1)?;
    }
    bits.read(1)?;
    let (mut crop_x, mut crop_y) = (0, 0);
    if bits.read(1)? == 1 {
        // §7.4.2.1.1: cropping counts in chroma samples and, of fields, in pairs of lines.
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let mut both = || bits.golomb()?.checked_add(bits.golomb()?);
        crop_x = both()?.checked_mul(unit_x)?;
        crop_y = both()?.checked_mul(unit_y * fields)?;
    }
    let size = |whole: u32, crop: u32| u16::try_from(whole.checked_sub(crop)?).ok();
    size(width, crop_x).zip(size(height, crop_y))
}

fn skip_picture_order(bits: &mut Bits<'_>) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?;
        }
        1 => {
            bits.read(1)?;
            bits.golomb()?;
            bits.golomb()?;
            let cycle = bits.golomb().filter(|&cycle| cycle <= 255)?;
            for _ in 0..cycle {
                bits.golomb()?;
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// §7.3.2.1.1.1. Only the length matters.
fn skip_scaling_lists(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if bits.read(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8i32, 8i32);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let coded = bits.golomb()?.cast_signed();
                let delta = if coded & 1 == 1 {
                    (coded + 1) / 2
                } else {
                    -(coded / 2)
                };
                next = (last + delta) & 0xFF;
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

/// Bits of a NAL unit, the bytes that only prevent start codes (0x03 after two zeros, §7.4.1.1) passed over.
struct Bits<'p> {
    bytes: &'p [u8],
    at: usize,
    zeros: u8,
    current: u8,
    left: u8,
}

impl<'p> Bits<'p> {
    fn new(bytes: &'p [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            zeros: 0,
            current: 0,
            left: 0,
        }
    }

    /// So many bits, at most 24.
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | self.bit()?;
        }
        Some(value)
    }

    /// Exp-Golomb code ue(v), at most 2^16 - 2: no field of a size needs more.
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 15 {
                return None;
            }
        }
        Some((1 << zeros | self.read(zeros)?) - 1)
    }

    fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            let mut byte = be::u8(self.bytes, self.at)?;
            if self.zeros >= 2 && byte == 3 {
                self.at += 1;
                self.zeros = 0;
                byte = be::u8(self.bytes, self.at)?;
            }
            self.at += 1;
            self.zeros = if byte == 0 {
                self.zeros.saturating_add(1)
            } else {
                0
            };
            (self.current, self.left) = (byte, 8);
        }
        self.left -= 1;
        Some(u32::from(self.current >> self.left & 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of a 1280 x 720 stream, constrained baseline.
    const SPS_720: &[u8] = &[
        0x67, 0x42, 0xC0, 0x1F, 0xD9, 0x00, 0x50, 0x05, 0xBB, 0x01, 0x6A, 0x02, 0x02, 0x02, 0x80, 0x00, 0x00,
        0x03, 0x00, 0x80, 0x00, 0x00, 0x1E, 0x07, 0x8C, 0x18, 0xCB,
    ];
    /// Writes a set bit by bit.
    struct Writer(Vec<bool>);

    impl Writer {
        fn bits(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
            self
        }

        fn ue(self, value: u32) -> Self {
            let length = 32 - (value + 1).leading_zeros();
            self.bits(0, length - 1).bits(value + 1, length)
        }

        /// With a stop bit and without start codes in it.
        fn unit(self) -> Vec<u8> {
            let bits = self.bits(1, 1).0;
            let mut unit = vec![0x67];
            let mut zeros = 0;
            for chunk in bits.chunks(8) {
                let byte = chunk
                    .iter()
                    .enumerate()
                    .fold(0u8, |byte, (at, &bit)| byte | u8::from(bit) << (7 - at));
                if zeros >= 2 && byte <= 3 {
                    unit.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                unit.push(byte);
            }
            unit
        }
    }

    fn baseline(width: u32, height: u32) -> Vec<u8> {
        let (across, down) = (width.div_ceil(16), height.div_ceil(16));
        let crop = (across * 16 - width, down * 16 - height);
        let writer = Writer(vec![]).bits(66, 8).bits(0xE0, 8).bits(31, 8).ue(0);
        let writer = writer
            .ue(0)
            .ue(2)
            .ue(1)
            .bits(0, 1)
            .ue(across - 1)
            .ue(down - 1)
            .bits(1, 1);
        let writer = writer.bits(1, 1).bits(u32::from(crop != (0, 0)), 1);
        let writer = if crop == (0, 0) {
            writer
        } else {
            writer.ue(0).ue(crop.0 / 2).ue(0).ue(crop.1 / 2)
        };
        writer.bits(0, 1).unit()
    }

    fn stap(units: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![0x78];
        for unit in units {
            payload.extend((unit.len() as u16).to_be_bytes());
            payload.extend_from_slice(unit);
        }
        payload
    }

    #[test]
    fn a_key_frame_begins_at_the_parameter_set() {
        let whole = stap(&[SPS_720, &[0x68, 0xCE], &[0x65, 0x88]]);
        let table: [(&[u8], bool, bool, bool); 7] = [
            (SPS_720, true, false, false),
            (&whole, true, true, false),
            (&[0x68, 0xCE], false, false, false),
            (&[0x7C, 0x85, 1], false, true, false), // first fragment of an IDR slice
            (&[0x7C, 0x05, 1], false, true, false), // a further one
            (&[0x41, 0x9A], false, false, false),
            (&[0x01, 0x9A], false, false, true),
        ];
        for (payload, has_parameters, is_idr, disposable) in table {
            let expected = Payload {
                has_parameters,
                is_idr,
                disposable,
            };
            assert_eq!(Payload::parse(payload), Some(expected), "{payload:?}");
        }
        for refused in [
            &[][..],
            &[0xE7],
            &[0x78],
            &[0x78, 0, 0],
            &[0x78, 0, 9, 1],
            &[0x7C],
            &[0x79, 1],
            &[0x00],
        ] {
            assert_eq!(Payload::parse(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn the_size_is_read_with_its_cropping() {
        assert_eq!(frame_size(SPS_720), Some((1280, 720)));
        assert_eq!(frame_size(&stap(&[&[0x68, 1], SPS_720])), Some((1280, 720)));
        assert_eq!(frame_size(&baseline(320, 180)), Some((320, 180)));
        assert_eq!(frame_size(&baseline(1920, 1080)), Some((1920, 1080)));
        assert_eq!(frame_size(&[0x41, 0x9A]), None);
        assert_eq!(frame_size(&SPS_720[..6]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(payload in proptest::collection::vec(any::<u8>(), 0..64), head: u8) {
            let _ = (Payload::parse(&payload), frame_size(&payload));
            let as_set = [&[head & 0x60 | SEQUENCE_PARAMETERS, 100, 0, 31], &payload[..]].concat();
            let _ = (Payload::parse(&as_set), frame_size(&as_set), frame_size(&stap(&[&as_set])));
        }

        #[test]
        fn every_size_is_read_back(width in 1u32..240, height in 1u32..140) {
            let (width, height) = (width * 8, height * 8);
            prop_assert_eq!(frame_size(&baseline(width, height)), Some((width as u16, height as u16)));
        }
    }
}
