//! Phase one: voices, before any picture.

use super::{
    super::{
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    ladder::{STAGE_EARLY_HEIGHT, range},
    outcome::Allocation,
    problem::{AHEAD_SHARE, Loss, Problem, Receiver, VOICES_MAX},
    ways::{Lines, Purse, Room, line_shortfall, with_margin},
};

/// Below it a way carries one voice and nothing else: a second one would leave no room for the first one's repair.
pub(super) const NARROW: Bitrate = Bitrate::kbps(160);

/// A receiver while things are given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) receiver: &'a Receiver<'a>,
    pub(super) purse: Purse<'a>,
    pub(super) voices: u8,
    pub(super) voices_wanted: u8,
    pub(super) redundancy: bool,
    /// Of what it takes, a third copy.
    pub(super) third: bool,
    /// What of its stage goes once more before anybody asks.
    pub(super) ahead: u64,
    pub(super) narrow: bool,
    pub(super) shortfall: Option<Shortfall>,
}

/// Everybody by endpoint, with what is left of the lines.
#[derive(Debug, Clone)]
pub(super) struct Hall<'a> {
    pub(super) desks: Vec<Desk<'a>>,
    pub(super) lines: Lines,
}

impl<'a> Hall<'a> {
    /// Phase one. Everybody's first voice, then everybody's second, and so on; the chair before the secretary before members.
    /// Then redundancy for those whose losses are not of their own making.
    pub(super) fn with_voices(problem: &Problem<'a>, previous: &Allocation) -> Self {
        let mut desks: Vec<Desk<'a>> = problem
            .receivers
            .iter()
            .map(|receiver| Desk::new(receiver, problem, previous))
            .collect();
        desks.sort_by_key(|desk| desk.receiver.endpoint);
        let mut hall = Self {
            desks,
            lines: Lines::new(problem.lines, |line| (line.down.as_bps(), line.breath.as_bps())),
        };
        let mut order: Vec<usize> = (0..hall.desks.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(hall.desks[at].receiver.rank));
        for nth in 0..VOICES_MAX {
            for &at in &order {
                hall.desks[at].give_voice(nth, &mut hall.lines, previous);
            }
        }
        for &at in &order {
            hall.give_redundancy(at, Loss::Random, previous);
            hall.give_third(at, Before::Pictures, previous);
            hall.give_ahead(at, previous);
        }
        hall
    }

    /// All or nothing: half of the voices repaired would sound like a fault of the other half.
    pub(super) fn give_redundancy(&mut self, at: usize, loss: Loss, previous: &Allocation) {
        let desk = &mut self.desks[at];
        let Some(one) = desk.receiver.redundancy.filter(|_| desk.receiver.loss == loss) else {
            return;
        };
        let had = previous
            .receiver(desk.receiver.endpoint)
            .is_some_and(|former| former.redundancy);
        let room = if had { Room::Just } else { Room::Spare };
        let more = one.as_bps().saturating_mul(desk.redundant().into());
        if desk.voices > 0 && desk.purse.refusal(&self.lines, more, room).is_none() {
            desk.purse.take(&mut self.lines, more);
            desk.redundancy = true;
        }
    }

    /// A third copy where losses are heavy: before any picture as long as half of the way is left for them, else of what everything else left
    /// over. It comes and goes without a key frame. Further repeats go before any picture as the first does.
    pub(super) fn give_third(&mut self, at: usize, before: Before, previous: &Allocation) {
        let desk = &mut self.desks[at];
        let Some(more) = desk.third_wanted() else {
            return;
        };
        if before == Before::Pictures && !desk.receiver.repeats && !desk.purse.leaves_half(more) {
            return;
        }
        let had = previous
            .receiver(desk.receiver.endpoint)
            .is_some_and(|former| former.third);
        let room = if had { Room::Just } else { Room::Near };
        if desk.purse.refusal(&self.lines, more, room).is_none() {
            desk.purse.take(&mut self.lines, more);
            desk.third = true;
        }
    }

