//! RTP packets (RFC 3550 §5.1) with header extensions (RFC 8285): a view, and a header writer.

use super::be;

/// Bytes of the fixed header.
pub const FIXED_HEADER_LEN: usize = 12;

const ONE_BYTE_PROFILE: u16 = 0xBEDE;
const TWO_BYTE_PROFILE: u16 = 0x1000;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// The version is not 2.
    #[error("not RTP version 2")]
    Version,
    /// The header says that more bytes follow than do.
    #[error("packet is shorter than its header says")]
    Truncated,
    /// The padding count is zero, or greater than the payload.
    #[error("padding count is wrong")]
    Padding,
}

/// A well-formed RTP packet in plaintext.
#[derive(Debug, Clone, Copy)]
pub struct RtpPacket<'p> {
    fixed: &'p [u8; FIXED_HEADER_LEN],
    csrcs: &'p [u8],
    extensions: Extensions<'p>,
    payload: &'p [u8],
    header_len: usize,
    padding_len: u8,
}

/// The parts of a header, and where it ends.
struct Header<'p> {
    fixed: &'p [u8; FIXED_HEADER_LEN],
    csrcs: &'p [u8],
    extensions: Extensions<'p>,
    rest: &'p [u8],
}

/// Length of the header with its CSRCs and extensions, of a packet whose payload may be encrypted.
pub fn header_len(bytes: &[u8]) -> Result<usize, RtpError> {
    Header::parse(bytes).map(|header| bytes.len() - header.rest.len())
}

impl<'p> Header<'p> {
    fn parse(bytes: &'p [u8]) -> Result<Self, RtpError> {
        let (fixed, rest) = bytes
            .split_first_chunk::<FIXED_HEADER_LEN>()
            .ok_or(RtpError::Truncated)?;
        let [first, ..] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version);
        }
        let (csrcs, rest) = rest
            .split_at_checked(usize::from(first & 0x0F) * 4)
            .ok_or(RtpError::Truncated)?;
        if first & 0x10 == 0 {
            return Ok(Self {
                fixed,
                csrcs,
                extensions: Extensions::default(),
                rest,
            });
        }
        let ([a, b, c, d], rest) = rest.split_first_chunk::<4>().ok_or(RtpError::Truncated)?;
        let len = usize::from(u16::from_be_bytes([*c, *d])) * 4;
        let (block, rest) = rest.split_at_checked(len).ok_or(RtpError::Truncated)?;
        Ok(Self {
            fixed,
            csrcs,
            extensions: Extensions::new(u16::from_be_bytes([*a, *b]), block),
            rest,
        })
    }
}

impl<'p> RtpPacket<'p> {
    /// Parses a plaintext packet. Elements of the extension block are looked at only when they are asked for.
    pub fn parse(bytes: &'p [u8]) -> Result<Self, RtpError> {
        let Header {
            fixed,
            csrcs,
            extensions,
            rest,
        } = Header::parse(bytes)?;
        let [first, ..] = *fixed;
        let mut padding_len = 0;
        if first & 0x20 != 0 {
            padding_len = *rest.last().ok_or(RtpError::Padding)?;
            if padding_len == 0 {
                return Err(RtpError::Padding);
            }
        }
        let payload_len = rest
            .len()
            .checked_sub(usize::from(padding_len))
            .ok_or(RtpError::Padding)?;
        let payload = rest.get(..payload_len).ok_or(RtpError::Padding)?;
        Ok(Self {
            fixed,
            csrcs,
            extensions,
            payload,
            header_len: bytes.len() - rest.len(),
            padding_len,
        })
    }

    /// Marker bit.
    pub fn marker(&self) -> bool {
        let [_, second, ..] = *self.fixed;
        second & 0x80 != 0
    }

    /// Payload type, 0 to 127.
    pub fn payload_type(&self) -> u8 {
        let [_, second, ..] = *self.fixed;
        second & 0x7F
    }

    /// Sequence number.
    pub fn sequence(&self) -> u16 {
        let [_, _, a, b, ..] = *self.fixed;
        u16::from_be_bytes([a, b])
    }

    /// RTP time, in ticks of the codec's clock.
    pub fn timestamp(&self) -> u32 {
        let [_, _, _, _, a, b, c, d, ..] = *self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Synchronisation source.
    pub fn ssrc(&self) -> u32 {
        let [.., a, b, c, d] = *self.fixed;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Contributing sources, at most 15.
    pub fn csrcs(&self) -> impl Iterator<Item = u32> + Clone + use<'p> {
        be::words(self.csrcs)
    }

    /// Value of the first header extension with that id (RFC 8285: 1 to 14, or to 255 in the two-byte form).
    pub fn extension(&self, id: u8) -> Option<&'p [u8]> {
        self.extensions
            .clone()
            .find(|(found, _)| *found == id)
            .map(|(_, value)| value)
    }

    /// All header extensions as (id, value), in their order. Ends at the first element that does not fit its block.
    pub fn extensions(&self) -> Extensions<'p> {
        self.extensions
    }

    /// The payload without padding. Empty in a packet of padding alone.
    pub fn payload(&self) -> &'p [u8] {
        self.payload
    }

    /// Bytes of padding at the end, its count included; 0 to 255.
    pub fn padding_len(&self) -> u8 {
        self.padding_len
    }

    /// Bytes before the payload.
    pub fn header_len(&self) -> usize {
        self.header_len
    }
}

/// Header extensions of a packet as (id, value), both forms of RFC 8285 §4.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extensions<'p> {
    rest: &'p [u8],
    two_byte: bool,
}

