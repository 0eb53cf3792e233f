//! Numbers: what came, what is missing, what is lost.

use std::collections::{BTreeMap, BTreeSet};

use super::{Arrived, SlotCounts};

/// A number that has not come after this long is lost.
const REPAIR_US: u64 = 1_000_000;
/// A hole of more numbers than this is no loss but another stream.
const JUMP_MAX: u64 = 3_000;
/// Pause between two requests for the same packet, and how many there are at most.
const NACK_PAUSE_US: u64 = 50_000;
pub(super) const NACKS_MAX: u8 = 15;

/// Packets of a slot on their way into the order of their numbers.
#[derive(Debug)]
pub(super) struct Order {
    start: u64,
    next: u64,
    highest: u64,
    held: BTreeMap<u64, Arrived>,
    missing: BTreeMap<u64, Missing>,
    /// Numbers that came as RTX, whose late original is no duplicate.
    restored: BTreeSet<u64>,
    /// Numbers that were given up: if they come after all, they are late.
    lost: BTreeSet<u64>,
}

#[derive(Debug)]
struct Missing {
    since_us: u64,
    nack_us: u64,
    nacks: u8,
}

impl Order {
    /// A slot that begins with this number.
    pub(super) fn new(wire: u16) -> Self {
        // Far from zero, so that a number before the first is a number too.
        let first = (1 << 32) | u64::from(wire);
        Self {
            start: first,
            next: first,
            highest: first - 1,
            held: BTreeMap::new(),
            missing: BTreeMap::new(),
            restored: BTreeSet::new(),
            lost: BTreeSet::new(),
        }
    }

    /// The number as it is counted here; nothing if it is too far from the last to be of the same stream.
    pub(super) fn unwrap(&self, wire: u16) -> Option<u64> {
        let sequence = self.nearest(wire);
        (sequence.abs_diff(self.highest) <= JUMP_MAX).then_some(sequence)
    }

    /// Gives up what is missing for too long; how many those were.
    pub(super) fn give_up(&mut self, now_us: u64) -> u64 {
        let before = self.missing.len();
        self.missing
            .retain(|_, missing| now_us.saturating_sub(missing.since_us) < REPAIR_US);
        (before - self.missing.len()) as u64
    }

    /// Numbers to ask for now.
    pub(super) fn poll_nacks(&mut self, now_us: u64) -> Vec<u16> {
        let due = |missing: &Missing| missing.nack_us <= now_us && missing.nacks < NACKS_MAX;
        let due = self.missing.iter_mut().filter(|(_, missing)| due(missing));
        due.map(|(&sequence, missing)| {
            missing.nack_us = now_us + NACK_PAUSE_US;
            missing.nacks += 1;
            sequence as u16
        })
        .collect()
    }

    /// Whether anything may still be repaired.
    #[cfg(test)]
    pub(super) fn is_waiting(&self) -> bool {
        !self.missing.is_empty()
    }

    fn nearest(&self, wire: u16) -> u64 {
        let ahead = wire.wrapping_sub(self.highest as u16);
        if ahead < 0x8000 {
            self.highest + u64::from(ahead)
        } else {
            self.highest - u64::from(0u16.wrapping_sub(ahead))
        }
    }

    /// Puts a packet in its place. False if its number came before and this is no repair.
    pub(super) fn take(&mut self, sequence: u64, packet: Arrived, counts: &mut SlotCounts) -> bool {
        let now_us = packet.at_us;
        let is_new = if sequence > self.highest {
            for hole in self.highest + 1..sequence {
                self.missing.insert(
                    hole,
                    Missing {
                        since_us: now_us,
                        nack_us: now_us,
                        nacks: 0,
                    },
                );
            }
            self.highest = sequence;
            true
        } else {
            self.missing.remove(&sequence).is_some()
        };
        if is_new {
            counts.packets += 1;
            counts.repaired += u64::from(packet.repair);
            if packet.repair {
                self.restored.insert(sequence);
                self.restored = self.restored.split_off(&sequence.saturating_sub(JUMP_MAX));
            }
            self.held.insert(sequence, packet);
            return true;
        }
        // Before the first, after it was given up, or the original of something repaired: late, but no duplicate.
        let late = sequence < self.start || self.lost.contains(&sequence);
        packet.repair || late || self.restored.contains(&sequence)
    }

    /// The next packet in order. Sets `hole` if numbers before it were given up.
    pub(super) fn poll(&mut self, hole: &mut bool) -> Option<Arrived> {
        while self.next <= self.highest {
            if let Some(packet) = self.held.remove(&self.next) {
                self.next += 1;
                return Some(packet);
            }
            if self.missing.contains_key(&self.next) {
                return None;
            }
            *hole = true;
            self.lost.insert(self.next);
            self.lost = self.lost.split_off(&self.next.saturating_sub(JUMP_MAX));
            self.next += 1;
        }
        None
    }
}
