//! A queue with a rate: what makes a line thin, and the record of how long packets waited in it.

use std::time::{Duration, Instant};

use sfu::engine::units::Bitrate;

/// A first-in, first-out queue that several paths may share: the line of a site behind which many points stand.
///
/// It drops at the tail: a packet that would wait longer than [`Bottleneck::queue`] is not taken in. Packets it has taken in leave when it
/// said they would, whatever happens to the rate afterwards.
#[derive(Debug, Clone)]
pub struct Bottleneck {
    /// What passes; none: everything, at once. Below [`Bottleneck::RATE_MIN`] nothing passes: the line is cut.
    pub rate: Option<Bitrate>,
    /// Longest time a packet waits before its own bytes begin to leave.
    pub queue: Duration,
    /// How long packets waited, how many were dropped, how many bytes passed.
    pub record: QueueRecord,
    busy_until: Option<Instant>,
}

impl Bottleneck {
    /// The least rate that passes anything. Below it one packet would hold the line for longer than 12 s.
    pub const RATE_MIN: Bitrate = Bitrate::kbps(1);

    /// An idle line with that rate and that longest wait.
    pub fn new(rate: Bitrate, queue: Duration) -> Self {
        Self {
            rate: Some(rate),
            ..Self::open(queue)
        }
    }

    /// An idle line that lets everything pass until it gets a rate.
    pub fn open(queue: Duration) -> Self {
        Self {
            rate: None,
            queue,
            record: QueueRecord::default(),
            busy_until: None,
        }
    }

    /// A packet of `bytes` comes at `now`, not before any other came. How long it waited, and when its last byte has left; none: it was dropped.
    pub fn pass(&mut self, now: Instant, bytes: usize) -> Option<(Duration, Instant)> {
        let taken = self.take_in(now, bytes);
        match taken {
            Some((wait, _)) => self.record.passed(now, bytes, wait),
            None => self.record.dropped(now),
        }
        taken
    }

    /// The same without an entry in the record.
    pub(crate) fn take_in(&mut self, now: Instant, bytes: usize) -> Option<(Duration, Instant)> {
        let Some(rate) = self.rate else {
            self.busy_until = None;
            return Some((Duration::ZERO, now));
        };
        if rate < Self::RATE_MIN {
            return None;
        }
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        let wait = start - now;
        if wait > self.queue {
            return None;
        }
        let nanos = bytes as u128 * 8 * 1_000_000_000 / u128::from(rate.as_bps());
        let done = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = Some(done);
        Some((wait, done))
    }
}

/// What passed a queue in one [`QueueRecord::TICK`], by the time of coming in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tick {
    /// Bytes taken in.
    pub bytes: u64,
    /// Packets taken in.
    pub packets: u32,
    /// Packets dropped because the queue was full.
    pub dropped: u32,
    /// Longest wait of a packet taken in.
    pub wait_max: Duration,
}

/// Waits in a queue: all in all as percentiles, and over time in ticks. Its memory is bounded: 496 counts and [`QueueRecord::TICKS_MAX`] ticks.
#[derive(Debug, Clone, Default)]
pub struct QueueRecord {
    began: Option<Instant>,
    counts: Vec<u64>,
    packets: u64,
    max: Duration,
    ticks: Vec<Tick>,
}

impl QueueRecord {
    /// The step of the record over time.
    pub const TICK: Duration = Duration::from_millis(100);
    /// Ticks kept: one hour. What comes later is counted in the last one.
    pub const TICKS_MAX: usize = 36_000;
    /// Waits are counted by the millisecond up to here,
    const FINE_MS: u64 = 256;
    /// then in steps of this many milliseconds
    const STEP_MS: u64 = 16;
    /// up to here; longer ones are counted as this long in percentiles.
    const COARSE_MS: u64 = 4_096;

    /// A packet was taken in.
    pub fn passed(&mut self, now: Instant, bytes: usize, wait: Duration) {
        let tick = self.tick(now);
        tick.bytes += bytes as u64;
        tick.packets += 1;
        tick.wait_max = tick.wait_max.max(wait);
        self.max = self.max.max(wait);
        self.packets += 1;
        let bucket = Self::bucket(wait);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
    }

    /// A packet was not taken in.
    pub fn dropped(&mut self, now: Instant) {
        self.tick(now).dropped += 1;
    }

