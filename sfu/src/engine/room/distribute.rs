//! From sources to slots: a whole batch of packets at a time, one receiver after the other.
//!
//! What an endpoint keeps of its slots and its way is far larger than a packet. So packets that came together wait here until
//! all are in, then each receiver is gone to once, and what leaves for it leaves in one run. The driver takes some receivers' packets and
//! sends them before it asks for the next: the first does not wait for the last, and what was made is still in the cache when it is written.

use std::{cmp::Reverse, time::Instant};

use super::{
    super::{
        id::{EndpointId, MediaKind, SlotId, SourceNumber},
        outbound::Raised,
        packet::soonest,
        selector::LayerSet,
        seq::Seq,
        slot::{Offered, SourcePacket},
    },
    Room,
    source::{ASK_AGAIN, Admitted, Source, Subscriber},
};

/// Packets that wait for the end of their batch. Full: they are given out, and the batch goes on.
const PENDING_MAX: usize = 256;

/// Packets that came in this batch, and whom they go to.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    /// The pending in the order in which they go out; empty until they do.
    order: Vec<Place>,
    deliveries: Vec<Delivery>,
    /// So many of the deliveries are done.
    given: usize,
    after: After,
}

/// A packet that is kept and not given to slots yet.
#[derive(Debug)]
struct Pending {
    from: EndpointId,
    packet: SourcePacket,
    /// The newest of its stream when it came.
    highest: Seq,
    late: Raised,
}

/// Where a packet stands in the order in which a batch goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Of the largest packet of its source.
    size: Reverse<u16>,
    source: SourceNumber,
    index: u32,
}

/// A packet for a slot.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    to: EndpointId,
    /// Its place in the order in which packets go out.
    place: u32,
    /// Of the packet.
    index: u32,
    slot: SlotId,
}

/// What is to be done when all are given out.
#[derive(Debug, Default)]
struct After {
    /// Of which packet, and who does not show its source any more.
    foreign: Vec<(u32, Subscriber)>,
    /// Of which packet, and who began to show its source.
    switched: Vec<(u32, Subscriber)>,
    /// Packets that waited for room.
    held: Vec<u32>,
    /// Whose stage shows something else.
    moved: Vec<EndpointId>,
}

impl Room {
    /// To every slot that shows or should show its source, at the end of the batch.
    pub(super) fn give_out(&mut self, from: EndpointId, admitted: &Admitted) {
        if self.batch.pending.len() >= PENDING_MAX || self.batch.is_under_way() {
            self.distribute();
        }
        let kind = admitted.packet.of.source.kind();
        let late = self.endpoints.get(from).map(|e| e.source(kind).late);
        self.batch.pending.push(Pending {
            from,
            packet: admitted.packet,
            highest: admitted.highest,
            late: late.unwrap_or_default(),
        });
    }

    /// What happens next must not overtake the batch.
    pub(super) fn distribute(&mut self) {
        self.distribute_some(usize::MAX);
    }

    /// The batch is at its end: it goes to one receiver after the other, until `most` forwards or a few more wait to be taken. True if some receivers
    /// still have none of it.
    pub(super) fn distribute_some(&mut self, most: usize) -> bool {
        if self.batch.pending.is_empty() {
            return false;
        }
        let now = self.now;
        let mut batch = std::mem::take(&mut self.batch);
        if !batch.is_under_way() {
            arrange(&batch.pending, &mut batch.order);
            self.address(&batch.pending, &batch.order, &mut batch.deliveries);
        }
        while let Some(group) = first_group(&batch.deliveries[batch.given..]) {
            if self.forwards.len() >= most {
                self.batch = batch;
                return true;
            }
            self.deliver(now, &batch.pending, group, &mut batch.after);
            batch.given += group.len();
        }
        self.finish_batch(now, &batch.pending, &mut batch.after);
        batch.clear();
        self.batch = batch;
        false
    }

    /// Whom the packets go to, one receiver after the other, each receiver's in that order. Only who may show a packet's layer is
    /// gone to.
    fn address(&self, pending: &[Pending], order: &[Place], deliveries: &mut Vec<Delivery>) {
        let subscribers = |packet: &Pending| {
            let kind = packet.packet.of.source.kind();
            let endpoint = self.endpoints.get(packet.from);
            endpoint.map_or(&[][..], |endpoint| &endpoint.source(kind).subscribers)
        };
        let mut push = |subscriber: &Subscriber, packet: &Pending, index| {
            if packet.is_for(subscriber) {
                deliveries.push(Delivery {
                    to: subscriber.endpoint,
                    place: deliveries.len() as u32,
                    index,
                    slot: subscriber.slot,
                });
            }
        };
        let source = |packet: &Pending| packet.packet.of.source;
        if let Some(first) = pending.first()
            && pending.iter().all(|packet| source(packet) == source(first))
        {
            // The packets of a frame go to the same receivers, as they are.
            for subscriber in subscribers(first) {
                for (packet, index) in pending.iter().zip(0..) {
                    push(subscriber, packet, index);
                }
            }
            return;
        }
        for &Place { index, .. } in order {
            let Some(packet) = pending.get(index as usize) else {
                continue;
            };
            for subscriber in subscribers(packet) {
                push(subscriber, packet, index);
            }
        }
        deliveries.sort_unstable_by_key(|delivery| (delivery.to, delivery.place));
    }

