//! Which shard has what: the node's table of rooms and seats. The front owns it alone, and shards never see it.

use std::collections::{BTreeMap, BTreeSet};

use super::{news::ShardIndex, relay::RoomTag, shard::Behind};
use crate::{
    control::{ControlError, Network, RoomId, RoomPolicy, RoomSnapshot, SeatId},
    engine::id::{EndpointId, PointNumber},
};

/// Most points, and most players, a [`RoomPolicy`] may allow.
const POINTS_MAX: u16 = 1_000;

/// All rooms that are open.
#[derive(Debug, Default)]
pub(crate) struct Rooms {
    rooms: BTreeMap<RoomId, Placed>,
    /// The next room's tag.
    tags: u32,
    seats: u32,
}

/// A room, and where it is.
#[derive(Debug)]
pub(crate) struct Placed {
    /// As all shards call it.
    pub(crate) tag: RoomTag,
    /// As set.
    pub(crate) policy: RoomPolicy,
    /// Who has the floor.
    pub(crate) floor: Option<PointNumber>,
    /// The highest number a seat ever had.
    pub(crate) number_max: u32,
    /// Shards that have it open, ascending. None before the first seat.
    shards: Vec<ShardIndex>,
    /// Pairs of these that were told of each other, the lower one first.
    linked: BTreeSet<(ShardIndex, ShardIndex)>,
    /// Who is loudest, as each of these told last. Nobody is not in it.
    speakers: BTreeMap<ShardIndex, PointNumber>,
    seats: BTreeMap<SeatId, Seat>,
}

/// A seat, and where it is.
#[derive(Debug)]
pub(crate) struct Seat {
    shard: ShardIndex,
    number: PointNumber,
    /// Who sits there; none: not known, because the shard told of it or is late.
    endpoint: Option<EndpointId>,
    /// Where the point is.
    site: Option<String>,
}

impl Rooms {
    /// Opens a room, or sets the policy of one that is open: true if it is new.
    ///
    /// # Errors
    /// A policy out of its range, or there are `rooms_max` rooms.
    pub(crate) fn open(
        &mut self,
        room: RoomId,
        policy: RoomPolicy,
        rooms_max: u32,
    ) -> Result<bool, ControlError> {
        if !(1..=POINTS_MAX).contains(&policy.points_max) || policy.players_max > POINTS_MAX {
            return Err(ControlError::BadValue);
        }
        if let Some(placed) = self.rooms.get_mut(&room) {
            placed.policy = policy;
            return Ok(false);
        }
        if self.rooms.len() >= rooms_max as usize {
            return Err(ControlError::Unavailable);
        }
        let placed = Placed {
            tag: RoomTag(self.tags),
            policy,
            floor: None,
            number_max: 0,
            shards: Vec::new(),
            linked: BTreeSet::new(),
            speakers: BTreeMap::new(),
            seats: BTreeMap::new(),
        };
        self.tags = self.tags.wrapping_add(1);
        self.rooms.insert(room, placed);
        Ok(true)
    }

    /// Closes a room: the shards that have it are to close it too.
    pub(crate) fn close(&mut self, room: &RoomId) -> Vec<ShardIndex> {
        let Some(placed) = self.rooms.remove(room) else {
            return Vec::new();
        };
        self.seats -= placed.seats.len() as u32;
        placed.shards
    }

