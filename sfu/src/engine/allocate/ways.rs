//! What is left of each line and of each receiver's own way while things are given out.

use super::{
    super::{
        id::LineIndex,
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    claims::by_line,
    problem::{Kind, Line, Policy, Receiver},
};

/// A raise must fit so much more than it takes, in percent of it. Without it a slot goes up and down with every breath of
/// the estimate.
pub(super) const MARGIN_PERCENT: u64 = 115;
/// The same for what goes on without a key frame: more pictures of one layer, a greater bitrate.
const NEAR_PERCENT: u64 = 110;
/// The same where it is known what the way takes: the estimate itself leaves a tenth of that free.
const KNOWN_PERCENT: u64 = 103;
/// The same for [`Room::Ample`].
const AMPLE_PERCENT: u64 = 125;

/// Whether something fits with room to spare or just so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// Just so, as what was given before: the line and the way may breathe.
    Kept,
    Just,
    /// More pictures of the layer that is shown: they come and go without a key frame.
    Near,
    Spare,
    /// So that also the key frame with which a picture begins anew finds room on the way.
    Ample,
}

/// What is left of all lines in one direction.
#[derive(Debug, Clone)]
pub(super) struct Lines {
    /// By index; none for a line without limit.
    left: Vec<Option<Left>>,
    /// By index; none for a line where nobody was refused a beginning.
    closed: Vec<Option<Closed>>,
}

/// Of one line.
#[derive(Debug, Clone, Copy)]
struct Left {
    budget: u64,
    /// For what was given before, beyond the budget.
    breath: u64,
    /// Of both.
    left: u64,
}

/// Pictures of this kind and less important ones climb no more, because one of them found no room to begin.
#[derive(Debug, Clone, Copy)]
struct Closed {
    kind: Kind,
    /// For all but this receiver, whose picture it was; none if there were several.
    but: Option<usize>,
}

impl Lines {
    /// `of`: what of a line is given out, and how much more what was given before may take.
    pub(super) fn new(lines: &[Line], of: impl Fn(&Line) -> (u64, u64)) -> Self {
        let mut left = by_line(lines);
        for line in lines {
            let (budget, breath) = of(line);
            left[usize::from(line.line.0)] = Some(Left {
                budget,
                breath,
                left: budget.saturating_add(breath),
            });
        }
        Self {
            left,
            closed: by_line(lines),
        }
    }

    fn of(&self, line: LineIndex) -> Option<Left> {
        self.left.get(usize::from(line.0)).copied().flatten()
    }

    pub(super) fn budget(&self, line: LineIndex) -> Option<u64> {
        self.of(line).map(|of| of.budget)
    }

    pub(super) fn left(&self, line: LineIndex) -> Option<u64> {
        self.of(line).map(|of| of.left.saturating_sub(of.breath))
    }

    /// What is left on a whole way.
    pub(super) fn least(&self, way: &[LineIndex]) -> u64 {
        way.iter()
            .filter_map(|&line| self.left(line))
            .min()
            .unwrap_or(u64::MAX)
    }

    /// The first line of a way that has no room for that; none if there is room. Which one is named does not depend on what may breathe:
    /// whoever gives something up is asked without the breath next time, and is to hear the same reason.
    pub(super) fn refusing(&self, way: &[LineIndex], more: u64, room: Room) -> Option<LineIndex> {
        let lacks = |left: Option<u64>| left.is_some_and(|left| left < more);
        let breathes = |&line: &LineIndex| !lacks(self.of(line).map(|of| of.left));
        if room == Room::Kept && way.iter().all(breathes) {
            return None;
        }
        way.iter().copied().find(|&line| lacks(self.left(line)))
    }

    /// A picture of that kind found no room to begin.
    pub(super) fn close(&mut self, line: LineIndex, kind: Kind, desk: usize) {
        if let Some(closed) = self.closed.get_mut(usize::from(line.0)) {
            let but = Some(desk);
            *closed = Some(closed.map_or(Closed { kind, but }, |other| Closed {
                kind: other.kind.min(kind),
                but: but.filter(|_| other.but == but),
            }));
        }
    }

    /// The first line of a way on which no picture of that kind may climb.
    pub(super) fn closed(&self, way: &[LineIndex], kind: Kind, desk: usize) -> Option<LineIndex> {
        let is_closed = |line: &LineIndex| {
            let closed = self.closed.get(usize::from(line.0)).copied().flatten();
            closed.is_some_and(|closed| closed.kind <= kind && closed.but != Some(desk))
        };
        way.iter().copied().find(is_closed)
    }

