//! What goes to the other shards that have a room, and what comes from them.

use std::{
    collections::BTreeMap,
    task::{Context, Poll},
    time::Instant,
};

use super::{Key, RoomKey, Shard};
use crate::{
    control::{ControlError, RoomId},
    driver::{
        news::ShardIndex,
        relay::{End, RoomTag},
        tally::Tally,
    },
    engine::cascade::{CascadeBatch, LinkId},
};

/// Parcels taken from each other shard in one turn; the rest waits for the next. There are no more unless this shard is far behind.
const PARCELS_PER_TURN: usize = 16;

/// Emptied batches that are kept for the next turns. More are let go.
const SPARES_MAX: usize = 8;

/// The ends of links that this shard has.
#[derive(Default)]
pub(super) struct Relay {
    ends: BTreeMap<LinkId, End>,
    /// Rooms that other shards have too.
    rooms: BTreeMap<RoomTag, RoomKey>,
    spares: Vec<CascadeBatch>,
}

impl Relay {
    /// Ready when something came. Every end is asked, so that each of them wakes us.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends.values_mut();
        let ready = ends.filter_map(|end| end.poll_ready(context).is_ready().then_some(()));
        match ready.count() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    /// Hands over what rooms had to say in this turn.
    pub(super) fn flush(&mut self, tally: &mut Tally) {
        for end in self.ends.values_mut() {
            tally.cascade_dropped += end.flush(&mut self.spares);
        }
        self.spares.truncate(SPARES_MAX);
    }

    /// A room is gone.
    pub(super) fn forget(&mut self, room: RoomTag) {
        self.rooms.remove(&room);
    }
}

impl Shard {
    /// There is a way to another shard now; a former one to the same place is over.
    pub(super) fn connect_shard(&mut self, now: Instant, end: End) {
        let link = link_id(end.far);
        if self.relay.ends.insert(link, end).is_some() {
            self.unlink_all(now, link);
        }
    }

    /// Another shard has the room too, or again.
    pub(super) fn link(&mut self, now: Instant, room: &RoomId, far: ShardIndex) -> Result<(), ControlError> {
        let key = *self.names.get(room).ok_or(ControlError::UnknownRoom)?;
        if !self.relay.ends.contains_key(&link_id(far)) {
            // That one failed meanwhile.
            return Err(ControlError::Unavailable);
        }
        let entry = self.rooms.get_mut(&key).ok_or(ControlError::UnknownRoom)?;
        entry.links.insert(link_id(far));
        self.relay.rooms.insert(entry.tag, key);
        self.tell_room(key, |room| room.link(now, link_id(far)));
        Ok(())
    }

    /// Another shard has closed the room.
    pub(super) fn unlink(&mut self, now: Instant, room: &RoomId, far: ShardIndex) {
        if let Some(&key) = self.names.get(room) {
            self.unlink_room(now, key, link_id(far));
        }
    }

    fn unlink_room(&mut self, now: Instant, key: RoomKey, link: LinkId) {
        let entry = self.rooms.get_mut(&key);
        if entry.is_some_and(|entry| entry.links.remove(&link)) {
            self.tell_room(key, |room| room.unlink(now, link));
        }
    }

    fn unlink_all(&mut self, now: Instant, link: LinkId) {
        let rooms: Vec<RoomKey> = self.relay.rooms.values().copied().collect();
        for key in rooms {
            self.unlink_room(now, key, link);
        }
    }

    /// Takes what other shards handed over.
    pub(super) fn take_parcels(&mut self, now: Instant) {
        let links: Vec<LinkId> = self.relay.ends.keys().copied().collect();
        for link in links {
            for _ in 0..PARCELS_PER_TURN {
                let end = self.relay.ends.get_mut(&link);
                let Some(parcel) = end.and_then(End::receive) else {
                    break;
                };
                for (tag, batch) in &parcel {
                    // One that was closed meanwhile is of no interest.
                    if let Some(&key) = self.relay.rooms.get(tag) {
                        self.with_room(key, |room| room.handle_cascade(now, link, batch));
                        self.touch(Key::Room(key));
                    }
                }
                if let Some(end) = self.relay.ends.get(&link) {
                    end.give_back(parcel);
                }
            }
            if self.relay.ends.get(&link).is_some_and(End::is_over) {
                self.relay.ends.remove(&link);
                self.unlink_all(now, link);
            }
        }
    }

    /// What came in this turn goes to the shards that want it before anything is sent from here: so all of them send at the same time.
    pub(super) fn hand_over(&mut self, now: Instant) {
        for at in 0..self.touched.len() {
            if let Some(&Key::Room(room)) = self.touched.get(at) {
                self.drain_links(now, room);
            }
        }
        self.relay.flush(&mut self.tally);
    }

    /// What a room has for its other halves.
    pub(super) fn drain_links(&mut self, now: Instant, key: RoomKey) {
        let tag = match self.rooms.get(&key) {
            Some(entry) if !entry.links.is_empty() => entry.tag,
            _ => return,
        };
        loop {
            let mut batch = self.relay.spares.pop().unwrap_or_default();
            let polled = self.with_room(key, |room| room.poll_cascade(now, &mut batch));
            let Some(link) = polled.flatten() else {
                self.relay.spares.push(batch);
                return;
            };
            let packets = batch.packets() as u64;
            let dropped = match self.relay.ends.get_mut(&link) {
                Some(end) => end.add(tag, batch, &mut self.relay.spares),
                None => packets,
            };
            self.tally.cascade_dropped += dropped;
        }
    }
}

/// A link is named by the shard at its other end.
fn link_id(far: ShardIndex) -> LinkId {
    LinkId(u8::try_from(far.0).unwrap_or(u8::MAX))
}
