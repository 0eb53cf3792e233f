//! What a receiver tells the node of what arrived: transport-wide feedback, or a crude estimate of its own as REMB.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sfu::wire::rtcp::{Builder, TICK_MICROS};

/// How a point tells what reaches it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Feedback {
    /// Transport-wide feedback, as both browsers send it.
    #[default]
    TransportWide,
    /// Receiver reports alone.
    Reports,
    /// Receiver reports and REMB.
    Remb,
}

/// Largest compound of feedback.
const FEEDBACK_BYTES_MAX: usize = 1_200;
/// A receiver tells its estimate so often: what came in less time is chance.
const REMB_INTERVAL: Duration = Duration::from_secs(1);
/// Arrivals that are remembered for a packet that comes out of order.
const BEHIND_MAX: u64 = 500;

/// Arrivals not yet told, by unwrapped transport-wide number.
#[derive(Debug, Default)]
pub struct Arrivals {
    began: Option<Instant>,
    highest: Option<u64>,
    /// The first number that was not spoken of.
    next: Option<u64>,
    waiting: BTreeMap<u64, i64>,
    count: u8,
    /// Bytes that arrived since the last REMB.
    bytes: u64,
    remb: Option<f64>,
    told: Option<Instant>,
}

impl Arrivals {
    /// A packet with that number arrived.
    pub fn note(&mut self, now: Instant, number: u16) {
        let began = *self.began.get_or_insert(now);
        let number = match self.highest {
            None => 65_536 + u64::from(number),
            Some(highest) => {
                let step = number.wrapping_sub(highest as u16) as i16;
                highest.saturating_add_signed(i64::from(step))
            }
        };
        self.highest = Some(self.highest.map_or(number, |highest| highest.max(number)));
        let behind = self.next.is_some_and(|next| number + BEHIND_MAX < next);
        if !behind {
            let ticks = (now - began).as_micros() as u64 / TICK_MICROS;
            self.waiting.entry(number).or_insert(ticks as i64);
        }
    }

    /// Tells other times of what was not told yet.
    pub fn bend(&mut self, mut bend: impl FnMut(i64) -> i64) {
        for ticks in self.waiting.values_mut() {
            *ticks = bend(*ticks);
        }
    }

    /// Bytes of any packet that arrived, for REMB.
    pub fn note_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Everything that was not told yet, as compounds.
    pub fn report(&mut self, own_ssrc: u32) -> Vec<Vec<u8>> {
        let mut compounds = Vec::new();
        while let Some((&first, _)) = self.waiting.first_key_value() {
            let base = self.next.map_or(first, |next| next.min(first));
            let arrivals: Vec<(u16, i64)> = self
                .waiting
                .iter()
                .map(|(number, ticks)| (*number as u16, *ticks))
                .collect();
            let mut out = Vec::new();
            let written = Builder::new(&mut out, FEEDBACK_BYTES_MAX).transport_feedback(
                own_ssrc,
                0,
                self.count,
                base as u16,
                &arrivals,
            );
            let Ok(written) = written else {
                self.waiting.clear(); // a hole wider than a feedback packet can tell
                break;
            };
            self.count = self.count.wrapping_add(1);
            for _ in 0..written {
                if let Some((number, _)) = self.waiting.pop_first() {
                    self.next = Some(self.next.map_or(number + 1, |next| next.max(number + 1)));
                }
            }
            compounds.push(out);
        }
        compounds
    }

    /// The estimate as REMB, once a second: what arrived and some more, less when much was lost.
    pub fn remb(&mut self, now: Instant, own_ssrc: u32, ssrcs: &[u32], lost: f64) -> Option<Vec<u8>> {
        let passed = now - *self.told.get_or_insert(now);
        if passed < REMB_INTERVAL {
            return None;
        }
        let received = self.bytes as f64 * 8.0 / passed.as_secs_f64();
        (self.bytes, self.told) = (0, Some(now));
        let last = self.remb.unwrap_or(300_000.0);
        let estimate = if lost > 0.1 {
            received * 0.85
        } else {
            (last * 1.15).min(received * 1.5 + 100_000.0)
        };
        self.remb = Some(estimate);
        let mut out = Vec::new();
        let mut builder = Builder::new(&mut out, FEEDBACK_BYTES_MAX);
        builder.remb(own_ssrc, estimate as u64, ssrcs).ok()?;
        Some(out)
    }
}
