//! One room: who sits in it, what they are told and what the node is told.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use sfu::{
    control::{self, Command, Event, RoomId, RoomPolicy, RoomSnapshot, SeatId},
    engine::id::{PointNumber, SourceKind},
};

use super::{
    effect::Effect,
    id::{AskerId, Op, SessionId},
    network::LineNames,
    quality::Pages,
    roster::Roster,
    seat::{Claim, GivenUp, Joining, Person, Seat},
    whip::{Ask, ByHttp},
};
use crate::protocol::{CloseCode, ErrorCode, Join, Offer, RoomInfo, ServerMessage, Stats, VideoRules, Wants};

/// Clients of an older version know no [`VideoRules`].
const VERSION_WITH_VIDEO: u16 = 2;

/// How long a seat is kept for somebody whose session and media are both gone. Then it is given up.
pub const AWAY_MAX: Duration = Duration::from_secs(60);

/// How long after that who was in may come back without a room token that is good: rain takes a satellite's line away for half an hour, and the
/// token of a long meeting may have ended meanwhile.
pub const RETURN_MAX: Duration = Duration::from_secs(1_800);

/// Something a meeting is told.
#[derive(Debug)]
pub enum Input {
    /// A session showed a good token.
    Enter {
        /// Which.
        session: SessionId,
        /// Of the protocol, as its `hello` says.
        version: u16,
        /// Whose.
        person: Person,
        /// Its room token is past its end: beside its own seat it gets none.
        expired: bool,
        /// Its resume token, if it brought one: the seat it claims, or why not.
        claim: Option<Result<Box<Claim>, ErrorCode>>,
    },
    /// A session asks.
    Ask {
        /// Which.
        session: SessionId,
        /// What.
        request: Request,
    },
    /// An HTTP request, answered by [`Effect::Answer`].
    Http {
        /// Where the answer goes.
        asker: AskerId,
        /// What is asked.
        ask: Ask,
    },
    /// A session is gone. Nothing can be sent to it any more.
    Gone {
        /// Which.
        session: SessionId,
    },
    /// The node is here; what it knows of this room, if anything.
    NodeUp {
        /// From its snapshot.
        room: Option<RoomSnapshot>,
        /// Random: the first ETag of sessions by HTTP that a former signaling made. Nobody knows theirs any more, so it must be none that a client still has.
        etag: u32,
    },
    /// Commands to the node were lost, and no reply or event: what it knows of this room, if anything.
    NodeAgain {
        /// From its snapshot.
        room: Option<RoomSnapshot>,
    },
    /// The node is away; replies that are not here do not come.
    NodeDown,
    /// The reply to a command.
    NodeReply {
        /// Of the command.
        op: Op,
        /// What came of it.
        result: Result<control::Reply, control::ControlError>,
    },
    /// Something happened in the node in this room.
    NodeEvent(Event),
}

/// What a session asks for; `hello` and `ping` do not come this far.
#[derive(Debug)]
pub enum Request {
    /// A seat, or new media for the one it has.
    Join {
        /// What it said.
        join: Box<Join>,
        /// Random name for the seat, should it be a new one.
        seat: SeatId,
    },
    /// ICE restart.
    Restart {
        /// Repeated in the answer.
        id: u32,
        /// The new offer.
        offer: Offer,
    },
    /// Pictures.
    View(Wants),
    /// A source on or off.
    Publish {
        /// Which.
        source: SourceKind,
        /// On or off.
        on: bool,
    },
    /// The floor for a point.
    GiveFloor {
        /// Repeated in an `error`.
        id: u32,
        /// Who is to have it.
        point: PointNumber,
    },
    /// The floor from whoever has it.
    TakeFloor {
        /// Repeated in an `error`.
        id: u32,
    },
    /// What the page says of itself.
    Stats(Stats),
    /// Give up the seat.
    Leave,
}

