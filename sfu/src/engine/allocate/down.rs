//! Downward: voices first, then pictures, rung by rung over all receivers.

use std::time::{Duration, Instant};

use super::{
    super::{
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    ladder::{Ladder, layer_for, temporal_for},
    outcome::{Allocation, Hold, Level, SlotMemory},
    problem::{Demand, Kind, LAYERS_MAX, Loss, Problem, Receiver, Source, VOICES_MAX},
    ways::{Lines, Purse, Room, with_margin},
};

/// Below it a way carries one voice and nothing else: a second voice would leave no room for the first one's repair.
pub(super) const NARROW: Bitrate = Bitrate::kbps(160);
/// The stage climbs to pictures of this height before any other picture begins: one picture of the stage that can be
/// looked at is worth more than twenty that cannot.
const STAGE_EARLY_HEIGHT: u16 = 360;

/// Rounds of [`Pictures::give`], see `docs/allocation.md`.
mod round {
    pub(super) const FIRST: u8 = 0;
    pub(super) const STAGE: u8 = 1;
    pub(super) const BASE: u8 = 10;
    pub(super) const UPPER: u8 = 20;
    pub(super) const END: u8 = 30;
    /// Nothing more to climb.
    pub(super) const OUT: u8 = u8::MAX;
}

/// A receiver while things are given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Desk<'a> {
    pub(super) receiver: &'a Receiver<'a>,
    pub(super) purse: Purse<'a>,
    pub(super) voices: u8,
    pub(super) voices_wanted: u8,
    pub(super) redundancy: bool,
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
            lines: Lines::new(problem.lines, |line| line.down.as_bps()),
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
        let more = one.as_bps().saturating_mul(desk.voices.into());
        if desk.voices > 0 && desk.purse.refusal(&self.lines, more, room).is_none() {
            desk.purse.take(&mut self.lines, more);
            desk.redundancy = true;
        }
    }
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
            narrow: receiver.estimate.is_some_and(|estimate| estimate.as_bps() < edge),
            shortfall: None,
        }
    }

    fn give_voice(&mut self, nth: u8, lines: &mut Lines, previous: &Allocation) {
        if nth >= self.voices_wanted || self.shortfall.is_some() {
            return;
        }
        let more = self.receiver.voice.as_bps();
        self.shortfall = if nth == 0 {
            // The one thing that is sent whatever the estimate says: an estimate can be wrong, silence is.
            lines
                .refusing(self.receiver.lines, more)
                .map(|line| super::outcome::LineUse::shortfall(line, Cause::LineBudget))
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

/// A picture while things are given out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'a> {
    pub(super) desk: usize,
    pub(super) demand: &'a Demand,
    /// Its place among the demands of its receiver.
    pub(super) place: usize,
    /// Its place in the list of all sources; none for a source that is not there.
    pub(super) source: Option<usize>,
    /// The most important one of its receiver.
    pub(super) is_first: bool,
    /// What its height and rate ask for.
    pub(super) wanted: Level,
    /// What stands above `cap`, and why.
    pub(super) capped: Option<Cause>,
    /// The highest layer that is worth asking for.
    pub(super) cap: u8,
    former: Option<&'a SlotMemory>,
    /// Rungs climbed.
    pub(super) climbed: u8,
    /// Rungs there are to climb.
    top: u8,
    /// What stopped it.
    pub(super) refusal: Option<Shortfall>,
}

/// All pictures that are wanted, in the order in which they are served within a round: by kind, then by rank, then the first
/// of everybody before the second of anybody.
#[derive(Debug, Clone)]
pub(super) struct Pictures<'a> {
    pub(super) items: Vec<Item<'a>>,
}

