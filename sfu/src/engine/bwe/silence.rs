//! Packets are out and nothing is told of them: nobody hears, or nobody can answer. Then the rate falls, step by step.

use super::Micros;

/// From one step to the next.
const STEP: Micros = 500_000;

/// How long nothing was told.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the first packet since then was sent.
    since: Option<Micros>,
    /// When the last step was.
    stepped: Option<Micros>,
    /// When to look next, no later than it has to be. What is told meanwhile leaves it: a deadline that moved with each feedback would be noted anew each time.
    look_at: Option<Micros>,
}

impl Silence {
    /// A packet goes out of which something is to be told within `patience`.
    pub(super) fn sent(&mut self, at: Micros, patience: Micros) {
        if self.since.is_none() {
            self.since = Some(at);
            self.look_at = self.look_at.or(Some(at + patience));
        }
    }

    /// Something was told. True if it had lasted longer than `patience`.
    pub(super) fn told(&mut self, at: Micros, patience: Micros) -> bool {
        self.stepped = None;
        let since = self.since.take();
        since.is_some_and(|since| at - since > patience)
    }

    /// Nothing was sent since something was told.
    pub(super) fn is_answered(&self) -> bool {
        self.since.is_none()
    }

    /// Nothing was told for `patience`, though something was sent.
    pub(super) fn lasts(&self, at: Micros, patience: Micros) -> bool {
        self.since.is_some_and(|since| at - since >= patience)
    }

    /// When to look at it.
    pub(super) fn look_at(&self) -> Option<Micros> {
        self.look_at
    }

    /// Takes a step that is due. `floor`: there is nothing left to lower.
    pub(super) fn step(&mut self, at: Micros, patience: Micros, floor: bool) -> bool {
        if self.look_at.is_none_or(|look| look > at) {
            return false;
        }
        self.look_at = match (self.since, self.stepped) {
            (None, _) => None,
            (Some(since), None) => Some(since + patience),
            (Some(_), Some(last)) => (!floor).then_some(last + STEP),
        };
        let due = self.look_at.filter(|due| *due <= at);
        self.stepped = due.or(self.stepped);
        due.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_at_no_more_often_than_it_may_last_and_steps_until_the_floor() {
        let (mut silence, patience) = (Silence::default(), 700);
        assert!(!silence.step(5_000, patience, false));
        // Told of every 50: the time to look stays.
        for at in (0..700).step_by(50) {
            silence.sent(at, patience);
            assert_eq!(silence.look_at(), Some(700), "{at}");
            assert!(!silence.told(at + 20, patience));
        }
        silence.sent(690, patience);
        assert!(!silence.step(700, patience, false));
        assert_eq!(silence.look_at(), Some(1_390));
        // Nothing more is told: a step then, and one for each that passed when the caller slept.
        assert!(!silence.step(1_389, patience, false));
        assert!(silence.step(1_390, patience, false) && !silence.step(1_390, patience, false));
        let mut step = |floor| silence.step(1_390 + 2 * STEP, patience, floor);
        assert!(step(false) && step(false) && !step(false));
        assert!(!silence.step(1_390 + 9 * STEP, patience, true));
        assert_eq!(silence.look_at(), None);
        // Heard again: as at first.
        assert!(silence.told(1_390 + 9 * STEP, patience));
        silence.sent(1_390 + 9 * STEP, patience);
        assert_eq!(silence.look_at(), Some(1_390 + 9 * STEP + patience));
    }
}
