//! Feedback about packets and pictures (RFC 4585, RFC 5104) and REMB.

use super::RtcpError;
use crate::wire::be;

/// The two SSRCs at the head of every feedback message, and what follows.
pub(super) fn split_ssrcs(body: &[u8]) -> Result<(u32, u32, &[u8]), RtcpError> {
    let (sender, rest) = body.split_first_chunk().ok_or(RtcpError::Truncated)?;
    let (media, rest) = rest.split_first_chunk().ok_or(RtcpError::Truncated)?;
    Ok((u32::from_be_bytes(*sender), u32::from_be_bytes(*media), rest))
}

/// A request to send packets again (RFC 4585 §6.2.1).
#[derive(Debug, Clone, Copy)]
pub struct Nack<'p> {
    /// Who asks.
    pub sender_ssrc: u32,
    /// Of which stream.
    pub media_ssrc: u32,
    entries: &'p [u8],
}

impl<'p> Nack<'p> {
    pub(super) fn parse(body: &'p [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, media_ssrc, entries) = split_ssrcs(body)?;
        if entries.is_empty() {
            return Err(RtcpError::Truncated); // At least one entry (RFC 4585 §6.2.1).
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            entries,
        })
    }

    /// Sequence numbers lost, as they stand: 17 per four bytes of the packet at most, possibly with repetitions.
    pub fn lost(&self) -> impl Iterator<Item = u16> + Clone + use<'p> {
        be::words(self.entries).flat_map(|entry| {
            let first = (entry >> 16) as u16;
            let following = (0..16)
                .filter(move |bit| entry & (1 << bit) != 0)
                .map(move |bit| first.wrapping_add(bit + 1));
            std::iter::once(first).chain(following)
        })
    }
}

/// A request for a key frame (RFC 4585 §6.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLoss {
    /// Who asks.
    pub sender_ssrc: u32,
    /// Of which stream.
    pub media_ssrc: u32,
}

impl PictureLoss {
    pub(super) fn parse(body: &[u8]) -> Result<Self, RtcpError> {
        split_ssrcs(body).map(|(sender_ssrc, media_ssrc, _)| Self {
            sender_ssrc,
            media_ssrc,
        })
    }
}

/// Requests for key frames that must be obeyed (RFC 5104 §4.3.1).
#[derive(Debug, Clone, Copy)]
pub struct Fir<'p> {
    /// Who asks.
    pub sender_ssrc: u32,
    entries: &'p [u8],
}

impl<'p> Fir<'p> {
    pub(super) fn parse(body: &'p [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, _, entries) = split_ssrcs(body)?;
        if entries.is_empty() || entries.len() % 8 != 0 {
            return Err(RtcpError::Truncated);
        }
        Ok(Self { sender_ssrc, entries })
    }

    /// (SSRC of the stream, number of the command). A command with the same number as the last is a repetition.
    pub fn entries(&self) -> impl Iterator<Item = (u32, u8)> + Clone + use<'p> {
        self.entries
            .as_chunks()
            .0
            .iter()
            .map(|[a, b, c, d, number, _, _, _]| (u32::from_be_bytes([*a, *b, *c, *d]), *number))
    }
}

/// What the receiver's own estimator believes the path carries.
#[derive(Debug, Clone, Copy)]
pub struct Remb<'p> {
    /// Who estimates.
    pub sender_ssrc: u32,
    /// Bits per second for all the streams together.
    pub bitrate: u64,
    ssrcs: &'p [u8],
}

impl<'p> Remb<'p> {
    /// The name stands after the two SSRCs.
    pub(super) fn is_remb(body: &[u8]) -> bool {
        body.get(8..).is_some_and(|rest| rest.starts_with(b"REMB"))
    }

    pub(super) fn parse(body: &'p [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, _, rest) = split_ssrcs(body)?;
        let count = be::u8(rest, 4).ok_or(RtcpError::Truncated)?;
        let value = be::u24(rest, 5).ok_or(RtcpError::Truncated)?;
        let ssrcs = rest
            .get(8..)
            .and_then(|list| list.get(..usize::from(count) * 4))
            .ok_or(RtcpError::Truncated)?;
        // 6 bits of exponent, 18 of mantissa: up to 2^81, and what does not fit 64 bits is a lie.
        let (exponent, mantissa) = (value >> 18, u64::from(value & 0x3_FFFF));
        if mantissa.leading_zeros() < exponent && mantissa != 0 {
            return Err(RtcpError::Value);
        }
        let bitrate = mantissa.checked_shl(exponent).unwrap_or(0);
        Ok(Self {
            sender_ssrc,
            bitrate,
            ssrcs,
        })
    }

    /// Streams that it is for, at most 255.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + Clone + use<'p> {
        be::words(self.ssrcs)
    }
}
