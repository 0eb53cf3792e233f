//! Checking what is received.

use std::fmt;

use super::{
    cipher::Cipher,
    index::{Window, estimate},
};
use crate::wire::{be, rtp};

/// Streams that a transport may receive, of RTP and of RTCP each; packets of more are refused. A client sends at most a
/// dozen: four sources, one of them in three layers, each with its repairs.
pub const STREAMS_MAX: usize = 64;

/// Why a packet was not opened. It is to be dropped and counted; nothing was changed but its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum OpenError {
    /// Not SRTP, or not SRTCP.
    #[error("not a protected packet")]
    Malformed,
    /// Its index has been seen, or is too old to tell.
    #[error("packet came twice or too late")]
    Replayed,
    /// Not sealed with this key, or changed on its way.
    #[error("packet is not authentic")]
    NotAuthentic,
    /// SRTCP without encryption: the sender has never been told to do that.
    #[error("packet is not encrypted")]
    NotEncrypted,
    /// [`STREAMS_MAX`] streams have sent authentic packets already.
    #[error("too many streams")]
    TooManyStreams,
}

/// Opens what one transport receives.
///
/// Packets may be reordered by up to 1,024 numbers. A stream has a memory from its first authentic packet on, whose
/// rollover count is taken to be zero.
pub struct Opener {
    cipher: Cipher,
    rtp: Streams,
    rtcp: Streams,
}

/// Windows of the streams known, by SSRC.
#[derive(Default)]
struct Streams(Vec<(u32, Window)>);

impl Opener {
    pub(super) fn new(cipher: Cipher) -> Self {
        Self {
            cipher,
            rtp: Streams::default(),
            rtcp: Streams::default(),
        }
    }

    /// Checks an SRTP packet and decrypts it in place. The length of the RTP packet at the beginning of `buf`.
    pub fn open_rtp(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        let header_len = rtp::header_len(buf).map_err(|_| OpenError::Malformed)?;
        let sequence = be::u16(buf, 2).ok_or(OpenError::Malformed)?;
        let ssrc = be::u32(buf, 8).ok_or(OpenError::Malformed)?;
        let index = match self.rtp.greatest(ssrc) {
            Some(greatest) => estimate(greatest, sequence).ok_or(OpenError::Replayed)?,
            None => sequence.into(),
        };
        self.rtp.check(ssrc, index)?;
        let len = self
            .cipher
            .open_rtp(ssrc, index, buf, header_len)
            .ok_or(OpenError::NotAuthentic)?;
        self.rtp.mark(ssrc, index);
        Ok(len)
    }

    /// Checks an SRTCP packet and decrypts it in place. The length of the compound at the beginning of `buf`.
    pub fn open_rtcp(&mut self, buf: &mut [u8]) -> Result<usize, OpenError> {
        let (encrypted, index) = self.cipher.rtcp_index(buf).ok_or(OpenError::Malformed)?;
        if be::u8(buf, 0).is_none_or(|first| first >> 6 != 2) {
            return Err(OpenError::Malformed);
        }
        if !encrypted {
            return Err(OpenError::NotEncrypted);
        }
        let ssrc = be::u32(buf, 4).ok_or(OpenError::Malformed)?;
        self.rtcp.check(ssrc, index.into())?;
        let len = self
            .cipher
            .open_rtcp(ssrc, index, buf)
            .ok_or(OpenError::NotAuthentic)?;
        self.rtcp.mark(ssrc, index.into());
        Ok(len)
    }
}

impl Streams {
    fn find(&self, ssrc: u32) -> Result<usize, usize> {
        self.0.binary_search_by_key(&ssrc, |stream| stream.0)
    }

    fn window(&self, ssrc: u32) -> Option<&Window> {
        let at = self.find(ssrc).ok()?;
        self.0.get(at).map(|(_, window)| window)
    }

    fn greatest(&self, ssrc: u32) -> Option<u64> {
        self.window(ssrc).map(Window::greatest)
    }

    /// Whether a packet is worth the work of opening it.
    fn check(&self, ssrc: u32, index: u64) -> Result<(), OpenError> {
        match self.window(ssrc) {
            Some(window) if window.is_fresh(index) => Ok(()),
            Some(_) => Err(OpenError::Replayed),
            None if self.0.len() < STREAMS_MAX => Ok(()),
            None => Err(OpenError::TooManyStreams),
        }
    }

    /// Remembers an authentic packet that passed [`Streams::check`].
    fn mark(&mut self, ssrc: u32, index: u64) {
        match self.find(ssrc) {
            Ok(at) => {
                if let Some((_, window)) = self.0.get_mut(at) {
                    window.mark(index);
                }
            }
            Err(at) => self.0.insert(at, (ssrc, Window::starting_with(index))),
        }
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rtp, rtcp) = (self.rtp.0.len(), self.rtcp.0.len());
        f.debug_struct("Opener")
            .field("rtp_streams", &rtp)
            .field("rtcp_streams", &rtcp)
            .finish_non_exhaustive()
    }
}
