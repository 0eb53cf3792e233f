//! One direction of a path: delay, jitter, loss, reordering, duplication, rate and queue.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use sfu::engine::units::Bitrate;

/// How a direction of a path behaves. All shares are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Time every packet takes.
    pub delay: Duration,
    /// Up to this much more, evenly distributed; packets do not overtake each other because of it.
    pub jitter: Duration,
    /// Share of packets lost, independently.
    pub loss: f64,
    /// Share of packets held back by [`Link::REORDER_DELAY`], so that later ones overtake them.
    pub reorder: f64,
    /// Share of packets that arrive twice.
    pub duplicate: f64,
    /// What passes; none: everything.
    pub rate: Option<Bitrate>,
    /// Longest time a packet waits for the rate; one that would wait longer is dropped.
    pub queue: Duration,
}

impl Link {
    /// How long a reordered packet is held back.
    pub const REORDER_DELAY: Duration = Duration::from_millis(15);

    /// A good local path.
    pub const fn good() -> Self {
        Self {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(1),
            loss: 0.0,
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

/// A link with its state and counts.
#[derive(Debug, Clone)]
pub struct Path {
    /// How it behaves; may be changed at any time.
    pub link: Link,
    /// Packets offered.
    pub offered: u64,
    /// Packets lost on the way, by chance or in the queue.
    pub lost: u64,
    busy_until: Option<Instant>,
    last_arrival: Option<Instant>,
}

impl Path {
    /// A path with nothing on it.
    pub fn new(link: Link) -> Self {
        Self {
            link,
            offered: 0,
            lost: 0,
            busy_until: None,
            last_arrival: None,
        }
    }

    /// When a packet of `bytes` sent at `now` arrives: never, once or twice.
    pub fn send(&mut self, now: Instant, bytes: usize, rng: &mut ChaCha8Rng) -> Vec<Instant> {
        self.offered += 1;
        if rng.random::<f64>() < self.link.loss {
            self.lost += 1;
            return Vec::new();
        }
        let Some(left) = self.leaves_queue(now, bytes) else {
            self.lost += 1;
            return Vec::new();
        };
        let jitter = self.link.jitter.mul_f64(rng.random::<f64>());
        let mut arrival = left + self.link.delay + jitter;
        if rng.random::<f64>() < self.link.reorder {
            arrival += Link::REORDER_DELAY;
        } else {
            arrival = self.last_arrival.map_or(arrival, |last| arrival.max(last));
            self.last_arrival = Some(arrival);
        }
        if rng.random::<f64>() < self.link.duplicate {
            return vec![arrival, arrival + Duration::from_millis(2)];
        }
        vec![arrival]
    }

    fn leaves_queue(&mut self, now: Instant, bytes: usize) -> Option<Instant> {
        let Some(rate) = self.link.rate else {
            return Some(now);
        };
        let start = self.busy_until.map_or(now, |busy| busy.max(now));
        if start - now > self.link.queue {
            return None;
        }
        let nanos = (bytes as u128 * 8 * 1_000_000_000) / u128::from(rate.as_bps().max(1));
        let done = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.busy_until = Some(done);
        Some(done)
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
            path.send(t0 + Duration::from_millis(i), 1_000, &mut rng);
        }
        assert!((400..600).contains(&path.lost), "{}", path.lost);

        let mut thin = Path::new(Link {
            rate: Some(Bitrate::kbps(80)),
            ..Link::good()
        });
        let arrivals: Vec<_> = (0..10).flat_map(|_| thin.send(t0, 1_000, &mut rng)).collect();
        assert_eq!(thin.lost, 7, "100 ms a packet, 200 ms of queue: three pass");
        assert!(arrivals.is_sorted());
    }
}
