//! How long a picture that stepped down for want of room waits for its raise, and what is remembered of it meanwhile.

use std::time::{Duration, Instant};

use super::{
    super::shortfall::Shortfall,
    outcome::{Hold, Level, SlotGrant, SlotMemory},
    problem::Demand,
};

/// After a step down no raise for so long.
pub(super) const HOLD: Duration = Duration::from_secs(3);
/// After a layer was asked for and found too large before it came.
pub(super) const HOLD_UNSEEN: Duration = Duration::from_millis(500);
/// A picture is not seen before: what is taken from one that was wanted a shorter time ago is no step down.
pub(super) const BEGINS: Duration = Duration::from_millis(500);
/// A step down so soon after a raise means that the raise was wrong: the next one waits twice as long.
pub(super) const RAISE_PROVES_ITSELF: Duration = Duration::from_secs(30);
/// No raise waits longer.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(24);
/// A way that carries so much of what it did at the step down waits no longer than [`HOLD`].
pub(super) const WIDE_PERCENT: u64 = 250;
/// No raise waits any longer that fitted, with room to spare, for so long without a break.
pub(super) const FITS: Duration = Duration::from_secs(6);
/// Nor does one begin anew that was away for want of room, and is not the most important of its receiver, before it fitted for so long: a
/// way that grows has another use for what is free in that moment.
pub(super) const BEGINS_ANEW_FITS: Duration = Duration::from_secs(2);
/// For so long an aim is kept without room to spare although what is reached stays below it.
pub(super) const AIM_PATIENCE: Duration = Duration::from_secs(10);

impl SlotMemory {
    /// Nothing of it was seen yet: it is wanted since a moment.
    pub(super) fn is_unseen(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.wanted_since) < BEGINS
    }

    /// Missed for so long that the aim has to come down.
    pub(super) fn is_impatient(&self, now: Instant) -> bool {
        self.missed_since
            .is_some_and(|since| now.saturating_duration_since(since) >= AIM_PATIENCE)
    }

    pub(super) fn entitlement(&self, now: Instant) -> Level {
        if self.is_impatient(now) {
            self.reached
        } else {
            self.entitled
        }
    }

    pub(super) fn lowered(&self, now: Instant, because: Shortfall, estimate: u64) -> Hold {
        let too_soon = self
            .raised_at
            .is_some_and(|raised| now.saturating_duration_since(raised) < RAISE_PROVES_ITSELF);
        let length = match self.hold {
            Some(hold) if too_soon => (hold.length * 2).clamp(HOLD, HOLD_MAX),
            _ => HOLD,
        };
        Hold {
            from: now,
            length,
            because,
            level: self.given,
            estimate,
        }
    }
}

impl Hold {
    /// An estimate falls too far before it finds what is left of a way: what it comes back to within [`HOLD`] is the way of the step down.
    pub(super) fn at(self, now: Instant, estimate: u64) -> Self {
        let is_young = now.saturating_duration_since(self.from) < HOLD;
        let estimate = if is_young {
            self.estimate.max(estimate)
        } else {
            self.estimate
        };
        Self { estimate, ..self }
    }

    /// A way that carries much more than at the step down is another one.
    pub(super) fn is_wide(&self, estimate: u64) -> bool {
        estimate / 100 >= self.estimate / 10_000 * WIDE_PERCENT
    }

    pub(super) fn length_over(&self, estimate: u64) -> Duration {
        if self.is_wide(estimate) && self.because.line.is_none() {
            self.length.min(HOLD)
        } else {
            self.length
        }
    }
}

/// What is remembered of a slot, if it wants the same as before. Slots keep their places most of the time.
pub(super) fn remembered<'a>(
    former: &'a [SlotGrant],
    place: usize,
    demand: &Demand,
) -> Option<&'a SlotMemory> {
    let same = |grant: &&SlotGrant| grant.memory.demand == *demand;
    former
        .get(place)
        .filter(same)
        .or_else(|| former.iter().find(same))
        .map(|grant| &grant.memory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{
        shortfall::Cause,
        testing::{base, ms},
    };

    #[test]
    fn the_way_of_a_step_down_is_what_is_left_of_it_within_three_seconds() {
        let down = Hold {
            from: base(),
            length: HOLD_MAX,
            because: Cause::Path.into(),
            level: Level::NOTHING,
            estimate: 130_000,
        };
        let settled = down
            .at(base() + ms(1_000), 330_000)
            .at(base() + ms(2_000), 300_000);
        assert_eq!(settled.estimate, 330_000);
        assert!(!settled.is_wide(340_000), "as wide as it was");
        assert_eq!(
            settled.at(base() + ms(4_000), 4_000_000),
            settled,
            "another way by then"
        );
        assert_eq!(settled.length_over(4_000_000), HOLD);
        assert_eq!(settled.length_over(340_000), HOLD_MAX);
    }
}