/// One room.
#[derive(Debug)]
pub struct Meeting {
    pub(super) id: RoomId,
    title: String,
    pub(super) policy: RoomPolicy,
    pub(super) line_names: LineNames,
    pub(super) roster: Roster,
    pub(super) seats: BTreeMap<SeatId, Seat>,
    pub(super) given_up: GivenUp,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// The highest number ever given: numbers are never used again.
    pub(super) number_max: u32,
    pub(super) speaker: Option<PointNumber>,
    /// Who has the floor: always somebody who is in.
    pub(super) floor: Option<PointNumber>,
    /// At most one per session.
    pub(super) joining: BTreeMap<Op, Joining>,
    /// At most one per seat.
    pub(super) restarting: BTreeMap<Op, (SessionId, u32)>,
    /// The node was seen before: seats that it has and we have not were given up meanwhile.
    pub(super) reconciled: bool,
    /// WHIP and WHEP.
    pub(super) by_http: ByHttp,
    pub(super) pages: Pages,
    pub(super) next_op: u64,
    pub(super) effects: VecDeque<Effect>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) person: Person,
    /// Its room token opens no new seat.
    pub(super) expired: bool,
    pub(super) seat: Option<SeatId>,
}

impl Meeting {
    /// An empty room. The node learns of it by [`Input::NodeUp`]. People are told of lines by `line_names`.
    pub fn new(id: RoomId, title: String, policy: RoomPolicy, line_names: LineNames) -> Self {
        Self {
            id,
            title,
            policy,
            line_names,
            roster: Roster::default(),
            seats: BTreeMap::new(),
            given_up: GivenUp::default(),
            sessions: BTreeMap::new(),
            number_max: 0,
            speaker: None,
            floor: None,
            joining: BTreeMap::new(),
            restarting: BTreeMap::new(),
            reconciled: false,
            by_http: ByHttp::default(),
            pages: Pages::default(),
            next_op: 0,
            effects: VecDeque::new(),
        }
    }

    /// How many points are in.
    pub fn points(&self) -> usize {
        self.roster.len()
    }

    /// How many sessions are open, with and without a seat.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// One mutation. Drain [`Self::poll_effect`] afterwards.
    pub fn handle(&mut self, now: Instant, input: Input) {
        match input {
            Input::Enter {
                session,
                version,
                person,
                expired,
                claim,
            } => self.enter(now, session, version, (person, expired), claim),
            Input::Ask { session, request } => {
                let id = request.id();
                if let Err(code) = self.ask(now, session, request) {
                    self.send(session, ServerMessage::Error { id, code });
                }
            }
            Input::Http { asker, ask } => self.ask_http(asker, ask),
            Input::Gone { session } => self.gone(now, session),
            Input::NodeUp { room, etag } => {
                self.by_http.etag = etag;
                self.reconcile(now, room);
            }
            Input::NodeAgain { room } => self.reconcile_again(now, room),
            Input::NodeDown => self.node_down(now),
            Input::NodeReply { op, result } => self.node_reply(now, op, result),
            Input::NodeEvent(event) => self.node_event(now, event),
        }
        self.aim_players();
    }

