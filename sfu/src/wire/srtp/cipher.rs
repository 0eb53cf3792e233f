//! The cipher of a direction, whichever was agreed.

use super::{KeyError, Profile, cm::Cm, gcm::Gcm};

/// The session keys of one direction, and the layout of what they protect.
pub(super) enum Cipher {
    Gcm(Box<Gcm>),
    Cm(Box<Cm>),
}

impl Cipher {
    /// Derives the session keys.
    pub(super) fn from_master(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        Ok(match profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                Self::Gcm(Box::new(Gcm::from_master(profile, key, salt)?))
            }
            Profile::Aes128CmSha1 => Self::Cm(Box::new(Cm::from_master(key, salt)?)),
        })
    }

    /// As [`Gcm::seal_rtp`].
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtp(ssrc, index, buf, header_len, len),
            Self::Cm(cm) => cm.seal_rtp(ssrc, index, buf, header_len, len),
        }
    }

    /// As [`Gcm::open_rtp`].
    pub(super) fn open_rtp(&self, ssrc: u32, index: u64, buf: &mut [u8], header_len: usize) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtp(ssrc, index, buf, header_len),
            Self::Cm(cm) => cm.open_rtp(ssrc, index, buf, header_len),
        }
    }

    /// As [`Gcm::seal_rtcp`].
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8], len: usize) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.seal_rtcp(ssrc, index, buf, len),
            Self::Cm(cm) => cm.seal_rtcp(ssrc, index, buf, len),
        }
    }

    /// As [`Gcm::rtcp_index`].
    pub(super) fn rtcp_index(&self, buf: &[u8]) -> Option<(bool, u32)> {
        match self {
            Self::Gcm(_) => Gcm::rtcp_index(buf),
            Self::Cm(_) => Cm::rtcp_index(buf),
        }
    }

    /// As [`Gcm::open_rtcp`].
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8]) -> Option<usize> {
        match self {
            Self::Gcm(gcm) => gcm.open_rtcp(ssrc, index, buf),
            Self::Cm(cm) => cm.open_rtcp(ssrc, index, buf),
        }
    }
}
