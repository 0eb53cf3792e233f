//! What a meeting does with what the node says: replies, events, and the reconciliation after one of them was away.

use std::{collections::BTreeMap, time::Instant};

use sfu::{
    control::{Command, ControlError, Event, MediaState, Reply, RoomSnapshot, SeatId, SeatSnapshot},
    engine::id::PointNumber,
};

use super::{
    effect::{Effect, Grant},
    id::Op,
    meeting::Meeting,
    seat::{Claim, Joining, Meanwhile, Seat, SeatNote},
    tell::refusal,
};
use crate::protocol::{CloseCode, ErrorCode, Point, ServerMessage};

impl Meeting {
    pub(super) fn node_reply(&mut self, now: Instant, op: Op, result: Result<Reply, ControlError>) {
        if self.http_reply(op, &result) {
            return;
        }
        if let Some(joining) = self.joining.remove(&op) {
            match result {
                Ok(Reply::Joined { answer, slots, .. }) => self.joined(joining, answer, slots),
                other => self.not_joined(now, joining, refusal(&other)),
            }
        } else if let Some((session, id)) = self.restarting.remove(&op) {
            let message = match result {
                Ok(Reply::Restarted { answer }) => ServerMessage::Restarted { id, answer },
                other => ServerMessage::Error {
                    id: Some(id),
                    code: refusal(&other),
                },
            };
            self.send(session, message);
        }
    }

    fn joined(&mut self, joining: Joining, answer: String, slots: BTreeMap<sfu::engine::id::SlotId, String>) {
        let Joining {
            session,
            request,
            seat: seat_id,
            point,
            asked,
            sources,
            ..
        } = joining;
        let Some(subject) = self.subject(session) else {
            return;
        };
        let seat = self
            .seats
            .entry(seat_id.clone())
            .or_insert_with(|| Seat::new(point.number, subject.clone()));
        seat.lose_media();
        seat.media = true;
        seat.sources = sources;
        seat.slots = Some(slots.keys().copied().collect());
        seat.view.retain(|want| slots.contains_key(&want.slot));
        let wants = seat.view.clone();
        self.sit(session, &seat_id);
        let claim = Claim {
            room: self.id.clone(),
            seat: seat_id.clone(),
            number: point.number,
            subject,
            name: point.name.clone(),
            site: point.site.clone(),
            role: point.role,
            expired: false,
        };
        let published = point.published.clone();
        let delta = self.roster.set(point);
        let (points, sequence) = (self.roster.points(), self.roster.sequence());
        let grant = Grant::Joined {
            id: request,
            answer,
            slots,
            points,
            sequence,
            floor: self.floor,
        };
        self.push(Effect::Grant {
            to: session,
            claim: Box::new(claim),
            grant: Box::new(grant),
        });
        self.broadcast(delta, Some(session));
        self.tell_speaker(session);
        for source in published.symmetric_difference(&asked).copied() {
            self.command(Command::SetPublished {
                room: self.id.clone(),
                seat: seat_id.clone(),
                source,
                on: published.contains(&source),
            });
        }
        if !wants.is_empty() {
            self.command(Command::SetView {
                room: self.id.clone(),
                seat: seat_id,
                wants,
            });
        }
    }

    /// Nothing came of a join: a seat that was there has the media it had, and what was kept back of that.
    fn not_joined(&mut self, now: Instant, joining: Joining, code: ErrorCode) {
        let Joining {
            session,
            request,
            seat,
            meanwhile: Meanwhile { said, lost },
            ..
        } = joining;
        let id = Some(request);
        self.send(session, ServerMessage::Error { id, code });
        for (source, on) in said {
            // Sources that only the new media would have had are none.
            let _ = self.publish(session, source, on);
        }
        if lost {
            self.media_event(now, &seat, MediaState::Lost);
        }
    }

