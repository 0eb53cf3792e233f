//! Big-endian integers at a place that may not be there.

/// One byte.
pub(super) fn u8(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// Two bytes.
pub(super) fn u16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b))
}

/// Three bytes, in the low 24 bits.
pub(super) fn u24(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]))
}

/// Four bytes.
pub(super) fn u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
}

/// Eight bytes.
pub(super) fn u64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
}

/// The integers of a list of four-byte words; a rest of less than four bytes is left out.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + Clone + use<'_> {
    bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word))
}
