//! The last pictures of a stream with something of each, by their RTP time.
//!
//! Every slot has two of these lists, so of a time there are only the bits that stand on the wire.

use std::collections::VecDeque;

use super::seq::{RtpTime, end_of};

/// The last [`PICTURES`] pictures, ascending; the oldest gives way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pictures<T> {
    newest: RtpTime,
    list: VecDeque<(u32, T)>,
    /// For so many pictures more the oldest may be too far back: it lies elsewhere in memory than the newest, so it is not looked at for each.
    wide: u8,
}

/// Pictures remembered: two seconds at 30 a second.
const PICTURES: usize = 64;
/// Farther back than that in RTP time the bits on the wire do not tell.
const APART: u64 = 1 << 31;
/// Where no two pictures that follow each other are so far apart, the first and the last of [`PICTURES`] are not [`APART`].
const GAP: u64 = APART / PICTURES as u64;

impl<T: Copy> Pictures<T> {
    pub(super) const fn new() -> Self {
        Self {
            newest: RtpTime(0),
            list: VecDeque::new(),
            wide: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// As many as are remembered: of an older one nothing is known.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() == PICTURES
    }

    /// The newest one's time.
    pub(super) fn newest(&self) -> Option<RtpTime> {
        (!self.list.is_empty()).then_some(self.newest)
    }

    /// Where the pictures before that time end.
    pub(super) fn end_before(&self, time: RtpTime) -> usize {
        // As for most packets; the list itself lies elsewhere in memory.
        if self.newest <= time || self.list.is_empty() {
            let is_known = self.newest() == Some(time);
            return self.list.len() - usize::from(is_known);
        }
        end_of(&self.list, |&(wire, _)| self.newest.nearest(wire) < time)
    }

    pub(super) fn get(&self, at: usize) -> Option<(RtpTime, T)> {
        let &(wire, of) = self.list.get(at)?;
        Some((self.newest.nearest(wire), of))
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.list.get_mut(at).map(|(_, of)| of)
    }

    /// Puts one in where [`Self::end_before`] says, and tells where it is then.
    pub(super) fn insert(&mut self, mut at: usize, time: RtpTime, of: T) -> usize {
        let first = |list: &Self| list.get(0).map(|(first, _)| first);
        let apart = |list: &Self| first(list).is_some_and(|first| time.0.saturating_sub(first.0) >= APART);
        self.wide = match self.newest() {
            Some(newest) if newest.0.abs_diff(time.0) >= GAP => PICTURES as u8,
            _ => self.wide.saturating_sub(1),
        };
        while self.is_full() || self.wide > 0 && apart(self) {
            self.list.pop_front();
            at = at.saturating_sub(1);
        }
        if at == self.list.len() {
            self.newest = time;
        }
        self.list.insert(at, (time.wire(), of));
        at
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Steps of any length: beside the ordinary ones those that no list of the wire's bits can bridge.
        #[test]
        fn what_is_remembered_is_the_newest_of_what_was_put(
            steps in prop::collection::vec((0u8..9, 1u64..9_000, 1u64..1 << 31), 1..300)
        ) {
            let (mut pictures, mut put, mut newest) = (Pictures::new(), Vec::<(RtpTime, usize)>::new(), 1 << 32);
            for (n, (kind, step, leap)) in steps.into_iter().enumerate() {
                let time = match kind {
                    0..6 => { newest += step; newest }
                    6..8 => newest - step,
                    _ => { newest += leap; newest }
                };
                let at = pictures.end_before(RtpTime(time));
                let known = put.iter().find(|(put, _)| put.0 == time).copied();
                if pictures.get(at).is_some_and(|(known, _)| known.0 == time) {
                    prop_assert_eq!(pictures.get(at), known);
                    continue;
                }
                if at == 0 && pictures.is_full() {
                    continue;
                }
                let at = pictures.insert(at, RtpTime(time), n);
                prop_assert_eq!(pictures.get(at), Some((RtpTime(time), n)));
                put.retain(|(put, _)| put.0 != time);
                put.push((RtpTime(time), n));
                put.sort_unstable();
                prop_assert_eq!(pictures.newest(), put.last().map(|&(time, _)| time));
                let kept: Vec<_> = (0..pictures.len()).filter_map(|at| pictures.get(at)).collect();
                prop_assert!(kept.len() <= PICTURES && put.ends_with(&kept));
            }
        }
    }
}
