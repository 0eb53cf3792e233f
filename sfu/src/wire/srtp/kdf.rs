//! Session keys from master keys: the AES-CM pseudo-random function (RFC 3711 §4.3, RFC 6188 §2 for 256 bits).

use aes::{
    Aes128, Aes256,
    cipher::{BlockEncrypt, KeyInit},
};

use super::KeyError;

/// Bytes that the function takes of a salt. The shorter salts of GCM are padded with zeros (RFC 7714 §11).
pub(super) const SALT_LEN: usize = 14;

/// What a derived value is for (RFC 3711 §4.3.1 and §4.3.2). GCM has no authentication keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Label {
    RtpKey = 0,
    RtpAuth = 1,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpAuth = 4,
    RtcpSalt = 5,
}

/// Fills `out` with the value for `label`. The key derivation rate is always zero, so that one derivation serves a
/// connection's life. Keys are of 16 or 32 bytes.
pub(super) fn derive(key: &[u8], salt: &[u8; SALT_LEN], label: u8, out: &mut [u8]) -> Result<(), KeyError> {
    match key.len() {
        16 => fill(
            &Aes128::new_from_slice(key).map_err(|_| KeyError)?,
            salt,
            label,
            out,
        ),
        32 => fill(
            &Aes256::new_from_slice(key).map_err(|_| KeyError)?,
            salt,
            label,
            out,
        ),
        _ => return Err(KeyError),
    }
    Ok(())
}

/// Counter mode over zeros: the counter begins at (salt xor label · 2^48) · 2^16.
fn fill(
    cipher: &impl BlockEncrypt<BlockSize = aes::cipher::consts::U16>,
    salt: &[u8; SALT_LEN],
    label: u8,
    out: &mut [u8],
) {
    let mut start = [0; 16];
    for (byte, salt) in start.iter_mut().zip(salt) {
        *byte = *salt;
    }
    let start = u128::from_be_bytes(start) ^ u128::from(label) << (48 + 16);
    for (chunk, counter) in out.chunks_mut(16).zip(0_u128..) {
        let mut block = (start | counter).to_be_bytes();
        cipher.encrypt_block((&mut block).into());
        for (byte, key) in chunk.iter_mut().zip(block) {
            *byte = key;
        }
    }
}
