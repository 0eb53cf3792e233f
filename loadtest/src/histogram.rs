//! Counts of times, bounded whatever their number.

/// Counts of microseconds in buckets of about 3 %: bounded, whatever the number of samples.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    samples: u64,
    longest_us: u64,
}

const STEPS_BITS: u32 = 5;
const STEPS: u64 = 1 << STEPS_BITS;
/// Up to 2^32 us; longer ones count as that.
const BUCKETS: usize = ((32 - STEPS_BITS as usize) + 1) << STEPS_BITS;

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            samples: 0,
            longest_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one sample.
    pub(crate) fn record(&mut self, us: u64) {
        self.buckets[Self::bucket(us)] += 1;
        self.samples += 1;
        self.longest_us = self.longest_us.max(us);
    }

    /// Counts another's samples too.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.samples += other.samples;
        self.longest_us = self.longest_us.max(other.longest_us);
    }

    /// The sample that `share` of all do not exceed, in milliseconds to two decimals; none without samples. The longest is told as it was.
    pub(crate) fn quantile_ms(&self, share: f64) -> Option<f64> {
        let rank = ((self.samples as f64 * share).ceil() as u64).clamp(1, self.samples.max(1));
        let mut below = 0;
        let found = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        let us = match rank == self.samples {
            true => self.longest_us,
            false => Self::middle(found).min(self.longest_us),
        };
        Some((us as f64 / 10.0).round() / 100.0)
    }

    fn bucket(us: u64) -> usize {
        let us = us.min(u64::from(u32::MAX));
        if us < STEPS {
            return us as usize;
        }
        let shift = us.ilog2() - STEPS_BITS;
        (((shift as usize) + 1) << STEPS_BITS) + ((us >> shift) - STEPS) as usize
    }

    fn middle(bucket: usize) -> u64 {
        let (row, step) = (bucket >> STEPS_BITS, (bucket as u64) & (STEPS - 1));
        if row == 0 {
            return step;
        }
        let shift = row as u32 - 1;
        ((STEPS + step) << shift) + (1 << shift) / 2
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn quantiles_are_within_four_percent(mut samples in proptest::collection::vec(0..100_000_000u64, 1..200)) {
            let mut histogram = Histogram::default();
            samples.iter().for_each(|&us| histogram.record(us));
            samples.sort_unstable();
            for share in [0.5, 0.99] {
                let exact = samples[((samples.len() as f64 * share).ceil() as usize).max(1) - 1] as f64 / 1000.0;
                let found = histogram.quantile_ms(share).unwrap();
                prop_assert!((found - exact).abs() <= exact * 0.04 + 0.01, "{} {}", found, exact);
            }
            let (half, rest) = samples.split_at(samples.len() / 2);
            let mut sum = Histogram::default();
            for part in [rest, half] {
                let mut histogram = Histogram::default();
                part.iter().for_each(|&us| histogram.record(us));
                sum.add(&histogram);
            }
            let longest = samples[samples.len() - 1] as f64 / 1_000.0;
            prop_assert!((sum.quantile_ms(1.0).unwrap() - longest).abs() <= 0.005_1);
        }
    }
}