impl<'a> Pictures<'a> {
    pub(super) fn new(
        problem: &Problem<'a>,
        previous: &'a Allocation,
        hall: &Hall<'a>,
        sources: &[(usize, &'a Source)],
    ) -> Self {
        let count = hall.desks.iter().map(|desk| desk.receiver.demands.len()).sum();
        let mut keyed = Vec::with_capacity(count);
        for (at, desk) in hall.desks.iter().enumerate() {
            let former = previous.slots_of(desk.receiver.endpoint);
            let mut seen = [0_u32; 5];
            let first = desk.receiver.demands.iter().map(|demand| demand.kind).min();
            for (place, demand) in desk.receiver.demands.iter().enumerate() {
                let nth = &mut seen[demand.kind as usize];
                let key = (demand.kind, std::cmp::Reverse(desk.receiver.rank), *nth, at);
                let is_first = *nth == 0 && first == Some(demand.kind);
                *nth += 1;
                let source = sources
                    .binary_search_by_key(&demand.source, |(_, source)| source.number)
                    .ok();
                let memory = remembered(former, place, demand);
                let mut item = Item {
                    desk: at,
                    demand,
                    place,
                    source,
                    is_first,
                    wanted: Level::NOTHING,
                    capped: None,
                    cap: 0,
                    former: memory,
                    climbed: 0,
                    top: 0,
                    refusal: None,
                };
                item.look(problem, desk, source.map(|at| sources[at].1));
                keyed.push((key, item));
            }
        }
        keyed.sort_by_key(|(key, _)| *key);
        Self {
            items: keyed.into_iter().map(|(_, item)| item).collect(),
        }
    }

    /// Phase two. Round by round each picture that is due climbs one rung, if its whole way has room; the first rung that has
    /// none ends its climb.
    pub(super) fn give(&mut self, now: Instant, hall: &mut Hall<'_>, ladders: &Ladders, rules: Rules<'_>) {
        let mut due: Vec<u8> = Vec::with_capacity(self.items.len());
        for item in &mut self.items {
            item.start(&hall.desks[item.desk], ladders);
            due.push(item.round(ladders));
        }
        for round in round::FIRST..round::END {
            for (item, due) in self.items.iter_mut().zip(&mut due) {
                if *due != round {
                    continue;
                }
                item.climb(now, hall, ladders, rules);
                *due = item.round(ladders);
            }
        }
    }
}

/// Which raises must wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rules<'a> {
    /// For what senders are asked: raises above what is reached, or was aimed at of late, need room to spare.
    Aim,
    /// For what is given: raises above what was reached need that too, and time.
    Give {
        /// Lines that have more to give than the last time: raises that wait for them wait no longer.
        freed: &'a [super::super::id::LineIndex],
    },
}

/// By source: its ladder for each temporal layer.
#[derive(Debug, Clone)]
pub(super) struct Ladders(pub(super) Vec<[Ladder; 3]>);

impl Ladders {
    pub(super) fn of(&self, item: &Item<'_>) -> Option<&Ladder> {
        let ladders = self.0.get(item.source?)?;
        ladders.get(usize::from(temporal_for(item.demand.fps)))
    }
}

/// After a step down no raise for so long.
pub(super) const HOLD: Duration = Duration::from_secs(3);
/// A step down so soon after a raise means that the raise was wrong: the next one waits twice as long.
pub(super) const RAISE_PROVES_ITSELF: Duration = Duration::from_secs(30);
/// No raise waits longer.
pub(super) const HOLD_MAX: Duration = Duration::from_secs(24);
/// For so long an aim is kept without room to spare although what is reached stays below it.
pub(super) const AIM_PATIENCE: Duration = Duration::from_secs(10);

impl Item<'_> {
    /// What it wants and what caps that.
    fn look(&mut self, problem: &Problem<'_>, desk: &Desk<'_>, source: Option<&Source>) {
        let Some(source) = source else { return };
        let Some(wanted) = layer_for(self.demand.height, &source.layers) else {
            return;
        };
        self.wanted = Level::new(wanted, temporal_for(self.demand.fps));
        self.cap = wanted;
        let allowed = self.demand.height.min(problem.policy.height_max);
        if let Some(layer) = layer_for(allowed, &source.layers).filter(|&layer| layer < self.cap) {
            (self.cap, self.capped) = (layer, Some(Cause::Policy));
        }
        if desk.receiver.cpu_steps > 0 {
            let lowest = layer_for(0, &source.layers).unwrap_or(0);
            let layer = wanted.saturating_sub(desk.receiver.cpu_steps).max(lowest);
            if layer < self.cap {
                (self.cap, self.capped) = (layer, Some(Cause::ReceiverCpu));
            }
        }
    }

    fn start(&mut self, desk: &Desk<'_>, ladders: &Ladders) {
        (self.climbed, self.refusal) = (0, None);
        self.top = match ladders.of(self) {
            Some(ladder) if self.wanted > Level::NOTHING => ladder.up_to(self.cap) as u8,
            _ => 0,
        };
        self.refusal = if !self.demand.decodable {
            Some(Cause::Codec.into())
        } else if desk.narrow {
            Some(Cause::OneVoice.into())
        } else {
            None
        };
    }

    /// When the next rung is due.
    fn round(&self, ladders: &Ladders) -> u8 {
        if self.refusal.is_some() || self.climbed >= self.top {
            return round::OUT;
        }
        let Some(ladder) = ladders.of(self) else {
            return round::OUT;
        };
        let rungs = ladder.rungs();
        let (lowest, next) = (rungs[0], rungs[usize::from(self.climbed)]);
        let is_stage = self.demand.kind == Kind::Stage;
        let layers = next.level.layer().unwrap_or(0) - lowest.level.layer().unwrap_or(0);
        match (self.climbed, layers) {
            (0, _) if self.is_first => round::FIRST,
            (climbed, _) if is_stage && next.height <= STAGE_EARLY_HEIGHT => round::STAGE + climbed,
            (climbed, 0) => round::BASE + climbed,
            (_, layers) => round::UPPER + 3 * (layers - 1) + next.level.temporal(),
        }
    }

