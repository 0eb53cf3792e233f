//! Who comes by HTTP instead of a WebSocket: WHIP sessions (RFC 9725), each a point like any other that receives nothing, and
//! the players of WHEP ([`super::whep`]), who are nobody in the meeting and only receive.
//!
//! Both live as long as their media: the node says when that is lost, and nothing else keeps them or ends them but a DELETE.

use std::collections::BTreeMap;

use sfu::{
    control::{self, ClientKind, Command, Profile, Reply, SeatId},
    engine::id::{PointNumber, SourceKind},
};

use super::{
    admission,
    effect::{Answer, Effect, Refusal},
    id::{AskerId, Op},
    meeting::Meeting,
    permissions::{Action, may, rank},
    seat::{Person, Seat, SeatNote},
    tell::refusal,
    whep::{Played, Player},
};
use crate::{
    names::DisplayName,
    protocol::{ErrorCode, Offer, Point},
};

/// Which of the two a session is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Sends.
    Whip,
    /// Receives.
    Whep,
}

/// A session that is there, and who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Of which kind.
    pub protocol: Protocol,
    /// Its unguessable name.
    pub seat: SeatId,
    /// The token's `sub`: only who made a session may touch it.
    pub subject: String,
}

/// What is asked.
#[derive(Debug)]
pub enum Ask {
    /// A point that sends.
    Publish {
        /// Whose.
        person: Person,
        /// How it is called; none: by the token's name.
        name: Option<DisplayName>,
        /// Random name for the session.
        seat: SeatId,
        /// What it sends.
        offer: Offer,
    },
    /// A player.
    Play {
        /// Whose.
        person: Person,
        /// What it plays.
        played: Played,
        /// Random name for the session.
        seat: SeatId,
        /// What it receives.
        offer: Offer,
    },
    /// Candidates, which an ICE-lite node needs not: whether the session is still the one they are for.
    Trickle {
        /// Which.
        key: Key,
        /// ETags that it may have, those that are none of ours left out.
        etags: Vec<u32>,
    },
    /// ICE restart.
    Restart {
        /// Which.
        key: Key,
        /// The client's new credentials.
        fragment: String,
    },
    /// The end.
    End {
        /// Of which.
        key: Key,
    },
}

/// What a meeting keeps of those who come by HTTP; its WHIP sessions are seats ([`Seat::whip`]).
#[derive(Debug, Default)]
pub(super) struct ByHttp {
    pub(super) players: BTreeMap<SeatId, Player>,
    pub(super) asked: BTreeMap<Op, (AskerId, Asked)>,
    /// What the ETags of sessions begin with that a former signaling made.
    pub(super) etag: u32,
    /// Who was on the stage last.
    pub(super) stage: Option<PointNumber>,
    /// What the players were last aimed by: sequence of the roster, speaker, floor. None: a player is new.
    pub(super) aimed_by: Option<(u64, Option<PointNumber>, Option<PointNumber>)>,
}

/// What the node was asked and has not answered yet.
#[derive(Debug)]
pub(super) enum Asked {
    Publish {
        seat: SeatId,
        point: Point,
        subject: String,
    },
    Play {
        seat: SeatId,
        player: Player,
    },
    Restart(Key),
}

impl ByHttp {
    /// Seats that are being given to publishers.
    pub(super) fn publishing(&self) -> usize {
        let is_publish = |(_, asked): &&(AskerId, Asked)| matches!(asked, Asked::Publish { .. });
        self.asked.values().filter(is_publish).count()
    }

    /// Whether somebody has that number who is not in the roster.
    pub(super) fn has_number(&self, number: PointNumber) -> bool {
        let asked = self.asked.values().any(|(_, asked)| match asked {
            Asked::Publish { point, .. } => point.number == number,
            Asked::Play { player, .. } => player.number == number,
            Asked::Restart(_) => false,
        });
        asked || self.players.values().any(|player| player.number == number)
    }

    pub(super) fn playing(&self) -> usize {
        let is_play = |(_, asked): &&(AskerId, Asked)| matches!(asked, Asked::Play { .. });
        self.players.len() + self.asked.values().filter(is_play).count()
    }
}

impl Meeting {
    /// How many WHIP sessions there are.
    pub fn publishers(&self) -> usize {
        self.seats.values().filter(|seat| seat.whip.is_some()).count()
    }

    /// How many WHEP sessions there are.
    pub fn players(&self) -> usize {
        self.by_http.players.len()
    }

    /// An HTTP request. Answered at once, or when the node answers.
    pub(super) fn ask_http(&mut self, asker: AskerId, ask: Ask) {
        let result = match ask {
            Ask::Publish {
                person,
                name,
                seat,
                offer,
            } => self.ask_publish(asker, person, name, seat, offer),
            Ask::Play {
                person,
                played,
                seat,
                offer,
            } => self.ask_play(asker, person, played, seat, offer),
            Ask::Trickle { key, etags } => self.etag(&key).and_then(|etag| {
                let is_it = etags.contains(etag);
                is_it.then_some(Some(Answer::Matched)).ok_or(Refusal::NotMatched)
            }),
            Ask::Restart { key, fragment } => self.ask_restart(asker, key, fragment),
            Ask::End { key } => self.end(&key).map(|()| Some(Answer::Ended)),
        };
        if let Some(result) = result.transpose() {
            self.push(Effect::Answer { to: asker, result });
        }
    }

