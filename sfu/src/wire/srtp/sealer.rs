//! Protecting what is sent.

use std::fmt;

use super::{cipher::Cipher, gcm::RTCP_HEADER_LEN, index::INDEX_END};
use crate::wire::{be, rtp};

/// Streams that a transport may send; more are refused. Slots and their repair streams are given at the answer, at most
/// some 60 of each.
pub const STREAMS_MAX: usize = 256;

/// Why a packet was not sealed. It must not be sent then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SealError {
    /// Not RTP, or not RTCP, of that length.
    #[error("not a packet")]
    Malformed,
    /// The buffer has no room for what sealing adds.
    #[error("no room for the tag")]
    NoRoom,
    /// The stream's index would not grow: a cipher must never see one twice.
    #[error("index is not greater than the last one")]
    NotGreater,
    /// All indices of the key are used up.
    #[error("indices are used up")]
    Exhausted,
    /// The transport sends [`STREAMS_MAX`] streams already.
    #[error("too many streams")]
    TooManyStreams,
}

/// As many as fill a line of a cache.
const HINTS: usize = 64;
const _: () = assert!(STREAMS_MAX <= 1 << u8::BITS, "a hint names any stream");

/// Seals what one transport sends.
///
/// Per stream (SSRC) the packets must come with sequence numbers that ascend, by at most 32,767 at a time; the rollover
/// count starts at zero and grows at each wrap. A receiver that missed the packets before a wrap cannot know of it, so
/// let a stream begin with a number below 2^15.
pub struct Sealer {
    cipher: Cipher,
    /// (SSRC, index of its last packet), by SSRC.
    streams: Vec<(u32, u64)>,
    /// Where a stream may stand, by the low bits of its SSRC: most do. A search looks at one place of memory behind the other, and waits for each.
    hints: [u8; HINTS],
    /// Index of the next RTCP packet.
    rtcp_index: u32,
}

impl Sealer {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            streams: Vec::new(),
            hints: [0; HINTS],
            rtcp_index: 1,
        }
    }

    /// Seals in place the RTP packet of `len` bytes at the beginning of `buf`, which needs [`RTP_OVERHEAD_MAX`] more, and
    /// returns the length of the result.
    ///
    /// [`RTP_OVERHEAD_MAX`]: super::RTP_OVERHEAD_MAX
    pub fn seal_rtp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SealError> {
        let packet = buf.get(..len).ok_or(SealError::Malformed)?;
        let header_len = rtp::header_len(packet).map_err(|_| SealError::Malformed)?;
        let sequence = be::u16(packet, 2).ok_or(SealError::Malformed)?;
        let ssrc = be::u32(packet, 8).ok_or(SealError::Malformed)?;
        if buf.len() - len < super::RTP_OVERHEAD_MAX {
            return Err(SealError::NoRoom);
        }
        let index = self.next_index(ssrc, sequence)?;
        self.cipher
            .seal_rtp(ssrc, index, buf, header_len, len)
            .ok_or(SealError::Malformed)
    }

    /// Seals in place the compound RTCP packet of `len` bytes at the beginning of `buf`, which needs [`RTCP_OVERHEAD_MAX`]
    /// more, and returns the length of the result.
    ///
    /// [`RTCP_OVERHEAD_MAX`]: super::RTCP_OVERHEAD_MAX
    pub fn seal_rtcp(&mut self, buf: &mut [u8], len: usize) -> Result<usize, SealError> {
        let ssrc = buf
            .get(..len)
            .and_then(|packet| be::u32(packet, 4))
            .ok_or(SealError::Malformed)?;
        debug_assert!(len >= RTCP_HEADER_LEN, "an SSRC ends the header");
        if buf.len() - len < super::RTCP_OVERHEAD_MAX {
            return Err(SealError::NoRoom);
        }
        let index = self.rtcp_index;
        if index >> 31 != 0 {
            return Err(SealError::Exhausted);
        }
        self.rtcp_index += 1;
        self.cipher
            .seal_rtcp(ssrc, index, buf, len)
            .ok_or(SealError::Malformed)
    }

    /// Where a stream stands, or would.
    fn place(&mut self, ssrc: u32) -> Result<usize, usize> {
        let low = ssrc as usize % HINTS;
        let hint = self.hints.get(low).map_or(0, |&hint| usize::from(hint));
        if self.streams.get(hint).is_some_and(|stream| stream.0 == ssrc) {
            return Ok(hint);
        }
        let place = self.streams.binary_search_by_key(&ssrc, |stream| stream.0)?;
        if let Some(hint) = self.hints.get_mut(low) {
            *hint = place as u8;
        }
        Ok(place)
    }

    /// Takes the index that a sequence number stands for. Once taken it is gone, whatever becomes of the packet.
    fn next_index(&mut self, ssrc: u32, sequence: u16) -> Result<u64, SealError> {
        match self.place(ssrc) {
            Ok(at) => {
                let (_, last) = self.streams.get_mut(at).ok_or(SealError::Malformed)?;
                let ahead = sequence.wrapping_sub(*last as u16);
                if !(1..0x8000).contains(&ahead) {
                    return Err(SealError::NotGreater);
                }
                let index = *last + u64::from(ahead);
                if index >= INDEX_END {
                    return Err(SealError::Exhausted);
                }
                *last = index;
                Ok(index)
            }
            Err(_) if self.streams.len() >= STREAMS_MAX => Err(SealError::TooManyStreams),
            Err(at) => {
                self.streams.insert(at, (ssrc, sequence.into()));
                Ok(sequence.into())
            }
        }
    }

    /// Places a stream and the RTCP counter shortly before the end of their indices.
    #[cfg(test)]
    pub(super) fn advance(&mut self, ssrc: u32, last: u64, rtcp_index: u32) {
        self.streams.retain(|stream| stream.0 != ssrc);
        self.streams.push((ssrc, last));
        self.streams.sort_unstable();
        self.rtcp_index = rtcp_index;
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}
