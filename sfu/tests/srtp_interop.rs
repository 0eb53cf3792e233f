//! Our SRTP against an implementation that is not ours, from the keying material of a handshake on, both ways, over a
//! rollover of the sequence numbers.
#![cfg(feature = "driver")]

use rtc::{
    crypto::default_provider,
    srtp::{context::Context, protection_profile::ProtectionProfile},
};
use sfu::wire::{
    rtcp::Builder,
    rtp::{HeaderFields, write_header},
    srtp::{Profile, RTCP_OVERHEAD_MAX, RTP_OVERHEAD_MAX, Side, contexts},
};

const PROFILES: [(Profile, ProtectionProfile); 3] = [
    (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
    (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
    (Profile::Aes128CmSha1, ProtectionProfile::Aes128CmHmacSha1_80),
];

/// Contexts of the client: what it sends with, and what it receives with.
fn client(profile: Profile, theirs: ProtectionProfile, material: &[u8]) -> [Context; 2] {
    let provider = default_provider().expect("a provider is built in");
    let (keys, salts) = material.split_at(2 * profile.key_len());
    let (client_key, server_key) = keys.split_at(profile.key_len());
    let (client_salt, server_salt) = salts.split_at(profile.salt_len());
    [(client_key, client_salt), (server_key, server_salt)].map(|(key, salt)| {
        Context::new(key, salt, theirs, None, None, provider.crypto()).expect("keys of the right length")
    })
}

fn packet(sequence: u16) -> Vec<u8> {
    let mut out = vec![0; 64];
    let fields = HeaderFields {
        payload_type: 96,
        sequence,
        ssrc: 0x1234_5678,
        ..HeaderFields::default()
    };
    let len = write_header(&fields, Some(5), &[(3, &[1, 2]), (4, b"7")], &mut out).expect("room");
    out.truncate(len);
    out.extend((0..sequence % 97).map(|n| n as u8));
    out
}

#[test]
fn rtp_goes_both_ways_over_a_rollover() {
    for (profile, theirs) in PROFILES {
        let material: Vec<u8> = (0..profile.keying_material_len())
            .map(|n| (n * 7) as u8)
            .collect();
        let (mut sealer, mut opener) = contexts(profile, &material, Side::Server).expect("right length");
        let [mut sends, mut receives] = client(profile, theirs, &material);
        for number in 32_000..100_000_u32 {
            let plain = packet(number as u16);
            let mut sealed = plain.clone();
            sealed.resize(plain.len() + RTP_OVERHEAD_MAX, 0);
            let len = sealer.seal_rtp(&mut sealed, plain.len()).expect("ascending");
            assert_eq!(receives.decrypt_rtp(&sealed[..len]).expect("authentic"), plain);

            let mut sealed = sends.encrypt_rtp(&plain).expect("sealed").to_vec();
            let len = opener.open_rtp(&mut sealed).expect("authentic");
            assert_eq!(&sealed[..len], plain);
        }
    }
}

#[test]
fn rtcp_goes_both_ways() {
    for (profile, theirs) in PROFILES {
        let material: Vec<u8> = (0..profile.keying_material_len())
            .map(|n| (n * 11) as u8)
            .collect();
        let (mut sealer, mut opener) = contexts(profile, &material, Side::Server).expect("right length");
        let [mut sends, mut receives] = client(profile, theirs, &material);
        for number in 0..100 {
            let mut plain = Vec::new();
            let mut builder = Builder::new(&mut plain, 1_200);
            builder.receiver_report(1, &[]).expect("room");
            builder.nack(1, 2, &[number]).expect("room");

            let mut sealed = plain.clone();
            sealed.resize(plain.len() + RTCP_OVERHEAD_MAX, 0);
            let len = sealer.seal_rtcp(&mut sealed, plain.len()).expect("ascending");
            assert_eq!(receives.decrypt_rtcp(&sealed[..len]).expect("authentic"), plain);

            let mut sealed = sends.encrypt_rtcp(&plain).expect("sealed").to_vec();
            let len = opener.open_rtcp(&mut sealed).expect("authentic");
            assert_eq!(&sealed[..len], plain);
        }
    }
}
