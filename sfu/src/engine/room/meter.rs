//! What arrives of a layer: its rate up to each temporal layer.

use std::time::{Duration, Instant};

use super::super::{allocate::TEMPORAL_MAX, units::Bitrate};

/// Counts over half-second windows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Meter {
    begun: Option<Instant>,
    now: Window,
    /// The last whole windows, the newest first.
    past: [Option<Rates>; PAST],
}

#[derive(Debug, Clone, Copy, Default)]
struct Window {
    bytes: [u32; TEMPORAL_MAX],
    has_key_frame: bool,
}

#[derive(Debug, Clone, Copy)]
struct Rates {
    /// Every endpoint has dozens of windows: what 32 bits hold, 4 Gb/s, is more than any layer.
    bits: [u32; TEMPORAL_MAX],
    has_key_frame: bool,
}

/// Long enough to hold frames of all temporal layers at 5 pictures a second.
const WINDOW: Duration = Duration::from_millis(500);
/// A picture that stands still now will move again: the greatest of three seconds counts.
const PAST: usize = 6;
/// A window that a pause made longer than this tells nothing.
const WINDOW_MAX: Duration = Duration::from_millis(2_000);
/// Behind such a pause what was measured before it tells nothing either: the layer was off, and is ordered at another rate. A screen that stands still pauses, too, but not
/// for so long.
const PAUSE_MAX: Duration = Duration::from_secs(30);

impl Meter {
    /// A packet of so many bytes on the wire. Without temporal layers it counts for the lowest. `begins`: with it a key frame begins.
    pub(super) fn add(&mut self, now: Instant, temporal: Option<u8>, bytes: u64, begins: bool) {
        let begun = *self.begun.get_or_insert(now);
        let span = now.saturating_duration_since(begun);
        if span >= WINDOW {
            self.close(span);
            self.begun = Some(now);
        }
        let layer = usize::from(temporal.unwrap_or(0)).min(TEMPORAL_MAX - 1);
        let sum = &mut self.now.bytes[layer];
        *sum = sum.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.now.has_key_frame |= begins;
    }

    fn close(&mut self, span: Duration) {
        let window = std::mem::take(&mut self.now);
        if span > WINDOW_MAX {
            if span > PAUSE_MAX {
                self.past = [None; PAST];
            }
            return;
        }
        let micros = span.as_micros() as u64; // at most two million
        let mut sum = 0;
        let bits = window.bytes.map(|bytes| {
            sum += u64::from(bytes) * 8_000_000 / micros.max(1);
            u32::try_from(sum).unwrap_or(u32::MAX)
        });
        self.past.rotate_right(1);
        self.past[0] = Some(Rates {
            bits,
            has_key_frame: window.has_key_frame,
        });
    }

    /// What arrives up to each temporal layer, the greatest but one of the last three seconds; zero before it was measured. Half seconds with a
    /// key frame do not count where there are others.
    ///
    /// A key frame makes half as much again of its half second, and more of one with few pictures. Were that taken for the layer's rate, a layer that just
    /// began, or a page of small pictures that were asked for key frames, would be found too large at once, and given up.
    pub(super) fn rates(&self) -> [Bitrate; TEMPORAL_MAX] {
        let is_calm = |rates: &&Rates| !rates.has_key_frame;
        let are_calm = self.past.iter().flatten().any(|rates| is_calm(&rates));
        std::array::from_fn(|layer| {
            let counted = self
                .past
                .iter()
                .flatten()
                .filter(|rates| !are_calm || is_calm(rates));
            let mut bits = [0; PAST];
            for (place, rates) in bits.iter_mut().zip(counted) {
                *place = u64::from(rates.bits[layer]);
            }
            bits.sort_unstable_by(|a, b| b.cmp(a));
            let [first, second, ..] = bits;
            Bitrate::bps(if second > 0 { second } else { first })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::testing::{base, ms},
        *,
    };

    #[test]
    fn each_temporal_layer_adds_to_those_below_and_a_rest_does_not_lower_it_at_once() {
        let (t0, mut meter) = (base(), Meter::default());
        assert_eq!(meter.rates(), [Bitrate::ZERO; TEMPORAL_MAX]);
        for i in 0..60 {
            // 30 pictures a second: layers 0, 2, 1, 2.
            let temporal = [0, 2, 1, 2][i as usize % 4];
            meter.add(t0 + ms(i * 1_000 / 30), Some(temporal), 1_000, false);
        }
        let kbps = meter.rates().map(|rate| rate.as_bps() / 1_000);
        assert!(
            (60..75).contains(&kbps[0]) && (115..130).contains(&kbps[1]) && (230..245).contains(&kbps[2])
        );
        for i in 0..10 {
            meter.add(t0 + ms(2_000 + i * 100), Some(0), 100, false);
        }
        assert!(
            meter.rates()[2] >= Bitrate::kbps(230),
            "the greatest of three seconds"
        );
    }

    #[test]
    fn a_key_frame_does_not_count_for_its_layer_where_there_is_more_to_go_by() {
        let kbps = |keys: &[u64]| {
            let (t0, mut meter) = (base(), Meter::default());
            for i in 0..16 {
                // Five pictures a second, a key frame five times as large.
                let is_key = keys.contains(&i);
                meter.add(
                    t0 + ms(i * 200),
                    Some(0),
                    if is_key { 10_000 } else { 2_000 },
                    is_key,
                );
            }
            meter.rates()[2].as_bps() / 1_000
        };
        assert_eq!(kbps(&[]), 80);
        assert_eq!(kbps(&[0, 9]), 80, "one of each two seconds");
        assert!(kbps(&[0, 3, 6, 9, 12]) > 150, "nothing else came");
    }
}