    /// The longest wait.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// The wait that this share (0 to 1) of the packets did not exceed. To the millisecond up to 256 ms, to 16 ms above, rounded up, at most 4,096 ms
    /// unless it is the longest; zero without packets.
    pub fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.packets as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::upper(bucket as u64).min(self.max);
            }
        }
        self.max
    }

    /// The ticks that lie wholly in this span.
    pub fn between(&self, from: Instant, to: Instant) -> &[Tick] {
        let Some(began) = self.began else {
            return &[];
        };
        let tick = Self::TICK.as_millis();
        let first = from
            .saturating_duration_since(began)
            .as_micros()
            .div_ceil(tick * 1_000);
        let end = to.saturating_duration_since(began).as_millis() / tick;
        let clip = |at: u128| usize::try_from(at).unwrap_or(usize::MAX).min(self.ticks.len());
        self.ticks.get(clip(first)..clip(end)).unwrap_or(&[])
    }

    /// The longest wait in this span, of the ticks wholly in it.
    pub fn max_between(&self, from: Instant, to: Instant) -> Duration {
        let waits = self.between(from, to).iter().map(|tick| tick.wait_max);
        waits.max().unwrap_or_default()
    }

    fn tick(&mut self, now: Instant) -> &mut Tick {
        let began = *self.began.get_or_insert(now);
        let ticks = now.saturating_duration_since(began).as_millis() / Self::TICK.as_millis();
        let index = usize::try_from(ticks)
            .unwrap_or(usize::MAX)
            .min(Self::TICKS_MAX - 1);
        if self.ticks.len() <= index {
            self.ticks.resize(index + 1, Tick::default());
        }
        &mut self.ticks[index]
    }

    fn bucket(wait: Duration) -> usize {
        let ms = wait.as_micros().div_ceil(1_000);
        let ms = u64::try_from(ms).unwrap_or(u64::MAX).min(Self::COARSE_MS);
        let bucket = if ms <= Self::FINE_MS {
            ms
        } else {
            Self::FINE_MS + (ms - Self::FINE_MS).div_ceil(Self::STEP_MS)
        };
        bucket as usize
    }

    fn upper(bucket: u64) -> Duration {
        let ms = if bucket <= Self::FINE_MS {
            bucket
        } else {
            Self::FINE_MS + (bucket - Self::FINE_MS) * Self::STEP_MS
        };
        Duration::from_millis(ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_line_keeps_its_rate_its_longest_wait_and_its_order() {
        let t0 = Instant::now();
        let mut line = Bottleneck::new(Bitrate::mbps(1), Duration::from_millis(100));
        // Twice the rate for 10 s: 2,000 packets of 1,250 bytes, 10 ms each on the line.
        let times: Vec<_> = (0..2_000)
            .filter_map(|i| line.pass(t0 + Duration::from_millis(5 * i), 1_250))
            .map(|(_, left)| left)
            .collect();
        assert!(times.is_sorted());
        let spent = *times.last().expect("some pass") - t0;
        assert_eq!(
            spent,
            Duration::from_millis(10) * times.len() as u32,
            "never idle"
        );
        assert!(spent <= Duration::from_millis(10_000 + 110));
        let drops: u32 = line.record.ticks.iter().map(|tick| tick.dropped).sum();
        assert_eq!(drops as usize + times.len(), 2_000);
        assert_eq!(line.record.max(), Duration::from_millis(100));
        assert!(line.record.percentile(0.5) >= Duration::from_millis(90));
        // 100 ms ticks of a line of 1 Mb/s hold 12,500 bytes, and one packet more at the edges.
        let later = &line.record.ticks[10..];
        assert!(later.iter().all(|tick| tick.bytes <= 12_500 + 1_250), "{later:?}");
    }

    #[test]
    fn a_cut_line_drops_all_and_comes_back_at_once() {
        let t0 = Instant::now();
        let mut line = Bottleneck::new(Bitrate::ZERO, Duration::from_millis(100));
        assert_eq!(line.pass(t0, 1_000), None);
        line.rate = Some(Bitrate::mbps(8));
        let later = t0 + Duration::from_millis(1);
        let left = later + Duration::from_millis(1);
        assert_eq!(line.pass(later, 1_000), Some((Duration::ZERO, left)));
    }

    #[test]
    fn percentiles_and_spans_say_what_was_put_in() {
        let t0 = Instant::now();
        let mut record = QueueRecord::default();
        assert_eq!(record.percentile(0.99), Duration::ZERO);
        for ms in 1..=100 {
            record.passed(t0 + Duration::from_millis(ms * 10), 10, Duration::from_millis(ms));
        }
        assert_eq!(record.percentile(0.5), Duration::from_millis(50));
        assert_eq!(record.percentile(0.95), Duration::from_millis(95));
        assert_eq!(record.percentile(1.0), Duration::from_millis(100));
        assert_eq!(record.ticks.iter().map(|tick| tick.bytes).sum::<u64>(), 1_000);
        let began = record.began.expect("packets came");
        let second = began + QueueRecord::TICK;
        assert_eq!(record.between(second, second + QueueRecord::TICK).len(), 1);
        assert_eq!(
            record.max_between(second, second + QueueRecord::TICK),
            Duration::from_millis(20)
        );
        record.passed(t0 + Duration::from_secs(1_000_000), 10, Duration::from_secs(10));
        assert_eq!(record.ticks.len(), QueueRecord::TICKS_MAX, "bounded");
        assert_eq!(record.percentile(1.0), Duration::from_millis(4_096));
    }
}