    /// Takes it; what is not there is not taken.
    pub(super) fn take(&mut self, way: &[LineIndex], more: u64) {
        for line in way {
            if let Some(Some(of)) = self.left.get_mut(usize::from(line.0)) {
                of.left = of.left.saturating_sub(more);
            }
        }
    }
}

/// What a receiver has taken of its own way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purse<'a> {
    pub(super) used: u64,
    estimate: u64,
    /// For what was given before, beyond the estimate.
    breath: u64,
    even: Option<u64>,
    policy: u64,
    /// What the node has time for.
    node: u64,
    lines: &'a [LineIndex],
}

impl<'a> Purse<'a> {
    pub(super) fn new(receiver: &Receiver<'a>, policy: &Policy) -> Self {
        Self {
            used: 0,
            estimate: receiver.estimate.map_or(u64::MAX, |estimate| estimate.as_bps()),
            breath: receiver.breath.as_bps(),
            even: receiver.even.map(Bitrate::as_bps),
            policy: policy.receiver_max.as_bps(),
            node: policy.node_max.map_or(u64::MAX, Bitrate::as_bps),
            lines: receiver.lines,
        }
    }

    /// Why so much more does not fit.
    pub(super) fn refusal(&self, lines: &Lines, more: u64, room: Room) -> Option<Shortfall> {
        let after = self.used.saturating_add(more);
        // A line that is full first: with it a better way of one's own would change nothing.
        // What is given up for another reason has to come back without the line's breath.
        let (least, cause) = self.least();
        let fits = after <= least;
        let of_line = if fits { room } else { Room::Just };
        if let Some(line) = lines.refusing(self.lines, more, of_line) {
            return Some(line_shortfall(Cause::LineBudget, line));
        }
        // Nor does it depend on the way's breath which of the others is named: with more of any but the least nothing would change.
        let breath = if room == Room::Kept { self.breath } else { 0 };
        let most = self
            .estimate
            .saturating_add(breath)
            .min(self.policy)
            .min(self.node);
        if after > most {
            return Some(cause.into());
        }
        if matches!(room, Room::Kept | Room::Just) || more == 0 {
            return None;
        }
        let margin = match room {
            Room::Kept | Room::Just | Room::Near => NEAR_PERCENT,
            Room::Spare => MARGIN_PERCENT,
            Room::Ample => AMPLE_PERCENT,
        };
        let more = more.saturating_mul(margin.min(MARGIN_PERCENT)) / 100;
        if let Some(line) = lines.refusing(self.lines, more, room) {
            return Some(line_shortfall(Cause::LineBudget, line));
        }
        (after.saturating_mul(margin) / 100 > least).then(|| cause.into())
    }

    /// What its way, the policy and the node take at most, and which of them that is.
    fn least(&self) -> (u64, Cause) {
        let (least, cause) = if self.policy < self.estimate {
            (self.policy, Cause::Policy)
        } else {
            (self.estimate, Cause::Path)
        };
        if self.node < least {
            (self.node, Cause::Node)
        } else {
            (least, cause)
        }
    }

    pub(super) fn take(&mut self, lines: &mut Lines, more: u64) {
        self.used = self.used.saturating_add(more);
        lines.take(self.lines, more);
    }

    /// With so much more, half of its own way is still there.
    pub(super) fn leaves_half(&self, more: u64) -> bool {
        self.used.saturating_add(more) <= self.estimate / 2
    }

    /// What more its own way, the policy and the node would take and leave a tenth of each: what is ordered is taken for somewhat more than it is. An estimate
    /// grows beyond what the way is known to take, to find out; encoders do not follow it there.
    pub(super) fn spare(&self) -> u64 {
        let way = match self.even {
            Some(even) => even.min(self.estimate / KNOWN_PERCENT * 100),
            None => self.estimate / NEAR_PERCENT * 100,
        };
        let others = self.policy.min(self.node) / NEAR_PERCENT * 100;
        way.min(others).saturating_sub(self.used)
    }
}

pub(super) fn line_shortfall(cause: Cause, line: LineIndex) -> Shortfall {
    Shortfall {
        cause,
        line: Some(line),
    }
}

pub(super) fn with_margin(rate: u64) -> u64 {
    rate.saturating_mul(MARGIN_PERCENT) / 100
}
