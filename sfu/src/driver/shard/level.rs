//! Makes the packets of a run equally long.
//!
//! The kernel sends a run of datagrams with one call only if all but the last are of one size, and a sender's encoder
//! parts a frame into packets that differ by a byte or a few. So a packet gets RTP padding (RFC 3550 §5.1) up to the longest
//! of its neighbours, where that costs next to nothing.

/// Padding is at most so much of what a run takes, in percent.
const PERCENT_MAX: u32 = 2;

/// Packets looked at ahead: a run of the kernel's has no more.
const AHEAD_MAX: usize = 64;

/// Longer packets that are looked past until those behind them pay for the padding before.
const UNPAID_MAX: u32 = 4;

/// The run that is being written.
#[derive(Debug, Default)]
pub(super) struct Level {
    /// Bytes of each of its packets.
    size: u16,
    /// Packets of it that are still to come.
    left: usize,
}

impl Level {
    /// Bytes of padding for a packet of `size`; `ahead` tells the sizes of those behind it, none where one takes no padding.
    pub(super) fn padding<I: Iterator<Item = Option<u16>>>(
        &mut self,
        size: Option<u16>,
        ahead: impl FnOnce() -> I,
    ) -> u8 {
        let Some(size) = size else {
            self.left = 0;
            return 0;
        };
        if self.left == 0 {
            let run = ahead().map_while(|size| size).take(AHEAD_MAX - 1);
            (self.size, self.left) = level(size, run);
        }
        self.left -= 1;
        u8::try_from(self.size.saturating_sub(size)).unwrap_or(0)
    }
}

/// The longest run from `first` on that can be made level: its size, and how many packets it has.
fn level(first: u16, behind: impl Iterator<Item = u16>) -> (u16, usize) {
    let (mut size, mut sum, mut unpaid) = (first, 0, 0);
    let mut best = (first, 1);
    for (size_of, count) in std::iter::once(first).chain(behind).zip(1..) {
        size = size.max(size_of);
        sum += u32::from(size_of);
        let padding = u32::from(size) * count - sum;
        if padding * 100 <= sum * PERCENT_MAX {
            (best, unpaid) = ((size, count as usize), 0);
            continue;
        }
        unpaid += 1;
        if size_of < size || unpaid > UNPAID_MAX || size - first > u8::MAX.into() {
            break; // a shorter one ends the run as it is
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is added to each.
    fn padded(sizes: &[Option<u16>]) -> Vec<u8> {
        let mut level = Level::default();
        let of = |(at, &size): (usize, &Option<u16>)| level.padding(size, || sizes[at + 1..].iter().copied());
        sizes.iter().enumerate().map(of).collect()
    }

    #[test]
    fn packets_of_a_frame_become_equal() {
        let sizes = [1_180, 1_181, 1_181, 1_182].map(Some);
        assert_eq!(padded(&sizes), [2, 1, 1, 0]);
    }

    #[test]
    fn a_short_last_packet_stays_short() {
        let sizes = [1_200, 1_200, 300].map(Some);
        assert_eq!(padded(&sizes), [0, 0, 0]);
        assert_eq!(padded(&[300, 1_200, 1_200, 1_190].map(Some)), [0, 0, 0, 10]);
    }

    #[test]
    fn sound_stays_as_it_is_and_parts_runs() {
        assert_eq!(padded(&[Some(1_000), None, Some(1_010)]), [0, 0, 0]);
    }

    proptest! {
        #[test]
        fn padding_is_at_most_two_percent(sizes in prop::collection::vec(prop::option::of(1u16..1_400), 0..200)) {
            let added: u32 = padded(&sizes).into_iter().map(u32::from).sum();
            let all: u32 = sizes.iter().flatten().map(|&size| u32::from(size)).sum();
            prop_assert!(added * 100 <= all * PERCENT_MAX);
        }
    }
}
