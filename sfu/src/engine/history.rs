//! The payloads of one layer stream, kept once for all receivers.
//!
//! A ring of bytes and beside it a ring of entries found by the packet's own number, so that a NACK costs one look.
//! Late packets (repairs) are put under their number like any other. Both rings begin at 1/64 of their limit and grow
//! when something would give way that is young enough to be asked for: a stream that sends little costs little, and
//! after a few steps nothing is allocated any more. When a ring at its limit is full the oldest inserted goes; what
//! is gone is simply not found.

use std::time::{Duration, Instant};

use super::{id::MediaKind, seq::Seq};

/// Where the engine keeps a payload. It may be gone by the time it is asked for; then nothing is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PacketRef {
    /// Which history.
    pub history: u32,
    /// Position in it, counted from its beginning.
    pub position: u64,
}

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
    bytes: Vec<u8>,
    /// Bytes written since the ring has its size, with those skipped at its end: where the next payload goes.
    head: u64,
    /// When something was last written to each section of the ring.
    sections: [Option<Instant>; SECTIONS],
    /// The section written to last.
    section: usize,
    /// As many as a power of two.
    entries: Vec<Option<Entry<M>>>,
}

/// Parts of the ring whose age is known. Before a young one is written over, the ring grows.
const SECTIONS: usize = 16;
/// Share of its limit that a ring begins with.
const FIRST_SHARE: usize = 64;
/// Entries are no fewer than this, a power of two.
const ENTRIES_MIN: usize = 8;

#[derive(Debug, Clone, Copy)]
struct Entry<M> {
    seq: Seq,
    start: u64,
    /// Where that is in the ring.
    offset: u32,
    length: u32,
    at: Instant,
    meta: M,
}

impl<M: Copy> History<M> {
    /// An empty one, with little memory yet.
    pub fn new(limit: HistoryLimit) -> Self {
        let packets = limit.packets.next_power_of_two();
        let entries = (packets / FIRST_SHARE).max(ENTRIES_MIN).min(packets);
        Self {
            limit: HistoryLimit { packets, ..limit },
            bytes: vec![0; limit.bytes.div_ceil(FIRST_SHARE)],
            head: 0,
            sections: [None; SECTIONS],
            section: 0,
            entries: vec![None; entries],
        }
    }

    /// Keeps a payload under its number. False, and nothing is kept, when it is larger than the whole ring or so old
    /// that its place belongs to a newer number.
    pub fn insert(&mut self, now: Instant, seq: Seq, meta: M, payload: &[u8]) -> bool {
        self.insert_behind(now, seq, meta, &[], payload)
    }

    /// The same for a payload with something before it that is kept along.
    pub fn insert_behind(&mut self, now: Instant, seq: Seq, meta: M, before: &[u8], payload: &[u8]) -> bool {
        let length = before.len() + payload.len();
        if length > self.limit.bytes {
            return false;
        }
        self.make_place(now, seq);
        let index = self.index(seq);
        if self.entries[index].is_some_and(|e| e.seq > seq) {
            return false;
        }
        let start = self.make_room(now, length);
        let at = self.offset(start);
        self.bytes[at..at + before.len()].copy_from_slice(before);
        self.bytes[at + before.len()..at + length].copy_from_slice(payload);
        self.head = start + length as u64;
        self.entries[index] = Some(Entry {
            seq,
            start,
            offset: at as u32,
            length: length as u32,
            at: now,
            meta,
        });
        true
    }

    /// The payload with that number and what was noted with it; none when it is gone, too old or never was.
    pub fn get(&self, now: Instant, seq: Seq) -> Option<(&M, &[u8])> {
        let entry = self.entries[self.index(seq)].as_ref().filter(|e| e.seq == seq)?;
        if !self.is_whole(entry) || !self.is_young(now, entry.at) {
            return None;
        }
        let at = entry.offset as usize;
        Some((&entry.meta, &self.bytes[at..at + entry.length as usize]))
    }

