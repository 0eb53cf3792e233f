//! Phase two: pictures, rung by rung over all receivers.

use std::time::{Duration, Instant};

use super::{
    super::{
        id::{LineIndex, Rank, SourceNumber},
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    due::{Due, round},
    hold::{BEGINS_ANEW_FITS, FITS, HOLD, HOLD_MAX, HOLD_UNSEEN, remembered},
    ladder::{Ladder, Rung, STAGE_EARLY_HEIGHT, layer_for, temporal_for},
    outcome::{Allocation, Hold, Level, SlotGrant, SlotMemory},
    problem::{Demand, Kind, LAYERS_MAX, Problem, Source},
    voices::{Desk, Hall},
    ways::{Room, line_shortfall},
};

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
    /// Up to which level no room to spare is needed.
    entitled: Level,
    /// Rungs climbed.
    pub(super) climbed: u8,
    /// Rungs there are to climb.
    top: u8,
    /// What stopped it.
    pub(super) refusal: Option<Shortfall>,
    /// It was nothing but a hold.
    is_held: bool,
    /// What its receiver's way carries.
    estimate: u64,
    /// Nothing limited its way yet.
    is_open: bool,
}

/// What a picture would get if all layers were sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aim {
    pub(super) level: Level,
    /// What stopped it there.
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
        let (mut keys, mut places) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (at, desk) in hall.desks.iter().enumerate() {
            let mut seen = [0_u16; 5];
            for (place, demand) in desk.receiver.demands.iter().enumerate() {
                let nth = &mut seen[demand.kind as usize];
                keys.push(served_at(demand.kind, desk.receiver.rank, *nth, places.len()));
                places.push((at, place, *nth));
                *nth = nth.saturating_add(1);
            }
        }
        keys.sort_unstable();
        let formers: Vec<&[SlotGrant]> = hall
            .desks
            .iter()
            .map(|desk| previous.slots_of(desk.receiver.endpoint))
            .collect();
        let first = |desk: &Desk<'_>| desk.receiver.demands.iter().map(|demand| demand.kind).min();
        let firsts: Vec<Option<Kind>> = hall.desks.iter().map(first).collect();
        let numbers: Vec<SourceNumber> = sources.iter().map(|(_, source)| source.number).collect();
        let item = |key: u64| {
            let (at, place, nth) = places[key as u32 as usize];
            let desk = &hall.desks[at];
            let demand = &desk.receiver.demands[place];
            let source = numbers.binary_search(&demand.source).ok();
            let mut item = Item {
                desk: at,
                demand,
                place,
                source,
                is_first: nth == 0 && firsts[at] == Some(demand.kind),
                wanted: Level::NOTHING,
                capped: None,
                cap: 0,
                former: remembered(formers[at], place, demand),
                entitled: Level::NOTHING,
                climbed: 0,
                top: 0,
                refusal: None,
                is_held: false,
                estimate: desk.receiver.estimate.map_or(u64::MAX, Bitrate::as_bps),
                is_open: desk.receiver.breath > Bitrate::ZERO,
            };
            item.look(problem, desk, source.map(|at| sources[at].1));
            item
        };
        Self {
            items: keys.into_iter().map(item).collect(),
        }
    }

    /// What was reached, in the order of the pictures.
    pub(super) fn aims(&self, ladders: &Ladders) -> Vec<Aim> {
        let aim = |item: &Item<'_>| Aim {
            level: item.reached(ladders),
            refusal: item.refusal,
        };
        self.items.iter().map(aim).collect()
    }

    /// Phase two. Round by round each picture that is due climbs one rung, if its whole way has room; the first rung that has
    /// none ends its climb.
    pub(super) fn give(&mut self, now: Instant, hall: &mut Hall<'_>, ladders: &Ladders, rules: Rules<'_>) {
        let mut due = Due::new(self.items.len());
        for (at, item) in self.items.iter_mut().enumerate() {
            let ladder = ladders.of(item);
            item.start(now, &hall.desks[item.desk], ladder, rules);
            due.put(at, item.round(ladder));
        }
        for round in round::FIRST..round::END {
            for word in 0..due.words {
                for at in due.take(round, word) {
                    let item = &mut self.items[at];
                    let Some(ladder) = ladders.of(item) else { continue };
                    item.climb(now, hall, ladder, rules);
                    due.put(at, item.round(Some(ladder)));
                }
            }
        }
    }
}

