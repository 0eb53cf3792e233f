//! How seats come up and go: connected, lost, dismissed, buried with their room.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{Key, RoomKey, Seat, Shard};
use crate::{
    control::{Event, MediaState},
    driver::peer::Path,
    engine::{id::EndpointId, packet::Input},
    wire::srtp::Profile,
};

impl Shard {
    pub(super) fn connect(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(seat) = self.seats.get_mut(&endpoint) else {
            return;
        };
        seat.is_connected = true;
        self.tally.connected += 1;
        let is_weak = seat.peer.profile().is_some_and(Profile::is_weak);
        self.tally.connected_weak += u64::from(is_weak);
        let (key, id) = (seat.room, seat.id.clone());
        self.with_room(key, |room| room.handle(now, Input::Connected(endpoint)));
        self.touch(Key::Room(key));
        if let Some(entry) = self.rooms.get(&key) {
            tracing::info!(room = %entry.id, endpoint = endpoint.0, "media connected");
            let room = entry.id.clone();
            self.events.tell(Event::Media {
                room,
                seat: id,
                state: MediaState::Connected,
            });
        }
        // What was told before the seat was answered found nobody who knew the seat.
        self.tell_again(endpoint);
    }

    /// The transport of an endpoint is gone: it leaves, and signaling is told.
    pub(super) fn lose(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(seat) = self.remove(now, endpoint) else {
            return;
        };
        if let Some(entry) = self.rooms.get(&seat.room) {
            tracing::info!(room = %entry.id, endpoint = endpoint.0, "media lost");
            let room = entry.id.clone();
            self.events.tell(Event::Media {
                room,
                seat: seat.id,
                state: MediaState::Lost,
            });
        }
    }

    /// Takes an endpoint out of everything.
    pub(super) fn remove(&mut self, now: Instant, endpoint: EndpointId) -> Option<Seat> {
        let seat = self.seats.remove(&endpoint)?;
        for path in seat.peer.paths() {
            self.demux.release(&path, endpoint);
        }
        self.timers.set(Key::Seat(endpoint), None);
        self.lines.handle_change();
        if let Some(entry) = self.rooms.get_mut(&seat.room) {
            if entry.seats.get(&seat.id) == Some(&endpoint) {
                entry.seats.remove(&seat.id);
            }
            self.with_room(seat.room, |room| room.handle(now, Input::Leave(endpoint)));
            self.touch(Key::Room(seat.room));
            if let Some(entry) = self.rooms.get(&seat.room) {
                self.events.forget_shown(&entry.id, &seat.id);
            }
        }
        Some(seat)
    }

    /// A peer's deadline. Paths that it gave up are forgotten here too: a stranger may have their addresses next.
    pub(super) fn seat_timeout(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(seat) = self.seats.get(&endpoint) else {
            return;
        };
        let before: Vec<Path> = seat.peer.paths().collect();
        self.with_peer(endpoint, |peer| peer.handle_timeout(now));
        let seat = self.seats.get(&endpoint);
        for path in before {
            if !seat.is_some_and(|seat| seat.peer.is_validated(path)) {
                self.demux.release(&path, endpoint);
            }
        }
    }

    /// A room that panicked ends, and all its seats with it.
    pub(super) fn bury(&mut self, now: Instant, key: RoomKey) {
        let Some(entry) = self.rooms.remove(&key) else {
            return;
        };
        tracing::error!(room = %entry.id, seats = entry.seats.len(), "a room failed and is dropped");
        self.tally.room_panics += 1;
        self.closed += entry.room.stats();
        self.names.remove(&entry.id);
        self.relay.forget(entry.tag);
        self.timers.set(Key::Room(key), None);
        for (seat, endpoint) in entry.seats {
            if let Some(mut removed) = self.remove(now, endpoint) {
                self.say_goodbye(now, &mut removed);
            }
            let room = entry.id.clone();
            self.events.tell(Event::Media {
                room,
                seat,
                state: MediaState::Lost,
            });
        }
    }

    /// Tells a client that its association is over.
    pub(super) fn say_goodbye(&mut self, now: Instant, seat: &mut Seat) {
        let told = catch_unwind(AssertUnwindSafe(|| {
            seat.peer.close(now);
            while let Some(transmit) = seat.peer.poll_transmit() {
                self.egress.send(&transmit, &mut self.tally);
            }
        }));
        self.tally.peer_panics += u64::from(told.is_err());
    }

    pub(super) fn close(&mut self, now: Instant) {
        for (_, mut seat) in std::mem::take(&mut self.seats) {
            self.say_goodbye(now, &mut seat);
        }
        self.egress.flush(&mut self.tally);
    }
}
