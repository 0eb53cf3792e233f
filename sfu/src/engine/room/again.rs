//! What is sent more than once before anybody asks: sound as copies in later packets, or as repeats where the receiver takes no RED; the stage as RTX.

use std::time::{Duration, Instant};

use super::{
    super::{allocate::ReceiverGrant, pacer::Class, packet::Forward, slot::Slot, units::Bitrate},
    endpoint::Endpoint,
    way::WIRE_OVERHEAD,
};

/// What two copies add to a voice: its last payloads twice.
const COPIES: Bitrate = Bitrate::kbps(52);
/// What a third one adds.
const COPY: Bitrate = Bitrate::kbps(26);
/// A repeat is the whole packet once more.
const REPEAT: Bitrate = super::plan::VOICE;
/// A second and a third one, where feedback has told of most packets by then: what is there does not go again.
const REPEATS_TOLD: Bitrate = Bitrate::kbps(28);
/// The longest round trip over which it has.
const TOLD_WITHIN: Duration = Duration::from_millis(80);

impl Endpoint {
    /// Of `all` packets more that the receiver speaks of `lost` did not arrive.
    /// True if its voices need redundancy from now on, or do not any more.
    pub(super) fn loss_told(&mut self, now: Instant, lost: u64, all: u64) -> bool {
        // What a full queue drops ends with a lower rate; redundancy would make the queue longer.
        let lost = if self.way.is_queueing() { 0 } else { lost };
        let is_hidden = self.repeats.is_on() && !self.tells_packets();
        self.need.note(now, lost, all, is_hidden)
    }

    /// What redundancy would add to each of its voices, and what more of it; none of what it does not need.
    pub(super) fn redundancy_wanted(&self) -> (Option<Bitrate>, Option<Bitrate>) {
        let (first, more) = if self.takes_copies() {
            (COPIES, COPY)
        } else if self.tells_soon() {
            (REPEAT, REPEATS_TOLD)
        } else {
            (REPEAT, REPEAT)
        };
        let is_needed = self.need.is_on() && !self.audio.is_empty();
        (is_needed.then_some(first), self.need.is_heavy().then_some(more))
    }

    /// Its voices are sent with as much redundancy as it was granted.
    pub(super) fn follow_redundancy(&mut self, grant: &ReceiverGrant) {
        let (copies, repeats) = match (grant.redundancy, grant.third) {
            (false, _) => (0, 0),
            (true, false) => (2, 1),
            (true, true) if self.tells_soon() => (3, 3),
            (true, true) => (3, 2),
        };
        self.audio.iter_mut().for_each(|slot| slot.set_redundancy(copies));
        self.repeats.set(if self.takes_copies() { 0 } else { repeats });
    }

    /// The next packet of sound that is to go once more now.
    pub(super) fn repeat(&mut self, now: Instant) -> Option<Forward> {
        let way = &self.way;
        let forward = self.repeats.poll(now, |forward| way.is_there(forward))?;
        self.way.depart_again(now, &forward);
        if let Some(slot) = self.slot_mut(forward.slot) {
            slot.note_repeat(forward.size);
        }
        Some(forward)
    }

    /// A packet leaves for the first time: as it is to go.
    pub(super) fn departs(&mut self, now: Instant, forward: &mut Forward) {
        self.ahead.note(now, forward);
        self.repeats.begin(now, forward);
    }

    /// The next packet of the stage that goes once more before anybody asks, if it may leave now. Without a playout delay: the one told last stays.
    pub(super) fn repair_ahead(&mut self, now: Instant) -> Option<Forward> {
        while let Some(sequence) = self.ahead.poll(now) {
            let Some(slot) = self.video.first_mut() else {
                continue;
            };
            let Ok(packet) = slot.lost(now, sequence, Duration::ZERO) else {
                continue;
            };
            let bytes = packet.size.saturating_add(WIRE_OVERHEAD);
            // A queue loses more the more is sent; and of what was shown before nobody waits for anything.
            let is_of_use = !self.way.is_queueing() && !slot.is_past(packet.sequence, true);
            if !is_of_use || !self.ahead.spend(now, bytes) {
                continue;
            }
            let Some(header) = slot.again(&packet) else {
                continue;
            };
            let mut forward = packet.forward(self.id, slot.id, header);
            if self.way.pace(now, Class::Repair, &mut forward, packet.size) {
                return Some(forward);
            }
        }
        None
    }

    /// Before a second repeat would go it has told of most packets.
    fn tells_soon(&self) -> bool {
        self.tells_packets() && self.outbound.round_trip() <= TOLD_WITHIN
    }

    /// It takes RED.
    pub(super) fn takes_copies(&self) -> bool {
        self.audio.iter().any(Slot::takes_redundancy)
    }
}
