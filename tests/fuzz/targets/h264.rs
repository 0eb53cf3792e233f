//! Any bytes as an H.264 payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::codec::h264::{Payload, frame_size};

fuzz_target!(|bytes: &[u8]| {
    let size = frame_size(bytes);
    assert!(size.is_none() || bytes.first().is_some_and(|head| matches!(head & 0x1F, 7 | 24)));
    let _ = Payload::parse(bytes);
});
