//! How seats come and go: joined, connected, lost, buried with their room.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use super::{Done, Key, Newcomer, RoomKey, Seat, Shard, kept::Kept};
use crate::{
    control::{ControlError, Event, MediaState},
    driver::{
        peer::{Path, Peer},
        quality::Flow,
    },
    engine::{
        id::{EndpointId, MediaKind},
        packet::{Input, NewEndpoint},
        room::JoinRefused,
    },
    wire::srtp::Profile,
};

impl Shard {
    pub(super) fn join(&mut self, now: Instant, newcomer: Newcomer) -> Result<Done, ControlError> {
        let key = self
            .names
            .get(&newcomer.room)
            .copied()
            .ok_or(ControlError::UnknownRoom)?;
        let entry = self.rooms.get(&key).ok_or(ControlError::UnknownRoom)?;
        let former = entry.seats.get(&newcomer.seat).copied();
        self.check_join(key, former, &newcomer)?;
        if let Some(former) = former {
            self.dismiss(now, former);
        }
        self.events.forget(&newcomer.room, &newcomer.seat);
        let Newcomer {
            seat: id,
            number,
            endpoint,
            media,
            ..
        } = newcomer;
        let sources = media.sources.iter().map(|source| source.kind).collect();
        let slots = media.slots.iter().map(|slot| slot.slot);
        let seat = Seat {
            room: key,
            id: id.clone(),
            number,
            note: newcomer.note,
            way: self.lines.way(newcomer.site.as_deref()),
            site: newcomer.site,
            sources,
            video_slots: slots.filter(|slot| slot.kind == MediaKind::Video).collect(),
            plan: newcomer.plan,
            peer: Peer::new(now, &self.identity, newcomer.credentials, newcomer.remote),
            handshakes: 0,
            is_connected: false,
            is_touched: false,
            quality: None,
            order: None,
            sent: Flow::new(now),
            received: Flow::new(now),
            kept: Kept::default(),
        };
        let lines = seat.way.clone();
        self.lines.handle_change();
        self.seats.insert(endpoint, seat);
        if let Some(entry) = self.rooms.get_mut(&key) {
            entry.seats.insert(id, endpoint);
            entry.number_max = entry.number_max.max(number.get());
        }
        let (published, origins) = (newcomer.published, newcomer.origins);
        let new = Box::new(NewEndpoint {
            endpoint,
            number,
            published,
            rank: newcomer.rank,
            way_start: newcomer.way_start,
            lines,
            media,
            origins,
        });
        self.tell_room(key, |room| room.handle(now, Input::Join(new)));
        self.touch(Key::Seat(endpoint));
        tracing::info!(room = %newcomer.room, endpoint = endpoint.0, number = number.get(), "joined");
        Ok(Done::Nothing)
    }

    /// Whether a newcomer would be taken; `former` is the seat's media that it replaces.
    fn check_join(
        &mut self,
        key: RoomKey,
        former: Option<EndpointId>,
        newcomer: &Newcomer,
    ) -> Result<(), ControlError> {
        // The same seat keeps its number for life.
        let former_number = former
            .and_then(|former| self.seats.get(&former))
            .map(|seat| seat.number);
        if former_number.is_some_and(|number| number != newcomer.number) {
            return Err(ControlError::NumberTaken);
        }
        let checked = former.unwrap_or(newcomer.endpoint);
        match self.with_room(key, |room| room.check_join(checked, newcomer.number)) {
            Some(Ok(())) => Ok(()),
            Some(Err(JoinRefused::Full)) => Err(ControlError::RoomFull),
            Some(Err(JoinRefused::NumberTaken)) => Err(ControlError::NumberTaken),
            None => Err(ControlError::Unavailable),
        }
    }

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
            let state = MediaState::Connected;
            let event = Event::Media {
                room,
                seat: id,
                state,
            };
            self.events.tell(Some(endpoint), event);
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
            let state = MediaState::Lost;
            let seat = seat.id;
            self.events
                .tell(Some(endpoint), Event::Media { room, seat, state });
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
        // It is asked for the last time, in whatever state it is.
        let stats = catch_unwind(AssertUnwindSafe(|| entry.room.stats()));
        self.closed += stats.unwrap_or_default();
        self.names.remove(&entry.id);
        self.relay.forget(entry.tag);
        self.timers.set(Key::Room(key), None);
        for (seat, endpoint) in entry.seats {
            if let Some(mut removed) = self.remove(now, endpoint) {
                self.say_goodbye(now, &mut removed);
            }
            let room = entry.id.clone();
            let state = MediaState::Lost;
            self.events
                .tell(Some(endpoint), Event::Media { room, seat, state });
        }
        let (room, number) = (entry.id, None);
        self.events.tell(None, Event::Speaker { room, number });
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