    /// Gives up the seats of those who were away too long, and tells the node what pages said.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<SeatId> = self
            .seats
            .iter()
            .filter(|(_, seat)| self.release_at(seat).is_some_and(|at| at <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for seat in due {
            self.give_up(seat, now + RETURN_MAX);
        }
        self.tell_pages(now);
        self.aim_players();
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let released = self.seats.values().filter_map(|seat| self.release_at(seat));
        released.chain(self.pages.due).min()
    }

    /// The next thing to do.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A seat whose media goes on is never given up: its page only lost signaling and comes back.
    fn release_at(&self, seat: &Seat) -> Option<Instant> {
        let since = seat.away_since?;
        let point = self.roster.point(seat.number);
        (!point.is_some_and(|point| point.connected)).then(|| since + AWAY_MAX)
    }

    fn enter(
        &mut self,
        now: Instant,
        session: SessionId,
        version: u16,
        (person, expired): (Person, bool),
        claim: Option<Result<Box<Claim>, ErrorCode>>,
    ) {
        let welcome = ServerMessage::Welcome {
            version,
            server: concat!("diemcau ", env!("CARGO_PKG_VERSION")).into(),
            room: RoomInfo {
                id: self.id.clone(),
                title: self.title.clone(),
            },
            name: person.name.clone().map(String::from).unwrap_or_default(),
            site: person.site.clone(),
            role: person.role,
            points: u16::try_from(self.roster.len()).unwrap_or(u16::MAX),
            video: (version >= VERSION_WITH_VIDEO).then(|| VideoRules::of(&self.policy)),
        };
        let known = Session {
            person,
            expired,
            seat: None,
        };
        self.sessions.insert(session, known);
        self.send(session, welcome);
        let Some(claim) = claim else { return };
        let is_stale = expired && claim.as_ref().is_ok_and(|claim| claim.expired);
        if let Err(code) = claim.and_then(|claim| self.resume(now, session, *claim)) {
            // Two tokens past their ends hold no session open beside no seat.
            if !is_stale {
                return self.send(session, ServerMessage::Error { id: None, code });
            }
            self.send(session, ServerMessage::Bye { code });
            self.drop_session(session);
            let code = CloseCode::BadToken;
            self.effects.push_back(Effect::Close { session, code });
        }
    }

    fn gone(&mut self, now: Instant, session: SessionId) {
        self.abandon_join(session);
        let seat = self.sessions.get(&session).and_then(|known| known.seat.clone());
        if let Some(seat) = seat
            .and_then(|id| self.seats.get_mut(&id))
            .filter(|s| s.session == Some(session))
        {
            seat.session = None;
            seat.away_since = Some(now);
        }
        self.drop_session(session);
    }

    /// Nobody waits for the answer any more; a seat that was to be new is given up before it was one.
    pub(super) fn abandon_join(&mut self, session: SessionId) {
        let Some(op) = self
            .joining
            .iter()
            .find(|(_, j)| j.session == session)
            .map(|(&op, _)| op)
        else {
            return;
        };
        let joining = self.joining.remove(&op).expect("just found");
        match self.seats.get_mut(&joining.seat) {
            // The node replaces the old media with some that nobody has the answer to.
            Some(seat) => {
                seat.lose_media();
                let delta = self
                    .roster
                    .update(joining.point.number, |point| point.connected = false);
                self.broadcast(delta, Some(session));
            }
            None => self.command(Command::Leave {
                room: self.id.clone(),
                seat: joining.seat,
            }),
        }
    }

    pub(super) fn drop_session(&mut self, session: SessionId) {
        self.sessions.remove(&session);
        self.restarting.retain(|_, (asking, _)| *asking != session);
    }

    /// Ends a seat: its person left, or was away for too long. From `over` on only a room token opens it again.
    pub(super) fn give_up(&mut self, seat: SeatId, over: Instant) {
        self.release(&seat);
        self.given_up.add(seat, over);
    }

    /// Ends a seat here and in the node.
    pub(super) fn release(&mut self, seat_id: &SeatId) {
        let Some(seat) = self.seats.remove(seat_id) else {
            return;
        };
        self.command(Command::Leave {
            room: self.id.clone(),
            seat: seat_id.clone(),
        });
        if let Some(known) = seat.session.and_then(|session| self.sessions.get_mut(&session)) {
            known.seat = None;
        }
        if self.floor == Some(seat.number) {
            self.set_floor(None);
        }
        let delta = self.roster.remove(seat.number);
        self.broadcast(delta, seat.session);
    }

    /// Seats given, and those being given.
    pub(super) fn taken(&self) -> usize {
        let new = self
            .joining
            .values()
            .filter(|joining| !self.seats.contains_key(&joining.seat))
            .count();
        self.seats.len() + new + self.by_http.publishing()
    }

    pub(super) fn seat_of(&mut self, session: SessionId) -> Result<(SeatId, &mut Seat), ErrorCode> {
        let id = self
            .sessions
            .get(&session)
            .and_then(|known| known.seat.clone())
            .ok_or(ErrorCode::State)?;
        let seat = self.seats.get_mut(&id).ok_or(ErrorCode::Internal)?;
        Ok((id, seat))
    }

    /// The session sits on that seat from now on. False if it is gone.
    pub(super) fn sit(&mut self, session: SessionId, seat_id: &SeatId) -> bool {
        let Some(known) = self.sessions.get_mut(&session) else {
            return false;
        };
        known.seat = Some(seat_id.clone());
        if let Some(seat) = self.seats.get_mut(seat_id) {
            seat.session = Some(session);
            seat.away_since = None;
        }
        true
    }
}
