//! Transport-wide feedback: which packets of a transport arrived, and when
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1).

use super::{RtcpError, feedback::split_ssrcs};
use crate::wire::be;

/// Microseconds of a tick: the unit of the deltas.
pub const TICK_MICROS: u64 = 250;

/// Ticks of a unit of the reference time (64 ms).
pub(super) const REFERENCE_TICKS: i64 = 256;

/// One symbol of a status chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Symbol {
    /// Not received.
    Lost = 0,
    /// Received, its delta takes one unsigned byte.
    Small = 1,
    /// Received, its delta takes two signed bytes.
    Large = 2,
}

impl Symbol {
    /// Of two bits; 3 is reserved.
    fn read(bits: u16) -> Option<Self> {
        match bits {
            0 => Some(Self::Lost),
            1 => Some(Self::Small),
            2 => Some(Self::Large),
            _ => None,
        }
    }

    /// Bytes of its delta.
    fn delta_len(self) -> usize {
        match self {
            Self::Lost => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }
}

/// A feedback packet.
#[derive(Debug, Clone, Copy)]
pub struct TransportFeedback<'p> {
    /// Who received.
    pub sender_ssrc: u32,
    /// A stream of the transport; any.
    pub media_ssrc: u32,
    /// Number of the first packet spoken of.
    pub base_sequence: u16,
    /// How many packets are spoken of.
    pub status_count: u16,
    /// Time that the first delta counts from, in units of 64 ms, 24 bits signed, wrapping.
    pub reference_time: i32,
    /// Counts feedback packets, wrapping, so that a lost one is seen.
    pub feedback_count: u8,
    chunks: &'p [u8],
    deltas: &'p [u8],
}

impl<'p> TransportFeedback<'p> {
    /// Walks the chunks once, so that [`TransportFeedback::statuses`] cannot fail: work is bounded by the packet's
    /// length, not by the counts in it.
    pub(super) fn parse(body: &'p [u8]) -> Result<Self, RtcpError> {
        let (sender_ssrc, media_ssrc, rest) = split_ssrcs(body)?;
        let (&[b0, b1, c0, c1, t0, t1, t2, feedback_count], rest) =
            rest.split_first_chunk().ok_or(RtcpError::Truncated)?;
        let status_count = u16::from_be_bytes([c0, c1]);
        let (mut left, mut chunks_len, mut deltas_len) = (status_count, 0, 0);
        for chunk in rest.as_chunks().0 {
            if left == 0 {
                break;
            }
            let chunk = Chunk::read(*chunk);
            let used = chunk.len().min(left);
            deltas_len += chunk.deltas_len(used).ok_or(RtcpError::Value)?;
            left -= used;
            chunks_len += 2;
        }
        let (chunks, rest) = rest.split_at_checked(chunks_len).ok_or(RtcpError::Truncated)?;
        let deltas = rest.get(..deltas_len).ok_or(RtcpError::Truncated)?;
        if left > 0 || status_count == 0 {
            return Err(RtcpError::Truncated);
        }
        Ok(Self {
            sender_ssrc,
            media_ssrc,
            base_sequence: u16::from_be_bytes([b0, b1]),
            status_count,
            reference_time: i32::from_be_bytes([t0, t1, t2, 0]) >> 8,
            feedback_count,
            chunks,
            deltas,
        })
    }

    /// (number, delta) of every packet spoken of, in order; at most [`TransportFeedback::status_count`].
    ///
    /// A delta is the time since the packet received before it, or since the reference time for the first, in ticks of
    /// 250 us. `None` for a packet that did not arrive.
    pub fn statuses(&self) -> impl Iterator<Item = (u16, Option<i16>)> + use<'p> {
        let mut deltas = self.deltas;
        let base = self.base_sequence;
        self.chunks
            .as_chunks()
            .0
            .iter()
            .flat_map(|chunk| Chunk::read(*chunk).symbols())
            .zip(0..self.status_count)
            .map(move |(symbol, index)| {
                let delta = match symbol {
                    Symbol::Lost => None,
                    Symbol::Small => be::u8(deltas, 0).map(i16::from),
                    Symbol::Large => be::u16(deltas, 0).map(u16::cast_signed),
                };
                deltas = deltas.get(symbol.delta_len()..).unwrap_or_default();
                (base.wrapping_add(index), delta)
            })
    }
}

/// A packet status chunk (§3.1.3 and §3.1.4).
#[derive(Debug, Clone, Copy)]
enum Chunk {
    /// So many times the same two bits.
    Run(u16, u16),
    /// 14 symbols of one bit each.
    OneBit(u16),
    /// 7 symbols of two bits each.
    TwoBit(u16),
}

impl Chunk {
    fn read(bytes: [u8; 2]) -> Self {
        let word = u16::from_be_bytes(bytes);
        match word >> 14 {
            0 | 1 => Self::Run(word & 0x1FFF, word >> 13),
            2 => Self::OneBit(word & 0x3FFF),
            _ => Self::TwoBit(word & 0x3FFF),
        }
    }

    /// Packets it speaks of.
    fn len(self) -> u16 {
        match self {
            Self::Run(len, _) => len,
            Self::OneBit(_) => 14,
            Self::TwoBit(_) => 7,
        }
    }

    /// Two bits of its symbol at `index`, below `len`.
    fn bits(self, index: u16) -> u16 {
        match self {
            Self::Run(_, bits) => bits,
            Self::OneBit(word) => word >> (13 - index) & 1,
            Self::TwoBit(word) => word >> (12 - 2 * index) & 3,
        }
    }

    /// Bytes of the deltas of its first `used` symbols; none if one of them is the reserved one.
    fn deltas_len(self, used: u16) -> Option<usize> {
        match self {
            Self::Run(_, bits) => Some(Symbol::read(bits)?.delta_len() * usize::from(used)),
            _ => (0..used)
                .map(|index| Some(Symbol::read(self.bits(index))?.delta_len()))
                .sum(),
        }
    }

    /// Its symbols. Those after the status count may be anything: they are cut off by the caller.
    fn symbols(self) -> impl Iterator<Item = Symbol> {
        (0..self.len()).map(move |index| Symbol::read(self.bits(index)).unwrap_or(Symbol::Lost))
    }
}