    /// All that came for one receiver.
    fn deliver(&mut self, now: Instant, pending: &[Pending], group: &[Delivery], after: &mut After) {
        let mut rest = group;
        while let [first, ..] = rest {
            let to = first.to;
            let endpoint = self
                .endpoints
                .get_for_packet(to)
                .filter(|endpoint| endpoint.connected);
            let Some(endpoint) = endpoint else {
                after.foreign.extend(rest.iter().map(Delivery::subscriber));
                return;
            };
            let mut switched = None;
            while let [delivery, behind @ ..] = rest {
                rest = behind;
                let Some(Pending { packet, late, .. }) = pending.get(delivery.index as usize) else {
                    continue;
                };
                let offered = endpoint.offer(
                    now,
                    delivery.slot,
                    packet,
                    *late,
                    &mut self.stats,
                    &mut self.forwards,
                );
                match offered {
                    Offered::Switched(_) => {
                        switched = Some(delivery);
                        break;
                    }
                    Offered::Held => after.held.push(delivery.index),
                    Offered::Foreign => after.foreign.push(delivery.subscriber()),
                    Offered::Sent(_) | Offered::NotShown | Offered::Skipped(_) => {}
                }
            }
            if endpoint.take_sooner() {
                self.endpoints.ask(to);
            }
            if let Some(delivery) = switched
                && let Some(first) = pending.get(delivery.index as usize)
            {
                self.touch(to);
                self.cascade.wants_changed(now);
                self.send_behind(now, first, to, delivery.slot);
                after.switched.push(delivery.subscriber());
                if delivery.slot == SlotId::video(0) {
                    after.moved.push(to);
                }
            }
        }
    }

    /// After a switch at a late packet: what came before it and belongs behind it.
    fn send_behind(&mut self, now: Instant, first: &Pending, to: EndpointId, slot: SlotId) {
        let behind = self.histories.behind(now, first.packet, first.highest);
        let Some(endpoint) = self.endpoints.get_mut(to) else {
            return;
        };
        for packet in behind {
            endpoint.offer(
                now,
                slot,
                &packet,
                first.late,
                &mut self.stats,
                &mut self.forwards,
            );
        }
    }

    fn finish_batch(&mut self, now: Instant, pending: &[Pending], after: &mut After) {
        for (index, gone) in after.foreign.drain(..) {
            if let Some(source) = self.source_at(pending, index) {
                source.subscribers.retain(|subscriber| !subscriber.is_of(&gone));
            }
        }
        // Behind who is gone: whoever is given a voice anew subscribes again.
        self.assign_voices_to(now, &after.moved);
        after.moved.clear();
        for (index, subscriber) in after.switched.drain(..) {
            self.narrow(pending, index, subscriber);
        }
        for index in after.held.drain(..) {
            if let Some(source) = self.source_at(pending, index) {
                // By then the queue is empty and the key frame finds a way.
                source.check_at = soonest(source.check_at, Some(now + ASK_AGAIN));
            }
        }
    }

    /// Who shows a packet's source now needs no layers that it showed before.
    fn narrow(&mut self, pending: &[Pending], index: u32, subscriber: Subscriber) {
        let Some(number) = pending.get(index as usize).map(|packet| packet.packet.of.source) else {
            return;
        };
        let endpoint = self.endpoints.get(subscriber.endpoint);
        let Some(slot) = endpoint.and_then(|endpoint| endpoint.slot(subscriber.slot)) else {
            return;
        };
        let layers = slot.may_pass(number);
        if let Some(source) = self.source_at(pending, index) {
            source.narrow(Subscriber { layers, ..subscriber });
        }
    }

    /// Whose packet it is.
    fn source_at(&mut self, pending: &[Pending], index: u32) -> Option<&mut Source> {
        let packet = pending.get(index as usize)?;
        let kind = packet.packet.of.source.kind();
        Some(self.endpoints.get_mut(packet.from)?.source_mut(kind))
    }
}

impl Batch {
    /// Whom the packets go to is decided, and some receivers have none yet.
    pub(super) fn is_under_way(&self) -> bool {
        !self.order.is_empty()
    }

    /// Nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    fn clear(&mut self) {
        self.pending.clear();
        self.order.clear();
        self.deliveries.clear();
        self.given = 0;
    }
}

impl Pending {
    /// Its size, by which its source finds its place; voices have the last.
    fn size_among(&self) -> u16 {
        match self.packet.of.source.kind().media() {
            MediaKind::Video => self.packet.size,
            MediaKind::Audio => 0,
        }
    }

    /// Some of what the slot may show is in it. Of a stream that carries all layers of its source, any packet may be.
    fn is_for(&self, subscriber: &Subscriber) -> bool {
        let video = self.packet.original.video;
        let carries_all = video.is_some_and(|picture| picture.spatial.is_some());
        carries_all || subscriber.layers.has(self.packet.of.layer)
    }
}

/// Those for one receiver.
fn first_group(deliveries: &[Delivery]) -> Option<&[Delivery]> {
    deliveries.chunk_by(|a, b| a.to == b.to).next()
}

/// The order in which a batch goes out: large packets first and voices last, those of a source as they came. A run of the kernel's takes
/// packets of one size and a shorter one behind them, so packets that come to a receiver from many sources make fewer runs.
fn arrange(pending: &[Pending], order: &mut Vec<Place>) {
    order.extend(pending.iter().zip(0..).map(|(packet, index)| Place {
        size: Reverse(packet.size_among()),
        source: packet.packet.of.source,
        index,
    }));
    order.sort_unstable_by_key(|place| (place.source, place.size));
    for of_one in order.chunk_by_mut(|a, b| a.source == b.source) {
        let largest = of_one[0].size;
        of_one.iter_mut().for_each(|place| place.size = largest);
    }
    order.sort_unstable();
}

impl Delivery {
    fn subscriber(&self) -> (u32, Subscriber) {
        let subscriber = Subscriber {
            endpoint: self.to,
            slot: self.slot,
            layers: LayerSet::ALL,
        };
        (self.index, subscriber)
    }
}
