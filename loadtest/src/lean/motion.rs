//! How the picture of a slot moves: how often it stood still, and for how long at most. Told the time, it has no clock.

use super::running::OPEN_US;

/// A picture stands still when it is this much later than the mean, or three times as late (W3C webrtc-stats, `freezeCount`).
const FREEZE_US: u64 = 150_000;
/// A picture that is due has begun after this long: until then a key frame may have been asked for over the longest way.
const BEGIN_US: u64 = 2_000_000;

/// The frames of one slot that could be shown.
#[derive(Debug, Default)]
pub(super) struct Motion {
    /// A picture is to be here: a slot that shows nothing stands still only then.
    is_wanted: bool,
    /// When the last frame of this source was shown.
    last_us: Option<u64>,
    /// Since when a picture is due that showed no frame yet.
    due_us: Option<u64>,
    /// When something else was wanted last: for a while the picture may be about to change.
    switched_us: Option<u64>,
    mean_us: u64,
    /// Nothing more is judged.
    is_over: bool,
    pub(super) freezes: u64,
    /// Longest time between two frames of one source.
    pub(super) longest_gap_us: u64,
}

impl Motion {
    /// A frame is shown. How long after the one before it, if that was of the same source.
    pub(super) fn show(&mut self, at_us: u64) -> Option<u64> {
        if self.is_over {
            return None;
        }
        self.due_us = None;
        let passed = at_us.saturating_sub(self.last_us.replace(at_us)?);
        self.mean_us = match self.mean_us {
            0 => {
                // Of two frames nobody knows whether they are late.
                self.longest_gap_us = self.longest_gap_us.max(passed);
                passed
            }
            mean => {
                self.count(passed);
                (29 * mean + passed) / 30
            }
        };
        Some(passed)
    }

    /// A picture is to be here from now on.
    pub(super) fn expect(&mut self, at_us: u64) {
        if !std::mem::replace(&mut self.is_wanted, true) {
            // What came before was on its way when the slot became empty.
            self.begin(at_us);
        } else if self.last_us.is_none() {
            self.due_us.get_or_insert(at_us);
        }
    }

    /// Another source begins.
    pub(super) fn begin(&mut self, at_us: u64) {
        (self.last_us, self.due_us) = (None, Some(at_us));
    }

    /// Nothing is shown, and nothing is due.
    pub(super) fn empty(&mut self) {
        self.is_wanted = false;
        (self.last_us, self.due_us) = (None, None);
    }

    /// Something else is wanted. A picture that has stood still for long does not go on: it stood still until now.
    pub(super) fn switch(&mut self, now_us: u64) {
        if self.close(now_us, BEGIN_US) {
            self.begin(now_us);
        }
        self.switched_us = Some(now_us);
    }

    /// Forgets how the picture moved before.
    pub(super) fn measure(&mut self, now_us: u64) {
        (self.freezes, self.longest_gap_us) = (0, 0);
        self.due_us = self.due_us.map(|_| now_us);
    }

    /// Nothing more is judged: what stands still has done so until now.
    pub(super) fn end(&mut self, now_us: u64) {
        if !self.is_over {
            let changes = self
                .switched_us
                .is_some_and(|switched| now_us.saturating_sub(switched) < BEGIN_US);
            self.close(now_us, if changes { BEGIN_US } else { OPEN_US });
            self.is_over = true;
        }
    }

    /// Counts the time since the last frame if it is at least so long; of a picture that did not begin, the time since it was due.
    fn close(&mut self, now_us: u64, least_us: u64) -> bool {
        let shown = self.last_us.map(|last| (last, least_us));
        let due = self.due_us.map(|due| (due, BEGIN_US));
        let Some((since_us, least_us)) = shown.or(due).filter(|_| self.is_wanted) else {
            return false;
        };
        let open_us = now_us.saturating_sub(since_us);
        if open_us < least_us {
            return false;
        }
        self.count(open_us);
        true
    }

