//! A scripted microphone: Opus at some 28 kb/s, in packets of 20 or 60 ms.

use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use sfu::{
    engine::id::SourceNumber,
    wire::{
        red::{self, Block},
        rtp,
    },
};

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
    /// Payload type of RED: each packet carries the one before it too.
    red: Option<u8>,
    former: Option<(u32, Bytes)>,
    frame: u32,
    timestamp: u32,
    rng: ChaCha8Rng,
}

impl Mic {
    /// A microphone that speaks at -30 dBov.
    pub fn new(source: SourceNumber, ssrc: u32, payload_type: u8, red: Option<u8>, seed: u64) -> Self {
        Self {
            source,
            sender: Sender::new(ssrc, None, 40_000),
            level: 30,
            packet_ms: 20,
            payload_type,
            red,
            former: None,
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
        let (payload_type, payload) = self.wrap(payload);
        let header = rtp::HeaderFields {
            marker: self.frame == 0,
            payload_type,
            sequence: self.sender.next_sequence(),
            timestamp: self.timestamp,
            ssrc: self.sender.ssrc,
            padding: false,
        };
        self.timestamp = self.timestamp.wrapping_add(48 * u32::from(self.packet_ms));
        self.frame += 1;
        self.sender.send(header, payload, None, Some(self.level))
    }

    /// As RED with the former packet, if that is agreed and the former one is near.
    fn wrap(&mut self, payload: Vec<u8>) -> (u8, Vec<u8>) {
        let Some(red) = self.red else {
            return (self.payload_type, payload);
        };
        let former = self
            .former
            .replace((self.timestamp, Bytes::from(payload.clone())));
        let older = former.and_then(|(timestamp, bytes)| {
            let offset = u16::try_from(self.timestamp.wrapping_sub(timestamp)).ok()?;
            (offset <= red::OFFSET_MAX).then_some((offset, bytes))
        });
        let block = |offset, payload| Block {
            payload_type: self.payload_type,
            offset,
            payload,
        };
        let older: Vec<Block<'_>> = older
            .iter()
            .map(|(offset, bytes)| block(*offset, &bytes[..]))
            .collect();
        let mut out = vec![0; 1_000];
        let length = red::write(&older, &block(0, &payload), &mut out).expect("two packets of a voice fit");
        out.truncate(length);
        (red, out)
    }
}
