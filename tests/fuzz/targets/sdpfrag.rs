//! Any text as a fragment of SDP.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::sdpfrag;

fuzz_target!(|text: &str| {
    if let Some(fragment) = sdpfrag::parse(text) {
        assert!(text.contains(fragment.ufrag) && text.contains(fragment.password));
    }
});
