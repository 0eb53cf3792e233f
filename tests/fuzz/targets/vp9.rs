//! Any bytes as a VP9 payload.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::codec::vp9::{Descriptor, patch};

fuzz_target!(|bytes: &[u8]| {
    let before = Descriptor::parse(bytes);
    let mut patched = bytes.to_vec();
    assert_eq!(patch(&mut patched, Some(0x1234), Some(0x56)), before.is_some());
    let after = Descriptor::parse(&patched);
    assert_eq!(before.map(|d| d.header_len()), after.map(|d| d.header_len()));
    assert_eq!(before.and_then(|d| d.structure), after.and_then(|d| d.structure));
});
