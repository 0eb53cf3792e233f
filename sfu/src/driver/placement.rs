//! Which shard a newcomer goes to. Pure: told how the shards stand.
//!
//! A meeting stays together as long as one shard carries it, because what crosses to another shard is work twice. So:
//! 1. A newcomer goes to where its room is, to the shard with most of it that takes another one ([`Standing::takes`]).
//! 2. Else, or if nobody is in the room, to the shard with the least to do that does.
//! 3. Else nobody has to stay outside: to the shard with the least to do.

use std::cmp::Reverse;

/// A shard that is busier takes no more, in thousandths of a core: a key frame for everybody doubles what is to be sent for a moment.
pub(crate) const BUSY_MAX: u16 = 650;

/// Endpoints that are taken to keep a shard fully busy. They were placed a moment ago, and what they cost shows seconds later.
const ENDPOINTS_FULL: u32 = 240;

/// How a shard stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// All its endpoints.
    pub(crate) endpoints: u32,
    /// Those of the newcomer's room.
    pub(crate) of_room: u32,
    /// How busy its thread was over the last seconds, in thousandths of a core.
    pub(crate) busy: u16,
}

impl Standing {
    /// In thousandths of what a shard can do: as measured, or as to be expected from who is there.
    fn load(&self) -> u32 {
        let expected = self.endpoints.saturating_mul(1_000) / ENDPOINTS_FULL;
        u32::from(self.busy).max(expected)
    }

    /// Whether it has room for one more of the room.
    fn takes(&self, of_room_max: u32) -> bool {
        self.of_room < of_room_max && self.load() < u32::from(BUSY_MAX)
    }
}

/// The place of the shard for a newcomer; none if none runs. `shards`: how each stands, none for one that does not run. `of_room_max`:
/// endpoints of one room that a shard takes before the next goes to another; 0: a room is never on more than one shard.
pub(crate) fn place(shards: &[Option<Standing>], of_room_max: u32) -> Option<usize> {
    let may_span = of_room_max > 0;
    let of_room_max = if may_span { of_room_max } else { u32::MAX };
    let takes = |(_, standing): &(usize, &Standing)| standing.takes(of_room_max);
    let running = || {
        let places = shards.iter().enumerate();
        places.filter_map(|(place, standing)| Some((place, standing.as_ref()?)))
    };
    let home = running()
        .filter(|(_, standing)| standing.of_room > 0)
        .filter(|(_, standing)| standing.takes(of_room_max) || !may_span)
        .max_by_key(|&(place, standing)| (standing.of_room, Reverse(place)));
    let least = |(place, standing): &(usize, &Standing)| (standing.load(), standing.endpoints, *place);
    let spare = || running().filter(takes).min_by_key(least);
    let any = || running().min_by_key(least);
    home.or_else(spare).or_else(any).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn shard(endpoints: u32, of_room: u32, busy: u16) -> Option<Standing> {
        Some(Standing {
            endpoints,
            of_room,
            busy,
        })
    }

    #[test]
    fn a_newcomer_goes_where_its_room_is_while_there_is_room() {
        let full = 120;
        for (why, shards, spans, together) in [
            ("nobody is there", &[shard(0, 0, 0), shard(0, 0, 0)][..], 0, 0),
            ("the emptier of two", &[shard(3, 0, 9), shard(2, 0, 9)], 1, 1),
            (
                "the less busy of two",
                &[shard(2, 0, 300), shard(40, 0, 20)],
                1,
                1,
            ),
            ("where the room is", &[shard(0, 0, 0), shard(100, 90, 400)], 1, 1),
            ("where most of it is", &[shard(9, 4, 0), shard(9, 5, 0)], 1, 1),
            ("the room is large", &[shard(full, full, 0), shard(0, 0, 0)], 1, 0),
            (
                "the shard is busy",
                &[shard(40, 30, BUSY_MAX), shard(90, 0, 300)],
                1,
                0,
            ),
            (
                "the shard has other rooms",
                &[shard(200, 9, 0), shard(90, 0, 0)],
                1,
                0,
            ),
            ("all are busy", &[shard(40, 30, 900), shard(90, 0, 800)], 1, 0),
            (
                "all are full of it",
                &[shard(full, full, 0), shard(full + 1, full + 1, 0)],
                0,
                1,
            ),
            ("one is away", &[None, shard(240, 200, 990)], 1, 1),
        ] {
            assert_eq!(place(shards, full), Some(spans), "{why}, rooms may span");
            assert_eq!(place(shards, 0), Some(together), "{why}, rooms may not span");
        }
        assert_eq!(place(&[None, None], full), None);
        assert_eq!(place(&[], full), None);
    }

    /// Everybody of one meeting comes before anything could be measured.
    #[test]
    fn a_large_meeting_that_comes_at_once_is_spread() {
        let mut shards = [shard(0, 0, 0), shard(0, 0, 0)];
        for _ in 0..239 {
            let place = place(&shards, 120).expect("both run");
            let standing = shards[place].as_mut().expect("runs");
            standing.endpoints += 1;
            standing.of_room += 1;
        }
        let counts = shards.map(|shard| shard.expect("runs").of_room);
        assert_eq!(counts, [120, 119]);
    }

    proptest! {
        #[test]
        fn whoever_runs_is_found_and_nobody_else(
            shards in prop::collection::vec(
                prop::option::of((0_u32..300, 0_u32..300, 0_u16..1_000)),
                0..6,
            ),
            of_room_max in 0_u32..200,
        ) {
            let shards: Vec<_> = shards
                .into_iter()
                .map(|shard| shard.map(|(others, of_room, busy)| Standing { endpoints: others + of_room, of_room, busy }))
                .collect();
            let may_span = of_room_max > 0;
            match place(&shards, of_room_max) {
                None => prop_assert!(shards.iter().all(Option::is_none)),
                Some(place) => {
                    let chosen = shards[place].expect("it runs");
                    let others = || shards.iter().flatten();
                    prop_assert!(may_span || chosen.of_room > 0 || others().all(|other| other.of_room == 0));
                    prop_assert!(!may_span || chosen.takes(of_room_max) || !others().any(|other| other.takes(of_room_max)));
                }
            }
        }
    }
}
