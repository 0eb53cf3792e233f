//! What a layer sends, measured: bitrate and pictures a second, for each temporal layer with all below it.

use std::time::{Duration, Instant};

use super::units::Bitrate;

/// Temporal layers told apart; higher ones count with the highest of these.
pub const TEMPORAL_MAX: usize = 3;

/// What arrived of a layer in the last second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rate {
    /// Layer 0, layers 0 and 1, all layers: RTP packets as a receiver gets them, without UDP and IP.
    pub bitrate: [Bitrate; TEMPORAL_MAX],
    /// Pictures a second, likewise cumulated.
    pub pictures: [u16; TEMPORAL_MAX],
}

/// A window over the last second in eight parts and the one that is being filled. One addition a packet.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    /// When it began; parts are counted from here.
    began: Option<Instant>,
    /// The part being filled.
    newest: u64,
    parts: [Part; PARTS + 1],
}

#[derive(Debug, Clone, Copy, Default)]
struct Part {
    bytes: [u32; TEMPORAL_MAX],
    pictures: [u16; TEMPORAL_MAX],
}

const PARTS: usize = 8;
const PART: Duration = Duration::from_millis(125);
/// Header, CSRC, the extensions a node writes and the tag of SRTP, for each packet.
const OVERHEAD: usize = 44;

impl Meter {
    /// A packet with so many bytes of payload; `temporal` 0 where the sender tells none.
    pub fn record(&mut self, now: Instant, bytes: usize, temporal: u8, starts_picture: bool) {
        let began = *self.began.get_or_insert(now);
        self.advance(part_at(began, now));
        let layer = usize::from(temporal).min(TEMPORAL_MAX - 1);
        let part = &mut self.parts[self.newest as usize % (PARTS + 1)];
        let bytes = u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX);
        part.bytes[layer] = part.bytes[layer].saturating_add(bytes);
        part.pictures[layer] = part.pictures[layer].saturating_add(starts_picture.into());
    }

    /// The rates at `now`. In the first second of a layer taken over the time since its first packet, but over no less than 125 ms.
    pub fn rate(&self, now: Instant) -> Rate {
        let Some(began) = self.began else {
            return Rate::default();
        };
        let newest = part_at(began, now).max(self.newest);
        let oldest = newest.saturating_sub(PARTS as u64);
        let since = PART * u32::try_from(oldest).unwrap_or(u32::MAX);
        let time = now
            .saturating_duration_since(began)
            .saturating_sub(since)
            .max(PART)
            .as_micros() as u64;
        let (mut rate, mut bytes, mut pictures) = (Rate::default(), 0u64, 0u64);
        let parts = || (oldest..=self.newest).map(|part| &self.parts[part as usize % (PARTS + 1)]);
        for layer in 0..TEMPORAL_MAX {
            bytes += parts().map(|part| u64::from(part.bytes[layer])).sum::<u64>();
            pictures += parts().map(|part| u64::from(part.pictures[layer])).sum::<u64>();
            rate.bitrate[layer] = Bitrate::bps(bytes.saturating_mul(8_000_000) / time);
            let rounded = (pictures * 1_000_000 + time / 2) / time;
            rate.pictures[layer] = u16::try_from(rounded).unwrap_or(u16::MAX);
        }
        rate
    }

    fn advance(&mut self, part: u64) {
        let first = (self.newest + 1).max(part.saturating_sub(PARTS as u64));
        for passed in first..=part {
            self.parts[passed as usize % (PARTS + 1)] = Part::default();
        }
        self.newest = self.newest.max(part);
    }
}

fn part_at(began: Instant, now: Instant) -> u64 {
    (now.saturating_duration_since(began).as_millis() / PART.as_millis()) as u64
}

#[cfg(test)]
mod tests {
    use super::{
        super::testing::{base, ms},
        *,
    };

    /// 30 pictures a second in layers 0, 2, 1, 2, each of one packet that is 1,000 bytes on the wire.
    fn fill(meter: &mut Meter, from_ms: u64, pictures: u64) {
        for n in 0..pictures {
            let temporal = [0, 2, 1, 2][n as usize % 4];
            meter.record(base_at(from_ms + n * 100 / 3), 1_000 - OVERHEAD, temporal, true);
        }
    }

    fn base_at(at: u64) -> Instant {
        use std::sync::OnceLock;
        static BASE: OnceLock<Instant> = OnceLock::new();
        *BASE.get_or_init(base) + ms(at)
    }

    fn near(value: u64, expected: u64) -> bool {
        value.abs_diff(expected) * 12 <= expected
    }

    #[test]
    fn each_layer_counts_with_those_below_it() {
        let mut meter = Meter::default();
        fill(&mut meter, 0, 120);
        let rate = meter.rate(base_at(4_000));
        for (layer, kbps) in [60, 120, 240].into_iter().enumerate() {
            let measured = rate.bitrate[layer].as_bps() / 1_000;
            assert!(near(measured, kbps), "{layer}: {measured}");
        }
        assert!(
            (28..=32).contains(&rate.pictures[2]) && (7..=9).contains(&rate.pictures[0]),
            "{rate:?}"
        );
    }

    #[test]
    fn it_knows_early_and_forgets_within_a_second_or_so() {
        let mut meter = Meter::default();
        assert_eq!(meter.rate(base_at(0)), Rate::default());
        fill(&mut meter, 0, 9);
        let early = meter.rate(base_at(300)).bitrate[2].as_bps() / 1_000;
        assert!(near(early, 240), "{early}");
        assert_eq!(meter.rate(base_at(1_400)), Rate::default());
        fill(&mut meter, 10_000, 60);
        let again = meter.rate(base_at(12_000)).bitrate[2].as_bps() / 1_000;
        assert!(near(again, 240), "{again}");
        assert_eq!(meter.rate(base_at(1_000_000)), Rate::default());
    }
}
