//! Reports, source descriptions and goodbyes (RFC 3550 §6.4 to §6.6).

use super::RtcpError;
use crate::wire::be;

const BLOCK_LEN: usize = 24;
const CNAME: u8 = 1;

/// What a sender says of its stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock: seconds since 1900 in the high half, their fraction in the low half.
    pub ntp: u64,
    /// RTP time of the same instant.
    pub rtp: u32,
    /// Packets sent, wrapping.
    pub packets: u32,
    /// Payload bytes sent, wrapping.
    pub octets: u32,
}

/// What a receiver says of one stream (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// Which stream.
    pub ssrc: u32,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, duplicates subtracted: -2^23 to 2^23 - 1.
    pub lost: i32,
    /// Highest sequence number received, with the count of wraps in the high half.
    pub highest_sequence: u32,
    /// Interarrival jitter in RTP ticks.
    pub jitter: u32,
    /// Middle 32 bits of the NTP time in the last sender report received; 0 if none was.
    pub last_sr: u32,
    /// Time since that report, in 1/65536 s.
    pub delay_since_sr: u32,
}

impl ReportBlock {
    /// From 24 bytes.
    fn read(bytes: &[u8]) -> Option<Self> {
        // The 24-bit number is signed: shifted up and down again to extend its sign.
        let lost = (be::u24(bytes, 5)? << 8).cast_signed() >> 8;
        Some(Self {
            ssrc: be::u32(bytes, 0)?,
            fraction_lost: be::u8(bytes, 4)?,
            lost,
            highest_sequence: be::u32(bytes, 8)?,
            jitter: be::u32(bytes, 12)?,
            last_sr: be::u32(bytes, 16)?,
            delay_since_sr: be::u32(bytes, 20)?,
        })
    }

    /// As it goes out; a number of lost packets out of 24 bits is clamped (RFC 3550 §6.4.1).
    pub(super) fn write(&self) -> [u8; BLOCK_LEN] {
        let lost = self.lost.clamp(-0x80_0000, 0x7F_FFFF).cast_unsigned() & 0xFF_FFFF;
        let mut out = [0; BLOCK_LEN];
        let words = [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sr,
            self.delay_since_sr,
        ];
        for (slot, word) in out.as_chunks_mut().0.iter_mut().zip(words) {
            *slot = word.to_be_bytes();
        }
        out
    }
}

/// `count` report blocks at the beginning of `body`. What follows them is a profile's extension: left unread.
fn blocks(count: u8, body: &[u8]) -> Result<&[u8], RtcpError> {
    body.get(..usize::from(count) * BLOCK_LEN)
        .ok_or(RtcpError::Truncated)
}

/// A sender report.
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'p> {
    /// Who sends.
    pub ssrc: u32,
    /// What it says of its own stream.
    pub info: SenderInfo,
    blocks: &'p [u8],
}

impl<'p> SenderReport<'p> {
    pub(super) fn parse(count: u8, body: &'p [u8]) -> Result<Self, RtcpError> {
        let read = || {
            let info = SenderInfo {
                ntp: be::u64(body, 4)?,
                rtp: be::u32(body, 12)?,
                packets: be::u32(body, 16)?,
                octets: be::u32(body, 20)?,
            };
            Some((be::u32(body, 0)?, info, body.get(24..)?))
        };
        let (ssrc, info, rest) = read().ok_or(RtcpError::Truncated)?;
        Ok(Self {
            ssrc,
            info,
            blocks: blocks(count, rest)?,
        })
    }

    /// What it says of streams it receives, at most 31.
    pub fn reports(&self) -> impl Iterator<Item = ReportBlock> + Clone + use<'p> {
        self.blocks.chunks_exact(BLOCK_LEN).filter_map(ReportBlock::read)
    }
}

/// A receiver report.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'p> {
    /// Who reports.
    pub ssrc: u32,
    blocks: &'p [u8],
}

impl<'p> ReceiverReport<'p> {
    pub(super) fn parse(count: u8, body: &'p [u8]) -> Result<Self, RtcpError> {
        let (ssrc, rest) = body.split_first_chunk().ok_or(RtcpError::Truncated)?;
        Ok(Self {
            ssrc: u32::from_be_bytes(*ssrc),
            blocks: blocks(count, rest)?,
        })
    }

    /// What it says of streams it receives, at most 31.
    pub fn reports(&self) -> impl Iterator<Item = ReportBlock> + Clone + use<'p> {
        self.blocks.chunks_exact(BLOCK_LEN).filter_map(ReportBlock::read)
    }
}

/// A source description. Of its items only the canonical name is of use.
#[derive(Debug, Clone, Copy)]
pub struct SourceDescription<'p> {
    count: u8,
    chunks: &'p [u8],
}

impl<'p> SourceDescription<'p> {
    /// Walks all chunks once, so that [`SourceDescription::cnames`] cannot fail.
    pub(super) fn parse(count: u8, body: &'p [u8]) -> Result<Self, RtcpError> {
        let mut rest = body;
        for _ in 0..count {
            (_, rest) = Self::chunk(rest).ok_or(RtcpError::Truncated)?;
        }
        Ok(Self { count, chunks: body })
    }

    /// (SSRC, canonical name) of the chunks that have one, at most 31.
    pub fn cnames(&self) -> impl Iterator<Item = (u32, &'p [u8])> + use<'p> {
        let mut rest = self.chunks;
        (0..self.count).filter_map(move |_| {
            let ((ssrc, cname), after) = Self::chunk(rest)?;
            rest = after;
            Some((ssrc, cname?))
        })
    }

    /// Takes one chunk off: SSRC, items, a null byte, then nulls up to the next word.
    #[expect(
        clippy::type_complexity,
        reason = "a named type for one private use would say less"
    )]
    fn chunk(bytes: &'p [u8]) -> Option<((u32, Option<&'p [u8]>), &'p [u8])> {
        let (ssrc, mut items) = bytes.split_first_chunk()?;
        let mut cname = None;
        loop {
            match items.split_first()? {
                (0, _) => break,
                (&kind, rest) => {
                    let (&len, rest) = rest.split_first()?;
                    let (value, rest) = rest.split_at_checked(len.into())?;
                    if kind == CNAME {
                        cname = cname.or(Some(value));
                    }
                    items = rest;
                }
            }
        }
        let used = (bytes.len() - items.len() + 1).next_multiple_of(4);
        Some(((u32::from_be_bytes(*ssrc), cname), bytes.get(used..)?))
    }
}

/// A goodbye.
#[derive(Debug, Clone, Copy)]
pub struct Goodbye<'p> {
    ssrcs: &'p [u8],
}

impl<'p> Goodbye<'p> {
    /// The reason that may follow the list is left unread: nothing here would show it.
    pub(super) fn parse(count: u8, body: &'p [u8]) -> Result<Self, RtcpError> {
        let ssrcs = body.get(..usize::from(count) * 4).ok_or(RtcpError::Truncated)?;
        Ok(Self { ssrcs })
    }

    /// Streams that end, at most 31.
    pub fn ssrcs(&self) -> impl Iterator<Item = u32> + Clone + use<'p> {
        be::words(self.ssrcs)
    }
}
