//! Lines that several points share: how fast each point behind one may be sent to, so that all of them together do not exceed it.
//!
//! One picture goes to all points of a site at the same moment. Each of their ways could carry it at once, the line that
//! they share could not: what is sent at once would wait in the line's queue, before the voices. So each leaves at its part of the line.

use std::time::{Duration, Instant};

use super::{
    super::{
        bottleneck,
        id::{EndpointId, LineIndex},
        shortfall::Cause,
        units::Bitrate,
    },
    Room,
    endpoint::Endpoint,
    way::Share,
};

/// Even who hears one voice only may be sent to so fast, bits a second: a picture can begin before the next plan.
const PART_MIN: u64 = 150_000;

/// The parts of a line that nobody declared are made equal in steps so far apart, each four fifths of the way.
const LEVEL_EVERY: Duration = Duration::from_millis(500);

/// So many times its part a way may find out about at once, on a line that nobody declared.
const FIND: u64 = 2;

/// What is given out of a line.
struct Given<'a> {
    line: Shared<'a>,
    /// All of them together leave no faster.
    pace: u64,
    /// Sum of the parts.
    parts: u64,
    /// An equal part of it: so much everybody may find out about.
    fair: u64,
    /// Nobody has it.
    left: u64,
    /// The first of those who would get more of it if their own way were known to carry it.
    next: Option<EndpointId>,
    /// How many are behind it; of those that were found, who are heard.
    count: usize,
}

/// A line that several points share.
#[derive(Clone, Copy)]
enum Shared<'a> {
    /// One that is planned for.
    Planned(LineIndex),
    /// One that nobody declared: those behind it were found by their waits.
    Found(&'a [EndpointId]),
}

impl Shared<'_> {
    fn is_before(self, endpoint: &Endpoint) -> bool {
        match self {
            Self::Planned(line) => endpoint.lines.contains(&line),
            Self::Found(members) => members.binary_search(&endpoint.id).is_ok(),
        }
    }

    /// It is given some of it. What the way of one that is not heard is taken to carry says nothing of a line that was found.
    fn is_for(self, endpoint: &Endpoint) -> bool {
        let counts = matches!(self, Self::Planned(_)) || endpoint.way.is_heard();
        counts && self.is_before(endpoint)
    }
}

impl Room {
    /// Before a plan: who shares a line that nobody declared is taken to carry its part of what all of them found out. Alone, one whose
    /// estimate fell stays low while the others stand high, for the line is full.
    pub(super) fn level_ways(&mut self, now: Instant) {
        let ways = self
            .endpoints
            .values()
            .map(|endpoint| (endpoint.id, endpoint.way.waits()));
        self.plan
            .bottlenecks
            .look(now.saturating_duration_since(self.epoch), ways);
        let earliest = self.plan.levelled.map(|at| at + LEVEL_EVERY);
        if earliest.is_some_and(|earliest| now < earliest) {
            return;
        }
        self.plan.levelled = Some(now);
        let groups = self.plan.bottlenecks.groups();
        let parts: Vec<(EndpointId, Bitrate)> = groups.flat_map(|members| self.levelled(members)).collect();
        for (id, part) in parts {
            if let Some(endpoint) = self.endpoints.get_mut(id) {
                endpoint.way.level(now, part);
            }
        }
    }

    /// What each of them is taken to carry next. Nothing changes while a queue stands: then their own answers are worth more. Who is not heard has no
    /// part: its estimate falls whatever the line takes.
    fn levelled(&self, members: &[EndpointId]) -> Vec<(EndpointId, Bitrate)> {
        let found = || self.heard(members);
        if found().any(|endpoint| endpoint.way.is_queueing()) {
            return Vec::new();
        }
        let ways: Vec<(u64, u64)> = found()
            .map(|endpoint| {
                let grant = self.plan.allocation.receiver(endpoint.id);
                let target = endpoint.way.target().as_bps();
                (target, grant.map_or(target, |grant| grant.wanted.as_bps()))
            })
            .collect();
        let level = bottleneck::level(&ways);
        let parts = found().zip(&ways).map(|(endpoint, &(target, wanted))| {
            let part = if wanted <= level {
                target.max(wanted)
            } else {
                level
            };
            (endpoint.id, Bitrate::bps((target + part * 4) / 5))
        });
        parts.collect()
    }

    /// Those of them that are heard.
    fn heard<'a>(&'a self, members: &'a [EndpointId]) -> impl Iterator<Item = &'a Endpoint> {
        let found = members.iter().filter_map(|&id| self.endpoints.get(id));
        found.filter(|endpoint| endpoint.way.is_heard())
    }