    /// A room that is open.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn find(&self, room: &RoomId) -> Result<&Placed, ControlError> {
        self.rooms.get(room).ok_or(ControlError::UnknownRoom)
    }

    /// The same, to change it.
    ///
    /// # Errors
    /// It is not open.
    pub(crate) fn find_mut(&mut self, room: &RoomId) -> Result<&mut Placed, ControlError> {
        self.rooms.get_mut(room).ok_or(ControlError::UnknownRoom)
    }

    /// Where a seat is.
    ///
    /// # Errors
    /// There is no such room, or no such seat in it.
    pub(crate) fn seat(&self, room: &RoomId, seat: &SeatId) -> Result<ShardIndex, ControlError> {
        let seat = self.find(room)?.seats.get(seat);
        seat.map(|seat| seat.shard).ok_or(ControlError::UnknownSeat)
    }

    /// Whether the seat would be taken. One that is there already is replaced, and keeps its number for life.
    ///
    /// # Errors
    /// No such room, the number is another's, or all places are taken: those of the room, or `endpoints_max` of the node.
    pub(crate) fn check_join(
        &self,
        room: &RoomId,
        seat: &SeatId,
        number: PointNumber,
        endpoints_max: u32,
    ) -> Result<(), ControlError> {
        let placed = self.find(room)?;
        if let Some(former) = placed.seats.get(seat) {
            return if former.number == number {
                Ok(())
            } else {
                Err(ControlError::NumberTaken)
            };
        }
        if placed.seats.values().any(|other| other.number == number) {
            return Err(ControlError::NumberTaken);
        }
        let most = usize::from(placed.policy.points_max) + usize::from(placed.policy.players_max);
        if self.seats >= endpoints_max || placed.seats.len() >= most {
            return Err(ControlError::RoomFull);
        }
        Ok(())
    }

    /// Whether what a shard says of that endpoint is of who sits there now.
    pub(crate) fn holds(
        &self,
        room: &RoomId,
        seat: &SeatId,
        (shard, of): (ShardIndex, Option<EndpointId>),
    ) -> bool {
        let seat = self.find(room).ok().and_then(|placed| placed.seats.get(seat));
        seat.is_some_and(|seat| seat.shard == shard && (seat.endpoint.is_none() || seat.endpoint == of))
    }

    /// A seat is on that shard now, with that endpoint: what was there before, if it is not new.
    pub(crate) fn seat_at(
        &mut self,
        room: &RoomId,
        seat: &SeatId,
        (number, site): (PointNumber, Option<String>),
        (shard, endpoint): (ShardIndex, EndpointId),
    ) -> Option<Seat> {
        let placed = self.rooms.get_mut(room)?;
        placed.number_max = placed.number_max.max(number.get());
        let at = Seat {
            shard,
            number,
            endpoint: Some(endpoint),
            site,
        };
        let former = placed.seats.insert(seat.clone(), at);
        self.seats += u32::from(former.is_none());
        former
    }

    /// Nobody came: the seat is as it was.
    pub(crate) fn seat_back(&mut self, room: &RoomId, seat: SeatId, former: Option<Seat>) {
        match (former, self.rooms.get_mut(room)) {
            (Some(former), Some(placed)) if placed.seats.contains_key(&seat) => {
                placed.seats.insert(seat, former);
            }
            (None, Some(_)) => drop(self.unseat(room, &seat)),
            _ => {}
        }
    }

    /// Its shard may have put another endpoint in the place of who sits there.
    pub(crate) fn doubt(&mut self, room: &RoomId, seat: &SeatId) {
        let placed = self.rooms.get_mut(room);
        if let Some(seat) = placed.and_then(|placed| placed.seats.get_mut(seat)) {
            seat.endpoint = None;
        }
    }

    /// A seat is gone: true if it was there.
    pub(crate) fn unseat(&mut self, room: &RoomId, seat: &SeatId) -> bool {
        let placed = self.rooms.get_mut(room);
        let is_gone = placed.is_some_and(|placed| placed.seats.remove(seat).is_some());
        self.seats -= u32::from(is_gone);
        is_gone
    }

    /// A shard failed, or is given up: everybody who was on it.
    pub(crate) fn take_shard(&mut self, shard: ShardIndex) -> Vec<(RoomId, SeatId)> {
        let mut gone = Vec::new();
        for (room, placed) in &mut self.rooms {
            placed.closed_at(shard);
            placed.seats.retain(|seat, at| {
                let is_lost = at.shard == shard;
                if is_lost {
                    gone.push((room.clone(), seat.clone()));
                }
                !is_lost
            });
        }
        self.seats -= gone.len() as u32;
        gone
    }

    /// A shard told all it has: seats it does not have are not there, those it has are.
    pub(crate) fn reconcile(&mut self, shard: ShardIndex, told: &[RoomSnapshot]) {
        for (room, placed) in &mut self.rooms {
            let snapshot = told.iter().find(|snapshot| snapshot.room == *room);
            let has = |id: &SeatId| snapshot.is_some_and(|s| s.seats.iter().any(|seat| seat.seat == *id));
            let before = placed.seats.len() as u32;
            placed.seats.retain(|id, seat| seat.shard != shard || has(id));
            match snapshot {
                Some(snapshot) => {
                    placed.open_at(shard);
                    placed.set_speaker(shard, snapshot.speaker);
                }
                None => placed.closed_at(shard),
            }
            if let Some(snapshot) = snapshot {
                for seat in &snapshot.seats {
                    let known = placed.seats.remove(&seat.seat);
                    let at = Seat {
                        shard,
                        number: seat.number,
                        endpoint: None,
                        // One that is not known here came with a reply that nobody waited for, a moment ago.
                        site: known.and_then(|known| known.site),
                    };
                    placed.seats.insert(seat.seat.clone(), at);
                }
            }
            self.seats = self.seats + placed.seats.len() as u32 - before;
        }
    }

    /// How many endpoints are behind each line of a network, by shard.
    pub(crate) fn behind(&self, network: &Network) -> BTreeMap<ShardIndex, Behind> {
        let mut behind: BTreeMap<ShardIndex, Behind> = BTreeMap::new();
        if network.lines.is_empty() {
            return behind;
        }
        for seat in self.rooms.values().flat_map(|placed| placed.seats.values()) {
            let way = seat.site.as_ref().and_then(|site| network.sites.get(site));
            for &line in way.into_iter().flatten() {
                *behind.entry(seat.shard).or_default().entry(line).or_default() += 1;
            }
        }
        behind
    }

    /// Rooms that a shard has open.
    pub(crate) fn on_shard(&self, shard: ShardIndex) -> Vec<RoomId> {
        let has = |(_, placed): &(&RoomId, &Placed)| placed.shards.contains(&shard);
        self.rooms
            .iter()
            .filter(has)
            .map(|(room, _)| room.clone())
            .collect()
    }

    /// All rooms, in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&RoomId, &Placed)> {
        self.rooms.iter()
    }

    /// How many rooms.
    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// How many seats in all rooms.
    pub(crate) fn seats(&self) -> u32 {
        self.seats
    }

    /// How many seats are on a shard.
    pub(crate) fn seats_on(&self, shard: ShardIndex) -> u32 {
        self.rooms.values().map(|placed| placed.seats_on(shard)).sum()
    }
}

