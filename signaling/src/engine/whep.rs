//! WHEP players: nobody in the meeting, only receivers, each with a picture and a voice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sfu::{
    control::{self, ClientKind, Command, MediaState, Profile, SeatId, SeatSnapshot, Want},
    engine::id::{PointNumber, SlotId, SourceKind, SourceNumber},
};

use super::{
    effect::{Answer, Refusal},
    id::AskerId,
    meeting::Meeting,
    permissions::{Action, may},
    seat::Person,
    whip::Asked,
};
use crate::{
    json,
    names::DisplayName,
    protocol::{ErrorCode, Offer},
};

/// Height that a player wants: it tells none of its own.
const PLAYED_HEIGHT: u16 = 1_080;

/// What a player plays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Played {
    /// Whoever has the floor or speaks, or the screen that is shown; with the voice of whoever speaks, or what goes with the picture.
    Stage,
    /// Camera and voice of the point of that number.
    Number(PointNumber),
    /// Camera and voice of the point of that name, also when it comes again under another number.
    Name(DisplayName),
}

/// A WHEP session.
#[derive(Debug)]
pub(super) struct Player {
    pub(super) number: PointNumber,
    pub(super) subject: String,
    played: Played,
    pub(super) etag: u32,
    /// What the node was told to send it.
    pub(super) aim: Option<Aim>,
}

/// A picture and a voice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Aim {
    picture: Option<SourceNumber>,
    voice: Option<SourceNumber>,
}

/// What the node keeps of a player, so that a restarted signaling knows it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayerNote {
    plays: Played,
    subject: String,
}

impl Meeting {
    pub(super) fn ask_play(
        &mut self,
        asker: AskerId,
        person: Person,
        played: Played,
        seat: SeatId,
        offer: Offer,
    ) -> Result<Option<Answer>, Refusal> {
        if !may(person.role, Action::TakeSeat) {
            return Err(ErrorCode::UnknownRoom.into());
        }
        if played != Played::Stage && self.find_point(&played).is_none() {
            return Err(Refusal::UnknownPoint);
        }
        if self.by_http.playing() >= usize::from(self.policy.players_max) {
            return Err(ErrorCode::RoomFull.into());
        }
        let number = self.next_number()?;
        let note = PlayerNote {
            plays: played.clone(),
            subject: person.subject.clone(),
        };
        let op = self.command_with_reply(Command::Join(Box::new(control::Join {
            room: self.id.clone(),
            seat: seat.clone(),
            number,
            site: person.site.map(String::from),
            rank: Default::default(),
            client: ClientKind::Player,
            profile: Profile::Phone,
            sources: BTreeMap::new(),
            published: Vec::new(),
            offer: offer.into(),
            seat_note: serde_json::to_string(&note).expect("keys are text"),
        })));
        let player = Player {
            number,
            subject: person.subject,
            played,
            etag: 1,
            aim: None,
        };
        self.by_http
            .asked
            .insert(op, (asker, Asked::Play { seat, player }));
        Ok(None)
    }

    /// News of a player's media. False if it is nobody's.
    pub(super) fn player_media(&mut self, seat: &SeatId, state: MediaState) -> bool {
        match state {
            MediaState::Connected => self.by_http.players.contains_key(seat),
            MediaState::Lost => self.by_http.players.remove(seat).is_some(),
        }
    }

    /// Players that the node has no more are gone.
    pub(super) fn lose_players(&mut self, listed: &[SeatSnapshot]) {
        self.by_http.aimed_by = None;
        self.by_http.players.retain(|seat, player| {
            player.aim = None;
            listed.iter().any(|entry| entry.seat == *seat)
        });
    }