    fn climb(&mut self, now: Instant, hall: &mut Hall<'_>, ladders: &Ladders, rules: Rules<'_>) {
        let Some(ladder) = ladders.of(self) else { return };
        let next = ladder.rungs()[usize::from(self.climbed)];
        let more = next.rate - self.rate(ladder);
        let desk = &mut hall.desks[self.desk];
        let room = if self.entitled(now, rules) >= Some(next.level) {
            Room::Just
        } else {
            Room::Spare
        };
        self.refusal = desk
            .purse
            .refusal(&hall.lines, more, room)
            .or_else(|| self.held(now, next.level, rules));
        if self.refusal.is_none() {
            desk.purse.take(&mut hall.lines, more);
            self.climbed += 1;
        }
    }

    /// Up to which level no room to spare is needed. A new want may have anything that just fits.
    fn entitled(&self, now: Instant, rules: Rules<'_>) -> Option<Level> {
        const ALL: Level = Level::new(LAYERS_MAX as u8, 2);
        let Some(former) = self.former else {
            return Some(ALL);
        };
        let is_patient = |since: Instant| now.saturating_duration_since(since) < AIM_PATIENCE;
        match rules {
            Rules::Aim if former.missed_since.is_none_or(is_patient) => Some(former.aim.max(former.reached)),
            Rules::Aim | Rules::Give { .. } => Some(former.reached),
        }
    }

    /// Why a raise has to wait.
    fn held(&self, now: Instant, level: Level, rules: Rules<'_>) -> Option<Shortfall> {
        let Rules::Give { freed } = rules else {
            return None;
        };
        let former = self.former.filter(|former| level > former.reached)?;
        let hold = former.hold?;
        let is_over = now.saturating_duration_since(hold.from) >= hold.length;
        let is_freed = hold.because.line.is_some_and(|line| freed.contains(&line));
        (!is_over && !is_freed).then_some(hold.because)
    }

    /// What the climbed rungs take.
    pub(super) fn rate(&self, ladder: &Ladder) -> u64 {
        let below = usize::from(self.climbed).checked_sub(1);
        below
            .and_then(|at| ladder.rungs().get(at))
            .map_or(0, |rung| rung.rate)
    }

    /// The level of the highest rung climbed.
    pub(super) fn reached(&self, ladders: &Ladders) -> Level {
        let rungs = ladders.of(self).map(Ladder::rungs).unwrap_or_default();
        let climbed = rungs.get(..usize::from(self.climbed)).unwrap_or_default();
        climbed.last().map_or(Level::NOTHING, |rung| rung.level)
    }

    /// What the next call has to know.
    pub(super) fn memory(&self, now: Instant, reached: Level, aim: Level) -> SlotMemory {
        let is_missed = aim.layer() > reached.layer();
        let fresh = SlotMemory {
            demand: *self.demand,
            reached,
            aim,
            missed_since: is_missed.then_some(now),
            raised_at: None,
            hold: None,
        };
        let Some(former) = self.former else { return fresh };
        let for_want_of_room = self
            .refusal
            .filter(|refusal| matches!(refusal.cause, Cause::Path | Cause::LineBudget | Cause::OneVoice));
        let hold = match for_want_of_room {
            Some(because) if reached < former.reached => Some(former.lowered(now, because)),
            _ => former.hold,
        };
        SlotMemory {
            missed_since: fresh.missed_since.map(|now| former.missed_since.unwrap_or(now)),
            raised_at: if reached > former.reached {
                Some(now)
            } else {
                former.raised_at
            },
            hold,
            ..fresh
        }
    }
}

impl SlotMemory {
    fn lowered(&self, now: Instant, because: Shortfall) -> Hold {
        let too_soon = self
            .raised_at
            .is_some_and(|raised| now.saturating_duration_since(raised) < RAISE_PROVES_ITSELF);
        let length = match self.hold {
            Some(hold) if too_soon => (hold.length * 2).min(HOLD_MAX),
            _ => HOLD,
        };
        Hold {
            from: now,
            length,
            because,
        }
    }
}

/// What is remembered of a slot, if it wants the same as before. Slots keep their places most of the time.
fn remembered<'a>(
    former: &'a [super::outcome::SlotGrant],
    place: usize,
    demand: &Demand,
) -> Option<&'a SlotMemory> {
    let same = |grant: &&super::outcome::SlotGrant| grant.memory.demand == *demand;
    former
        .get(place)
        .filter(same)
        .or_else(|| former.iter().find(same))
        .map(|grant| &grant.memory)
}
