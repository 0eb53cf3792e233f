//! What somebody who sits in a meeting, or wants to, asks for: a seat, another path, other pictures, sources on and off.

use std::{collections::BTreeSet, time::Instant};

use sfu::{
    control::{self, ClientKind, Command, SeatId},
    engine::id::{PointNumber, SourceKind},
};

use super::{
    admission,
    effect::Effect,
    id::SessionId,
    meeting::{Meeting, Request},
    permissions::{Action, may, rank},
    seat::{Joining, Meanwhile, SeatNote},
};
use crate::protocol::{CloseCode, ErrorCode, Join, Offer, Point, Wants};

impl Meeting {
    /// Whether that session sits on a seat.
    pub fn has_seat(&self, session: SessionId) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|known| known.seat.is_some())
    }

    pub(super) fn ask(
        &mut self,
        now: Instant,
        session: SessionId,
        request: Request,
    ) -> Result<(), ErrorCode> {
        match request {
            Request::Join { join, seat } => self.join(session, *join, seat),
            Request::Restart { id, offer } => self.restart(session, id, offer),
            Request::View(wants) => self.view(session, wants),
            Request::Publish { source, on } => self.publish(session, source, on),
            Request::GiveFloor { point, .. } => self.give_floor(session, point),
            Request::TakeFloor { .. } => self.take_floor(session),
            Request::Stats(stats) => self.stats(now, session, stats),
            Request::Leave => {
                self.leave(now, session);
                Ok(())
            }
        }
    }

    fn join(&mut self, session: SessionId, join: Join, new_seat: SeatId) -> Result<(), ErrorCode> {
        let known = self.sessions.get(&session).ok_or(ErrorCode::State)?;
        if self.joining.values().any(|joining| joining.session == session) {
            return Err(ErrorCode::State);
        }
        let (person, held) = (known.person.clone(), known.seat.clone());
        let (seat, number) = match held {
            Some(seat) => {
                let number = self.seats.get(&seat).ok_or(ErrorCode::Internal)?.number;
                (seat, number)
            }
            None if known.expired => return Err(ErrorCode::TokenExpired),
            None => {
                admission::decide(person.role, self.taken(), &self.policy)?;
                let number = PointNumber::try_from(self.number_max + 1).map_err(|_| ErrorCode::RoomFull)?;
                self.number_max = number.get();
                (new_seat, number)
            }
        };
        let mut published = join.published;
        published.retain(|_| may(person.role, Action::Publish));
        let sources: BTreeSet<SourceKind> = join.sources.keys().copied().collect();
        let point = Point {
            number,
            name: join.name.clone(),
            site: person.site.clone(),
            role: person.role,
            published: published.clone(),
            connected: false,
        };
        let note = SeatNote {
            subject: person.subject,
            name: join.name,
            site: person.site.clone(),
            role: person.role,
            sources: sources.clone(),
            whip: false,
        };
        let command = Command::Join(Box::new(control::Join {
            room: self.id.clone(),
            seat: seat.clone(),
            number,
            site: person.site.map(String::from),
            rank: rank(person.role),
            client: ClientKind::Page,
            profile: join.profile,
            sources: join
                .sources
                .into_iter()
                .map(|(kind, mid)| (kind, mid.into()))
                .collect(),
            published: published.iter().copied().collect(),
            offer: join.offer.into(),
            seat_note: note.encode(),
        }));
        let op = self.command_with_reply(command);
        self.joining.insert(
            op,
            Joining {
                session,
                request: join.id,
                seat,
                point,
                asked: published,
                sources,
                meanwhile: Meanwhile::default(),
            },
        );
        Ok(())
    }

    fn restart(&mut self, session: SessionId, id: u32, offer: Offer) -> Result<(), ErrorCode> {
        let (seat_id, seat) = self.seat_of(session)?;
        if !seat.media {
            return Err(ErrorCode::State);
        }
        if self.restarting.values().any(|&(asking, _)| asking == session) {
            return Err(ErrorCode::State);
        }
        let command = Command::Restart {
            room: self.id.clone(),
            seat: seat_id,
            offer: offer.into(),
        };
        let op = self.command_with_reply(command);
        self.restarting.insert(op, (session, id));
        Ok(())
    }

    fn view(&mut self, session: SessionId, wants: Wants) -> Result<(), ErrorCode> {
        let wants: Vec<control::Want> = Vec::from(wants).into_iter().map(Into::into).collect();
        let (seat_id, seat) = self.seat_of(session)?;
        if seat
            .slots
            .as_ref()
            .is_some_and(|slots| wants.iter().any(|want| !slots.contains(&want.slot)))
        {
            return Err(ErrorCode::BadMessage);
        }
        seat.view.clone_from(&wants);
        if seat.media {
            self.command(Command::SetView {
                room: self.id.clone(),
                seat: seat_id,
                wants,
            });
        }
        Ok(())
    }

    pub(super) fn publish(
        &mut self,
        session: SessionId,
        source: SourceKind,
        on: bool,
    ) -> Result<(), ErrorCode> {
        let role = self.sessions.get(&session).ok_or(ErrorCode::State)?.person.role;
        if let Some(joining) = self
            .joining
            .values_mut()
            .find(|joining| joining.session == session)
        {
            return joining.publish(role, source, on);
        }
        let (seat_id, seat) = self.seat_of(session)?;
        if on && !may(role, Action::Publish) || !seat.sources.contains(&source) {
            return Err(ErrorCode::State);
        }
        let (number, media) = (seat.number, seat.media);
        let delta = self.roster.update(number, |point| {
            if on {
                point.published.insert(source);
            } else {
                point.published.remove(&source);
            }
        });
        if delta.is_some() && media {
            self.command(Command::SetPublished {
                room: self.id.clone(),
                seat: seat_id,
                source,
                on,
            });
        }
        self.broadcast(delta, None);
        Ok(())
    }

    fn leave(&mut self, now: Instant, session: SessionId) {
        self.abandon_join(session);
        if let Some(seat) = self.sessions.get(&session).and_then(|known| known.seat.clone()) {
            self.give_up(seat, now);
        }
        self.drop_session(session);
        self.push(Effect::Close {
            session,
            code: CloseCode::Left,
        });
    }
}

impl Request {
    /// Repeated in an `error`.
    pub fn id(&self) -> Option<u32> {
        match self {
            Self::Join { join, .. } => Some(join.id),
            Self::Restart { id, .. } | Self::GiveFloor { id, .. } | Self::TakeFloor { id } => Some(*id),
            Self::View(_) | Self::Publish { .. } | Self::Stats(_) | Self::Leave => None,
        }
    }
}
