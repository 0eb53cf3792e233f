//! A slot that turns to a source is served from what the node still has of it, so that a page turns without a wait and
//! without a key frame asked of the sender.

use std::time::{Duration, Instant};

use super::{
    super::{
        id::{EndpointId, MediaKind, SlotId, SourceNumber},
        pacer::Class,
        slot::{Offered, SourcePacket},
    },
    Room,
    endpoint::picture_class,
};

/// A key frame older than this is not worth it: what was captured since then would come in one burst.
const AGE_MAX: Duration = Duration::from_secs(1);
/// Nor is one with more packets from its first to the newest.
const PACKETS_MAX: usize = 60;
/// It must fit what the receiver's way carries in that time, with all that waits: the slots of a page turn together, and what is shown on goes behind them.
/// Whoever finds no room begins with the next key frame, and shows what it showed until then.
const TIME_MAX: Duration = Duration::from_millis(150);
/// The same for the stage or a screen, which goes out before all others.
const TIME_MAX_LARGE: Duration = Duration::from_millis(200);
/// Pictures of the burst are so far apart: a receiver shows the last of them, now.
const APART: Duration = Duration::from_millis(1);

impl Room {
    /// If the slot waits for a key frame that is young and small enough, it gets that one with all that came after it.
    /// True if it did.
    pub(super) fn serve_from_history(&mut self, now: Instant, id: EndpointId, slot_id: SlotId) -> bool {
        let Some((source, packets)) = self.replay_for(now, id, slot_id) else {
            return false;
        };
        let late = self.source(source).map(|source| source.late).unwrap_or_default();
        let Some(endpoint) = self.endpoints.get_mut(id) else {
            return false;
        };
        let mut switched = false;
        for packet in &packets {
            let offered = endpoint.offer(now, slot_id, packet, late, &mut self.stats, &mut self.forwards);
            switched |= matches!(offered, Offered::Switched(_));
            if !switched {
                break;
            }
        }
        if switched {
            self.stats.served_from_history += 1;
            self.touch(id);
        }
        switched
    }

    /// The key frame that the slot could begin with and everything behind it, with times squeezed to end now.
    fn replay_for(
        &self,
        now: Instant,
        id: EndpointId,
        slot_id: SlotId,
    ) -> Option<(SourceNumber, Vec<SourcePacket>)> {
        let endpoint = self.endpoints.get(id).filter(|endpoint| endpoint.connected)?;
        let slot = endpoint
            .slot(slot_id)
            .filter(|slot| slot.id.kind == MediaKind::Video)?;
        let target = slot.target()?;
        let source = self.source(target.source)?;
        if !slot.waits_for(target.source, |layer| source.stream_of(layer)) {
            return None;
        }
        let layer = target.layer?;
        let shown = slot.shown().filter(|shown| shown.source == target.source);
        if shown.is_some_and(|shown| source.is_behind(layer, shown.layer)) {
            return None; // the layer has stopped: its last picture would take the slot back in time
        }
        let mut packets = self.kept(now, target.source, layer)?;
        let bytes: u64 = packets.iter().map(|packet| u64::from(packet.size)).sum();
        let within = match picture_class(slot_id, target.source.kind()) {
            Class::Screen | Class::Stage => TIME_MAX_LARGE,
            _ => TIME_MAX,
        };
        let fits = endpoint.way.takes(packets.len(), bytes, within);
        fits.then(|| {
            squeeze(&mut packets);
            (target.source, packets)
        })
    }

    /// The last key frame of a layer and everything behind it, if it is young, small and whole.
    pub(super) fn kept(&self, now: Instant, number: SourceNumber, layer: u8) -> Option<Vec<SourcePacket>> {
        let source = self.source(number)?;
        let (first, newest) = source.last_key(now, layer, AGE_MAX, &self.histories)?;
        let mut packets = vec![first];
        packets.extend(self.histories.behind(now, first, newest).take(PACKETS_MAX));
        // What the way up still misses would come to a place in the burst that has no time left for it.
        let span = packets.last()?.sequence.0 - first.sequence.0;
        let whole = packets.len() as u64 == span + 1;
        (whole && packets.len() <= PACKETS_MAX).then_some(packets)
    }
}

/// The newest picture keeps its time, those before it follow each other closely up to it.
fn squeeze(packets: &mut [SourcePacket]) {
    let Some(newest) = packets.iter().map(|packet| packet.original.capture).max() else {
        return;
    };
    let mut times: Vec<_> = packets.iter().map(|packet| packet.original.timestamp).collect();
    times.sort_unstable();
    times.dedup();
    for packet in packets {
        let behind = times.len() - times.partition_point(|&time| time <= packet.original.timestamp);
        let apart = APART * u32::try_from(behind).unwrap_or(u32::MAX);
        packet.original.capture = packet.original.capture.max(newest.saturating_sub(apart));
    }
}
