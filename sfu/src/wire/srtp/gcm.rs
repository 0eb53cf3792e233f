//! AES-GCM as SRTP uses it: nonces, associated data, and where the tag stands (RFC 7714 §8 and §9).

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

use super::{KeyError, Profile, kdf};

/// Bytes of a salt.
pub(super) const SALT_LEN: usize = NONCE_LEN;

/// Bytes of a tag.
pub(super) const TAG_LEN: usize = 16;

/// Bytes of the header of an RTCP packet that stay in clear.
pub(super) const RTCP_HEADER_LEN: usize = 8;

/// Bytes that protection adds to an RTCP packet: the tag, then the word of flag and index.
pub(super) const RTCP_OVERHEAD: usize = TAG_LEN + 4;

/// Set in the last word of an encrypted SRTCP packet.
const ENCRYPTED: u32 = 1 << 31;

/// The session keys of one direction.
pub(super) struct Gcm {
    rtp: Half,
    rtcp: Half,
}

/// Session key and salt for RTP or for RTCP.
struct Half {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Gcm {
    /// Derives the session keys.
    pub(super) fn from_master(profile: Profile, key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        let salt: [u8; SALT_LEN] = salt.try_into().map_err(|_| KeyError)?;
        let mut padded = [0; kdf::SALT_LEN];
        for (slot, byte) in padded.iter_mut().zip(salt) {
            *slot = byte;
        }
        let half = |key_label: kdf::Label, salt_label: kdf::Label| {
            let mut session_key = [0; 32];
            let session_key = session_key.get_mut(..profile.key_len()).ok_or(KeyError)?;
            kdf::derive(key, &padded, key_label as u8, session_key)?;
            let mut session_salt = [0; SALT_LEN];
            kdf::derive(key, &padded, salt_label as u8, &mut session_salt)?;
            Half::new(profile, session_key, session_salt)
        };
        Ok(Self {
            rtp: half(kdf::Label::RtpKey, kdf::Label::RtpSalt)?,
            rtcp: half(kdf::Label::RtcpKey, kdf::Label::RtcpSalt)?,
        })
    }

    /// With one session key for both, as the vectors of RFC 7714 have it.
    #[cfg(test)]
    pub(super) fn from_session(profile: Profile, key: &[u8], salt: [u8; SALT_LEN]) -> Self {
        let half = || Half::new(profile, key, salt).expect("a key of the profile's length");
        Self {
            rtp: half(),
            rtcp: half(),
        }
    }

    /// Encrypts the `len` bytes of an RTP packet behind its header and writes the tag after them. The whole length, or
    /// `None` where the tag has no room.
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        buf: &mut [u8],
        header_len: usize,
        len: usize,
    ) -> Option<usize> {
        let (packet, rest) = buf.split_at_mut_checked(len)?;
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        let tag_slot = rest.first_chunk_mut::<TAG_LEN>()?;
        let tag = self
            .rtp
            .key
            .seal_in_place_separate_tag(self.rtp.nonce(ssrc, index), Aad::from(header), payload)
            .ok()?;
        tag_slot.copy_from_slice(tag.as_ref());
        Some(len + TAG_LEN)
    }

    /// Checks and decrypts an SRTP packet. The length without the tag, or `None` if it is not authentic: `buf` may be
    /// spoilt then.
    pub(super) fn open_rtp(&self, ssrc: u32, index: u64, buf: &mut [u8], header_len: usize) -> Option<usize> {
        let (packet, tag) = buf.split_last_chunk_mut::<TAG_LEN>()?;
        let len = packet.len();
        let (header, payload) = packet.split_at_mut_checked(header_len)?;
        let nonce = self.rtp.nonce(ssrc, index);
        self.rtp.open(nonce, header, *tag, payload)?;
        Some(len)
    }

    /// Encrypts the `len` bytes of a compound behind its first eight, and writes the tag and the index after them.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8], len: usize) -> Option<usize> {
        let (packet, rest) = buf.split_at_mut_checked(len)?;
        let (header, payload) = packet.split_first_chunk_mut()?;
        let word = (index | ENCRYPTED).to_be_bytes();
        let (tag_slot, rest) = rest.split_first_chunk_mut::<TAG_LEN>()?;
        let word_slot = rest.first_chunk_mut()?;
        let nonce = self.rtcp.nonce(ssrc, index.into());
        let tag = self
            .rtcp
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(rtcp_aad(header, word)), payload)
            .ok()?;
        tag_slot.copy_from_slice(tag.as_ref());
        *word_slot = word;
        Some(len + RTCP_OVERHEAD)
    }

    /// The flag and the index of an SRTCP packet, not yet authenticated. `None` if it is too short to be one.
    pub(super) fn rtcp_index(buf: &[u8]) -> Option<(bool, u32)> {
        if buf.len() < RTCP_HEADER_LEN + RTCP_OVERHEAD {
            return None;
        }
        let word = u32::from_be_bytes(*buf.last_chunk()?);
        Some((word & ENCRYPTED != 0, word & !ENCRYPTED))
    }

    /// Checks and decrypts an encrypted SRTCP packet of that index. The length of the compound, or `None` if it is not
    /// authentic: `buf` may be spoilt then.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8]) -> Option<usize> {
        let (packet, word) = buf.split_last_chunk_mut()?;
        let (packet, tag) = packet.split_last_chunk_mut::<TAG_LEN>()?;
        let len = packet.len();
        let (header, payload) = packet.split_first_chunk_mut()?;
        self.rtcp.open(
            self.rtcp.nonce(ssrc, index.into()),
            &rtcp_aad(header, *word),
            *tag,
            payload,
        )?;
        Some(len)
    }
}

/// The header, then the word of flag and index that stands at the end of the packet (RFC 7714 §9.2).
fn rtcp_aad(header: &[u8; RTCP_HEADER_LEN], word: [u8; 4]) -> [u8; RTCP_HEADER_LEN + 4] {
    let [a, b, c, d, e, f, g, h] = *header;
    let [w, x, y, z] = word;
    [a, b, c, d, e, f, g, h, w, x, y, z]
}

impl Half {
    fn new(profile: Profile, key: &[u8], salt: [u8; SALT_LEN]) -> Result<Self, KeyError> {
        let algorithm = match profile {
            Profile::AeadAes128Gcm => &AES_128_GCM,
            Profile::AeadAes256Gcm => &AES_256_GCM,
            Profile::Aes128CmSha1 => return Err(KeyError),
        };
        let key = UnboundKey::new(algorithm, key).map_err(|_| KeyError)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            salt,
        })
    }

    /// Salt xor (two zero bytes, SSRC, 48 bits of index) (RFC 7714 §8.1 and §9.1).
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let wide = |bytes: [u8; SALT_LEN]| {
            let [a, b, c, d, rest @ ..] = bytes;
            (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(rest))
        };
        let (high, low) = wide(self.salt);
        let [a, b, c, d] = (high ^ ssrc >> 16).to_be_bytes();
        let [e, f, g, h, i, j, k, l] = (low ^ u64::from(ssrc) << 48 ^ index & 0xffff_ffff_ffff).to_be_bytes();
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }

    fn open(&self, nonce: Nonce, aad: &[u8], tag: [u8; TAG_LEN], ciphertext: &mut [u8]) -> Option<()> {
        self.key
            .open_in_place_separate_tag(nonce, Aad::from(aad), Tag::from(tag), ciphertext, 0..)
            .ok()
            .map(|_| ())
    }
}
