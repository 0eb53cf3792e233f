//! Any bytes as a VP8 payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::codec::vp8::{Descriptor, frame_size, is_key_frame, patch};

fuzz_target!(|bytes: &[u8]| {
    let before = Descriptor::parse(bytes);
    let key_frame = (is_key_frame(bytes), frame_size(bytes));
    let mut patched = bytes.to_vec();
    assert_eq!(patch(&mut patched, Some(0x1234), Some(0x56)), before.is_some());
    let after = Descriptor::parse(&patched);
    assert_eq!(before.map(|d| d.header_len()), after.map(|d| d.header_len()));
    assert_eq!((is_key_frame(&patched), frame_size(&patched)), key_frame);
});
