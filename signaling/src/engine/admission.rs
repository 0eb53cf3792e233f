//! Who gets a seat, and how fast: joins pass through a token bucket, and those it has none for stand in one line in the
//! order they came, told their place. So a thousand pages that come at once cost the node no more in a second than it
//! can take beside its running meetings.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use sfu::{
    control::{RoomPolicy, SeatId},
    engine::id::SourceKind,
};

use super::{
    id::SessionId,
    permissions::{Action, may},
};
use crate::{
    names::Role,
    protocol::{ErrorCode, Join},
};

/// Most joins that stand in line. Overflow: a further one is refused with [`ErrorCode::Unavailable`].
pub const LINE_MAX: usize = 1_000;

/// Most bytes of the offers in the line; overflow as above.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// How often everybody in the line is told its place. A client that hears nothing for longer takes its join for lost.
pub const PLACES_EVERY: Duration = Duration::from_secs(1);

/// Whether a newcomer of that role may take a seat in a room where `taken` seats are given or being given.
///
/// # Errors
/// [`ErrorCode::RoomFull`] at the room's cap, [`ErrorCode::UnknownRoom`] if the room is not open to the role.
pub fn decide(role: Role, taken: usize, policy: &RoomPolicy) -> Result<(), ErrorCode> {
    if !may(role, Action::TakeSeat) {
        return Err(ErrorCode::UnknownRoom);
    }
    if taken >= usize::from(policy.points_max) {
        return Err(ErrorCode::RoomFull);
    }
    Ok(())
}

/// How fast joins pass, in all rooms together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Joins in a second, from 1.
    pub per_second: u16,
    /// Joins that pass at once after a pause, from 1.
    pub burst: u16,
}

impl Default for Pace {
    /// A handshake costs the node a millisecond or so of CPU: 200 in a second are a fifth of a core. A whole province of
    /// 239 points passes at once.
    fn default() -> Self {
        Self {
            per_second: 200,
            burst: 300,
        }
    }
}

/// A token bucket: it fills with `per_second` tokens up to `burst`. Kept as the time at which it would be full (the
/// generic cell rate algorithm), so nothing has to run while nobody asks.
#[derive(Debug)]
struct Bucket {
    interval: Duration,
    depth: Duration,
    full_at: Option<Instant>,
}

impl Bucket {
    fn new(pace: Pace) -> Self {
        let interval = Duration::from_secs(1) / u32::from(pace.per_second.max(1));
        Self {
            interval,
            depth: interval * u32::from(pace.burst.max(1) - 1),
            full_at: None,
        }
    }

    /// When the next token is there; none: now, and ever since.
    fn next(&self) -> Option<Instant> {
        self.full_at.and_then(|at| at.checked_sub(self.depth))
    }

    fn take(&mut self, now: Instant) -> bool {
        if self.next().is_some_and(|at| at > now) {
            return false;
        }
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)) + self.interval);
        true
    }
}

/// A join that wants to pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Asking {
    /// Who asks.
    pub session: SessionId,
    /// What it said.
    pub join: Box<Join>,
    /// Random name for the seat, should it be a new one.
    pub seat: SeatId,
}

/// What becomes of a join.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// It passes now.
    Passes(Asking),
    /// It stands in line.
    Waits {
        /// From 1.
        place: u32,
        /// An older join of the same session whose place it took; to be refused with [`ErrorCode::State`].
        replaced: Option<u32>,
    },
    /// The line is full; to be refused with [`ErrorCode::Unavailable`].
    Full(Asking),
}

/// Where somebody stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Who.
    pub session: SessionId,
    /// Of its `join`.
    pub join: u32,
    /// From 1.
    pub place: u32,
}

/// The door to all rooms: one bucket, one line.
#[derive(Debug)]
pub struct Admission {
    bucket: Bucket,
    line: VecDeque<Asking>,
    bytes: usize,
    /// When the line was last told its places, or began.
    told_at: Option<Instant>,
}

impl Admission {
    /// An open door and nobody before it.
    pub fn new(pace: Pace) -> Self {
        Self {
            bucket: Bucket::new(pace),
            line: VecDeque::new(),
            bytes: 0,
            told_at: None,
        }
    }

    /// Somebody wants a seat, or new media for the one it has: both cost the node the same. Nobody passes those who wait.
    pub fn ask(&mut self, now: Instant, asking: Asking) -> Answer {
        if let Some(at) = self.position(asking.session) {
            let waiting = &mut self.line[at];
            let replaced = Some(waiting.join.id);
            self.bytes = self.bytes - waiting.join.offer.len() + asking.join.offer.len();
            *waiting = asking;
            let place = place(at);
            return Answer::Waits { place, replaced };
        }
        if self.line.is_empty() && self.bucket.take(now) {
            return Answer::Passes(asking);
        }
        let bytes = self.bytes + asking.join.offer.len();
        if self.line.len() >= LINE_MAX || bytes > LINE_BYTES_MAX {
            return Answer::Full(asking);
        }
        if self.line.is_empty() {
            self.told_at = Some(now);
        }
        self.bytes = bytes;
        self.line.push_back(asking);
        Answer::Waits {
            place: place(self.line.len() - 1),
            replaced: None,
        }
    }

    /// The next of the line whose turn has come. To be asked until there is none.
    pub fn poll_passed(&mut self, now: Instant) -> Option<Asking> {
        if self.line.is_empty() || !self.bucket.take(now) {
            return None;
        }
        let asking = self.line.pop_front()?;
        self.bytes -= asking.join.offer.len();
        Some(asking)
    }

    /// Where everybody stands, when it is time to tell; otherwise nobody.
    pub fn places(&mut self, now: Instant) -> impl Iterator<Item = Place> + '_ {
        let is_due = self.places_at().is_some_and(|at| at <= now);
        if is_due {
            self.told_at = Some(now);
        }
        let told = if is_due { self.line.len() } else { 0 };
        let waiting = self.line.iter().take(told).enumerate();
        waiting.map(|(at, asking)| Place {
            session: asking.session,
            join: asking.join.id,
            place: place(at),
        })
    }

    /// When [`Self::poll_passed`] or [`Self::places`] has something.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let turn = (!self.line.is_empty()).then(|| self.bucket.next().unwrap_or(now));
        turn.into_iter().chain(self.places_at()).min()
    }

    /// The session is gone, or wants no seat any more.
    pub fn forget(&mut self, session: SessionId) {
        if let Some(asking) = self.position(session).and_then(|at| self.line.remove(at)) {
            self.bytes -= asking.join.offer.len();
        }
    }

    /// A source went on or off while its join stands in line: the join will say so. False if the session has none there.
    pub fn publish(&mut self, session: SessionId, source: SourceKind, on: bool) -> bool {
        let Some(at) = self.position(session) else {
            return false;
        };
        let join = &mut self.line[at].join;
        if !on {
            join.published.remove(&source);
        } else if join.sources.contains_key(&source) {
            join.published.insert(source);
        }
        true
    }

    /// How many stand in line.
    pub fn waiting(&self) -> usize {
        self.line.len()
    }

    fn places_at(&self) -> Option<Instant> {
        let told_at = self.told_at.filter(|_| !self.line.is_empty())?;
        Some(told_at + PLACES_EVERY)
    }

    fn position(&self, session: SessionId) -> Option<usize> {
        self.line.iter().position(|asking| asking.session == session)
    }
}

/// Places count from 1.
fn place(at: usize) -> u32 {
    u32::try_from(at + 1).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
