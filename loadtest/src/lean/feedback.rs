//! What a receiver says of what came: transport-wide feedback as libwebrtc times it.

use std::time::{Duration, Instant};

use sfu::wire::rtcp::{Builder, TICK_MICROS};

/// Pause between two feedback packets: what libwebrtc comes to at 250 kb/s and above.
pub(super) const PAUSE: Duration = Duration::from_millis(50);
/// Most arrivals that wait to be told of; older ones are told as lost.
const ARRIVALS_MAX: usize = 2_048;

/// Arrivals that were not told yet.
#[derive(Debug, Default)]
pub(super) struct Feedback {
    arrivals: Vec<(u16, i64)>,
    next: Option<u16>,
    count: u8,
    due: Option<Instant>,
}

impl Feedback {
    /// A packet with that transport-wide number came.
    pub(super) fn handle(&mut self, now: Instant, number: u16, at_us: u64) {
        if self.arrivals.len() < ARRIVALS_MAX {
            self.arrivals.push((number, (at_us / TICK_MICROS) as i64));
        }
        self.due.get_or_insert(now + PAUSE);
    }

    /// When the next is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Writes what is due into compounds of at most `limit` bytes.
    pub(super) fn poll(&mut self, now: Instant, media: u32, limit: usize, send: &mut dyn FnMut(&[u8])) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        let Some(&(first, _)) = self.arrivals.first() else {
            return;
        };
        // Packets that overtook others stand in the order of their numbers, not of their arrival.
        self.arrivals
            .sort_by_key(|(number, _)| number.wrapping_sub(first) as i16);
        self.arrivals.dedup_by_key(|(number, _)| *number);
        let mut rest = &self.arrivals[..];
        let mut compound = Vec::new();
        while let Some(&(first, _)) = rest.first() {
            let base = self.next.unwrap_or(first);
            compound.clear();
            let mut builder = Builder::new(&mut compound, limit);
            let Ok(told) = builder.transport_feedback(super::point::OWN_SSRC, media, self.count, base, rest)
            else {
                break;
            };
            self.count = self.count.wrapping_add(1);
            self.next = rest.get(told - 1).map(|(number, _)| number.wrapping_add(1));
            rest = &rest[told..];
            send(&compound);
        }
        self.arrivals.clear();
    }
}

#[cfg(test)]
mod tests {
    use sfu::wire::rtcp::{Rtcp, packets};

    use super::*;

    #[test]
    fn every_number_is_told_once_and_holes_as_lost() {
        let (mut feedback, now) = (Feedback::default(), Instant::now());
        let mut told = Vec::new();
        let mut poll = |feedback: &mut Feedback, at: Instant| {
            feedback.poll(at, 7, 1_200, &mut |compound| {
                for packet in packets(compound) {
                    let Ok(Rtcp::TransportFeedback(packet)) = packet else {
                        panic!("feedback")
                    };
                    told.extend(packet.statuses().map(|(number, at)| (number, at.is_some())));
                }
            });
        };
        for number in [65_534, 0, 65_535, 2] {
            feedback.handle(now, number, 1_000);
        }
        poll(&mut feedback, now);
        poll(&mut feedback, now + PAUSE);
        feedback.handle(now + PAUSE, 4, 60_000);
        poll(&mut feedback, now + 2 * PAUSE);
        let lost: Vec<u16> = told.iter().filter(|told| !told.1).map(|told| told.0).collect();
        assert_eq!(lost, [1, 3]);
        assert_eq!(told.len(), 7);
    }
}
