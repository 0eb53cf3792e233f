//! AES in counter mode with HMAC-SHA1 of 80 bits, for clients that have nothing newer (RFC 3711 §4.1.1 and §4.2,
//! RFC 5764 §4.1.2): the counter, what is authenticated, and where the tag stands.

use aes::{
    Aes128,
    cipher::{Block, BlockEncrypt, KeyInit},
};
use ring::hmac;

use super::{KeyError, kdf};

/// Bytes of a master key, and of a session key.
pub(super) const KEY_LEN: usize = 16;

/// Bytes of a salt.
pub(super) const SALT_LEN: usize = kdf::SALT_LEN;

/// Bytes of an authentication key.
const AUTH_LEN: usize = 20;

/// Bytes of a tag.
pub(super) const TAG_LEN: usize = 10;

/// Bytes of the header of an RTCP packet that stay in clear.
const RTCP_HEADER_LEN: usize = 8;

/// Bytes that protection adds to an RTCP packet: the word of flag and index, then the tag.
pub(super) const RTCP_OVERHEAD: usize = 4 + TAG_LEN;

/// Set in the index word of an encrypted SRTCP packet.
const ENCRYPTED: u32 = 1 << 31;

/// Blocks made at a time: as many as the processor works on at once.
const BLOCKS: usize = 8;

/// The session keys of one direction.
pub(super) struct Cm {
    rtp: Half,
    rtcp: Half,
}

/// Session keys and salt for RTP or for RTCP.
struct Half {
    cipher: Aes128,
    salt: u128,
    auth: hmac::Key,
}

impl Cm {
    /// Derives the session keys.
    pub(super) fn from_master(key: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        let salt: &[u8; SALT_LEN] = salt.try_into().map_err(|_| KeyError)?;
        let half = |key_label: kdf::Label, auth_label: kdf::Label, salt_label: kdf::Label| {
            let mut session_key = [0; KEY_LEN];
            kdf::derive(key, salt, key_label as u8, &mut session_key)?;
            let mut auth_key = [0; AUTH_LEN];
            kdf::derive(key, salt, auth_label as u8, &mut auth_key)?;
            let mut session_salt = [0; SALT_LEN];
            kdf::derive(key, salt, salt_label as u8, &mut session_salt)?;
            Ok(Half::new(&session_key, &session_salt, &auth_key))
        };
        Ok(Self {
            rtp: half(kdf::Label::RtpKey, kdf::Label::RtpAuth, kdf::Label::RtpSalt)?,
            rtcp: half(kdf::Label::RtcpKey, kdf::Label::RtcpAuth, kdf::Label::RtcpSalt)?,
        })
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
        let tag_slot = rest.first_chunk_mut::<TAG_LEN>()?;
        self.rtp.apply(ssrc, index, packet.get_mut(header_len..)?);
        *tag_slot = self.rtp.tag(packet, &rollovers(index));
        Some(len + TAG_LEN)
    }

    /// Checks and decrypts an SRTP packet. The length without the tag, or `None` if it is not authentic: then nothing was
    /// changed.
    pub(super) fn open_rtp(&self, ssrc: u32, index: u64, buf: &mut [u8], header_len: usize) -> Option<usize> {
        let (packet, tag) = buf.split_last_chunk_mut::<TAG_LEN>()?;
        if !is_equal(&self.rtp.tag(packet, &rollovers(index)), tag) {
            return None;
        }
        self.rtp.apply(ssrc, index, packet.get_mut(header_len..)?);
        Some(packet.len())
    }

