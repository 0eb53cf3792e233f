//! One direction of a path: delay, jitter, loss alone and in bursts, reordering, duplication, rate and queue.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sfu::engine::units::Bitrate;

pub use crate::bottleneck::{Bottleneck, QueueRecord, Tick};

/// Loss in bursts (Gilbert-Elliott with two states: all passes, all is lost).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Share of packets lost in the long run. More than `mean / (1 + mean)` cannot be had with bursts of that length and is taken as that.
    pub loss: f64,
    /// Mean length of a burst in packets; less than 1 is taken as 1.
    pub mean: f64,
}

impl Burst {
    /// Chance, after a packet, that a burst begins.
    fn begins(self) -> f64 {
        let loss = self.loss.clamp(0.0, 1.0);
        if loss == 0.0 {
            return 0.0;
        }
        (loss * self.ends() / (1.0 - loss)).min(1.0)
    }

    /// Chance, after a lost packet, that the burst is over.
    fn ends(self) -> f64 {
        1.0 / self.mean.max(1.0)
    }
}

/// How a direction of a path behaves. All shares are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Time every packet takes.
    pub delay: Duration,
    /// Up to this much more, evenly distributed; packets do not overtake each other because of it.
    pub jitter: Duration,
    /// Share of packets lost, independently.
    pub loss: f64,
    /// Loss in bursts, on top of [`Link::loss`].
    pub burst: Option<Burst>,
    /// Share of packets held back by [`Link::REORDER_DELAY`], so that later ones overtake them.
    pub reorder: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// What passes; none: everything. Below [`Bottleneck::RATE_MIN`] nothing.
    pub rate: Option<Bitrate>,
    /// Longest time a packet waits for the rate; one that would wait longer is dropped.
    pub queue: Duration,
}

impl Link {
    /// How long a reordered packet is held back.
    pub const REORDER_DELAY: Duration = Duration::from_millis(15);
    /// How much later the second of two copies arrives.
    pub const DUPLICATE_DELAY: Duration = Duration::from_millis(2);

    /// A good local path.
    pub const fn good() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(1),
            loss: 0.0,
            burst: None,
            reorder: 0.0,
            duplicate: 0.0,
            rate: None,
            queue: Duration::from_millis(200),
        }
    }

    /// The same with that share of loss.
    #[must_use]
    pub const fn with_loss(mut self, loss: f64) -> Self {
        self.loss = loss;
        self
    }

    /// The same with that share of loss in bursts of that mean length in packets.
    #[must_use]
    pub const fn with_burst(mut self, loss: f64, mean: f64) -> Self {
        self.burst = Some(Burst { loss, mean });
        self
    }

    /// The same with that rate.
    #[must_use]
    pub const fn with_rate(mut self, rate: Bitrate) -> Self {
        self.rate = Some(rate);
        self
    }

    /// The same with that longest wait for the rate.
    #[must_use]
    pub const fn with_queue_ms(mut self, queue: u64) -> Self {
        self.queue = Duration::from_millis(queue);
        self
    }

    /// The same with that jitter.
    #[must_use]
    pub const fn with_jitter_ms(mut self, jitter: u64) -> Self {
        self.jitter = Duration::from_millis(jitter);
        self
    }

    /// The same with that one-way delay.
    #[must_use]
    pub const fn with_delay_ms(mut self, delay: u64) -> Self {
        self.delay = Duration::from_millis(delay);
        self
    }

    /// The same with that share of packets held back.
    #[must_use]
    pub const fn with_reorder(mut self, reorder: f64) -> Self {
        self.reorder = reorder;
        self
    }

    /// The same with that share of packets doubled.
    #[must_use]
    pub const fn with_duplicate(mut self, duplicate: f64) -> Self {
        self.duplicate = duplicate;
        self
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Lost by chance.
    Lost,
    /// Dropped: a queue was full, or the line is cut.
    Dropped,
    /// It arrives.
    Arrives {
        /// When.
        at: Instant,
        /// When a second time.
        again: Option<Instant>,
        /// How long it waited in queues.
        wait: Duration,
    },
}