impl Placed {
    /// Shards that have it open.
    pub(crate) fn shards(&self) -> &[ShardIndex] {
        &self.shards
    }

    /// A shard has it open now.
    pub(crate) fn open_at(&mut self, shard: ShardIndex) {
        if let Err(place) = self.shards.binary_search(&shard) {
            self.shards.insert(place, shard);
        }
    }

    /// A shard has closed it.
    pub(crate) fn closed_at(&mut self, shard: ShardIndex) {
        self.shards.retain(|&other| other != shard);
        self.apart(shard);
    }

    /// A shard has made it anew, or hangs and is done without: none of the others is told of it, and it has heard nobody.
    pub(crate) fn apart(&mut self, shard: ShardIndex) {
        self.speakers.remove(&shard);
        self.linked.retain(|&(a, b)| a != shard && b != shard);
    }

    /// Other shards that have it and were not told of this one yet.
    pub(crate) fn unlinked(&self, shard: ShardIndex) -> Vec<ShardIndex> {
        let is_apart = |&&other: &&ShardIndex| other != shard && !self.linked.contains(&pair(shard, other));
        self.shards.iter().filter(is_apart).copied().collect()
    }

    /// Two shards were told of each other.
    pub(crate) fn linked(&mut self, a: ShardIndex, b: ShardIndex) {
        self.linked.insert(pair(a, b));
    }

    /// A shard that has it open tells who is loudest.
    pub(crate) fn set_speaker(&mut self, shard: ShardIndex, number: Option<PointNumber>) {
        match number.filter(|_| self.shards.contains(&shard)) {
            Some(number) => drop(self.speakers.insert(shard, number)),
            None => drop(self.speakers.remove(&shard)),
        }
    }

    /// Who is loudest, by the first of its shards that runs and hears somebody: each tells only what changes, so one whose half of the room failed
    /// must not silence those that go on, and one that hangs must not speak for them.
    pub(crate) fn speaker(&self, is_running: impl Fn(ShardIndex) -> bool) -> Option<PointNumber> {
        let mut heard = self.speakers.iter();
        heard.find_map(|(&shard, &number)| is_running(shard).then_some(number))
    }

