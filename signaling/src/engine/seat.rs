//! Seats: who a session is, what it may claim again later, and what the node keeps for us.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use sfu::{
    control::{RoomId, SEAT_BYTES_MAX, SeatId, SendOrder, SlotChange, SlotQuality, Want},
    engine::id::{PointNumber, SlotId, SourceKind},
};

use super::{
    id::SessionId,
    permissions::{Action, may},
};
use crate::{
    json,
    names::{DisplayName, Role, SiteId},
    protocol::{ErrorCode, Point},
};

/// Who a session is, by its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The token's `sub`.
    pub subject: String,
    /// The token's `name`, to prefill the page.
    pub name: Option<DisplayName>,
    /// The token's `site`.
    pub site: Option<SiteId>,
    /// The token's `role`.
    pub role: Role,
}

/// A seat as its resume token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub room: RoomId,
    /// Which.
    pub seat: SeatId,
    /// Its number.
    pub number: PointNumber,
    /// Of the person: only the same one may claim it.
    pub subject: String,
    /// As shown.
    pub name: DisplayName,
    /// As joined.
    pub site: Option<SiteId>,
    /// As joined.
    pub role: Role,
    /// Its token is past its end: it takes a seat that is held, and makes none.
    pub expired: bool,
}

/// What the node keeps for each seat ([`sfu::control::Join::seat_note`]), so that a restarted signaling knows who sits
/// where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeatNote {
    /// Of the person.
    pub subject: String,
    /// As shown.
    pub name: DisplayName,
    /// As joined.
    pub site: Option<SiteId>,
    /// As joined.
    pub role: Role,
    /// Sources that have a place in the offer.
    pub sources: BTreeSet<SourceKind>,
    /// It is a WHIP session.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whip: bool,
}

impl SeatNote {
    /// As text for the node. Subject (256 bytes at most), name and site keep it far below [`SEAT_BYTES_MAX`].
    pub fn encode(&self) -> String {
        let note = serde_json::to_string(self).expect("keys are text");
        debug_assert!(note.len() <= SEAT_BYTES_MAX);
        note
    }

    /// Reads what a former signaling wrote.
    pub fn decode(text: &str) -> Option<Self> {
        serde_json::from_value(json::parse(text, 4).ok()?).ok()
    }
}

/// A seat that was given.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) number: PointNumber,
    pub(super) subject: String,
    /// Who sits on it now.
    pub(super) session: Option<SessionId>,
    /// Since when nobody does; after the end of its media, since then.
    pub(super) away_since: Option<Instant>,
    /// Sources that have a place in the offer.
    pub(super) sources: BTreeSet<SourceKind>,
    /// The node holds media for it.
    pub(super) media: bool,
    /// The slots its offer has; none if it was made by a former signaling.
    pub(super) slots: Option<BTreeSet<SlotId>>,
    /// What each slot shows.
    pub(super) shown: BTreeMap<SlotId, SlotChange>,
    /// The pictures last wanted; told again to new media.
    pub(super) view: Vec<Want>,
    /// What its slots get, as the node said last.
    pub(super) quality: Option<Vec<SlotQuality>>,
    /// What it is to send, as the node said last.
    pub(super) order: Option<SendOrder>,
    /// Its ETag if it is a WHIP session: nobody sits there, and it ends with its media.
    pub(super) whip: Option<u32>,
}

impl Seat {
    pub(super) fn new(number: PointNumber, subject: String) -> Self {
        Self {
            number,
            subject,
            session: None,
            away_since: None,
            sources: BTreeSet::new(),
            media: false,
            slots: None,
            shown: BTreeMap::new(),
            view: Vec::new(),
            quality: None,
            order: None,
            whip: None,
        }
    }

    /// The media path is gone and with it everything it carried.
    pub(super) fn lose_media(&mut self) {
        self.media = false;
        self.slots = None;
        self.shown.clear();
        self.quality = None;
        self.order = None;
    }
}

/// Most seats of a room that are known as given up. Overflow: the first is forgotten, whose resume token ends first.
const GIVEN_UP_MAX: usize = 4_096;

/// Seats that were given up, and from when on only a room token opens them again.
#[derive(Debug, Default)]
pub(super) struct GivenUp(VecDeque<(SeatId, Instant)>);

impl GivenUp {
    pub(super) fn add(&mut self, seat: SeatId, over: Instant) {
        if self.0.len() >= GIVEN_UP_MAX {
            self.0.pop_front();
        }
        self.0.push_back((seat, over));
    }

    /// A seat may have been taken again and given up once more: the last time counts.
    pub(super) fn is_over(&self, seat: &SeatId, now: Instant) -> bool {
        let last = self.0.iter().rev().find(|(given_up, _)| given_up == seat);
        last.is_some_and(|&(_, over)| over <= now)
    }
}

/// A join that the node has not answered yet.
#[derive(Debug)]
pub(super) struct Joining {
    pub(super) session: SessionId,
    pub(super) request: u32,
    pub(super) seat: SeatId,
    pub(super) point: Point,
    pub(super) sources: BTreeSet<SourceKind>,
    /// Sources that the node was told are on; those of `point` may have changed since.
    pub(super) asked: BTreeSet<SourceKind>,
    pub(super) meanwhile: Meanwhile,
}

/// What happened while a join was asked: news of the seat's former media, should nothing come of the join.
#[derive(Debug, Default)]
pub(super) struct Meanwhile {
    /// Sources that went on or off.
    pub(super) said: BTreeMap<SourceKind, bool>,
    /// It has ended.
    pub(super) lost: bool,
}

impl Joining {
    /// A camera or microphone that is ready only after the offer was sent: it counts from the answer on.
    pub(super) fn publish(&mut self, role: Role, source: SourceKind, on: bool) -> Result<(), ErrorCode> {
        if on && !may(role, Action::Publish) || !self.sources.contains(&source) {
            return Err(ErrorCode::State);
        }
        self.meanwhile.said.insert(source, on);
        if on {
            self.point.published.insert(source);
        } else {
            self.point.published.remove(&source);
        }
        Ok(())
    }
}
