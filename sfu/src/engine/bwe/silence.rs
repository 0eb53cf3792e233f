//! Packets are out and nothing is told of them: nobody hears, or nobody can answer. Then the rate falls, step by step.

use super::{Estimator, Micros, SILENCE, WAIT_GROW_MAX, rate::Rate, sent::Report};

/// From one step to the next.
const STEP: Micros = 500_000;
/// So long after it too few packets are told of to see whether what was held drains: on a calm way few have numbers.
const FIRST: Micros = 200_000;

/// How long nothing was told. Looked at when something is sent: while nothing is, nobody sends too much, and a time of its own would wake a node for each of
/// its receivers.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// When the first packet since then was sent.
    since: Option<Micros>,
    /// When the last step was.
    stepped: Option<Micros>,
    ended: Option<Ended>,
}

/// A silence that is over, while feedback still tells of what was sent in it.
#[derive(Debug)]
struct Ended {
    at: Micros,
    /// Feedback last told of what was sent so long ago.
    age: Micros,
    /// As it was then.
    rate: Rate,
}

impl Silence {
    /// A packet goes out of which something is to be told.
    pub(super) fn sent(&mut self, at: Micros) {
        self.since.get_or_insert(at);
    }

    /// Something was told. True if it had lasted longer than `patience`.
    pub(super) fn told(&mut self, at: Micros, patience: Micros) -> bool {
        self.stepped = None;
        let since = self.since.take();
        since.is_some_and(|since| at - since > patience)
    }

    /// What is told is still of one that is over.
    pub(super) fn is_told(&self) -> bool {
        self.ended.is_some()
    }

    /// When the first packet was sent that nothing was told after; none if nothing was sent since then.
    pub(super) fn since(&self) -> Option<Micros> {
        self.since
    }

    /// Nothing was told for `patience`, though something was sent.
    pub(super) fn lasts(&self, at: Micros, patience: Micros) -> bool {
        self.since.is_some_and(|since| at - since >= patience)
    }

    /// A step is due. `floor`: there is nothing left to lower.
    pub(super) fn is_due(&self, at: Micros, patience: Micros, floor: bool) -> bool {
        self.due(patience, floor).is_some_and(|due| due <= at)
    }

    fn due(&self, patience: Micros, floor: bool) -> Option<Micros> {
        match (self.since?, self.stepped) {
            (since, None) => Some(since + patience),
            (_, Some(last)) => (!floor).then_some(last + STEP),
        }
    }

    /// Takes a step that is due.
    pub(super) fn step(&mut self, at: Micros, patience: Micros, floor: bool) -> bool {
        let due = self.due(patience, floor).filter(|due| *due <= at);
        self.stepped = due.or(self.stepped);
        due.is_some()
    }
}

impl Estimator {
    /// Feedback came.
    pub(super) fn hear(&mut self, at: Micros) {
        // Sooner than steps are taken: a line that stood still for less has a queue, too.
        if self.silence.told(at, SILENCE + self.round_trip) {
            let (age, rate) = (Micros::MAX, self.rate.clone());
            self.silence.ended = Some(Ended { at, age, rate });
            self.probes.begin_anew(at);
        }
        self.told = Some(at);
    }

    /// A line that stopped delivers what it held. As long as each feedback tells of what was sent less long ago, that drains; and when what was sent behind it
    /// finds no queue, all that it waited was the silence, and the line takes no less than before. Probes wait for that.
    pub(super) fn outlast_silence(&mut self, at: Micros, news: &[Report]) {
        let Some(ended) = &mut self.silence.ended else {
            return;
        };
        let newest = news.iter().map(|report| report.sent).max().unwrap_or(at);
        let before = std::mem::replace(&mut ended.age, at - newest);
        if newest >= ended.at && self.delay.queue.wait() <= WAIT_GROW_MAX {
            // A probe of before may have shown more.
            if self.rate.target() < ended.rate.target() {
                self.rate.go_back(&ended.rate);
            }
            self.probes.begin_anew(at);
            self.silence.ended = None;
        } else if ended.age >= before && at - ended.at >= FIRST {
            self.silence.ended = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_steps_until_the_floor_and_ends_when_something_is_told() {
        let (mut silence, patience) = (Silence::default(), 700);
        assert!(!silence.step(5_000, patience, false));
        // Told of every 50.
        for at in (0..700).step_by(50) {
            silence.sent(at);
            assert!(!silence.told(at + 20, patience));
        }
        silence.sent(690);
        assert!(silence.lasts(790, 100) && !silence.lasts(789, 100));
        assert!(!silence.is_due(1_389, patience, false) && !silence.step(1_389, patience, false));
        // Nothing more is told: a step then, and one for each that passed when the caller slept.
        assert!(silence.is_due(1_390, patience, false));
        assert!(silence.step(1_390, patience, false) && !silence.step(1_390, patience, false));
        let mut step = |floor| silence.step(1_390 + 2 * STEP, patience, floor);
        assert!(step(false) && step(false) && !step(false));
        assert!(!silence.step(1_390 + 9 * STEP, patience, true));
        // Heard again: as at first.
        assert!(silence.told(1_390 + 9 * STEP, patience));
        silence.sent(1_390 + 9 * STEP);
        assert!(!silence.is_due(1_390 + 9 * STEP + patience - 1, patience, false));
        assert!(silence.is_due(1_390 + 9 * STEP + patience, patience, false));
    }
}