    fn count(&mut self, passed_us: u64) {
        let mean = self.mean_us;
        self.longest_gap_us = self.longest_gap_us.max(passed_us);
        self.freezes += u64::from(passed_us > (3 * mean).max(mean + FREEZE_US));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_US: u64 = 40_000;

    /// A picture of ten frames, the last after a second.
    fn moving() -> Motion {
        let mut motion = Motion::default();
        motion.expect(0);
        (0..10).for_each(|frame| {
            motion.show(1_000_000 - (9 - frame) * FRAME_US);
        });
        motion
    }

    #[test]
    fn a_picture_that_stops_for_good_has_stood_still_to_the_end() {
        for (after_us, expected) in [
            (FRAME_US, (0, FRAME_US)),
            // Its sender may have ended a little earlier.
            (OPEN_US - 1, (0, FRAME_US)),
            (OPEN_US, (1, OPEN_US)),
            (30_000_000, (1, 30_000_000)),
        ] {
            let mut motion = moving();
            motion.end(1_000_000 + after_us);
            assert_eq!((motion.freezes, motion.longest_gap_us), expected, "{after_us}");
            motion.end(90_000_000);
            motion.show(91_000_000);
            assert_eq!(
                (motion.freezes, motion.longest_gap_us),
                expected,
                "what comes behind the end is not judged"
            );
        }
    }

    #[test]
    fn a_picture_that_is_due_and_never_comes_stands_still_and_an_empty_slot_does_not() {
        let ended = |tell: &dyn Fn(&mut Motion)| {
            let mut motion = Motion::default();
            tell(&mut motion);
            motion.end(10_000_000);
            (motion.freezes, motion.longest_gap_us)
        };
        assert_eq!(ended(&|_| {}), (0, 0), "nobody wants anything here");
        assert_eq!(ended(&|motion| motion.expect(1_000_000)), (1, 9_000_000));
        assert_eq!(
            ended(&|motion| motion.expect(9_000_000)),
            (0, 0),
            "it may be on its way"
        );
        let measured = |motion: &mut Motion| {
            motion.expect(1_000_000);
            motion.measure(4_000_000);
        };
        assert_eq!(
            ended(&measured),
            (1, 6_000_000),
            "what was before is not measured"
        );
        let emptied = |motion: &mut Motion| {
            *motion = moving();
            motion.empty();
        };
        assert_eq!(ended(&emptied), (0, FRAME_US));
        let overtaken = |motion: &mut Motion| {
            emptied(motion);
            motion.show(1_010_000);
        };
        assert_eq!(ended(&overtaken), (0, FRAME_US), "it was on its way");
        let again = |motion: &mut Motion| {
            overtaken(motion);
            motion.expect(5_000_000);
            motion.show(5_300_000);
        };
        assert_eq!(ended(&again), (1, 4_700_000), "what it was empty is no gap");
        let another = |motion: &mut Motion| {
            *motion = moving();
            motion.begin(9_500_000);
        };
        assert_eq!(ended(&another), (0, FRAME_US));
    }

    #[test]
    fn a_dead_picture_is_counted_when_something_else_is_wanted_and_a_slow_one_goes_on() {
        let mut dead = moving();
        dead.switch(5_000_000);
        assert_eq!((dead.freezes, dead.longest_gap_us), (1, 4_000_000));
        dead.show(5_100_000);
        dead.end(5_140_000);
        assert_eq!((dead.freezes, dead.longest_gap_us), (1, 4_000_000));
        let mut changing = moving();
        changing.switch(1_020_000);
        changing.end(2_900_000);
        assert_eq!(changing.freezes, 0, "the next is on its way");
        let mut slow = moving();
        slow.switch(1_900_000);
        assert_eq!(slow.freezes, 0);
        slow.show(2_000_000);
        assert_eq!((slow.freezes, slow.longest_gap_us), (1, 1_000_000), "once");
    }
}
