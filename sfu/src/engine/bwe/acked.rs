//! The rate at which packets arrive at the receiver, by the receiver's clock.

use super::Micros;

/// Width of a bucket.
const BUCKET: Micros = 25_000;
/// Buckets kept: 1 s. What arrived before is forgotten.
const BUCKETS: usize = 40;
/// Full buckets that make a rate: below 150 ms one burst more or less decides.
const BUCKETS_MIN: i64 = 6;

/// Bytes that arrived in the last second.
#[derive(Debug)]
pub(super) struct Acked {
    buckets: [u32; BUCKETS],
    /// Number of the newest bucket; the others lie before it.
    newest: i64,
    /// Number of the first bucket since the beginning or a jump of the clock.
    first: Option<i64>,
}

impl Acked {
    pub(super) fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
            newest: 0,
            first: None,
        }
    }

    /// So many bytes arrived then. What is older than a second by the receiver's clock is dropped.
    pub(super) fn add(&mut self, arrived: Micros, bytes: u16) {
        let bucket = arrived.div_euclid(BUCKET);
        if self.first.is_none() {
            self.newest = bucket;
            self.first = Some(bucket);
        }
        let ahead = bucket.wrapping_sub(self.newest);
        for step in 1..=ahead.min(BUCKETS as i64) {
            self.buckets[index(self.newest.wrapping_add(step))] = 0;
        }
        if ahead > 0 {
            // A long silence leaves zeros at other places; all of them were cleared above.
            self.newest = bucket;
        }
        if ahead > -(BUCKETS as i64) {
            let bucket = &mut self.buckets[index(bucket)];
            *bucket = bucket.saturating_add(bytes.into());
        }
    }

    /// So many bytes arrived between the newest arrival known and that time: nobody told when.
    pub(super) fn spread(&mut self, arrived: Micros, bytes: u64) {
        if self.first.is_none() {
            return;
        }
        let bucket = arrived.div_euclid(BUCKET);
        let over = bucket.wrapping_sub(self.newest).clamp(1, BUCKETS as i64);
        let each = bytes / over.unsigned_abs();
        let first = bucket.wrapping_sub(over);
        for step in 0..over {
            self.add(
                first.wrapping_add(step) * BUCKET,
                each.min(u16::MAX.into()) as u16,
            );
        }
    }

    /// Forgets everything: the receiver's clock jumped.
    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Bits per second over the last `window` before the newest arrival, at most 950 ms; over less if there is no more yet,
    /// none below 150 ms. The bucket that is still filling does not count.
    pub(super) fn rate(&self, window: Micros) -> Option<f64> {
        let full = full(self.newest.wrapping_sub(self.first?), window);
        if full < BUCKETS_MIN {
            return None;
        }
        Some(self.sum(full as usize) as f64 * 8e6 / (full * BUCKET) as f64)
    }

    /// Whether [`Self::rate`] over that window is known.
    pub(super) fn is_known(&self, window: Micros) -> bool {
        self.first
            .is_some_and(|first| full(self.newest.wrapping_sub(first), window) >= BUCKETS_MIN)
    }

    /// Bytes of so many buckets before the one that is filling. They lie in at most two pieces, each of which is added up at once.
    fn sum(&self, full: usize) -> u64 {
        let (before, behind) = self.buckets.split_at(index(self.newest));
        let (near, far) = match before.len().checked_sub(full) {
            Some(from) => (&before[from..], &behind[..0]),
            None => (before, &behind[BUCKETS - full..]),
        };
        near.iter().chain(far).map(|&bytes| u64::from(bytes)).sum()
    }
}

/// Full buckets of `known` that lie within the window.
fn full(known: i64, window: Micros) -> i64 {
    known.min(window / BUCKET).min(BUCKETS as i64 - 2)
}

fn index(bucket: i64) -> usize {
    bucket.rem_euclid(BUCKETS as i64) as usize
}
