//! Any bytes as an RTP packet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sfu::wire::{ext, rtp::RtpPacket};

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = RtpPacket::parse(bytes) else {
        return;
    };
    assert_eq!(
        packet.header_len() + packet.payload().len() + usize::from(packet.padding_len()),
        bytes.len()
    );
    for (_, value) in packet.extensions() {
        let _ = (
            ext::mid(value),
            ext::rid(value),
            ext::AudioLevel::read(value),
            ext::transport_sequence(value),
        );
        let _ = (
            ext::abs_send_time(value),
            ext::Orientation::read(value),
            ext::PlayoutDelay::read(value),
        );
    }
});
