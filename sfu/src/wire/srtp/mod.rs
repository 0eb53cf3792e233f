//! SRTP and SRTCP in place (RFC 3711) with AES-GCM (RFC 7714), and with AES-CM and HMAC-SHA1 for clients that have no GCM.
//!
//! A [`Sealer`] protects what a transport sends, an [`Opener`] what it receives; [`contexts`] makes both from the keying
//! material that DTLS exports (RFC 5764 §4.2). Everything that depends on the cipher, the layout of a protected packet
//! too, is in one module for each (`gcm`, `cm`), chosen by [`Profile`]. SRTCP is authenticated and encrypted under all of them.
//!
//! No key is ever shown: the contexts' `Debug` tells counts only.

mod cipher;
mod cm;
mod gcm;
mod index;
mod kdf;
mod opener;
mod sealer;

#[cfg(test)]
mod tests;

pub use opener::{OpenError, Opener, STREAMS_MAX as OPENER_STREAMS_MAX};
pub use sealer::{STREAMS_MAX as SEALER_STREAMS_MAX, SealError, Sealer};

/// What the DTLS exporter is asked for (RFC 5764 §4.2).
pub const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The most bytes that sealing adds to an RTP packet, under any profile.
pub const RTP_OVERHEAD_MAX: usize = gcm::TAG_LEN;

/// The most bytes that sealing adds to an RTCP compound, under any profile.
pub const RTCP_OVERHEAD_MAX: usize = gcm::RTCP_OVERHEAD;

const _: () = assert!(cm::TAG_LEN <= RTP_OVERHEAD_MAX && cm::RTCP_OVERHEAD <= RTCP_OVERHEAD_MAX);

/// How packets are protected, as agreed by the DTLS extension `use_srtp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// `SRTP_AEAD_AES_128_GCM`
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM`
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`
    Aes128CmSha1,
}

impl Profile {
    /// By its number in `use_srtp` (RFC 5764 §4.1.2, RFC 7714 §14.2); `None` for those we do not speak.
    pub const fn from_dtls(number: u16) -> Option<Self> {
        match number {
            0x0001 => Some(Self::Aes128CmSha1),
            0x0007 => Some(Self::AeadAes128Gcm),
            0x0008 => Some(Self::AeadAes256Gcm),
            _ => None,
        }
    }

    /// Its number in `use_srtp`.
    pub const fn dtls(self) -> u16 {
        match self {
            Self::Aes128CmSha1 => 0x0001,
            Self::AeadAes128Gcm => 0x0007,
            Self::AeadAes256Gcm => 0x0008,
        }
    }

    /// Whether it authenticates by SHA-1, for clients that have nothing newer.
    pub const fn is_weak(self) -> bool {
        matches!(self, Self::Aes128CmSha1)
    }

    /// Bytes of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm => 16,
            Self::Aes128CmSha1 => cm::KEY_LEN,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => gcm::SALT_LEN,
            Self::Aes128CmSha1 => cm::SALT_LEN,
        }
    }

    /// Bytes to ask the DTLS exporter for: both sides' keys and salts.
    pub const fn keying_material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }
}

/// Our side of the DTLS handshake. The node is always the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// We sent the ClientHello.
    Client,
    /// We received it.
    Server,
}

/// The keying material has another length than [`Profile::keying_material_len`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keying material has the wrong length")]
pub struct KeyError;

/// Both contexts of a transport, from exported keying material: client key, server key, client salt, server salt.
///
/// Make them once per handshake: a second sealer with the same keys would repeat indices, which breaks every cipher there is here.
pub fn contexts(profile: Profile, material: &[u8], side: Side) -> Result<(Sealer, Opener), KeyError> {
    if material.len() != profile.keying_material_len() {
        return Err(KeyError);
    }
    let (client_key, rest) = material.split_at_checked(profile.key_len()).ok_or(KeyError)?;
    let (server_key, rest) = rest.split_at_checked(profile.key_len()).ok_or(KeyError)?;
    let (client_salt, server_salt) = rest.split_at_checked(profile.salt_len()).ok_or(KeyError)?;
    let client = cipher::Cipher::from_master(profile, client_key, client_salt)?;
    let server = cipher::Cipher::from_master(profile, server_key, server_salt)?;
    Ok(match side {
        Side::Client => (Sealer::new(client), Opener::new(server)),
        Side::Server => (Sealer::new(server), Opener::new(client)),
    })
}