/// Sorts by kind, then by rank, then the first of everybody before the second of anybody; the place is in the lowest 32 bits.
fn served_at(kind: Kind, rank: Rank, nth: u16, place: usize) -> u64 {
    (kind as u64) << 56 | u64::from(u8::MAX - rank as u8) << 48 | u64::from(nth) << 32 | place as u64
}

/// Which raises must wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rules<'a> {
    /// For what senders are asked: raises above the last aim need room to spare; so do those above what is reached, when
    /// an aim was missed for long.
    Aim,
    /// For what is given: raises above what was reached need that too, and time.
    Give {
        /// Lines that have more to give than the last time: raises that wait for them wait no longer.
        freed: &'a [LineIndex],
    },
}

/// By source: its ladder for each temporal layer.
#[derive(Debug, Clone)]
pub(super) struct Ladders {
    /// For the most important picture of each receiver.
    pub(super) first: Vec<[Ladder; 3]>,
    /// For the others; empty if they climb the same.
    pub(super) rest: Vec<[Ladder; 3]>,
}

impl Ladders {
    pub(super) fn of(&self, item: &Item<'_>) -> Option<&Ladder> {
        let ladders = if item.is_first || self.rest.is_empty() {
            &self.first
        } else {
            &self.rest
        };
        let ladders = ladders.get(item.source?)?;
        ladders.get(usize::from(temporal_for(item.demand.fps)))
    }
}

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

    fn start(&mut self, now: Instant, desk: &Desk<'_>, ladder: Option<&Ladder>, rules: Rules<'_>) {
        (self.climbed, self.refusal, self.is_held) = (0, None, false);
        self.entitled = self.entitlement(now, rules);
        self.top = match ladder {
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

    /// That level is what is wanted, or more.
    pub(super) fn is_met_by(&self, level: Level) -> bool {
        let is_fluent = level.temporal() >= self.wanted.temporal();
        self.wanted > Level::NOTHING
            && (level.layer() > self.wanted.layer() || level.layer() == self.wanted.layer() && is_fluent)
    }

    /// When the next rung is due.
    fn round(&self, ladder: Option<&Ladder>) -> u8 {
        if self.refusal.is_some() || self.climbed >= self.top {
            return round::OUT;
        }
        let Some(ladder) = ladder else {
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

    fn climb(&mut self, now: Instant, hall: &mut Hall<'_>, ladder: &Ladder, rules: Rules<'_>) {
        let rungs = ladder.rungs();
        let next = rungs[usize::from(self.climbed)];
        let below = usize::from(self.climbed).checked_sub(1).map(|below| rungs[below]);
        let more = next.rate - below.map_or(0, |rung| rung.rate);
        let desk = &mut hall.desks[self.desk];
        let is_entitled = next.level <= self.entitled;
        let room = if is_entitled {
            match rules {
                Rules::Give { .. } if self.former.is_some() => Room::Kept,
                _ => Room::Just,
            }
        } else if self.begins_anew(now, rules) {
            Room::Ample
        } else if below.and_then(|rung| rung.level.layer()) == next.level.layer() {
            Room::Near
        } else {
            Room::Spare
        };
        let kind = self.demand.kind;
        let asked = match room {
            Room::Ample => ladder.lowest_layer(),
            _ => more,
        };
        self.refusal = if self.climbed == 0 {
            let just = if is_entitled { room } else { Room::Just };
            let refusal = desk.purse.refusal(&hall.lines, more, just);
            if let Some(Shortfall { line: Some(line), .. }) = refusal {
                hall.lines.close(line, kind, self.desk);
            }
            if is_entitled {
                refusal
            } else {
                desk.purse.refusal(&hall.lines, asked, room)
            }
        } else {
            let closed = hall.lines.closed(desk.receiver.lines, kind, self.desk);
            closed
                .map(|line| line_shortfall(Cause::LineBudget, line))
                .or_else(|| desk.purse.refusal(&hall.lines, asked, room))
        };
        if self.refusal.is_none() && !is_entitled {
            self.refusal = self.held(now, next.level, rules);
            self.is_held = self.refusal.is_some();
        }
        if self.refusal.is_none() {
            desk.purse.take(&mut hall.lines, more);
            self.climbed += 1;
        }
    }

    /// Up to which level no room to spare is needed. A new want may have anything that just fits.
    fn entitlement(&self, now: Instant, rules: Rules<'_>) -> Level {
        const ALL: Level = Level::new(LAYERS_MAX as u8, 2);
        match (self.former, rules) {
            (None, _) => ALL,
            (Some(former), Rules::Aim) => former.entitlement(now),
            (Some(former), Rules::Give { .. }) => former.reached,
        }
    }

    /// Not the most important one of its receiver, and it was away for want of room: its return must not cost the others a step.
    fn begins_anew(&self, now: Instant, rules: Rules<'_>) -> bool {
        let was_lowered = |former: &SlotMemory| former.hold.is_some_and(|hold| hold.from < now);
        let was_away = |former: &SlotMemory| former.reached == Level::NOTHING && was_lowered(former);
        self.climbed == 0
            && !self.is_first
            && matches!(rules, Rules::Give { .. })
            && self.former.is_some_and(was_away)
    }

    /// Why a raise has to wait.
    fn held(&self, now: Instant, level: Level, rules: Rules<'_>) -> Option<Shortfall> {
        let Rules::Give { freed } = rules else {
            return None;
        };
        let former = self.former.filter(|former| level > former.reached)?;
        let hold = former.hold?;
        // Nothing at all is worse than a picture that changes; and that a layer was too much says nothing of those below it.
        let is_brief = former.reached == Level::default() || level.layer() < hold.level.layer();
        let most = if is_brief { HOLD } else { HOLD_MAX };
        // What was too much for what was known of a way tells nothing of the way.
        let is_unknown = self.is_open && hold.because.is_of_way();
        let most = if is_unknown { HOLD_UNSEEN } else { most };
        let length = hold.length_over(self.estimate).min(most);
        let since = |from: Instant| now.saturating_duration_since(from);
        let fits = |time: Duration| former.held_since.is_some_and(|from| since(from) >= time);
        let is_slow = self.begins_anew(now, rules) && !is_unknown && !hold.is_wide(self.estimate);
        let is_proven = !is_slow || fits(BEGINS_ANEW_FITS);
        let is_over = since(hold.from) >= length && is_proven || fits(FITS);
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

    /// The highest rung climbed that arrives.
    pub(super) fn given<'l>(&self, ladders: &'l Ladders) -> Option<&'l Rung> {
        let rungs = ladders.of(self).map(Ladder::rungs).unwrap_or_default();
        let climbed = rungs.get(..usize::from(self.climbed)).unwrap_or_default();
        climbed.iter().rev().find(|rung| rung.live)
    }

    /// What the next call has to know.
    pub(super) fn memory(&self, now: Instant, reached: Level, given: Level, aim: Level) -> SlotMemory {
        let is_missed = aim.layer() > reached.layer();
        let fresh = SlotMemory {
            demand: *self.demand,
            wanted_since: self.former.map_or(now, |former| former.wanted_since),
            reached,
            given,
            aim,
            entitled: aim,
            missed_since: is_missed.then_some(now),
            raised_at: None,
            hold: None,
            held_since: self.is_held.then_some(now),
        };
        let Some(former) = self.former else { return fresh };
        let is_missed_again = is_missed && former.missed_since.is_some();
        let for_want_of_room = self.refusal.filter(|refusal| {
            matches!(
                refusal.cause,
                Cause::Path | Cause::LineBudget | Cause::OneVoice | Cause::Node
            )
        });
        let hold = match for_want_of_room {
            Some(_) if given == Level::NOTHING && former.is_unseen(now) => None,
            Some(because) if given < former.given => Some(former.lowered(now, because, self.estimate)),
            // Only a layer that was still to come is given up: nobody saw a step down.
            Some(because) if reached < former.reached => Some(Hold {
                from: now,
                length: HOLD_UNSEEN,
                because,
                level: former.reached,
                estimate: self.estimate,
            }),
            _ => former.hold.map(|hold| hold.at(now, self.estimate)),
        };
        SlotMemory {
            entitled: if is_missed_again {
                former.entitlement(now).min(aim)
            } else {
                aim
            },
            missed_since: if is_missed_again && !former.is_impatient(now) {
                former.missed_since
            } else {
                fresh.missed_since
            },
            raised_at: if reached > former.reached {
                Some(now)
            } else {
                former.raised_at
            },
            hold,
            held_since: fresh.held_since.and(former.held_since).or(fresh.held_since),
            ..fresh
        }
    }
}
