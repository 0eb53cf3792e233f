//! Bits of a header, the highest of each byte first.

/// Reads from the front; `None` from where the bytes end.
#[derive(Debug, Clone)]
pub(super) struct Bits<'p> {
    bytes: &'p [u8],
    at: usize,
}

impl<'p> Bits<'p> {
    pub(super) fn new(bytes: &'p [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bits read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// So many bits as a number, at most 32.
    pub(super) fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        self.read(1).map(|bit| bit == 1)
    }

    /// A number below `n` in as few bits as that takes (AV1 §4.10.7, ns(n)); `n` is 1 to 2^16.
    pub(super) fn below(&mut self, n: u32) -> Option<u32> {
        let width = 32 - n.leading_zeros();
        let short = (1 << width) - n;
        let value = self.read(width - 1)?;
        if value < short {
            Some(value)
        } else {
            Some((value << 1) - short + self.read(1)?)
        }
    }
}

/// Writes the lowest `count` bits of a number, at most 32, from bit `at` on, and leaves the others. False, and nothing changed, if
/// they do not fit.
pub(super) fn write(bytes: &mut [u8], at: usize, count: usize, value: u32) -> bool {
    if at.checked_add(count).is_none_or(|end| end > 8 * bytes.len()) {
        return false;
    }
    for bit in 0..count {
        let mask = 0x80 >> ((at + bit) % 8);
        let Some(byte) = bytes.get_mut((at + bit) / 8) else {
            return false;
        };
        if value >> (count - 1 - bit) & 1 == 1 {
            *byte |= mask;
        } else {
            *byte &= !mask;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_come_from_the_high_end_and_end_with_the_bytes() {
        let mut bits = Bits::new(&[0b1010_0001, 0xFF]);
        assert_eq!(
            (bits.read(3), bits.flag(), bits.read(12)),
            (Some(5), Some(false), Some(0x1FF))
        );
        assert_eq!(bits.read(1), None);
    }

    #[test]
    fn numbers_below_five_take_two_or_three_bits() {
        // 0, 1, 2 in two bits, 3 and 4 in three.
        let mut bits = Bits::new(&[0b0001_1011, 0b0111_0000]);
        let read: Vec<_> = (0..5).map(|_| bits.below(5)).collect();
        assert_eq!(read, [0, 1, 2, 3, 4].map(Some));
        assert_eq!(bits.below(1), Some(0));
    }
}