    /// After a plan: everybody's part of the lines on the way.
    pub(super) fn share_lines(&mut self, now: Instant) {
        let planned = self.plan.lines.iter();
        let planned = planned.map(|line| {
            let (down, breath) = (line.down.as_bps(), line.breath.as_bps());
            self.given(Shared::Planned(line.line), down, down + breath)
        });
        let found = self.plan.bottlenecks.groups().map(|members| {
            let down = self.heard(members);
            let down = down.map(|endpoint| endpoint.way.target().as_bps()).sum();
            self.given(Shared::Found(members), down, down)
        });
        let given: Vec<Given<'_>> = planned.chain(found).collect();
        let shares: Vec<(EndpointId, Option<Share>)> = self
            .endpoints
            .values()
            .map(|endpoint| (endpoint.id, self.share_of(endpoint, &given)))
            .collect();
        for (id, share) in shares {
            if let Some(endpoint) = self.endpoints.get_mut(id) {
                endpoint.way.set_share(now, share);
            }
        }
    }

    fn given<'a>(&self, line: Shared<'a>, down: u64, pace: u64) -> Given<'a> {
        let behind = || self.endpoints.values().filter(|endpoint| line.is_for(endpoint));
        let used: u64 = behind().map(|endpoint| self.used(endpoint)).sum();
        let waiting = behind().filter(|endpoint| self.waits_for_its_way(endpoint));
        let count = behind().count();
        Given {
            line,
            pace,
            parts: behind()
                .map(|endpoint| self.used(endpoint).max(PART_MIN))
                .sum::<u64>()
                .max(1),
            fair: down / (count as u64).max(1),
            left: down.saturating_sub(used),
            next: waiting
                .max_by_key(|endpoint| (endpoint.rank, std::cmp::Reverse(endpoint.number)))
                .map(|endpoint| endpoint.id),
            count,
        }
    }

    fn share_of(&self, endpoint: &Endpoint, given: &[Given<'_>]) -> Option<Share> {
        let used = self.used(endpoint);
        let mine = given.iter().filter(|given| given.line.is_before(endpoint));
        let shares = mine.map(|given| {
            let part = u128::from(given.pace) * u128::from(used.max(PART_MIN)) / u128::from(given.parts);
            let is_planned = matches!(given.line, Shared::Planned(_));
            let pace = if is_planned || endpoint.way.is_heard() {
                u64::try_from(part).unwrap_or(u64::MAX)
            } else {
                // It has no part while it is not heard, and is not to stand still for that.
                endpoint.way.target().as_bps()
            };
            let is_next = given.next == Some(endpoint.id);
            let most = match (is_planned, is_next) {
                (true, true) => pace.max(given.fair).max(used + given.left),
                (true, false) => pace.max(given.fair),
                // What it takes is what is to be found out, by one at a time: what that one finds is for all. Not too much at once: until it is shared out
                // that one has it alone.
                (false, true) => pace.max(given.fair).saturating_mul(FIND),
                // A probe may be all that it can be heard by.
                (false, false) if !endpoint.way.is_heard() => PART_MIN,
                (false, false) => 0,
            };
            Share {
                pace: Bitrate::bps(pace),
                most: Bitrate::bps(most),
                is_planned,
                sharers: if is_planned { 1 } else { given.count },
            }
        });
        shares.reduce(|a, b| Share {
            pace: a.pace.min(b.pace),
            most: a.most.min(b.most),
            is_planned: a.is_planned || b.is_planned,
            sharers: a.sharers.max(b.sharers),
        })
    }

    fn used(&self, endpoint: &Endpoint) -> u64 {
        self.plan
            .allocation
            .receiver(endpoint.id)
            .map_or(0, |grant| grant.used.as_bps())
    }

    /// It would get more if its own way were known to carry it, and it can find out whether it does.
    fn waits_for_its_way(&self, endpoint: &Endpoint) -> bool {
        let grant = self.plan.allocation.receiver(endpoint.id);
        let wants_more = grant.is_some_and(|grant| grant.wanted > endpoint.way.target());
        if !wants_more || !endpoint.takes_padding() || !endpoint.way.is_heard() {
            return false;
        }
        let mut slots = self.plan.allocation.slots_of(endpoint.id).iter();
        slots.any(|grant| {
            grant
                .shortfall
                .is_some_and(|short| matches!(short.cause, Cause::Path | Cause::VoicesOnly | Cause::OneVoice))
        })
    }
}