impl Fate {
    /// When it arrives: never, once or twice.
    pub fn arrivals(self) -> impl Iterator<Item = Instant> {
        let (first, second) = match self {
            Self::Lost | Self::Dropped => (None, None),
            Self::Arrives { at, again, .. } => (Some(at), again),
        };
        first.into_iter().chain(second)
    }
}

/// A link with its state and counts.
#[derive(Debug, Clone)]
pub struct Path {
    /// How it behaves; may be changed at any time.
    pub link: Link,
    /// Packets offered.
    pub offered: u64,
    /// Packets lost on the way, by chance or in a queue.
    pub lost: u64,
    /// Those of the lost that a queue dropped: its own or the shared one.
    pub dropped: u64,
    /// Waits of this path's packets in all queues on the way: the shared one and its own.
    pub record: QueueRecord,
    own: Bottleneck,
    in_burst: bool,
    last_arrival: Option<Instant>,
}

impl Path {
    /// A path with nothing on it.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            offered: 0,
            lost: 0,
            dropped: 0,
            record: QueueRecord::default(),
            own: Bottleneck::open(link.queue),
            in_burst: false,
            last_arrival: None,
        }
    }

    /// What becomes of a packet of `bytes` sent at `now`, through a line that other paths share if there is one.
    ///
    /// It may be lost by chance first, then waits for the shared line, then for the path's own rate, then takes its delay. The shared
    /// line comes before the path's own rate in both directions, so that it sees packets in the order they are sent.
    pub fn carry(
        &mut self,
        shared: Option<&mut Bottleneck>,
        now: Instant,
        bytes: usize,
        rng: &mut ChaCha8Rng,
    ) -> Fate {
        self.offered += 1;
        if rng.random::<f64>() < self.link.loss || self.burst_takes(rng) {
            self.lost += 1;
            return Fate::Lost;
        }
        let Some((wait, left)) = self.leaves_queues(shared, now, bytes) else {
            self.lost += 1;
            self.dropped += 1;
            self.record.dropped(now);
            return Fate::Dropped;
        };
        self.record.passed(now, bytes, wait);
        let jitter = self.link.jitter.mul_f64(rng.random::<f64>());
        let mut at = left + self.link.delay + jitter;
        if rng.random::<f64>() < self.link.reorder {
            at += Link::REORDER_DELAY;
        } else {
            at = self.last_arrival.map_or(at, |last| at.max(last));
            self.last_arrival = Some(at);
        }
        let twice = rng.random::<f64>() < self.link.duplicate;
        Fate::Arrives {
            at,
            again: twice.then_some(at + Link::DUPLICATE_DELAY),
            wait,
        }
    }

    /// Whether a burst of loss takes this packet.
    fn burst_takes(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let Some(burst) = self.link.burst else {
            self.in_burst = false;
            return false;
        };
        let turn = if self.in_burst {
            burst.ends()
        } else {
            burst.begins()
        };
        if rng.random::<f64>() < turn {
            self.in_burst = !self.in_burst;
        }
        self.in_burst
    }

    /// How long the packet waits in all queues, and when it has left the last.
    fn leaves_queues(
        &mut self,
        shared: Option<&mut Bottleneck>,
        now: Instant,
        bytes: usize,
    ) -> Option<(Duration, Instant)> {
        let (shared_wait, left) = match shared {
            Some(shared) => shared.pass(now, bytes)?,
            None => (Duration::ZERO, now),
        };
        self.own.rate = self.link.rate;
        self.own.queue = self.link.queue;
        let (own_wait, left) = self.own.take_in(left, bytes)?;
        Some((shared_wait + own_wait, left))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    #[test]
    fn a_lossy_link_loses_its_share_and_a_full_queue_drops() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let t0 = Instant::now();
        let mut path = Path::new(Link::good().with_loss(0.05));
        for i in 0..10_000u64 {
            path.carry(None, t0 + Duration::from_millis(i), 1_000, &mut rng);
        }
        assert!((400..600).contains(&path.lost), "{}", path.lost);

        let mut thin = Path::new(Link {
            rate: Some(Bitrate::kbps(80)),
            ..Link::good()
        });
        let arrivals: Vec<_> = (0..10)
            .flat_map(|_| thin.carry(None, t0, 1_000, &mut rng).arrivals())
            .collect();
        assert_eq!(thin.lost, 7, "100 ms a packet, 200 ms of queue: three pass");
        assert!(arrivals.is_sorted());
    }

    #[test]
    fn bursts_lose_their_share_and_have_their_length() {
        for (loss, mean) in [(0.3, 3.6), (0.03, 8.0), (0.5, 1.0)] {
            let mut rng = ChaCha8Rng::seed_from_u64(7);
            let t0 = Instant::now();
            let mut path = Path::new(Link::good().with_burst(loss, mean));
            let fates: Vec<_> = (0..200_000u64)
                .map(|i| path.carry(None, t0 + Duration::from_millis(i), 100, &mut rng) == Fate::Lost)
                .collect();
            let lost = fates.iter().filter(|lost| **lost).count();
            let begun = fates.windows(2).filter(|pair| !pair[0] && pair[1]).count();
            let (share, length) = (lost as f64 / 200_000.0, lost as f64 / begun as f64);
            assert!((share / loss - 1.0).abs() < 0.05, "{share} of {loss}");
            assert!((length / mean - 1.0).abs() < 0.05, "{length} of {mean}");
            assert_eq!(path.lost as usize, lost);
        }
        assert_eq!(Burst { loss: 1.0, mean: 4.0 }.begins(), 1.0, "the most there is");
        assert_eq!(Burst { loss: 0.0, mean: 4.0 }.begins(), 0.0);
    }

    #[test]
    fn two_paths_share_one_line_and_each_knows_its_own_waits() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let t0 = Instant::now();
        let mut line = Bottleneck::new(Bitrate::kbps(800), Duration::from_millis(50));
        let mut paths = [
            Path::new(Link::good()),
            Path::new(Link::good().with_delay_ms(300)),
        ];
        for i in 0..1_000u64 {
            // 1,000 bytes take 10 ms; each path offers one every 16 ms: 125 % together.
            for path in &mut paths {
                path.carry(
                    Some(&mut line),
                    t0 + Duration::from_millis(16 * i),
                    1_000,
                    &mut rng,
                );
            }
        }
        let dropped: u64 = paths.iter().map(|path| path.dropped).sum();
        let ticks = line.record.between(t0, t0 + Duration::from_secs(60));
        assert_eq!(
            dropped,
            ticks.iter().map(|tick| u64::from(tick.dropped)).sum::<u64>()
        );
        assert!((390..=400).contains(&dropped), "{dropped} of 2,000 are too many");
        assert_eq!(
            line.record.max(),
            paths.iter().map(|path| path.record.max()).max().expect("two")
        );
        assert!(line.record.max() <= Duration::from_millis(50));
        let bytes: u64 = ticks.iter().map(|tick| tick.bytes).sum();
        assert_eq!(bytes, 1_000 * (2_000 - dropped));
    }

    #[test]
    fn a_path_with_a_rate_of_its_own_waits_behind_the_shared_line_too() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let t0 = Instant::now();
        let mut line = Bottleneck::new(Bitrate::kbps(800), Duration::from_millis(500));
        let mut path = Path::new(Link::good().with_rate(Bitrate::kbps(400)).with_jitter_ms(0));
        let fates = [0, 1].map(|_| path.carry(Some(&mut line), t0, 1_000, &mut rng));
        let arrives = |ms, wait| Fate::Arrives {
            at: t0 + Duration::from_millis(ms),
            again: None,
            wait: Duration::from_millis(wait),
        };
        assert_eq!(fates, [arrives(10 + 20 + 10, 0), arrives(10 + 40 + 10, 10 + 10)]);
    }
}
