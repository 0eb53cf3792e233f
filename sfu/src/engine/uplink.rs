//! What one endpoint sends: streams learnt, repaired, reported.

use std::time::{Duration, Instant};

use super::{
    id::{SourceKind, Ssrc},
    packet::Negotiated,
};

/// Everything one endpoint sends: it learns the streams, drops what was seen before, asks again for what is missing,
/// and reports. One call of `handle_rtp` per packet gives at most one [`super::arrival::Arrival`].
#[derive(Debug)]
pub struct Uplink {
    epoch: Instant,
}

/// A layer that lost a packet for good: its pictures are broken until the next key frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken {
    /// Whose.
    pub source: SourceKind,
    /// Which layer, 0 is the lowest.
    pub layer: u8,
}

impl Uplink {
    /// For an answered offer. Captures are counted from `epoch`, one for the whole room; `own` is the SSRC under
    /// which the node reports (any SSRC of one of the endpoint's slots serves).
    pub fn new(epoch: Instant, media: &Negotiated, own: Ssrc) -> Self {
        let _ = (media, own);
        Self { epoch }
    }

    /// A sender report of one of the streams: NTP time in 32.32 fixed point and RTP time of the same moment.
    pub fn handle_sender_report(&mut self, now: Instant, ssrc: Ssrc, ntp: u64, rtp: u32) {
        let _ = (now, ssrc, ntp, rtp);
    }

    /// The sender has ended that stream: its SSRC is forgotten.
    pub fn handle_bye(&mut self, now: Instant, ssrc: Ssrc) {
        let _ = (now, ssrc);
    }

    /// Asks for a key frame of that layer. Coalesced with what others asked for, at most two requests a second for a
    /// source, repeated until the key frame comes or 10 s have passed.
    pub fn request_key_frame(&mut self, now: Instant, source: SourceKind, layer: u8) {
        let _ = (now, source, layer);
    }

    /// A layer broken since the last call; ask for a key frame if anybody watches it. Ask until `None`.
    pub fn poll_broken(&mut self) -> Option<Broken> {
        None
    }

    /// When that layer last sent a packet; none if it never did.
    pub fn last_packet(&self, source: SourceKind, layer: u8) -> Option<Instant> {
        let _ = (source, layer);
        None
    }

    /// Measured time from a NACK to its repair; 100 ms before the first one.
    pub fn repair_time(&self) -> Duration {
        Duration::from_millis(100)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_rtcp`] next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let _ = self.epoch;
        None
    }

    /// Writes one compound RTCP packet of at most 1,200 bytes into `out` (cleared first), or returns false when there is
    /// none due. Call until false.
    pub fn poll_rtcp(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let _ = (now, out);
        false
    }
}