    /// What of the stage goes once more: before all pictures, where that leaves the stage's own its usual room. On a thinner way all of its pictures, with a pause now and then, are
    /// worth more than half of them without.
    fn give_ahead(&mut self, at: usize, previous: &Allocation) {
        let desk = &mut self.desks[at];
        let is_worth = desk.receiver.loss == Loss::Random && !desk.narrow;
        let Some(ahead) = desk.receiver.ahead.filter(|_| is_worth) else {
            return;
        };
        let most = desk.receiver.estimate.map_or(0, Bitrate::as_bps) / AHEAD_SHARE;
        let ahead = ahead.as_bps().min(most);
        let had = previous
            .receiver(desk.receiver.endpoint)
            .is_some_and(|former| former.ahead > Bitrate::ZERO);
        let room = if had { Room::Just } else { Room::Spare };
        let with_stage = ahead.saturating_add(range(STAGE_EARLY_HEIGHT).usual);
        if desk.purse.refusal(&self.lines, with_stage, room).is_none() {
            desk.purse.take(&mut self.lines, ahead);
            desk.ahead = ahead;
        }
    }
}

/// When something is given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Pictures,
    Nothing,
}

impl<'a> Desk<'a> {
    fn new(receiver: &'a Receiver<'a>, problem: &Problem<'a>, previous: &Allocation) -> Self {
        let was_narrow = previous
            .receiver(receiver.endpoint)
            .is_some_and(|former| former.narrow);
        let edge = if was_narrow {
            with_margin(NARROW.as_bps())
        } else {
            NARROW.as_bps()
        };
        Self {
            receiver,
            purse: Purse::new(receiver, &problem.policy),
            voices: 0,
            voices_wanted: receiver.voices.min(VOICES_MAX),
            redundancy: false,
            third: false,
            ahead: 0,
            narrow: receiver.estimate.is_some_and(|estimate| estimate.as_bps() < edge),
            shortfall: None,
        }
    }

    /// What a third copy of its voices takes, or further repeats, where losses are heavy and it has what comes before them.
    pub(super) fn third_wanted(&self) -> Option<u64> {
        let wanted = self.redundancy && !self.third && self.receiver.loss == Loss::Random;
        let third = self.receiver.third.filter(|_| wanted)?;
        Some(third.as_bps().saturating_mul(self.redundant().into()))
    }

    /// What its voices take.
    pub(super) fn sound(&self) -> u64 {
        let redundancy = self.receiver.redundancy.filter(|_| self.redundancy);
        let third = self.receiver.third.filter(|_| self.third);
        let voices = self.receiver.voice.as_bps().saturating_mul(self.voices.into());
        let more = [redundancy, third].into_iter().flatten().map(Bitrate::as_bps);
        let more = more.fold(0, u64::saturating_add);
        voices.saturating_add(more.saturating_mul(self.redundant().into()))
    }

    /// Voices that redundancy is for.
    fn redundant(&self) -> u8 {
        self.voices.min(self.receiver.sounding)
    }

    fn give_voice(&mut self, nth: u8, lines: &mut Lines, previous: &Allocation) {
        if nth >= self.voices_wanted || self.shortfall.is_some() {
            return;
        }
        let more = self.receiver.voice.as_bps();
        self.shortfall = if nth == 0 {
            // The one thing that is sent whatever the estimate says: an estimate can be wrong, silence is.
            lines
                .refusing(self.receiver.lines, more, Room::Just)
                .map(|line| line_shortfall(Cause::LineBudget, line))
        } else if self.narrow {
            Some(Cause::OneVoice.into())
        } else {
            let is_raise = previous
                .receiver(self.receiver.endpoint)
                .is_some_and(|former| former.voices_wanted == self.voices_wanted && former.voices <= nth);
            let room = if is_raise { Room::Spare } else { Room::Just };
            self.purse.refusal(lines, more, room)
        };
        if self.shortfall.is_none() {
            self.purse.take(lines, more);
            self.voices += 1;
        }
    }
}
