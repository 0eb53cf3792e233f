//! What shards know, put together as if it were one.

use std::collections::BTreeMap;

use super::{news::ShardIndex, quality, rooms::Rooms, shard::Counted};
use crate::{
    control::{LineId, LineReport, RoomId, RoomReport, RoomSnapshot, SeatSnapshot},
    engine::id::PointNumber,
};

/// All rooms with what each shard told of them; a room that no shard has yet is there without seats.
pub(crate) fn snapshot(rooms: &Rooms, told: Vec<RoomSnapshot>) -> Vec<RoomSnapshot> {
    let mut halves: BTreeMap<RoomId, (Option<PointNumber>, Vec<SeatSnapshot>)> = BTreeMap::new();
    for snapshot in told {
        // Shards are asked in their order, and the first of a room that hears somebody speaks of the loudest.
        let (speaker, seats) = halves.entry(snapshot.room).or_default();
        *speaker = speaker.or(snapshot.speaker);
        seats.extend(snapshot.seats);
    }
    let whole = rooms.iter().map(|(room, placed)| {
        let (speaker, mut seats) = halves.remove(room).unwrap_or_default();
        seats.sort_by(|a, b| a.seat.cmp(&b.seat));
        RoomSnapshot {
            room: room.clone(),
            policy: placed.policy.clone(),
            number_max: placed.number_max,
            floor: placed.floor,
            speaker,
            seats,
        }
    });
    whole.collect()
}

/// A room from the reports of the shards that have it: points by their numbers, lines with what all of them take.
pub(crate) fn report(told: impl Iterator<Item = RoomReport>) -> RoomReport {
    let mut points = Vec::new();
    let mut lines: BTreeMap<LineId, LineReport> = BTreeMap::new();
    for report in told {
        points.extend(report.points);
        for line in report.lines {
            match lines.get_mut(&line.id) {
                Some(all) => quality::add_line(all, &line),
                None => drop(lines.insert(line.id.clone(), line)),
            }
        }
    }
    points.sort_by_key(|point| point.number);
    RoomReport {
        points,
        lines: lines.into_values().collect(),
    }
}

/// Counters of all shards. Those of a shard that failed are kept, so that no counter ever falls.
#[derive(Default)]
pub(crate) struct Counters {
    newest: BTreeMap<ShardIndex, Counted>,
    gone: Counted,
}

impl Counters {
    /// What a shard counted until now.
    pub(crate) fn tell(&mut self, shard: ShardIndex, counted: Counted) {
        self.newest.insert(shard, counted);
    }

    /// A shard failed: what it counted since it was asked last is lost with it.
    pub(crate) fn bury(&mut self, shard: ShardIndex) {
        self.gone.shard_panics += 1;
        if let Some(last) = self.newest.remove(&shard) {
            self.gone.tally += &last.tally;
            self.gone.rooms += last.rooms;
            self.gone.quality.add_past(&last.quality);
        }
    }

    /// The node's. `busy` is that of a shard, in thousandths of a core.
    pub(crate) fn sum(&self, rooms: usize, busy: impl Fn(ShardIndex) -> u16) -> Counted {
        let mut sum = self.gone.clone();
        for (&shard, counted) in &self.newest {
            sum.tally += &counted.tally;
            sum.rooms += counted.rooms;
            sum.endpoints += counted.endpoints;
            sum.endpoints_connected += counted.endpoints_connected;
            sum.history_bytes += counted.history_bytes;
            sum.quality.add(&counted.quality);
            sum.shards.push((shard, counted.endpoints, busy(shard)));
        }
        sum.rooms_open = rooms as u64;
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::units::Bitrate;

    fn counted(datagrams_sent: u64, endpoints: u64) -> Counted {
        let mut counted = Counted {
            endpoints,
            history_bytes: 1_000 * endpoints,
            ..Counted::default()
        };
        counted.tally.datagrams_sent = datagrams_sent;
        counted.rooms.received = datagrams_sent;
        counted
    }

    #[test]
    fn counters_never_fall_and_gauges_do() {
        let (a, b) = (ShardIndex(0), ShardIndex(1));
        let mut counters = Counters::default();
        counters.tell(a, counted(10, 3));
        counters.tell(b, counted(5, 2));
        counters.tell(a, counted(11, 3));
        let sum = counters.sum(4, |shard| 100 + shard.0);
        assert_eq!((sum.tally.datagrams_sent, sum.rooms.received), (16, 16));
        assert_eq!((sum.endpoints, sum.rooms_open, sum.shard_panics), (5, 4, 0));
        assert_eq!(sum.shards, [(a, 3, 100), (b, 2, 101)]);
        assert_eq!(sum.history_bytes, 5_000);
        counters.bury(a);
        counters.tell(a, counted(1, 0));
        let sum = counters.sum(4, |_| 0);
        assert_eq!((sum.tally.datagrams_sent, sum.rooms.received), (17, 17));
        assert_eq!(
            (sum.endpoints, sum.history_bytes, sum.shard_panics),
            (2, 2_000, 1)
        );
    }

    #[test]
    fn a_line_carries_what_both_halves_of_a_room_take() {
        let half = |used: u64| RoomReport {
            points: Vec::new(),
            lines: vec![LineReport {
                id: "co-to".to_owned().try_into().expect("an id"),
                budget_down: Bitrate::bps(50),
                used_down: Bitrate::bps(used),
                budget_up: Bitrate::bps(5),
                used_up: Bitrate::ZERO,
            }],
        };
        let report = report([half(10), half(32)].into_iter());
        assert_eq!(report.lines.len(), 1);
        let line = &report.lines[0];
        assert_eq!(
            (line.used_down, line.budget_down),
            (Bitrate::bps(42), Bitrate::bps(100))
        );
    }
}
