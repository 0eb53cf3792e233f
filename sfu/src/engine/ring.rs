//! What a slot sent, for repairs: number to packet.

use std::time::{Duration, Instant};

use super::{
    id::{MediaKind, SlotId},
    seq::Seq,
    slot::Numbered,
};

/// What was sent, by its number. The oldest gives way.
#[derive(Debug)]
pub(super) struct Ring {
    sent: Vec<Option<Sent>>,
    most: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub(super) packet: Numbered,
    at: Instant,
    pub(super) resent: Option<Instant>,
}

/// Entries of a ring in use. A thumbnail sends some 15 packets a second.
const RING_LEN: usize = 256;
/// Entries of a ring that had to grow: 2 Mbps for 8 seconds.
const RING_LEN_MAX: usize = 2_048;
/// Entries younger than this are not given up while the ring may grow.
const RING_TIME: Duration = Duration::from_secs(1);

impl Ring {
    pub(super) fn new(slot: SlotId) -> Self {
        let most = if slot.kind == MediaKind::Video {
            RING_LEN_MAX
        } else {
            0
        };
        Self {
            sent: Vec::new(),
            most,
        }
    }

    /// Grows by doubling, twice to thrice in the life of a slot; else nothing is allocated.
    pub(super) fn insert(&mut self, now: Instant, packet: Numbered) {
        if self.sent.is_empty() {
            self.sent.resize(RING_LEN.min(self.most), None);
        }
        while let Some(old) = self.slot(packet.sequence).and_then(|entry| *entry) {
            let young = now.saturating_duration_since(old.at) < RING_TIME;
            if !young || self.sent.len() >= self.most || old.packet.sequence == packet.sequence {
                break;
            }
            self.grow();
        }
        if let Some(entry) = self.slot(packet.sequence) {
            *entry = Some(Sent {
                packet,
                at: now,
                resent: None,
            });
        }
    }

    fn grow(&mut self) {
        let length = (self.sent.len() * 2).min(self.most);
        let old = std::mem::replace(&mut self.sent, vec![None; length]);
        for sent in old.into_iter().flatten() {
            if let Some(entry) = self.slot(sent.packet.sequence) {
                *entry = Some(sent);
            }
        }
    }

    pub(super) fn find(&mut self, sequence: Seq) -> Option<&mut Sent> {
        self.slot(sequence)?
            .as_mut()
            .filter(|sent| sent.packet.sequence == sequence)
    }

    fn slot(&mut self, sequence: Seq) -> Option<&mut Option<Sent>> {
        let length = self.sent.len() as u64;
        let index = sequence.0.checked_rem(length)?;
        self.sent.get_mut(index as usize)
    }
}