    fn ask_publish(
        &mut self,
        asker: AskerId,
        person: Person,
        name: Option<DisplayName>,
        seat: SeatId,
        offer: Offer,
    ) -> Result<Option<Answer>, Refusal> {
        admission::decide(person.role, self.taken(), &self.policy)?;
        if !may(person.role, Action::Publish) {
            return Err(ErrorCode::NotAllowed.into());
        }
        if name.as_ref().is_some_and(|name| self.is_name_taken(name)) {
            return Err(Refusal::NameTaken);
        }
        let name = name
            .or(person.name)
            .or_else(|| DisplayName::try_from("WHIP".to_owned()).ok())
            .ok_or(ErrorCode::BadName)?;
        let number = self.next_number()?;
        let point = Point {
            number,
            name: name.clone(),
            site: person.site.clone(),
            role: person.role,
            published: Default::default(),
            connected: false,
        };
        let note = SeatNote {
            subject: person.subject.clone(),
            name,
            site: person.site.clone(),
            role: person.role,
            sources: [SourceKind::Mic, SourceKind::Camera].into(),
            whip: true,
        };
        let op = self.command_with_reply(Command::Join(Box::new(control::Join {
            room: self.id.clone(),
            seat: seat.clone(),
            number,
            site: person.site.map(String::from),
            rank: rank(person.role),
            client: ClientKind::Publisher,
            profile: Profile::Phone,
            sources: BTreeMap::new(),
            published: Vec::new(),
            offer: offer.into(),
            seat_note: note.encode(),
        })));
        let subject = person.subject;
        let asked = Asked::Publish { seat, point, subject };
        self.by_http.asked.insert(op, (asker, asked));
        Ok(None)
    }

    fn ask_restart(&mut self, asker: AskerId, key: Key, fragment: String) -> Result<Option<Answer>, Refusal> {
        self.etag(&key)?;
        let is_same = |(_, asked): &(AskerId, Asked)| matches!(asked, Asked::Restart(other) if *other == key);
        if self.by_http.asked.values().any(is_same) {
            return Err(ErrorCode::State.into());
        }
        let op = self.command_with_reply(Command::RestartIce {
            room: self.id.clone(),
            seat: key.seat.clone(),
            fragment,
        });
        self.by_http.asked.insert(op, (asker, Asked::Restart(key)));
        Ok(None)
    }

    fn end(&mut self, key: &Key) -> Result<(), Refusal> {
        self.etag(key)?;
        match key.protocol {
            Protocol::Whip => self.release(&key.seat),
            Protocol::Whep => {
                self.by_http.players.remove(&key.seat);
                self.command(Command::Leave {
                    room: self.id.clone(),
                    seat: key.seat.clone(),
                });
            }
        }
        Ok(())
    }

    /// The ETag of a session, for those whose it is.
    fn etag(&mut self, key: &Key) -> Result<&mut u32, Refusal> {
        let found = match key.protocol {
            Protocol::Whip => self
                .seats
                .get_mut(&key.seat)
                .filter(|seat| seat.subject == key.subject)
                .and_then(|seat| seat.whip.as_mut()),
            Protocol::Whep => self
                .by_http
                .players
                .get_mut(&key.seat)
                .filter(|player| player.subject == key.subject)
                .map(|player| &mut player.etag),
        };
        found.ok_or(Refusal::UnknownSession)
    }

    pub(super) fn next_number(&mut self) -> Result<PointNumber, ErrorCode> {
        let number = PointNumber::try_from(self.number_max + 1).map_err(|_| ErrorCode::RoomFull)?;
        self.number_max = number.get();
        Ok(number)
    }

    /// The node's answer to what was asked by HTTP. False if it is none.
    pub(super) fn http_reply(&mut self, op: Op, result: &Result<Reply, control::ControlError>) -> bool {
        let Some((to, asked)) = self.by_http.asked.remove(&op) else {
            return false;
        };
        let result = match (asked, result) {
            (Asked::Publish { seat, point, subject }, Ok(Reply::Joined { answer, sources, .. })) => {
                self.publishes(seat, point, subject, sources);
                Ok(created(answer))
            }
            (Asked::Play { seat, player }, Ok(Reply::Joined { answer, .. })) => {
                self.by_http.players.insert(seat, player);
                self.by_http.aimed_by = None;
                Ok(created(answer))
            }
            (Asked::Restart(key), Ok(Reply::Restarted { answer })) => self.etag(&key).map(|etag| {
                *etag = etag.wrapping_add(1);
                Answer::Restarted {
                    fragment: answer.clone(),
                    etag: *etag,
                }
            }),
            (_, other) => Err(refusal(other).into()),
        };
        self.push(Effect::Answer { to, result });
        true
    }

    /// A WHIP session has its seat: a point that sends from now on.
    fn publishes(&mut self, id: SeatId, mut point: Point, subject: String, sources: &[SourceKind]) {
        point.published = sources.iter().copied().collect();
        let mut seat = Seat::new(point.number, subject);
        seat.media = true;
        seat.whip = Some(1);
        seat.sources.clone_from(&point.published);
        self.seats.insert(id, seat);
        let delta = self.roster.set(point);
        self.broadcast(delta, None);
    }

    /// Nobody answers any more.
    pub(super) fn http_node_down(&mut self) {
        for (to, _) in std::mem::take(&mut self.by_http.asked).into_values() {
            let result = Err(ErrorCode::Unavailable.into());
            self.push(Effect::Answer { to, result });
        }
    }

    fn is_name_taken(&self, name: &DisplayName) -> bool {
        let asked = |(_, asked): &(AskerId, Asked)| matches!(asked, Asked::Publish { point, .. } if point.name == *name);
        self.roster.iter().any(|point| point.name == *name) || self.by_http.asked.values().any(asked)
    }
}

fn created(answer: &str) -> Answer {
    Answer::Created {
        sdp: answer.to_owned(),
        etag: 1,
    }
}
