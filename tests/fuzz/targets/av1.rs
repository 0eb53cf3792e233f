//! Any bytes as an AV1 payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::codec::av1::{Head, frame_size};

fuzz_target!(|bytes: &[u8]| {
    let head = Head::parse(bytes);
    assert!(head.is_none_or(|head| !(head.continues && head.starts_sequence)));
    let _ = frame_size(bytes);
});
