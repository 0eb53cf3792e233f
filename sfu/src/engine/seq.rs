//! Numbers that wrap on the wire, unwrapped at the door.
//!
//! RTP sequence numbers have 16 bits and RTP times 32 (RFC 3550 §5.1). Inside the engine both are `u64`, so that they
//! compare and subtract like numbers. They begin one lap above zero: a packet older than the first one has room.

use std::collections::VecDeque;

/// Where those end of which `is_before` holds, as `partition_point` tells of an ascending list; for lists whose newest are asked
/// for most. It looks there first: the middle of a list that others push out of the cache costs more than a few comparisons.
pub(super) fn end_of<T>(list: &VecDeque<T>, is_before: impl Fn(&T) -> bool) -> usize {
    match list.iter().rev().take(NEWEST).position(&is_before) {
        Some(behind) => list.len() - behind,
        None if list.len() <= NEWEST => 0,
        None => list.partition_point(is_before),
    }
}

/// So many of them are looked at one by one.
const NEWEST: usize = 3;

/// An unwrapped RTP (or transport-wide) sequence number. Within one stream greater is later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

impl Seq {
    /// The 16 bits that stand on the wire.
    pub const fn wire(self) -> u16 {
        self.0 as u16
    }

    /// The unwrapped number nearest to this one with those bits on the wire. Exactly half a lap away counts as older;
    /// what would lie below zero counts as newer.
    pub const fn nearest(self, wire: u16) -> Self {
        Self(nearest(self.0, wire as u64, 16))
    }

    /// The first number of a stream.
    pub const fn first(wire: u16) -> Self {
        Self((1 << 16) + wire as u64)
    }
}

/// An unwrapped RTP time, in ticks of the codec's clock. Within one stream greater is later.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RtpTime(pub u64);

impl RtpTime {
    /// The 32 bits that stand on the wire.
    pub const fn wire(self) -> u32 {
        self.0 as u32
    }

    /// The unwrapped time nearest to this one with those bits on the wire; ties and underflow as in [`Seq::nearest`].
    pub const fn nearest(self, wire: u32) -> Self {
        Self(nearest(self.0, wire as u64, 32))
    }

    /// The first time of a stream.
    pub const fn first(wire: u32) -> Self {
        Self((1 << 32) + wire as u64)
    }
}

/// A stream would have to run 2^31 laps of 2^32 to leave 63 bits: the sums below do not overflow.
const fn nearest(reference: u64, wire: u64, bits: u32) -> u64 {
    let lap = 1u64 << bits;
    let ahead = wire.wrapping_sub(reference) & (lap - 1);
    if ahead < lap / 2 || reference + ahead < lap {
        reference + ahead
    } else {
        reference + ahead - lap
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unwrapping_goes_both_ways_over_the_edge() {
        let table = [
            (65_535, 0, 65_536),
            (65_536, 65_535, 65_535),
            (65_536 * 3 + 5, 65_530, 65_536 * 2 + 65_530),
            (100, 101, 101),
            (100, 99, 99),
            (5, 65_535, 65_535),      // would lie below zero: newer
            (65_536, 32_768, 32_768), // half a lap: older
        ];
        for (reference, wire, unwrapped) in table {
            assert_eq!(Seq(reference).nearest(wire), Seq(unwrapped), "{reference} {wire}");
        }
    }

    proptest! {
        #[test]
        fn the_end_is_found_wherever_it_is(mut list in prop::collection::vec(0u8..40, 0..30), wanted in 0u8..42) {
            list.sort_unstable();
            let end = list.partition_point(|&value| value < wanted);
            prop_assert_eq!(end_of(&list.into(), |&value| value < wanted), end);
        }

        #[test]
        fn a_number_keeps_its_wire_form_and_is_the_nearest(reference in 0u64..1 << 40, wire: u16, time: u32) {
            let seq = Seq(reference).nearest(wire);
            prop_assert_eq!(seq.wire(), wire);
            prop_assert!(seq.0.abs_diff(reference) <= 1 << 15 || reference < 1 << 16);
            let rtp = RtpTime(reference).nearest(time);
            prop_assert_eq!(rtp.wire(), time);
            prop_assert!(rtp.0.abs_diff(reference) <= 1 << 31 || reference < 1 << 32);
        }

        #[test]
        fn a_walk_within_half_a_lap_is_followed(start: u16, steps in prop::collection::vec(-3_000i64..3_000, 1..200)) {
            let mut truth = Seq::first(start).0 as i64 + 1_000_000;
            let mut seq = Seq(truth as u64);
            for step in steps {
                truth += step;
                seq = seq.nearest(truth as u16);
                prop_assert_eq!(seq.0 as i64, truth);
            }
        }
    }
}
