//! How a seat is taken again by its resume token.

use std::{collections::BTreeSet, time::Instant};

use super::{
    admission,
    effect::{Effect, Grant},
    id::SessionId,
    meeting::{Meeting, Session},
    seat::{Claim, Seat},
};
use crate::protocol::{CloseCode, ErrorCode, Point, ResumedMedia};

impl Meeting {
    /// Takes a seat again, also one that was given up or that a restarted signaling does not know.
    pub(super) fn resume(&mut self, now: Instant, session: SessionId, claim: Claim) -> Result<(), ErrorCode> {
        let Session { person, expired, .. } = self.sessions.get(&session).ok_or(ErrorCode::State)?;
        if claim.room != self.id || claim.subject != person.subject {
            return Err(ErrorCode::BadToken);
        }
        match self.seats.get(&claim.seat) {
            Some(seat) if seat.number != claim.number || seat.subject != claim.subject => {
                return Err(ErrorCode::BadToken);
            }
            Some(_) => {}
            // A token is made when a seat is taken: who was in for longer than its life without a break is still in.
            None if claim.expired => return Err(ErrorCode::TokenExpired),
            // Who is in stays in, also where the line was away for a while; who left is let in by a room token alone.
            None if *expired && self.given_up.is_over(&claim.seat, now) => {
                return Err(ErrorCode::TokenExpired);
            }
            None => self.remake(&claim)?,
        }
        let former = self.seats.get(&claim.seat).and_then(|seat| seat.session);
        if let Some(former) = former {
            // The seat's media from now on is what the former session asked for, and its answer comes to nobody.
            self.abandon_join(former);
        }
        let seat = self.seats.get_mut(&claim.seat).expect("known or just made");
        seat.session = Some(session);
        seat.away_since = None;
        let media = if seat.media {
            ResumedMedia::Kept
        } else {
            ResumedMedia::Lost
        };
        let slots = seat.shown.values().copied().collect();
        if let Some(former) = former.filter(|&former| former != session) {
            self.drop_session(former);
            self.effects.push_back(Effect::Close {
                session: former,
                code: CloseCode::Replaced,
            });
        }
        if let Some(known) = self.sessions.get_mut(&session) {
            known.seat = Some(claim.seat.clone());
        }
        let (points, sequence) = (self.roster.points(), self.roster.sequence());
        let grant = Grant::Resumed {
            media,
            slots,
            points,
            sequence,
            floor: self.floor,
        };
        self.effects.push_back(Effect::Grant {
            to: session,
            claim: Box::new(claim),
            grant: Box::new(grant),
        });
        self.tell_speaker(session);
        self.tell_quality(session);
        Ok(())
    }

    /// A seat that nobody remembers but its token. Its number is its own unless the room began anew meanwhile.
    fn remake(&mut self, claim: &Claim) -> Result<(), ErrorCode> {
        let number_taken = self.roster.point(claim.number).is_some()
            || self
                .joining
                .values()
                .any(|joining| joining.point.number == claim.number)
            || self.by_http.has_number(claim.number);
        if number_taken {
            return Err(ErrorCode::BadToken);
        }
        admission::decide(claim.role, self.taken(), &self.policy)?;
        self.number_max = self.number_max.max(claim.number.get());
        self.seats
            .insert(claim.seat.clone(), Seat::new(claim.number, claim.subject.clone()));
        let delta = self.roster.set(Point {
            number: claim.number,
            name: claim.name.clone(),
            site: claim.site.clone(),
            role: claim.role,
            published: BTreeSet::new(),
            connected: false,
        });
        self.broadcast(delta, None);
        Ok(())
    }
}