    /// Encrypts the `len` bytes of a compound behind its first eight, and writes the index and the tag after them.
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8], len: usize) -> Option<usize> {
        self.rtcp
            .apply(ssrc, index.into(), buf.get_mut(RTCP_HEADER_LEN..len)?);
        let (packet, rest) = buf.split_at_mut_checked(len)?;
        let (word_slot, rest) = rest.split_first_chunk_mut()?;
        *word_slot = (index | ENCRYPTED).to_be_bytes();
        *rest.first_chunk_mut()? = self.rtcp.tag(packet, word_slot);
        Some(len + RTCP_OVERHEAD)
    }

    /// The flag and the index of an SRTCP packet, not yet authenticated. `None` if it is too short to be one.
    pub(super) fn rtcp_index(buf: &[u8]) -> Option<(bool, u32)> {
        if buf.len() < RTCP_HEADER_LEN + RTCP_OVERHEAD {
            return None;
        }
        let (packet, _) = buf.split_last_chunk::<TAG_LEN>()?;
        let word = u32::from_be_bytes(*packet.last_chunk()?);
        Some((word & ENCRYPTED != 0, word & !ENCRYPTED))
    }

    /// Checks and decrypts an encrypted SRTCP packet of that index. The length of the compound, or `None` if it is not
    /// authentic: then nothing was changed.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, buf: &mut [u8]) -> Option<usize> {
        let (packet, tag) = buf.split_last_chunk_mut::<TAG_LEN>()?;
        let (packet, word) = packet.split_last_chunk_mut::<4>()?;
        if !is_equal(&self.rtcp.tag(packet, word), tag) {
            return None;
        }
        let payload = packet.get_mut(RTCP_HEADER_LEN..)?;
        self.rtcp.apply(ssrc, index.into(), payload);
        Some(packet.len())
    }
}

/// The rollover count, which is authenticated though it is not sent (RFC 3711 §4.2).
fn rollovers(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// In a time that does not tell where they differ.
fn is_equal(ours: &[u8; TAG_LEN], theirs: &[u8; TAG_LEN]) -> bool {
    let differences = ours.iter().zip(theirs).fold(0, |all, (a, b)| all | (a ^ b));
    std::hint::black_box(differences) == 0
}

impl Half {
    fn new(key: &[u8; KEY_LEN], salt: &[u8; SALT_LEN], auth: &[u8; AUTH_LEN]) -> Self {
        let salt = salt.iter().fold(0, |salt, byte| salt << 8 | u128::from(*byte));
        Self {
            cipher: Aes128::new(key.into()),
            salt: salt << 16,
            auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, auth),
        }
    }

    /// Adds the key stream: it encrypts and decrypts. The counter begins at salt · 2^16 xor SSRC · 2^64 xor index · 2^16
    /// and counts the blocks of the packet (RFC 3711 §4.1.1).
    fn apply(&self, ssrc: u32, index: u64, payload: &mut [u8]) {
        let start = self.salt ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        let mut counter = start;
        for chunk in payload.chunks_mut(16 * BLOCKS) {
            let mut blocks = [Block::<Aes128>::default(); BLOCKS];
            let used = blocks.get_mut(..chunk.len().div_ceil(16)).unwrap_or_default();
            for block in used.iter_mut() {
                *block = counter.to_be_bytes().into();
                counter = counter.wrapping_add(1);
            }
            self.cipher.encrypt_blocks(used);
            for (byte, key) in chunk.iter_mut().zip(used.iter().flatten()) {
                *byte ^= key;
            }
        }
    }

    /// The first 80 bits of the HMAC.
    fn tag(&self, packet: &[u8], more: &[u8; 4]) -> [u8; TAG_LEN] {
        let mut context = hmac::Context::with_key(&self.auth);
        context.update(packet);
        context.update(more);
        let mut tag = [0; TAG_LEN];
        for (slot, byte) in tag.iter_mut().zip(context.sign().as_ref()) {
            *slot = *byte;
        }
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stream_is_that_of_rfc_3711_b_2() {
        let key = 0x2B7E_1516_28AE_D2A6_ABF7_1588_09CF_4F3C_u128.to_be_bytes();
        let salt = [
            0xF0, 0xF1, 0xF2, 0xF3, 0xF4, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD,
        ];
        let half = Half::new(&key, &salt, &[0; AUTH_LEN]);
        let mut stream = vec![0; 16 * 0xFF02 + 16];
        half.apply(0, 0, &mut stream);
        for (block, expected) in [
            (0, 0xE03E_AD09_35C9_5E80_E166_B16D_D92B_4EB4_u128),
            (1, 0xD235_1316_2B02_D0F7_2A43_A2FE_4A5F_97AB),
            (2, 0x41E9_5B3B_B0A2_E8DD_4779_01E4_FCA8_94C0),
            (0xFEFF, 0xEC8C_DF73_9860_7CB0_F2D2_1675_EA9E_A1E4),
            (0xFF00, 0x362B_7C3C_6773_5163_18A0_77D7_FC50_73AE),
            (0xFF01, 0x6A2C_C378_7889_374F_BEB4_C81B_17BA_6C44),
        ] {
            assert_eq!(
                stream[16 * block..][..16],
                expected.to_be_bytes(),
                "block {block:x}"
            );
        }
    }
}