    /// How many of its seats are on a shard.
    pub(crate) fn seats_on(&self, shard: ShardIndex) -> u32 {
        self.seats.values().filter(|seat| seat.shard == shard).count() as u32
    }
}

fn pair(a: ShardIndex, b: ShardIndex) -> (ShardIndex, ShardIndex) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SeatSnapshot;

    const A: ShardIndex = ShardIndex(0);
    const B: ShardIndex = ShardIndex(1);

    fn room(name: &str) -> RoomId {
        name.to_owned().try_into().expect("a room")
    }

    fn seat(name: &str) -> SeatId {
        name.to_owned().try_into().expect("a seat")
    }

    fn number(number: u32) -> PointNumber {
        number.try_into().expect("a number")
    }

    /// Room x with "an" (1) on A and "binh" (2) on B.
    fn two() -> Rooms {
        let mut rooms = Rooms::default();
        let policy = RoomPolicy {
            points_max: 2,
            ..RoomPolicy::default()
        };
        assert_eq!(rooms.open(room("x"), policy.clone(), 1), Ok(true));
        assert_eq!(rooms.open(room("x"), policy.clone(), 1), Ok(false));
        assert_eq!(rooms.open(room("y"), policy, 1), Err(ControlError::Unavailable));
        for (name, of, shard) in [("an", 1, A), ("binh", 2, B)] {
            rooms.find_mut(&room("x")).expect("open").open_at(shard);
            let sit = |rooms: &mut Rooms, endpoint| {
                let at = (shard, EndpointId(endpoint));
                rooms.seat_at(&room("x"), &seat(name), (number(of), None), at)
            };
            assert!(sit(&mut rooms, of).is_none());
            assert!(sit(&mut rooms, of + 10).is_some(), "again");
        }
        rooms
    }

    #[test]
    fn who_may_join_counts_seats_wherever_they_are() {
        let rooms = two();
        for (name, of, most, expected) in [
            ("an", 1, 2, Ok(())),
            ("an", 2, 9, Err(ControlError::NumberTaken)),
            ("an", 3, 9, Err(ControlError::NumberTaken)),
            ("chi", 2, 9, Err(ControlError::NumberTaken)),
            ("chi", 3, 9, Err(ControlError::RoomFull)),
        ] {
            let checked = rooms.check_join(&room("x"), &seat(name), number(of), most);
            assert_eq!(checked, expected, "{name} as {of}");
        }
        let mut rooms = rooms;
        rooms.find_mut(&room("x")).expect("open").policy.points_max = 3;
        let chi = |rooms: &Rooms, most| rooms.check_join(&room("x"), &seat("chi"), number(3), most);
        assert_eq!(chi(&rooms, 2), Err(ControlError::RoomFull), "the node is full");
        assert_eq!(chi(&rooms, 3), Ok(()));
        let elsewhere = rooms.check_join(&room("z"), &seat("chi"), number(3), 9);
        assert_eq!(elsewhere, Err(ControlError::UnknownRoom));
    }

    #[test]
    fn a_shard_that_fails_takes_its_seats_and_no_other() {
        let mut rooms = two();
        assert_eq!((rooms.seats(), rooms.seats_on(A), rooms.seats_on(B)), (2, 1, 1));
        assert_eq!(rooms.take_shard(A), [(room("x"), seat("an"))]);
        assert_eq!(
            rooms.seat(&room("x"), &seat("an")),
            Err(ControlError::UnknownSeat)
        );
        assert_eq!(rooms.seat(&room("x"), &seat("binh")), Ok(B));
        assert_eq!(
            (rooms.seats(), rooms.find(&room("x")).expect("open").shards()),
            (1, &[B][..])
        );
        assert!(rooms.unseat(&room("x"), &seat("binh")) && !rooms.unseat(&room("x"), &seat("binh")));
        assert_eq!(
            (rooms.close(&room("x")), rooms.seats(), rooms.len()),
            (vec![B], 0, 0)
        );
    }

    #[test]
    fn what_happened_to_who_sat_there_before_is_no_news_of_who_sits_there() {
        let mut rooms = two();
        let holds = |rooms: &Rooms, shard, of| rooms.holds(&room("x"), &seat("an"), (shard, of));
        let told = [None, Some(EndpointId(1)), Some(EndpointId(11))];
        assert_eq!(told.map(|of| holds(&rooms, A, of)), [false, false, true]);
        assert!(!holds(&rooms, B, told[2]), "of another shard");
        // Who offers again and is refused sits there as before, and a newcomer does not.
        let at = (A, EndpointId(21));
        let former = rooms.seat_at(&room("x"), &seat("an"), (number(1), None), at);
        rooms.seat_back(&room("x"), seat("an"), former);
        assert!(holds(&rooms, A, told[2]));
        let former = rooms.seat_at(&room("x"), &seat("chi"), (number(3), None), at);
        rooms.seat_back(&room("x"), seat("chi"), former);
        assert_eq!(
            rooms.seat(&room("x"), &seat("chi")),
            Err(ControlError::UnknownSeat)
        );
        assert_eq!(rooms.seats(), 2);
    }

    #[test]
    fn shards_that_were_not_told_of_each_other_are_known_until_they_are() {
        let mut rooms = two();
        let apart = |rooms: &Rooms, shard| rooms.find(&room("x")).expect("open").unlinked(shard);
        assert_eq!((apart(&rooms, A), apart(&rooms, B)), (vec![B], vec![A]));
        rooms.find_mut(&room("x")).expect("open").linked(B, A);
        assert_eq!((apart(&rooms, A), apart(&rooms, B)), (vec![], vec![]));
        rooms.find_mut(&room("x")).expect("open").apart(A);
        assert_eq!(apart(&rooms, B), [A], "one of them has made it anew");
        rooms.find_mut(&room("x")).expect("open").linked(A, B);
        rooms.take_shard(A);
        rooms.find_mut(&room("x")).expect("open").open_at(A);
        assert_eq!(apart(&rooms, B), [A], "one of them failed");
    }

    #[test]
    fn who_speaks_is_told_by_the_first_shard_that_hears_somebody() {
        let mut rooms = two();
        let placed = |rooms: &mut Rooms, told: &[(ShardIndex, Option<u32>)]| {
            let placed = rooms.find_mut(&room("x")).expect("open");
            for &(shard, of) in told {
                placed.set_speaker(shard, of.map(number));
            }
            placed.speaker(|_| true).map(PointNumber::get)
        };
        let nowhere = ShardIndex(7);
        for (told, expected) in [
            (&[(nowhere, Some(9))][..], None),
            (&[(B, Some(2))], Some(2)),
            (&[(A, Some(1))], Some(1)),
            (&[(A, None)], Some(2)),
            (&[(A, Some(1)), (B, None)], Some(1)),
            (&[(B, Some(1))], Some(1)),
        ] {
            assert_eq!(placed(&mut rooms, told), expected, "{told:?}");
        }
        assert_eq!(
            (rooms.on_shard(A), rooms.on_shard(nowhere)),
            (vec![room("x")], vec![])
        );
        rooms.take_shard(A);
        assert_eq!(placed(&mut rooms, &[]), Some(1), "the other half goes on");
        rooms.take_shard(B);
        assert_eq!(placed(&mut rooms, &[]), None);
    }

    #[test]
    fn a_snapshot_is_believed() {
        let mut rooms = two();
        let chi = SeatSnapshot {
            seat: seat("chi"),
            number: number(3),
            seat_note: String::new(),
            published: Vec::new(),
            connected: true,
            slots: Vec::new(),
        };
        let told = RoomSnapshot {
            room: room("x"),
            policy: RoomPolicy::default(),
            number_max: 3,
            floor: None,
            speaker: None,
            seats: vec![chi],
        };
        for _ in 0..2 {
            rooms.reconcile(A, std::slice::from_ref(&told));
            assert_eq!(rooms.seat(&room("x"), &seat("chi")), Ok(A));
            assert_eq!(rooms.seat(&room("x"), &seat("binh")), Ok(B), "of another shard");
            assert_eq!((rooms.seats(), rooms.seats_on(A)), (2, 1), "an is not there");
        }
        rooms.reconcile(A, &[]);
        assert_eq!(
            (rooms.seats(), rooms.find(&room("x")).expect("open").shards()),
            (1, &[B][..])
        );
    }
}
