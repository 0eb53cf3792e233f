//! What the engine's own tests share.

use std::time::{Duration, Instant};

use super::{
    id::{PointNumber, SourceKind, Ssrc},
    packet::OutgoingHeader,
};

/// The instant at which virtual time begins. Tests add durations to it and never look at the clock again.
#[allow(
    clippy::disallowed_methods,
    reason = "std has no other way to make an Instant"
)]
pub(crate) fn base() -> Instant {
    Instant::now()
}

/// So many milliseconds.
pub(crate) const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The header of a packet of voice: 20 ms each, with a transport-wide number like its own.
pub(crate) fn voice_header(ssrc: u32, sequence: u16) -> OutgoingHeader {
    let number = PointNumber::try_from(7).expect("in range");
    OutgoingHeader {
        marker: false,
        payload_type: 109,
        sequence,
        timestamp: 960 * u32::from(sequence),
        ssrc: Ssrc(ssrc),
        source: number.source(SourceKind::Mic),
        mid: None,
        transport_sequence: Some((7, sequence)),
        playout_delay: None,
        dependency: None,
        original_sequence: None,
        padding: 0,
    }
}

/// Which of so many packets a line loses: 30 % of all, in bursts of 3.6 on average (Gilbert's model).
pub(crate) fn bursts(count: usize, mut seed: u64) -> Vec<bool> {
    let mut chance = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / f64::from(1u32 << 31)
    };
    let (end, begin) = (1.0 / 3.6, 0.3 / 0.7 / 3.6);
    let mut lost = false;
    (0..count)
        .map(|_| {
            lost = if lost { chance() >= end } else { chance() < begin };
            lost
        })
        .collect()
}
