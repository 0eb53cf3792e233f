//! Any bytes as SRTP and SRTCP: nobody has the key, so nothing may be opened.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::srtp::{Profile, Side, contexts};

fuzz_target!(|bytes: &[u8]| {
    for profile in [Profile::AeadAes128Gcm, Profile::Aes128CmSha1] {
        let material = vec![7; profile.keying_material_len()];
        let (_, mut opener) = contexts(profile, &material, Side::Server).expect("right length");
        assert!(opener.open_rtp(&mut bytes.to_vec()).is_err());
        assert!(opener.open_rtcp(&mut bytes.to_vec()).is_err());
    }
});