impl<'p> Extensions<'p> {
    /// Of a block after its four-byte header. A profile that is neither form has no elements we could read.
    fn new(profile: u16, block: &'p [u8]) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Self {
                rest: block,
                two_byte: false,
            },
            // The low four bits are "appbits" (RFC 8285 §4.3): to be ignored.
            profile if profile & 0xFFF0 == TWO_BYTE_PROFILE => Self {
                rest: block,
                two_byte: true,
            },
            _ => Self::default(),
        }
    }

    fn end(&mut self) -> Option<(u8, &'p [u8])> {
        self.rest = &[];
        None
    }
}

impl<'p> Iterator for Extensions<'p> {
    type Item = (u8, &'p [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&first, rest) = self.rest.split_first()?;
            // A zero byte is padding between elements in both forms. In the one-byte form id 0 with a length is
            // reserved: its length is not to be trusted, so reading it as one byte of padding is as good as any.
            if first == 0 || (!self.two_byte && first >> 4 == 0) {
                self.rest = rest;
                continue;
            }
            let (id, len, rest) = if self.two_byte {
                let Some((&len, rest)) = rest.split_first() else {
                    return self.end();
                };
                (first, usize::from(len), rest)
            } else if first >> 4 == 15 {
                return self.end(); // RFC 8285 §4.2: stop at id 15.
            } else {
                (first >> 4, usize::from(first & 0x0F) + 1, rest)
            };
            let Some((value, rest)) = rest.split_at_checked(len) else {
                return self.end();
            };
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The fields of a header to be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeaderFields {
    /// Marker bit.
    pub marker: bool,
    /// Padding bit: the last byte of the packet will be the count of padding bytes.
    pub padding: bool,
    /// Payload type, 0 to 127; a higher bit is cut off.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// RTP time.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

/// Writes a header at the beginning of `out` and returns its length.
///
/// Extensions go in the one-byte form if all of them fit it (ids 1 to 14, values of 1 to 16 bytes), else in the
/// two-byte form (ids 1 to 255, values of at most 255 bytes), zero-padded to a whole word. `None` if `out` is too short
/// or an extension fits neither form; `out` may have been written to then.
pub fn write_header(
    fields: &HeaderFields,
    csrc: Option<u32>,
    extensions: &[(u8, &[u8])],
    out: &mut [u8],
) -> Option<usize> {
    let (fixed, mut rest) = out.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
    let first = 0x80
        | u8::from(fields.padding) << 5
        | u8::from(!extensions.is_empty()) << 4
        | u8::from(csrc.is_some());
    let second = u8::from(fields.marker) << 7 | fields.payload_type & 0x7F;
    let [s0, s1] = fields.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = fields.ssrc.to_be_bytes();
    *fixed = [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3];
    let mut len = FIXED_HEADER_LEN;
    if let Some(csrc) = csrc {
        let (word, after) = rest.split_first_chunk_mut::<4>()?;
        *word = csrc.to_be_bytes();
        rest = after;
        len += 4;
    }
    if !extensions.is_empty() {
        len += write_extensions(extensions, rest)?;
    }
    Some(len)
}

fn write_extensions(extensions: &[(u8, &[u8])], out: &mut [u8]) -> Option<usize> {
    let is_short = |&(id, value): &(u8, &[u8])| (1..=14).contains(&id) && (1..=16).contains(&value.len());
    let ([p0, p1, l0, l1], block) = out.split_first_chunk_mut::<4>()?;
    let (profile, len) = if extensions.iter().all(is_short) {
        (ONE_BYTE_PROFILE, write_short(extensions, block)?)
    } else {
        (TWO_BYTE_PROFILE, write_long(extensions, block)?)
    };
    let padded = len.next_multiple_of(4);
    match block.get_mut(len..len + 4) {
        Some(word) => word.fill(0), // of a length known here; what follows is written over
        None => block.get_mut(len..padded)?.fill(0),
    }
    [*p0, *p1] = profile.to_be_bytes();
    [*l0, *l1] = u16::try_from(padded / 4).ok()?.to_be_bytes();
    Some(4 + padded)
}

fn write_short(extensions: &[(u8, &[u8])], block: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    for &(id, value) in extensions {
        let (first, rest) = block.get_mut(len..)?.split_first_mut()?;
        *first = id << 4 | u8::try_from(value.len() - 1).ok()?;
        put(value, rest)?;
        len += 1 + value.len();
    }
    Some(len)
}

fn write_long(extensions: &[(u8, &[u8])], block: &mut [u8]) -> Option<usize> {
    let mut len = 0;
    for &(id, value) in extensions {
        let ([first, second], rest) = block.get_mut(len..)?.split_first_chunk_mut()?;
        if id == 0 {
            return None;
        }
        (*first, *second) = (id, u8::try_from(value.len()).ok()?);
        put(value, rest)?;
        len += 2 + value.len();
    }
    Some(len)
}

/// At the beginning of `out`. Most have one to three bytes: too few to call for a copy.
fn put(value: &[u8], out: &mut [u8]) -> Option<()> {
    match *value {
        [a] => *out.first_mut()? = a,
        [a, b] => *out.first_chunk_mut()? = [a, b],
        [a, b, c] => *out.first_chunk_mut()? = [a, b, c],
        _ => out.get_mut(..value.len())?.copy_from_slice(value),
    }
    Some(())
}

#[cfg(test)]
#[path = "rtp_tests.rs"]
mod tests;