    /// Bytes of memory that it takes.
    pub fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(self.entries.as_slice())
    }

    /// More entries, as long as another number is in the way that both rings at their limit would keep too.
    fn make_place(&mut self, now: Instant, seq: Seq) {
        while self.entries.len() < self.limit.packets {
            let in_the_way = self.entries[self.index(seq)].is_some_and(|e| {
                self.is_young(now, e.at) && e.seq.0.abs_diff(seq.0) < self.limit.packets as u64
            });
            if !in_the_way || self.entries[self.index(seq)].is_some_and(|e| e.seq == seq) {
                return;
            }
            // Numbers that differ in the smaller ring differ in the larger one.
            let larger = vec![None; 2 * self.entries.len()];
            for entry in std::mem::replace(&mut self.entries, larger).into_iter().flatten() {
                let index = self.index(entry.seq);
                self.entries[index] = Some(entry);
            }
        }
    }

    /// Where a payload of that length, at most the limit, goes, in one piece.
    fn make_room(&mut self, now: Instant, length: usize) -> u64 {
        loop {
            let capacity = self.bytes.len() as u64;
            let offset = self.offset(self.head);
            // Payloads lie in one piece: the rest of the ring stays unused this lap.
            let skipped = if offset + length > self.bytes.len() {
                capacity - offset as u64
            } else {
                0
            };
            let start = self.head + skipped;
            let first = self.offset(start);
            let touched = self.section_of(first)..=self.section_of(first + length.saturating_sub(1));
            let young = |&section: &usize| {
                (section != self.section || skipped > 0)
                    && self.sections[section].is_some_and(|at| self.is_young(now, at))
            };
            let small = length as u64 > capacity || touched.clone().any(|section| young(&section));
            if small && self.bytes.len() < self.limit.bytes {
                self.grow(length);
                continue;
            }
            self.section = *touched.end();
            self.sections[touched].fill(Some(now));
            return start;
        }
    }

    /// Half as many bytes more, or as many as `length` needs, within the limit; what is there moves together at the beginning.
    fn grow(&mut self, length: usize) {
        let capacity = (self.bytes.len() + self.bytes.len() / 2)
            .max(length)
            .min(self.limit.bytes);
        let former = std::mem::replace(&mut self.bytes, vec![0; capacity]);
        let (size, head) = (former.len() as u64, std::mem::take(&mut self.head));
        self.entries
            .iter_mut()
            .filter(|entry| entry.is_some_and(|e| head - e.start > size))
            .for_each(|overwritten| *overwritten = None);
        let mut kept: Vec<_> = self.entries.iter_mut().flatten().collect();
        kept.sort_unstable_by_key(|entry| entry.start);
        (self.sections, self.section) = ([None; SECTIONS], 0);
        let section_of = |offset: u64| (offset as usize * SECTIONS / capacity.max(1)).min(SECTIONS - 1);
        for entry in kept {
            let (from, to, length) = (entry.offset as usize, self.head as usize, entry.length as usize);
            self.bytes[to..to + length].copy_from_slice(&former[from..from + length]);
            (entry.start, entry.offset) = (self.head, to as u32);
            self.head += u64::from(entry.length);
            self.section = section_of(self.head.saturating_sub(1));
            self.sections[section_of(entry.start)..=self.section].fill(Some(entry.at));
        }
    }

    fn is_whole(&self, entry: &Entry<M>) -> bool {
        self.head - entry.start <= self.bytes.len() as u64
    }

    fn is_young(&self, now: Instant, at: Instant) -> bool {
        // Most are asked for in the turn in which they came.
        now <= at || now.saturating_duration_since(at) <= self.limit.age
    }

    fn offset(&self, position: u64) -> usize {
        (position % (self.bytes.len() as u64).max(1)) as usize
    }

    fn section_of(&self, offset: usize) -> usize {
        (offset * SECTIONS / self.bytes.len().max(1)).min(SECTIONS - 1)
    }

    /// Its length is a power of two.
    fn index(&self, seq: Seq) -> usize {
        (seq.0 & (self.entries.len() as u64).wrapping_sub(1)) as usize
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

    #[test]
    fn memory_comes_with_the_rate_and_then_no_more() {
        let (t0, limit) = (base(), HistoryLimit::video(0, 1));
        let send = |history: &mut History<u64>, from: u64, every_ms: u64, count: u64, size: usize| {
            for n in 0..count {
                let now = t0 + Duration::from_millis(from + n * every_ms);
                assert!(history.insert(now, Seq(from + n), n, &vec![n as u8; size]));
                // All of the last two seconds is there, whatever grew meanwhile.
                for back in [0, 1, n.min(1_990 / every_ms)] {
                    assert!(history.get(now, Seq(from + n - back.min(n))).is_some());
                }
            }
            (history.bytes.len(), history.entries.len())
        };
        let mut history = History::new(limit);
        assert!(history.bytes.len() <= 16 << 10 && history.entries.len() <= 32);
        let thumbnail = send(&mut history, 0, 33, 1_000, 500); // 120 kbps
        assert!(thumbnail.0 <= 64 << 10 && thumbnail.1 <= 64, "{thumbnail:?}");
        assert_eq!(send(&mut history, 100_000, 33, 1_000, 500), thumbnail);
        // A key frame in a moment pushes out nothing of itself; and the bound holds.
        let picture = send(&mut history, 200_000, 1, 300, 1_100);
        assert!(picture.0 <= 1 << 20 && picture.1 <= 512, "{picture:?}");
        for n in 0..10_000 {
            history.insert(t0 + Duration::from_secs(400), Seq(400_000 + n), n, &[0; 1_200]);
        }
        assert_eq!((history.bytes.len(), history.entries.len()), (1 << 20, 2_048));
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
