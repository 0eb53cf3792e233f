//! How much one endpoint may send. What exceeds it is dropped before anything is done with it or reported of it, so a
//! sender that goes mad costs the node a bounded amount of work and sees loss, by which an honest one slows down.

use std::time::{Duration, Instant};

use crate::engine::units::Bitrate;

/// Far above all that a point is ever ordered to send: camera in three layers, a screen, sound, repairs and probes.
const RATE_MAX: Bitrate = Bitrate::mbps(20);

/// What may come at once, as time at [`RATE_MAX`]: after a pause of the shard or the sender everything comes together.
const BURST: Duration = Duration::from_secs(1);

/// A smaller packet counts like one of this size in bytes: it costs the node no less. So 5,000 in a second are the most.
const PACKET_BYTES_MIN: usize = 500;

/// A token bucket, kept as the time at which it would be full again.
#[derive(Debug, Default)]
pub(super) struct Limit {
    full_at: Option<Instant>,
}

impl Limit {
    /// Takes a packet of so many bytes; false if it exceeds what may come.
    pub(super) fn take(&mut self, now: Instant, bytes: usize) -> bool {
        let from = self.full_at.map_or(now, |at| at.max(now));
        if from.saturating_duration_since(now) > BURST {
            return false;
        }
        let bits = bytes.max(PACKET_BYTES_MIN) as u64 * 8;
        self.full_at = Some(from + Duration::from_nanos(bits * 1_000_000_000 / RATE_MAX.as_bps()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing::base;

    /// How many of the packets of that size and rate pass in 10 s.
    fn passed(bytes: usize, per_second: u32) -> usize {
        let (mut limit, start) = (Limit::default(), base());
        let packets = (0..per_second * 10).map(|n| start + Duration::from_secs(1) * n / per_second);
        packets.filter(|&at| limit.take(at, bytes)).count()
    }

    #[test]
    fn what_a_point_is_ordered_to_send_passes_and_fifty_times_of_it_is_cut() {
        // 3 Mb/s of pictures; 50 packets of voice; a screen at 8 Mb/s.
        assert_eq!(passed(1_200, 313), 3_130);
        assert_eq!(passed(100, 50), 500);
        assert_eq!(passed(1_200, 834), 8_340);
        // 11 s at the most that may come: ten, and the burst.
        assert_eq!(passed(1_200, 313 * 50), 22_917);
        assert_eq!(passed(100, 50_000), 55_000);
    }

    #[test]
    fn after_a_pause_a_burst_passes_and_no_more() {
        let (mut limit, start) = (Limit::default(), base());
        let burst = |limit: &mut Limit, at| (0..10_000).filter(|_| limit.take(at, 1_000)).count();
        assert_eq!(burst(&mut limit, start), 2_501);
        assert_eq!(burst(&mut limit, start), 0);
        assert_eq!(burst(&mut limit, start + Duration::from_secs(100)), 2_501);
    }
}