    pub(super) fn node_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Media { seat, state, .. } => self.media_event(now, &seat, state),
            Event::Slots { seat, changes, .. } => {
                let Some(known) = self.seats.get_mut(&seat) else {
                    return;
                };
                for change in &changes {
                    known.shown.insert(change.slot, *change);
                }
                if let Some(session) = known.session {
                    self.send(session, ServerMessage::Slots { slots: changes });
                }
            }
            Event::Quality { seat, slots, .. } => self.quality_event(&seat, slots),
            Event::Send { seat, order, .. } => self.send_event(&seat, order),
            Event::Speaker { number, .. } => self.set_speaker(number),
        }
    }

    fn set_speaker(&mut self, number: Option<PointNumber>) {
        if self.speaker != number {
            self.speaker = number;
            self.broadcast(Some(ServerMessage::Speaker { number }), None);
        }
    }

    fn media_event(&mut self, now: Instant, seat_id: &SeatId, state: MediaState) {
        let mut joining = self.joining.values_mut();
        if state == MediaState::Lost
            && let Some(joining) = joining.find(|joining| joining.seat == *seat_id)
        {
            // While new media is being asked for, the end of the old one is no news, unless there is no new one.
            joining.meanwhile.lost = true;
            return;
        }
        if self.player_media(seat_id, state) {
            return;
        }
        let Some(seat) = self.seats.get_mut(seat_id) else {
            return;
        };
        if state == MediaState::Lost && seat.whip.is_some() {
            return self.release(seat_id);
        }
        let (number, session) = (seat.number, seat.session);
        match state {
            MediaState::Connected => seat.media = true,
            MediaState::Lost => {
                seat.lose_media();
                // A page whose session went long ago has its time from the end of its media on.
                seat.away_since = seat.session.is_none().then_some(now);
            }
        }
        if let Some(session) = session {
            self.send(session, ServerMessage::Media { state });
        }
        let delta = self
            .roster
            .update(number, |point| point.connected = state == MediaState::Connected);
        self.broadcast(delta, None);
    }

    pub(super) fn node_down(&mut self, now: Instant) {
        let code = ErrorCode::Unavailable;
        for (_, joining) in std::mem::take(&mut self.joining) {
            self.not_joined(now, joining, code);
        }
        for (_, (session, id)) in std::mem::take(&mut self.restarting) {
            self.send(session, ServerMessage::Error { id: Some(id), code });
        }
        self.http_node_down();
    }

    /// After one side was away.
    pub(super) fn reconcile(&mut self, now: Instant, room: Option<RoomSnapshot>) {
        self.node_down(now);
        self.make_equal(now, room);
    }

    /// While both are there: every reply that came before the snapshot is known, and who waits for one goes on waiting.
    pub(super) fn reconcile_again(&mut self, now: Instant, mut room: Option<RoomSnapshot>) {
        if let Some(room) = &mut room {
            // Of a join that was given up: nobody has the answer that its media goes with.
            let is_nobodys = |seat: &SeatId| self.seats.get(seat).is_some_and(|seat| !seat.media);
            room.seats.retain(|entry| !is_nobodys(&entry.seat));
        }
        self.make_equal(now, room);
    }

    /// Makes both sides' ideas of the room equal; running it again changes nothing more.
    fn make_equal(&mut self, now: Instant, room: Option<RoomSnapshot>) {
        self.command(Command::OpenRoom {
            room: self.id.clone(),
            policy: self.policy.clone(),
        });
        let floor = room.as_ref().and_then(|room| room.floor);
        let speaker = room.as_ref().and_then(|room| room.speaker);
        let (number_max, listed) = room.map_or((0, Vec::new()), |room| (room.number_max, room.seats));
        let is_first = !self.reconciled;
        self.number_max = self.number_max.max(number_max);
        self.lose_players(&listed);
        let mut missing: Vec<SeatId> = self
            .seats
            .iter()
            .filter(|(_, seat)| seat.media)
            .map(|(id, _)| id.clone())
            .collect();
        for entry in listed {
            missing.retain(|seat| *seat != entry.seat);
            if self.reconcile_player(&entry) {
                continue;
            }
            if self.seats.contains_key(&entry.seat) {
                self.reconcile_known(entry);
            } else if self.reconciled {
                self.command(Command::Leave {
                    room: self.id.clone(),
                    seat: entry.seat,
                });
            } else {
                self.reconcile_unknown(now, entry);
            }
        }
        self.reconciled = true;
        for seat in missing {
            self.media_event(now, &seat, MediaState::Lost);
        }
        self.reconcile_floor(floor, is_first);
        // What changed while nobody was told.
        self.set_speaker(speaker);
    }

    /// A seat of ours: the node is right about media, we about what is published and wanted.
    fn reconcile_known(&mut self, entry: SeatSnapshot) {
        if self.joining.values().any(|joining| joining.seat == entry.seat) {
            // New media is asked for and is told everything by itself.
            return;
        }
        let seat = self.seats.get_mut(&entry.seat).expect("asked by the caller");
        if seat.number != entry.number {
            self.command(Command::Leave {
                room: self.id.clone(),
                seat: entry.seat,
            });
            return;
        }
        seat.media = true;
        seat.shown = entry.slots.iter().map(|change| (change.slot, *change)).collect();
        let (number, session, sources) = (seat.number, seat.session, seat.sources.clone());
        // What a page wanted of a former signaling is known to the node alone.
        let view = Some(seat.view.clone()).filter(|view| seat.slots.is_some() || !view.is_empty());
        if let Some(session) = session {
            self.send(session, ServerMessage::Slots { slots: entry.slots });
        }
        let wanted = self
            .roster
            .point(number)
            .map(|point| point.published.clone())
            .unwrap_or_default();
        for source in sources {
            let on = wanted.contains(&source);
            if on != entry.published.contains(&source) {
                let (room, seat) = (self.id.clone(), entry.seat.clone());
                self.command(Command::SetPublished {
                    room,
                    seat,
                    source,
                    on,
                });
            }
        }
        if let Some(wants) = view {
            self.command(Command::SetView {
                room: self.id.clone(),
                seat: entry.seat,
                wants,
            });
        }
        let delta = self
            .roster
            .update(number, |point| point.connected = entry.connected);
        self.broadcast(delta, None);
    }

    /// Media that runs comes before a seat that was only claimed: of a full room the newest such claim is given up, and its
    /// page comes back to hear that the room is full.
    fn make_room(&mut self) {
        if self.taken() < usize::from(self.policy.points_max) {
            return;
        }
        let claimed = self
            .seats
            .iter()
            .filter(|(_, seat)| !seat.media)
            .max_by_key(|(_, seat)| seat.number)
            .map(|(id, _)| id.clone());
        let Some(claimed) = claimed else { return };
        let session = self.seats.get(&claimed).and_then(|seat| seat.session);
        self.release(&claimed);
        if let Some(session) = session {
            self.abandon_join(session);
            self.drop_session(session);
            self.push(Effect::Close {
                session,
                code: CloseCode::GoingAway,
            });
        }
    }

    /// A seat that a former signaling gave: its note says whose it is, and its session has [`super::meeting::AWAY_MAX`]
    /// to come back. A note that cannot be read, or a number that is another's, ends the seat. Where the cap is lower than it was
    /// it stays: newcomers are refused until so many have left.
    fn reconcile_unknown(&mut self, now: Instant, entry: SeatSnapshot) {
        let taken = self.roster.point(entry.number).is_some();
        let note = SeatNote::decode(&entry.seat_note).filter(|_| !taken);
        let Some(note) = note else {
            self.command(Command::Leave {
                room: self.id.clone(),
                seat: entry.seat,
            });
            return;
        };
        self.make_room();
        self.number_max = self.number_max.max(entry.number.get());
        let mut seat = Seat::new(entry.number, note.subject);
        seat.whip = note.whip.then_some(self.by_http.etag);
        seat.away_since = Some(now).filter(|_| !note.whip);
        seat.sources = note.sources;
        seat.media = true;
        seat.shown = entry
            .slots
            .into_iter()
            .map(|change| (change.slot, change))
            .collect();
        self.seats.insert(entry.seat, seat);
        let delta = self.roster.set(Point {
            number: entry.number,
            name: note.name,
            site: note.site,
            role: note.role,
            published: entry.published.into_iter().collect(),
            connected: entry.connected,
        });
        self.broadcast(delta, None);
    }
}
