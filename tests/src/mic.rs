//! A scripted microphone: Opus at some 28 kb/s, in packets of 20 or 60 ms.

use std::time::Duration;

use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{engine::id::SourceNumber, wire::rtp};

use crate::encoder::{Outgoing, Sender, Stamp};

/// TOC of one frame (RFC 6716 §3.1): CELT of 20 ms, SILK of 60 ms.
const TOC_20_MS: u8 = 0xF8;
const TOC_60_MS: u8 = 0x58;
/// Opus bits a second in packets of 20 ms and of 60 ms.
const RATE_20_MS: f64 = 28_000.0;
const RATE_60_MS: f64 = 20_000.0;
/// Bytes of a packet of nobody speaking: it must hold a stamp.
const SILENT_BYTES: usize = 24;

/// A microphone.
#[derive(Debug, Clone)]
pub struct Mic {
    /// Its number in the room.
    pub source: SourceNumber,
    /// Its stream.
    pub sender: Sender,
    /// Level of the voice in -dBov, 127 silence.
    pub level: u8,
    /// Length of the packets: 20 or 60 ms.
    pub packet_ms: u8,
    payload_type: u8,
    frame: u32,
    timestamp: u32,
    rng: ChaCha8Rng,
}

impl Mic {
    /// A microphone that speaks at -30 dBov.
    pub fn new(source: SourceNumber, ssrc: u32, payload_type: u8, seed: u64) -> Self {
        Self {
            source,
            sender: Sender::new(ssrc, None, 40_000),
            level: 30,
            packet_ms: 20,
            payload_type,
            frame: 0,
            timestamp: ssrc,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Time to the next packet.
    pub fn packet_time(&self) -> Duration {
        Duration::from_millis(self.packet_ms.into())
    }

    /// The next packet.
    pub fn packet(&mut self) -> Outgoing {
        let silent = self.level >= 127;
        let stamp = Stamp {
            source: self.source.get(),
            frame: self.frame,
            count: 1,
            silent,
            ..Stamp::default()
        };
        let (toc, rate) = if self.packet_ms == 60 {
            (TOC_60_MS, RATE_60_MS)
        } else {
            (TOC_20_MS, RATE_20_MS)
        };
        let noise = 0.85 + 0.3 * self.rng.random::<f64>();
        let spoken = (rate * f64::from(self.packet_ms) / 8_000.0 * noise) as usize;
        let mut payload = vec![toc];
        stamp.write(&mut payload);
        payload.resize(
            if silent {
                SILENT_BYTES
            } else {
                spoken.max(SILENT_BYTES)
            },
            0,
        );
        let header = rtp::HeaderFields {
            marker: self.frame == 0,
            payload_type: self.payload_type,
            sequence: self.sender.next_sequence(),
            timestamp: self.timestamp,
            ssrc: self.sender.ssrc,
            padding: false,
        };
        self.timestamp = self.timestamp.wrapping_add(48 * u32::from(self.packet_ms));
        self.frame += 1;
        self.sender.send(header, payload, None, Some(self.level))
    }
}
