//! What the line takes while it is busy.
//!
//! A picture that arrives packet behind packet out of a queue arrives at the rate of the line, however little was sent before it.

use std::collections::VecDeque;

use super::Micros;

/// So much of the busy time counts.
const SPAN: Micros = 300_000;
/// Less of it says nothing: one packet more or less decides.
const SPAN_MIN: Micros = 4_000;
const PACKETS_MIN: usize = 4;
/// The latest packets: what they took tells first that the line takes less.
const LATELY: usize = 6;
/// What arrived behind one another for so long is what the line takes now: three packets of a line of 350 kb/s.
const LATELY_SPAN: Micros = 75_000;
/// Packets remembered: 300 ms of 850 a second. At more the time that counts is shorter.
const PACKETS_MAX: usize = 256;

/// The packets that arrived since the queue was last seen empty.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// (arrived, bytes), in the order of arrival.
    arrivals: VecDeque<(Micros, u16)>,
    /// Of all but the first of them.
    bytes: u64,
}

impl Busy {
    /// A packet arrived, which came to the queue at `queued` by the receiver's clock.
    pub(super) fn add(&mut self, queued: Micros, arrived: Micros, bytes: u16) {
        let last = self.arrivals.back().map(|(arrived, _)| *arrived);
        if last.is_some_and(|last| arrived < last) {
            return; // out of order
        }
        if last.is_none_or(|last| queued >= last) {
            self.arrivals.clear();
            self.bytes = 0;
        } else {
            self.bytes += u64::from(bytes);
        }
        self.arrivals.push_back((arrived, bytes));
        while self.arrivals.len() > PACKETS_MAX
            || self
                .arrivals
                .front()
                .is_some_and(|(first, _)| arrived - first > SPAN)
        {
            self.arrivals.pop_front();
            let first = self.arrivals.front().map_or(0, |(_, bytes)| *bytes);
            self.bytes -= u64::from(first);
        }
    }

    /// Bits per second that passed lately, if it was busy for [`LATELY_SPAN`].
    pub(super) fn lately(&self) -> Option<f64> {
        let (last, _) = self.arrivals.back()?;
        let mut bytes = 0;
        for (packets, (arrived, size)) in self.arrivals.iter().rev().enumerate() {
            let span = last - arrived;
            if packets >= PACKETS_MIN && span >= LATELY_SPAN {
                return Some(f64::from(bytes) * 8e6 / span as f64);
            }
            bytes += u32::from(*size);
        }
        None
    }

    /// Bits per second that passed, if it was busy long enough to tell: in all of that time, or lately if that is less, for the
    /// line may just have become thinner.
    pub(super) fn rate(&self) -> Option<f64> {
        let ((first, _), (last, _)) = (self.arrivals.front()?, self.arrivals.back()?);
        let span = last - first;
        if span < SPAN_MIN || self.arrivals.len() < PACKETS_MIN {
            return None;
        }
        let whole = self.bytes as f64 * 8e6 / span as f64;
        let from = self.arrivals.len().saturating_sub(LATELY + 1);
        let mut lately = self.arrivals.range(from..);
        let (since, _) = lately.next()?;
        let bytes: u64 = lately.map(|(_, bytes)| u64::from(*bytes)).sum();
        Some(whole.min(bytes as f64 * 8e6 / (last - since).max(1) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 1,250 bytes, each of which waits for the one before it: one in `apart` µs.
    fn behind_one_another(busy: &mut Busy, from: Micros, count: i64, apart: Micros) -> Micros {
        for step in 1..=count {
            let arrived = from + step * apart;
            busy.add(arrived - 2 * apart, arrived, 1_250);
        }
        from + count * apart
    }

    #[test]
    fn what_arrives_behind_one_another_lately_tells_of_the_line_as_it_is_now() {
        let mut busy = Busy::default();
        let at = behind_one_another(&mut busy, 0, 40, 2_500);
        assert_eq!(busy.lately(), Some(4e6));
        let at = behind_one_another(&mut busy, at, 2, 25_000);
        assert!(busy.lately() > Some(0.5e6), "some of it is of before");
        behind_one_another(&mut busy, at, 2, 25_000);
        assert_eq!(busy.lately(), Some(0.4e6));
        busy.add(900_000, 901_000, 1_250);
        assert_eq!(busy.lately(), None, "the queue was empty");
    }

    #[test]
    fn what_arrives_behind_one_another_tells_what_the_line_takes_however_long_nothing_was_sent_before() {
        let mut busy = Busy::default();
        busy.add(0, 1_000, 1_250);
        busy.add(900_000, 901_000, 1_250);
        assert_eq!(busy.rate(), None, "two packets alone");
        behind_one_another(&mut busy, 901_000, 12, 10_000);
        assert_eq!(busy.rate(), Some(1e6));
    }

    #[test]
    fn a_packet_that_finds_no_queue_ends_the_busy_time() {
        let mut busy = Busy::default();
        let end = behind_one_another(&mut busy, 0, 20, 10_000);
        busy.add(end + 5_000, end + 15_000, 1_250);
        assert_eq!(busy.rate(), None);
    }

    #[test]
    fn a_line_that_becomes_thinner_is_seen_by_the_latest_packets() {
        let mut busy = Busy::default();
        let end = behind_one_another(&mut busy, 0, 50, 2_500);
        assert_eq!(busy.rate(), Some(4e6));
        behind_one_another(&mut busy, end, 7, 25_000);
        assert_eq!(busy.rate(), Some(400e3));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_disorder_is_passed_over() {
        let mut busy = Busy::default();
        let end = behind_one_another(&mut busy, 0, 10_000, 100);
        assert_eq!(busy.arrivals.len(), PACKETS_MAX);
        busy.add(0, end - 1_000, u16::MAX);
        assert_eq!(busy.rate(), Some(100e6));
    }
}
