//! Tests of SRTP: the vectors of RFC 3711, 6188 and 7714, and what indices and replays may do.

use proptest::{collection::vec, prelude::*};

use super::{cipher::Cipher, gcm::Gcm, index::*, *};
use crate::wire::rtp::{HeaderFields, write_header};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |digit: u8| char::from(digit).to_digit(16).expect("a digit") as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn derived(key: &str, salt: &str, label: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let salt = hex(salt).try_into().expect("14 bytes");
    kdf::derive(&hex(key), &salt, label, &mut out).expect("a key of 16 or 32 bytes");
    out
}

#[test]
fn session_keys_are_those_of_rfc_3711_b_3() {
    let (key, salt) = ("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6");
    assert_eq!(derived(key, salt, 0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(key, salt, 2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let long = "CEBE321F6FF7716B6FD4AB49AF256A15 6D38BAA48F0A0ACF3C34E2359E6CDBCE \
                E049646C43D9327AD175578EF7227098 6371C10C9A369AC2F94A8C5FBCDDDC25 \
                6D6E919A48B610EF17C2041E47403576 6B68642C59BBFC2F34DB60DBDFB2";
    assert_eq!(derived(key, salt, 1, 94), hex(long));
}

#[test]
fn session_keys_are_those_of_rfc_6188_7_2() {
    let key = "F0F04914B513F2763A1B1FA130F10E29 98F6F6E43E4309D1E622A0E332B9F1B6";
    let salt = "3B04803DE51EE7C96423AB5B78D2";
    let expected = hex("5BA1064E30EC51613CAD926C5A28EF73 1EC7FB397F70A960653CAF06554CD8C4");
    assert_eq!(derived(key, salt, 0, 32), expected);
    assert_eq!(derived(key, salt, 2, 14), hex("FA31791685CA444A9E07C6C64E93"));
    assert_eq!(kdf::derive(&[0; 24], &[0; 14], 0, &mut [0]), Err(KeyError));
}

/// "Gallia est omnis divisa in partes tres", RFC 7714 §16.
const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 \
                   696e2070 61727465 73207472 6573";
/// RFC 7714 §17.
const RTCP: &str = "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef \
                    deadbeef deadbeef deadbeef deadbeef";
const RTCP_INDEX: u32 = 0x5d4;

fn vector_cipher(profile: Profile) -> Cipher {
    let key: Vec<u8> = (0..profile.key_len() as u8).collect();
    Cipher::Gcm(Box::new(Gcm::from_session(profile, &key, *b"Quid pro quo")))
}

#[test]
fn rtp_packets_are_those_of_rfc_7714_16() {
    let sealed_128 = "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f \
                      42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce";
    let sealed_256 = "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 \
                      b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13";
    for (profile, sealed) in [
        (Profile::AeadAes128Gcm, sealed_128),
        (Profile::AeadAes256Gcm, sealed_256),
    ] {
        let (plain, sealed) = (hex(RTP), hex(sealed));
        let mut buf = [plain.clone(), vec![0; RTP_OVERHEAD_MAX]].concat();
        let len = Sealer::new(vector_cipher(profile)).seal_rtp(&mut buf, plain.len());
        assert_eq!((len, &buf), (Ok(sealed.len()), &sealed));
        let len = Opener::new(vector_cipher(profile)).open_rtp(&mut buf);
        assert_eq!((len, &buf[..plain.len()]), (Ok(plain.len()), &plain[..]));
    }
}

#[test]
fn rtcp_packets_are_those_of_rfc_7714_17() {
    let sealed_128 = "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 \
                      730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    let sealed_256 = "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 \
                      110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
    for (profile, sealed) in [
        (Profile::AeadAes128Gcm, sealed_128),
        (Profile::AeadAes256Gcm, sealed_256),
    ] {
        let (plain, sealed) = (hex(RTCP), hex(sealed));
        let mut buf = [plain.clone(), vec![0; RTCP_OVERHEAD_MAX]].concat();
        let mut sealer = Sealer::new(vector_cipher(profile));
        sealer.advance(0, 0, RTCP_INDEX);
        let len = sealer.seal_rtcp(&mut buf, plain.len());
        assert_eq!((len, &buf), (Ok(sealed.len()), &sealed));
        let len = Opener::new(vector_cipher(profile)).open_rtcp(&mut buf);
        assert_eq!((len, &buf[..plain.len()]), (Ok(plain.len()), &plain[..]));
    }
}

/// RFC 7714 §17.3 is a genuine packet, tagged but in clear. Nobody who speaks DTLS-SRTP sends one.
#[test]
fn rtcp_in_clear_is_refused() {
    let mut tagged = hex(&format!("{RTCP} 841dd968 3dd78ec9 2ae58790 125f62b3 000005d4"));
    let mut opener = Opener::new(vector_cipher(Profile::AeadAes128Gcm));
    assert_eq!(opener.open_rtcp(&mut tagged), Err(OpenError::NotEncrypted));
}

/// A packet that was sealed by libsrtp, whose tests have it.
#[test]
fn rtp_packets_under_aes_cm_are_those_of_others() {
    let (key, salt) = ("E1F97A0D3E018BE0D64FA32C06DE4139", "0EC675AD498AFEEBB6960B3AABE6");
    let cipher = || Cipher::from_master(Profile::Aes128CmSha1, &hex(key), &hex(salt)).expect("right length");
    let plain = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    let sealed = hex("800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb");
    let mut buf = [plain.clone(), vec![0; RTP_OVERHEAD_MAX]].concat();
    let len = Sealer::new(cipher()).seal_rtp(&mut buf, plain.len());
    assert_eq!((len, &buf[..sealed.len()]), (Ok(sealed.len()), &sealed[..]));
    buf.truncate(sealed.len());
    let len = Opener::new(cipher()).open_rtp(&mut buf);
    assert_eq!((len, &buf[..plain.len()]), (Ok(plain.len()), &plain[..]));
}

const PROFILES: [Profile; 3] = [
    Profile::AeadAes128Gcm,
    Profile::AeadAes256Gcm,
    Profile::Aes128CmSha1,
];

/// Contexts of both ends: ours (server) and theirs (client).
fn pair(profile: Profile) -> ((Sealer, Opener), (Sealer, Opener)) {
    let material: Vec<u8> = (0..profile.keying_material_len() as u8)
        .map(|n| n ^ 0x5A)
        .collect();
    let end = |side| contexts(profile, &material, side).expect("material of the right length");
    (end(Side::Server), end(Side::Client))
}

fn packet(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut out = vec![0; 40];
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc,
        ..HeaderFields::default()
    };
    let len = write_header(&fields, Some(7), &[(3, &[1, 2])], &mut out).expect("40 bytes are enough");
    out.truncate(len);
    out.extend(b"payload");
    out
}

fn sealed(sealer: &mut Sealer, ssrc: u32, sequence: u16) -> Result<Vec<u8>, SealError> {
    let mut buf = packet(ssrc, sequence);
    let len = buf.len();
    buf.resize(len + RTP_OVERHEAD_MAX, 0);
    let len = sealer.seal_rtp(&mut buf, len)?;
    buf.truncate(len);
    Ok(buf)
}

fn opened(opener: &mut Opener, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut buf = sealed.to_vec();
    let len = opener.open_rtp(&mut buf)?;
    buf.truncate(len);
    Ok(buf)
}

#[test]
fn what_one_side_seals_the_other_opens_and_nobody_else() {
    for profile in PROFILES {
        assert_eq!(Profile::from_dtls(profile.dtls()), Some(profile));
        let ((mut ours, mut our_opener), (mut theirs, mut their_opener)) = pair(profile);
        let packets = [
            sealed(&mut ours, 1, 5).expect("fresh"),
            sealed(&mut theirs, 1, 5).expect("fresh"),
        ];
        assert_ne!(packets[0], packets[1]);
        assert_eq!(opened(&mut our_opener, &packets[0]), Err(OpenError::NotAuthentic));
        assert_eq!(opened(&mut their_opener, &packets[0]), Ok(packet(1, 5)));
        assert_eq!(opened(&mut our_opener, &packets[1]), Ok(packet(1, 5)));
    }
    assert!(contexts(Profile::AeadAes128Gcm, &[0; 55], Side::Server).is_err());
    assert!(contexts(Profile::AeadAes128Gcm, &[0; 88], Side::Server).is_err());
    // A tag of 32 bits and no encryption at all are never spoken.
    assert!([2, 5, 6].map(Profile::from_dtls).iter().all(Option::is_none));
}

#[test]
fn every_changed_bit_is_noticed_and_changes_nothing() {
    PROFILES.into_iter().for_each(every_changed_bit_is_noticed);
}

fn every_changed_bit_is_noticed(profile: Profile) {
    let ((_, mut opener), (mut sealer, _)) = pair(profile);
    let rtp = sealed(&mut sealer, 1, 5).expect("fresh");
    let mut rtcp = [hex(RTCP), vec![0; RTCP_OVERHEAD_MAX]].concat();
    let len = rtcp.len() - RTCP_OVERHEAD_MAX;
    let sealed_len = sealer.seal_rtcp(&mut rtcp, len).expect("room");
    rtcp.truncate(sealed_len);
    for bit in 0..rtp.len() * 8 {
        let mut changed = rtp.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(opened(&mut opener, &changed).is_err(), "bit {bit}");
    }
    for bit in 0..rtcp.len() * 8 {
        let mut changed = rtcp.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(opener.open_rtcp(&mut changed).is_err(), "bit {bit}");
    }
    assert_eq!(opened(&mut opener, &rtp), Ok(packet(1, 5)));
    assert_eq!(opener.open_rtcp(&mut rtcp.clone()), Ok(len));
    assert_eq!(opened(&mut opener, &rtp), Err(OpenError::Replayed));
    assert_eq!(opener.open_rtcp(&mut rtcp), Err(OpenError::Replayed));
}

#[test]
fn rtcp_indices_grow_by_one_and_end() {
    let ((_, mut opener), (mut sealer, _)) = pair(Profile::AeadAes128Gcm);
    let mut seal = |sealer: &mut Sealer| {
        let mut buf = [hex(RTCP), vec![0; RTCP_OVERHEAD_MAX]].concat();
        let len = buf.len() - RTCP_OVERHEAD_MAX;
        sealer.seal_rtcp(&mut buf, len)?;
        assert_eq!(opener.open_rtcp(&mut buf.clone()), Ok(len));
        Ok(u32::from_be_bytes(*buf.last_chunk().expect("a word")) & 0x7FFF_FFFF)
    };
    assert_eq!((seal(&mut sealer), seal(&mut sealer)), (Ok(1), Ok(2)));
    sealer.advance(0, 0, 0x7FFF_FFFF);
    assert_eq!(seal(&mut sealer), Ok(0x7FFF_FFFF));
    for _ in 0..3 {
        assert_eq!(seal(&mut sealer), Err(SealError::Exhausted));
    }
}

#[test]
fn rtp_indices_end_after_48_bits() {
    let ((mut sealer, _), _) = pair(Profile::AeadAes128Gcm);
    sealer.advance(1, INDEX_END - 2, 1);
    assert!(sealed(&mut sealer, 1, 0xFFFF).is_ok());
    for sequence in [0, 1, 0x7FFE] {
        assert_eq!(sealed(&mut sealer, 1, sequence), Err(SealError::Exhausted));
    }
    assert_eq!(sealed(&mut sealer, 1, 0xFFFF), Err(SealError::NotGreater));
}

/// Streams are found by the low bits of their SSRC where that leads to them.
#[test]
fn streams_that_are_alike_keep_their_own_indices() {
    let ((mut sealer, _), _) = pair(Profile::AeadAes128Gcm);
    let alike = [5, 5 + 64, 5 + 2 * 64, 5 + 3 * 64];
    for sequence in 10..14 {
        // Each time another one is new, and moves those behind it.
        for ssrc in alike.into_iter().rev().take(usize::from(sequence) - 9) {
            assert!(sealed(&mut sealer, ssrc, sequence).is_ok(), "{ssrc} {sequence}");
        }
    }
    for ssrc in alike {
        assert_eq!(
            sealed(&mut sealer, ssrc, 13),
            Err(SealError::NotGreater),
            "{ssrc}"
        );
    }
}

#[test]
fn streams_are_limited_and_unauthentic_ones_not_remembered() {
    let ((mut sealer, mut opener), (mut theirs, _)) = pair(Profile::AeadAes128Gcm);
    for ssrc in 0..SEALER_STREAMS_MAX as u32 {
        assert!(sealed(&mut sealer, ssrc, 0).is_ok());
    }
    assert_eq!(sealed(&mut sealer, 9_999, 0), Err(SealError::TooManyStreams));
    assert!(sealed(&mut sealer, 0, 1).is_ok());

    for ssrc in 0..1_000 {
        let mut forged = packet(ssrc, 0);
        forged.extend([0; 16]);
        assert_eq!(opener.open_rtp(&mut forged), Err(OpenError::NotAuthentic));
    }
    for ssrc in 0..OPENER_STREAMS_MAX as u32 {
        let sealed = sealed(&mut theirs, ssrc, 0).expect("fresh");
        assert!(opened(&mut opener, &sealed).is_ok());
    }
    let one_more = sealed(&mut theirs, 9_999, 0).expect("fresh");
    assert_eq!(opened(&mut opener, &one_more), Err(OpenError::TooManyStreams));
    let known = sealed(&mut theirs, 5, 1).expect("fresh");
    assert!(opened(&mut opener, &known).is_ok());
}

#[test]
fn the_rollover_count_survives_reordering_at_the_wrap() {
    let ((_, mut opener), (mut sealer, _)) = pair(Profile::AeadAes128Gcm);
    let numbers = [65_533, 65_534, 65_535, 0, 1, 2];
    let packets: Vec<_> = numbers
        .iter()
        .map(|n| sealed(&mut sealer, 1, *n).expect("ascending"))
        .collect();
    for at in [2, 4, 1, 3, 0, 5] {
        assert_eq!(opened(&mut opener, &packets[at]), Ok(packet(1, numbers[at])));
    }
    assert!(
        packets
            .iter()
            .all(|packet| opened(&mut opener, packet) == Err(OpenError::Replayed))
    );
}

#[test]
fn keys_are_not_shown() {
    let ((sealer, opener), _) = pair(Profile::AeadAes128Gcm);
    assert_eq!(format!("{sealer:?}"), "Sealer { streams: 0, .. }");
    assert_eq!(
        format!("{opener:?}"),
        "Opener { rtp_streams: 0, rtcp_streams: 0, .. }"
    );
}

#[test]
fn lengths_that_lie_are_refused() {
    let ((mut sealer, _), _) = pair(Profile::AeadAes128Gcm);
    let mut buf = packet(1, 1);
    let len = buf.len();
    buf.resize(len + 15, 0);
    assert_eq!(sealer.seal_rtp(&mut buf, len), Err(SealError::NoRoom));
    assert_eq!(sealer.seal_rtp(&mut buf, len + 16), Err(SealError::Malformed));
    assert_eq!(sealer.seal_rtp(&mut buf, 20), Err(SealError::Malformed));
    assert_eq!(sealer.seal_rtcp(&mut buf, 7), Err(SealError::Malformed));
    assert_eq!(sealer.seal_rtcp(&mut buf, len), Err(SealError::NoRoom));
    assert_eq!(sealer.seal_rtcp(&mut buf, len + 16), Err(SealError::Malformed));
}

/// RFC 3711 appendix A, as it is written there.
fn appendix_a(greatest: u64, sequence: u16) -> Option<u64> {
    let (roc, last, sequence) = (
        (greatest >> 16) as i64,
        (greatest & 0xFFFF) as i64,
        i64::from(sequence),
    );
    let guess = if last < 32_768 {
        if sequence - last > 32_768 { roc - 1 } else { roc }
    } else if last - 32_768 > sequence {
        roc + 1
    } else {
        roc
    };
    u64::try_from(guess << 16 | sequence)
        .ok()
        .filter(|index| *index < INDEX_END)
}

proptest! {
    #[test]
    fn the_estimate_is_that_of_rfc_3711(greatest in 0..INDEX_END, sequence: u16, edge in 0..3_u16) {
        prop_assert_eq!(estimate(greatest, sequence), appendix_a(greatest, sequence));
        // At the very boundary, and near both ends of the range.
        let boundary = (greatest as u16).wrapping_add(0x7FFF + edge);
        for greatest in [greatest, greatest & 0x1_FFFF, INDEX_END - 1 - (greatest & 0x1_FFFF)] {
            prop_assert_eq!(estimate(greatest, boundary), appendix_a(greatest, boundary));
        }
    }

    /// Against a list of all that was seen.
    #[test]
    fn the_window_knows_what_it_has_seen(start in 0..5_000_u64, steps in vec(-1_500..3_000_i64, 0..200), near: bool) {
        let mut window = Window::starting_with(start);
        let mut seen = std::collections::BTreeSet::from([start]);
        for step in steps {
            let step = if near { step / 100 } else { step };
            let Some(index) = window.greatest().checked_add_signed(step) else { continue };
            let greatest = *seen.last().expect("not empty");
            let fresh = index > greatest || (greatest - index < WINDOW && !seen.contains(&index));
            prop_assert_eq!(window.is_fresh(index), fresh);
            if fresh {
                window.mark(index);
                seen.insert(index);
            }
        }
    }

    /// No two packets ever share SSRC and index, whatever numbers are offered: a nonce is used once.
    #[test]
    fn no_index_is_taken_twice(offers in vec((0..3_u32, prop_oneof![any::<u16>(), 0..4_u16, 65_533..=65_535_u16]), 1..200)) {
        let ((mut sealer, _), (_, mut opener)) = pair(Profile::AeadAes128Gcm);
        let mut taken = std::collections::BTreeMap::new();
        for (ssrc, sequence) in offers {
            let last = taken.get(&ssrc).copied();
            match sealed(&mut sealer, ssrc, sequence) {
                Ok(packet) => {
                    let index = last.map_or(Some(u64::from(sequence)), |last| estimate(last, sequence)).expect("few");
                    prop_assert!(last.is_none_or(|last| index > last));
                    taken.insert(ssrc, index);
                    prop_assert!(opened(&mut opener, &packet).is_ok());
                }
                Err(error) => {
                    prop_assert_eq!(error, SealError::NotGreater);
                    let ahead = sequence.wrapping_sub(last.expect("the first is always taken") as u16);
                    prop_assert!(ahead == 0 || ahead >= 0x8000);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_panic(
        bytes in vec(any::<u8>(), 0..80), first in 0x80..0xC0_u8, at in 0..PROFILES.len(),
    ) {
        let ((mut sealer, mut opener), _) = pair(PROFILES[at]);
        for as_rtp in [false, true] {
            let mut bytes = bytes.clone();
            if let (true, Some(byte)) = (as_rtp, bytes.first_mut()) {
                *byte = first;
            }
            prop_assert!(opener.open_rtp(&mut bytes.clone()).is_err());
            prop_assert!(opener.open_rtcp(&mut bytes.clone()).is_err());
            for len in [0, bytes.len() / 2, bytes.len(), usize::MAX] {
                let _ = sealer.seal_rtp(&mut bytes.clone(), len);
                let _ = sealer.seal_rtcp(&mut bytes.clone(), len);
            }
        }
    }

    #[test]
    fn reordered_and_repeated_packets_are_opened_once(order in vec(0..300_usize, 1..600), start: u16) {
        let ((_, mut opener), (mut sealer, _)) = pair(Profile::AeadAes256Gcm);
        let start = start & 0x7FFF;
        let packets: Vec<_> = (0..300).map(|n| sealed(&mut sealer, 1, start + n).expect("ascending")).collect();
        let mut seen = [false; 300];
        for at in order {
            let opened = opened(&mut opener, &packets[at]);
            let expected = if seen[at] { Err(OpenError::Replayed) } else { Ok(packet(1, start + at as u16)) };
            prop_assert_eq!(opened, expected);
            seen[at] = true;
        }
    }
}
