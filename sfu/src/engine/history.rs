//! The payloads of one layer stream, kept once for all receivers.
//!
//! A ring of bytes and beside it a ring of entries found by the packet's own number, so that a NACK costs one look.
//! Late packets (repairs) are put under their number like any other. Both rings are made at the beginning: nothing is
//! allocated per packet. When either is full the oldest inserted goes; what is gone is simply not found.

use std::time::{Duration, Instant};

use super::{id::MediaKind, seq::Seq};

/// How much a history keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryLimit {
    /// Bytes of payload.
    pub bytes: usize,
    /// Span of packet numbers; a power of two.
    pub packets: usize,
    /// Nothing older is given out: later it could no longer be played.
    pub age: Duration,
}

impl HistoryLimit {
    /// A voice at 64 kbps fills 16 kB in two seconds; screen sound may have twice that.
    pub const AUDIO: Self = Self {
        bytes: 64 << 10,
        packets: 256,
        age: AGE,
    };

    /// For layer `layer` of `layers` (0 is the lowest). The highest may run at 4 Mbps, 1 MiB is two seconds of it;
    /// each lower one has less than half of the rate above.
    pub const fn video(layer: u8, layers: u8) -> Self {
        let below = layers.saturating_sub(layer).saturating_sub(1);
        let below = if below > 2 { 2 } else { below };
        Self {
            bytes: (1 << 20) >> below,
            packets: 2_048 >> below,
            age: AGE,
        }
    }

    /// By kind.
    pub const fn of(kind: MediaKind, layer: u8, layers: u8) -> Self {
        match kind {
            MediaKind::Audio => Self::AUDIO,
            MediaKind::Video => Self::video(layer, layers),
        }
    }
}

/// A receiver's last useful repair: its longest playout delay and a round trip are far below.
const AGE: Duration = Duration::from_secs(2);

/// A bounded ring of payloads. `M` is what the owner wants to know of each packet when it comes back to it.
#[derive(Debug)]
pub struct History<M: Copy = ()> {
    limit: HistoryLimit,
    bytes: Box<[u8]>,
    /// Bytes written since the beginning, with those skipped at the ring's end: where the next payload goes.
    head: u64,
    entries: Box<[Option<Entry<M>>]>,
}

#[derive(Debug, Clone, Copy)]
struct Entry<M> {
    seq: Seq,
    start: u64,
    length: u32,
    at: Instant,
    meta: M,
}

impl<M: Copy> History<M> {
    /// An empty one. Its memory is taken now and stays.
    pub fn new(limit: HistoryLimit) -> Self {
        let packets = limit.packets.next_power_of_two();
        Self {
            limit: HistoryLimit { packets, ..limit },
            bytes: vec![0; limit.bytes].into_boxed_slice(),
            head: 0,
            entries: vec![None; packets].into_boxed_slice(),
        }
    }

    /// Keeps a payload under its number. False, and nothing is kept, when it is larger than the whole ring or so old
    /// that its place belongs to a newer number.
    pub fn insert(&mut self, now: Instant, seq: Seq, meta: M, payload: &[u8]) -> bool {
        let capacity = self.bytes.len() as u64;
        let index = self.index(seq);
        if payload.len() as u64 > capacity || self.entries[index].is_some_and(|e| e.seq > seq) {
            return false;
        }
        let offset = self.head % capacity.max(1);
        if offset + payload.len() as u64 > capacity {
            self.head += capacity - offset; // payloads lie in one piece: the rest of the ring stays unused this lap
        }
        let start = self.head;
        let at = (start % capacity.max(1)) as usize;
        self.bytes[at..at + payload.len()].copy_from_slice(payload);
        self.head += payload.len() as u64;
        self.entries[index] = Some(Entry {
            seq,
            start,
            length: payload.len() as u32,
            at: now,
            meta,
        });
        true
    }

    /// The payload with that number and what was noted with it; none when it is gone, too old or never was.
    pub fn get(&self, now: Instant, seq: Seq) -> Option<(&M, &[u8])> {
        let entry = self.entries[self.index(seq)].as_ref().filter(|e| e.seq == seq)?;
        let overwritten = self.head - entry.start > self.bytes.len() as u64;
        if overwritten || now.saturating_duration_since(entry.at) > self.limit.age {
            return None;
        }
        let at = (entry.start % (self.bytes.len() as u64).max(1)) as usize;
        Some((&entry.meta, &self.bytes[at..at + entry.length as usize]))
    }

    fn index(&self, seq: Seq) -> usize {
        (seq.0 % self.limit.packets as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::testing::base, *};

    const SMALL: HistoryLimit = HistoryLimit {
        bytes: 1_000,
        packets: 16,
        age: AGE,
    };

    #[test]
    fn the_oldest_gives_way_and_age_ends_it() {
        let t0 = base();
        let mut history = History::new(SMALL);
        for n in 0..10u64 {
            assert!(history.insert(t0, Seq(n), n, &[n as u8; 300]));
        }
        assert_eq!(history.get(t0, Seq(9)), Some((&9, &[9u8; 300][..])));
        assert!(history.get(t0, Seq(7)).is_some() && history.get(t0, Seq(5)).is_none());
        assert!(history.get(t0 + AGE + Duration::from_millis(1), Seq(9)).is_none());
        assert!(!history.insert(t0, Seq(10), 10, &[0; 1_001]));
    }

    #[test]
    fn a_repaired_packet_stands_under_its_own_number_and_never_pushes_out_a_newer_one() {
        let t0 = base();
        let mut history = History::new(SMALL);
        for n in [20u64, 22, 21] {
            assert!(history.insert(t0, Seq(n), (), &[n as u8]));
        }
        assert_eq!(history.get(t0, Seq(21)), Some((&(), &[21u8][..])));
        assert!(!history.insert(t0, Seq(6), (), &[6]));
        assert_eq!(history.get(t0, Seq(22)), Some((&(), &[22u8][..])));
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_was_put(packets in prop::collection::vec((0u64..64, 0usize..400), 1..200)) {
            let t0 = base();
            let mut history = History::new(SMALL);
            let mut last = std::collections::BTreeMap::new();
            for (i, (n, length)) in packets.into_iter().enumerate() {
                if history.insert(t0, Seq(n), i, &vec![i as u8; length]) {
                    last.insert(n, (i, length));
                    prop_assert!(history.get(t0, Seq(n)).is_some());
                }
                for (&n, &(i, length)) in &last {
                    if let Some((&meta, payload)) = history.get(t0, Seq(n)) {
                        prop_assert_eq!(meta, i);
                        prop_assert_eq!(payload, &vec![i as u8; length][..]);
                    }
                }
            }
        }
    }
}