    /// A player that the node has, of ours or of a former signaling. False if it is none.
    pub(super) fn reconcile_player(&mut self, entry: &SeatSnapshot) -> bool {
        if self.by_http.players.contains_key(&entry.seat) {
            return true;
        }
        let note = json::parse(&entry.seat_note, 4).ok().filter(|_| !self.reconciled);
        let Some(note) = note.and_then(|note| serde_json::from_value::<PlayerNote>(note).ok()) else {
            return false;
        };
        let player = Player {
            number: entry.number,
            subject: note.subject,
            played: note.plays,
            etag: self.by_http.etag,
            aim: None,
        };
        self.by_http.players.insert(entry.seat.clone(), player);
        true
    }

    /// The point that is meant. A name that several have means the one that came by WHIP, then the one that came first.
    fn find_point(&self, played: &Played) -> Option<PointNumber> {
        match played {
            Played::Stage => None,
            Played::Number(number) => self.roster.point(*number).map(|point| point.number),
            Played::Name(name) => {
                let by_whip = |number| {
                    let mut seats = self.seats.values();
                    seats.any(|seat| seat.number == number && seat.whip.is_some())
                };
                let named = self.roster.iter().filter(|point| point.name == *name);
                named
                    .map(|point| point.number)
                    .min_by_key(|&number| (!by_whip(number), number))
            }
        }
    }

    /// Tells the node what players get, if that is news.
    pub(super) fn aim_players(&mut self) {
        let by = (self.roster.sequence(), self.speaker, self.floor);
        if self.by_http.aimed_by == Some(by) {
            return;
        }
        self.by_http.aimed_by = Some(by);
        let stage = self.stage();
        let mut players = std::mem::take(&mut self.by_http.players);
        for (seat, player) in &mut players {
            let aim = match &player.played {
                Played::Stage => stage,
                played => self.find_point(played).map_or(Aim::NOTHING, Aim::at),
            };
            if player.aim.replace(aim) != Some(aim) {
                self.command_aim(seat, aim);
            }
        }
        self.by_http.players = players;
    }

    fn command_aim(&mut self, seat: &SeatId, aim: Aim) {
        let want = |source| Want {
            slot: SlotId::video(0),
            source,
            height: PLAYED_HEIGHT,
            pinned: true,
        };
        self.command(Command::SetView {
            room: self.id.clone(),
            seat: seat.clone(),
            wants: aim.picture.map(want).into_iter().collect(),
        });
        self.command(Command::SetVoice {
            room: self.id.clone(),
            seat: seat.clone(),
            source: aim.voice,
        });
    }

    /// Who has the floor, else who speaks, else who was there before, else the first: a screen before cameras. The voice is
    /// that of whoever speaks, else of the floor if its microphone is on. Where there is neither, or the floor is who is seen, none
    /// is named, and the node takes what goes with the picture: a film that is shown is heard.
    fn stage(&mut self) -> Aim {
        // Of somebody whose media is gone the last picture would stand there for ever.
        let sends = |number: PointNumber, kind| {
            let point = self.roster.point(number);
            point.is_some_and(|point| point.connected && point.published.contains(&kind))
        };
        let candidates = || {
            let known = [self.floor, self.speaker, self.by_http.stage]
                .into_iter()
                .flatten();
            known.chain(self.roster.iter().map(|point| point.number))
        };
        let first = |kind| {
            candidates()
                .find(|&number| sends(number, kind))
                .map(|n| n.source(kind))
        };
        let picture = first(SourceKind::Screen).or_else(|| first(SourceKind::Camera));
        let shown = picture.map(SourceNumber::point);
        let may_be_heard = |&floor: &PointNumber| Some(floor) != shown && sends(floor, SourceKind::Mic);
        let voice = self.speaker.or(self.floor.filter(may_be_heard));
        let voice = voice.map(|number| number.source(SourceKind::Mic));
        self.by_http.stage = shown;
        Aim { picture, voice }
    }
}

impl Aim {
    const NOTHING: Self = Self {
        picture: None,
        voice: None,
    };

    /// A point, whether it sends already or not.
    fn at(point: PointNumber) -> Self {
        Self {
            picture: Some(point.source(SourceKind::Camera)),
            voice: Some(point.source(SourceKind::Mic)),
        }
    }
}
