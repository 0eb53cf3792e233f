//! Numbers left out on purpose: which, and by how much the later ones move down.
//!
//! Both sequence numbers and picture ids of a stretch go through one of these, so that what is left out leaves no hole
//! in the slot. What was lost on the way in keeps its number: only a number above all that were given can be left out.

use std::collections::VecDeque;

use super::seq::end_of;

/// The numbers left out of one stretch. Most stretches leave none out, and every slot has some of these: so they are short until then.
#[derive(Debug, Clone)]
pub(super) struct Drops {
    /// Below it nothing is known any more.
    floor: u64,
    /// One above the highest number that was given; nothing below it can be left out.
    given: u64,
    left_out: Option<Box<LeftOut>>,
}

#[derive(Debug, Clone, Default)]
struct LeftOut {
    /// Numbers left out below the floor.
    before: u64,
    /// Ascending and apart from each other.
    runs: VecDeque<Run>,
}

/// Consecutive numbers left out.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    last: u64,
    /// Left out up to and with this run, since the beginning.
    total: u64,
}

/// Runs remembered: half of the pictures of four seconds at 60 a second. The oldest is forgotten, and numbers below its end
/// can no longer be placed.
const RUNS_MAX: usize = 128;

/// A number has no place: it was left out, or lies below what is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoPlace;

impl Drops {
    /// None left out; the lowest number is `first`.
    pub(super) fn from(first: u64) -> Self {
        Self {
            floor: first,
            given: 0,
            left_out: None,
        }
    }

    /// By how much that number moves down.
    pub(super) fn shift(&self, number: u64) -> Result<u64, NoPlace> {
        if number < self.floor {
            return Err(NoPlace);
        }
        let Some(left_out) = &self.left_out else {
            return Ok(0);
        };
        let after = left_out.end_before(number);
        if left_out.has(after, number) {
            return Err(NoPlace);
        }
        Ok(left_out.total_before(after))
    }

    /// The same for a number that is sent whatever became of it before.
    pub(super) fn shift_anyway(&self, number: u64) -> u64 {
        let left_out = self.left_out.as_ref();
        left_out.map_or(0, |left_out| left_out.total_before(left_out.end_before(number)))
    }

    /// That number was given: from here on no lower one can be left out.
    pub(super) fn give(&mut self, number: u64) {
        self.given = self.given.max(number + 1);
    }

    /// Leaves a number out. False, and nothing changed, if a higher one was given already: then its hole stays.
    pub(super) fn leave_out(&mut self, number: u64) -> bool {
        if number < self.floor.max(self.given) {
            return false;
        }
        let left_out = self.left_out.get_or_insert_default();
        left_out.insert(number);
        if left_out.runs.len() > RUNS_MAX
            && let Some(oldest) = left_out.runs.pop_front()
        {
            self.floor = oldest.last + 1;
            left_out.before = oldest.total;
        }
        true
    }
}

impl LeftOut {
    fn insert(&mut self, number: u64) {
        let at = self.end_before(number);
        if self.has(at, number) {
            return;
        }
        let extends = at.checked_sub(1).filter(|&i| self.runs[i].last + 1 == number);
        let place = extends.unwrap_or(at);
        match extends {
            Some(i) => self.runs[i].last = number,
            None => self.runs.insert(
                at,
                Run {
                    first: number,
                    last: number,
                    total: self.total_before(at),
                },
            ),
        }
        self.runs.range_mut(place..).for_each(|run| run.total += 1);
        self.join(place);
    }

    /// Where the runs before that number end.
    fn end_before(&self, number: u64) -> usize {
        end_of(&self.runs, |run| run.last < number)
    }

    /// The first run that is not before a number has it.
    fn has(&self, after: usize, number: u64) -> bool {
        self.runs.get(after).is_some_and(|run| run.first <= number)
    }

    fn total_before(&self, run: usize) -> u64 {
        run.checked_sub(1).map_or(self.before, |i| self.runs[i].total)
    }

    /// A run that reaches the next one becomes one with it.
    fn join(&mut self, place: usize) {
        let (Some(&run), Some(&next)) = (self.runs.get(place), self.runs.get(place + 1)) else {
            return;
        };
        if run.last + 1 == next.first {
            self.runs[place] = Run {
                first: run.first,
                ..next
            };
            self.runs.remove(place + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_lies_above_moves_down_and_what_was_left_out_has_no_place() {
        let mut drops = Drops::from(10);
        drops.give(10);
        assert!(drops.leave_out(13) && drops.leave_out(11) && drops.leave_out(12) && drops.leave_out(12));
        assert!(!drops.leave_out(10));
        assert_eq!([10, 14, 100].map(|n| drops.shift(n)), [Ok(0), Ok(3), Ok(3)]);
        assert_eq!([9, 11, 12, 13].map(|n| drops.shift(n)), [Err(NoPlace); 4]);
        drops.give(14);
        assert!(!drops.leave_out(14) && drops.leave_out(15));
        assert_eq!(drops.shift(16), Ok(4));
    }

    #[test]
    fn the_oldest_is_forgotten_with_all_below_it() {
        let mut drops = Drops::from(0);
        for n in 0..RUNS_MAX as u64 + 1 {
            drops.give(n * 2);
            assert!(drops.leave_out(n * 2 + 1));
        }
        assert_eq!(
            drops.left_out.as_ref().map(|left_out| left_out.runs.len()),
            Some(RUNS_MAX)
        );
        assert_eq!([0, 1].map(|n| drops.shift(n)), [Err(NoPlace); 2]);
        assert_eq!([2, 4, 258].map(|n| drops.shift(n)), [Ok(1), Ok(2), Ok(129)]);
    }

    proptest! {
        #[test]
        fn it_counts_like_a_list(steps in prop::collection::vec((any::<bool>(), 0u64..6), 1..100)) {
            let (mut drops, mut left_out, mut given, mut next) = (Drops::from(0), BTreeSet::new(), None, 0u64);
            for (leave, back) in steps {
                let number = (next + 3).saturating_sub(back);
                next = next.max(number);
                if leave {
                    let possible = given.is_none_or(|given| number > given);
                    prop_assert_eq!(drops.leave_out(number), possible);
                    if possible { left_out.insert(number); }
                } else if !left_out.contains(&number) {
                    drops.give(number);
                    given = given.max(Some(number));
                }
                for n in 0..next + 5 {
                    let expected = if left_out.contains(&n) { Err(NoPlace) } else { Ok(left_out.range(..n).count() as u64) };
                    prop_assert_eq!(drops.shift(n), expected);
                }
            }
        }
    }
}
