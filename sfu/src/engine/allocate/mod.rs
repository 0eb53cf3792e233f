//! Who gets which layer of what, and who sends which layers at what bitrate. A pure function.
//!
//! [`allocate`] is told a room at one moment and what it answered the last time. `docs/allocation.md` says in words what
//! the three phases do.
//!
//! # Guarantees
//! - What endpoints behind a line get, and what they send, is never more than the line's budget, whatever was before; only
//!   sound that is sent upward counts whatever there is.
//! - What a receiver gets is never more than its estimate and the policy allow, but the first voice.
//! - Whatever is less than wanted has a [`Shortfall`].
//! - The same problem and the same former allocation give the same answer; an answer handed back at the same time gives
//!   itself.

mod down;
mod ladder;
mod outcome;
mod problem;
mod up;
mod ways;

use std::time::{Duration, Instant};

pub use ladder::layer_for;
pub use outcome::{Allocation, LineUse, Picture, ReceiverGrant, SenderOrder, SlotGrant, SourceOrder};
pub use problem::{
    Demand, Kind, LAYERS_MAX, Line, Loss, Offer, Policy, Problem, Receiver, Sender, Source, TEMPORAL_MAX,
    VOICES_MAX,
};

use self::{
    down::{Hall, Item, Ladders, NARROW, Pictures, Rules},
    ladder::{Ladder, Rung, Step, height, range, shares},
    outcome::Level,
    up::{Orders, Uplinks},
    ways::with_margin,
};
use super::{
    id::{LineIndex, SourceKind},
    shortfall::{Cause, Shortfall},
    units::Bitrate,
};

/// A layer that is asked for and does not arrive keeps its room for so long.
const ARRIVAL: Duration = Duration::from_secs(5);

/// Decides for a whole room. `previous` only delays raises; it may be empty, or of another room.
pub fn allocate(problem: &Problem<'_>, previous: &Allocation) -> Allocation {
    let now = previous.at.map_or(problem.now, |at| at.max(problem.now));
    let mut senders: Vec<&Sender<'_>> = problem.senders.iter().collect();
    senders.sort_by_key(|sender| sender.endpoint);
    let mut sources: Vec<(usize, &Source)> = Vec::new();
    for (at, sender) in senders.iter().enumerate() {
        sources.extend(sender.sources.iter().map(|source| (at, source)));
    }
    sources.sort_by_key(|(_, source)| source.number);

    let voiced = Hall::with_voices(problem, previous);
    let mut pictures = Pictures::new(problem, previous, &voiced, &sources);

    let ladders = ideal_ladders(&sources);
    let mut hall = voiced.clone();
    pictures.give(now, &mut hall, &ladders, Rules::Aim);
    let aims: Vec<Level> = pictures.items.iter().map(|item| item.reached(&ladders)).collect();
    let orders = Uplinks::new(problem, previous, &senders, &sources).give(now, &pictures, &hall, &ladders);

    let ladders = real_ladders(now, &sources, &orders);
    let mut hall = voiced;
    let freed = freed(problem, previous);
    pictures.give(now, &mut hall, &ladders, Rules::Give { freed: &freed });
    for at in 0..hall.desks.len() {
        hall.give_redundancy(at, Loss::Queueing, previous);
    }
    Answer {
        now,
        problem,
        previous,
        hall: &hall,
        pictures: &pictures,
        ladders: &ladders,
        sources: &sources,
    }
    .write(&aims, orders)
}

/// All layers that can be sent, at the least rate that makes sense for them.
fn ideal_ladders(sources: &[(usize, &Source)]) -> Ladders {
    let of = |&(_, source): &(usize, &Source)| {
        let lowest = source.layers.iter().position(|offer| offer.can);
        let step = |layer: usize| {
            let offer = &source.layers[layer];
            let range = range(height(layer, offer));
            let least = if lowest == Some(layer) {
                range.least.min(self::range(0).least)
            } else {
                range.least
            };
            let measured = offer.live && !offer.can;
            if measured {
                Some(live_step(layer, offer))
            } else {
                offer.can.then(|| Step {
                    live: true,
                    rates: shares(least),
                })
            }
        };
        ladders_of(source, [step(0), step(1), step(2)])
    };
    Ladders(sources.iter().map(of).collect())
}

/// The layers that arrive, at what they take, and those that should arrive soon, at what they are ordered at.
fn real_ladders(now: Instant, sources: &[(usize, &Source)], orders: &Orders) -> Ladders {
    let of = |(&(_, source), order): (&(usize, &Source), &SourceOrder)| {
        let step = |layer: usize| {
            let offer = &source.layers[layer];
            if offer.live {
                return Some(live_step(layer, offer));
            }
            let asked_at = order.asked_at[layer]?;
            let is_due = now.saturating_duration_since(asked_at) < ARRIVAL;
            let ordered = order.layers[layer].filter(|_| is_due)?;
            Some(Step {
                live: false,
                rates: shares(ordered.bitrate_max.as_bps()),
            })
        };
        ladders_of(source, [step(0), step(1), step(2)])
    };
    Ladders(sources.iter().zip(&orders.sources).map(of).collect())
}

/// A layer that arrives but was not measured yet is taken for a usual one.
fn live_step(layer: usize, offer: &Offer) -> Step {
    let mut rates = offer.rates.map(Bitrate::as_bps);
    let most = rates.iter().copied().max().unwrap_or(0);
    if most == 0 {
        rates = shares(range(height(layer, offer)).usual);
    } else {
        rates[TEMPORAL_MAX - 1] = most;
    }
    Step { live: true, rates }
}

fn ladders_of(source: &Source, steps: [Option<Step>; LAYERS_MAX]) -> [Ladder; TEMPORAL_MAX] {
    let is_screen = source.number.kind() == SourceKind::Screen;
    [0, 1, 2].map(|temporal| Ladder::new(&source.layers, steps, temporal, is_screen))
}

/// Lines that have more to give than the last time, or fewer who want it.
fn freed(problem: &Problem<'_>, previous: &Allocation) -> Vec<LineIndex> {
    let claims = claims(problem);
    let is_freed = |line: &&Line| {
        previous.line(line.line).is_some_and(|former| {
            line.down > former.budget_down || claims_on(&claims, line.line) < former.claims
        })
    };
    problem
        .lines
        .iter()
        .filter(is_freed)
        .map(|line| line.line)
        .collect()
}

/// By index of the line: how much is wanted behind it.
fn claims(problem: &Problem<'_>) -> Vec<u32> {
    let length = problem
        .lines
        .iter()
        .map(|line| usize::from(line.line.0) + 1)
        .max();
    let mut claims = vec![0_u32; length.unwrap_or(0)];
    for receiver in problem.receivers {
        for line in receiver.lines {
            if let Some(of) = claims.get_mut(usize::from(line.0)) {
                *of += receiver.demands.len() as u32 + u32::from(receiver.voices.min(VOICES_MAX));
            }
        }
    }
    claims
}

fn claims_on(claims: &[u32], line: LineIndex) -> u32 {
    claims.get(usize::from(line.0)).copied().unwrap_or(0)
}

/// All that is decided, on its way into an [`Allocation`].
struct Answer<'a> {
    now: Instant,
    problem: &'a Problem<'a>,
    previous: &'a Allocation,
    hall: &'a Hall<'a>,
    pictures: &'a Pictures<'a>,
    ladders: &'a Ladders,
    sources: &'a [(usize, &'a Source)],
}

impl Answer<'_> {
    fn write(&self, aims: &[Level], orders: Orders) -> Allocation {
        let mut starts = Vec::with_capacity(self.hall.desks.len() + 1);
        let mut end = 0;
        for desk in &self.hall.desks {
            starts.push(end);
            end += desk.receiver.demands.len();
        }
        let mut placed: Vec<Option<(SlotGrant, u64)>> = vec![None; end];
        for (item, &aim) in self.pictures.items.iter().zip(aims) {
            placed[starts[item.desk] + item.place] = Some(self.slot(item, aim, &orders));
        }
        let mut slots = Vec::with_capacity(end);
        let mut wanted = vec![0_u64; self.hall.desks.len()];
        let mut desk = 0;
        for (at, (grant, full)) in placed.into_iter().flatten().enumerate() {
            while starts.get(desk + 1).is_some_and(|&next| next <= at) {
                desk += 1;
            }
            wanted[desk] = wanted[desk].saturating_add(full);
            slots.push(grant);
        }
        let mut allocation = Allocation {
            receivers: Vec::with_capacity(self.hall.desks.len()),
            slots,
            at: Some(self.now),
            ..Allocation::default()
        };
        self.write_receivers(&mut allocation, &starts, &wanted);
        self.write_lines(&mut allocation, &orders);
        allocation.senders = orders.senders;
        self.ask_for_long_packets(&mut allocation);
        allocation.sources = orders.sources;
        allocation
    }

    /// What a slot gets, and what it would take as wanted.
    fn slot(&self, item: &Item<'_>, aim: Level, orders: &Orders) -> (SlotGrant, u64) {
        let rungs = self.ladders.of(item).map(Ladder::rungs).unwrap_or_default();
        let climbed = rungs.get(..usize::from(item.climbed)).unwrap_or_default();
        let given = climbed.iter().rev().find(|rung| rung.live);
        let reached = item.reached(self.ladders);
        let grant = SlotGrant {
            slot: item.demand.slot,
            source: item.demand.source,
            picture: given.map(picture),
            shortfall: self.shortfall(item, given, reached, orders),
            memory: item.memory(self.now, reached, aim),
        };
        (grant, self.full_rate(item, given))
    }

    fn full_rate(&self, item: &Item<'_>, given: Option<&Rung>) -> u64 {
        let given = given.map_or(0, |rung| rung.rate);
        let Some((_, source)) = item.source.and_then(|at| self.sources.get(at)) else {
            return given;
        };
        if item.wanted == Level::NOTHING || !item.demand.decodable {
            return given;
        }
        let layer = usize::from(item.cap);
        let offer = &source.layers[layer];
        let temporal = usize::from(item.wanted.temporal());
        let usual = shares(range(height(layer, offer)).usual)[temporal];
        let measured = if offer.live {
            live_step(layer, offer).rates[temporal]
        } else {
            0
        };
        measured.max(usual).max(given)
    }

    /// What stopped the first step that was not made.
    fn shortfall(
        &self,
        item: &Item<'_>,
        given: Option<&Rung>,
        reached: Level,
        orders: &Orders,
    ) -> Option<Shortfall> {
        let level = given.map_or(Level::NOTHING, |rung| rung.level);
        let is_met = item.wanted > Level::NOTHING
            && (level.layer() > item.wanted.layer()
                || level.layer() == item.wanted.layer() && level.temporal() >= item.wanted.temporal());
        if is_met {
            return None;
        }
        if level < reached {
            return Some(Cause::NotSent.into());
        }
        if let Some(refusal) = item.refusal {
            let has_nothing = refusal.cause == Cause::Path && !self.sees(item.desk);
            return Some(if has_nothing {
                Cause::VoicesOnly.into()
            } else {
                refusal
            });
        }
        let next = level.layer().map_or(0, |layer| layer + 1);
        if let Some(capped) = item
            .capped
            .filter(|_| level.layer().is_some_and(|layer| layer >= item.cap))
        {
            return Some(capped.into());
        }
        let order = item.source.and_then(|at| orders.sources.get(at));
        let denied = order.and_then(|order| {
            let denied = order.denied.iter().skip(next.into());
            denied.copied().flatten().next()
        });
        Some(denied.unwrap_or(Cause::NotSent.into()))
    }

    /// Any picture at all is given to that receiver.
    fn sees(&self, desk: usize) -> bool {
        let of_desk = |item: &&Item<'_>| item.desk == desk;
        self.pictures
            .items
            .iter()
            .filter(of_desk)
            .any(|item| item.climbed > 0)
    }

    fn write_receivers(&self, allocation: &mut Allocation, starts: &[usize], wanted: &[u64]) {
        let mut short = vec![0_u64; claims(self.problem).len()];
        let full: Vec<u64> = self
            .hall
            .desks
            .iter()
            .zip(wanted)
            .map(|(desk, &pictures)| {
                let voice = desk.receiver.voice.as_bps();
                let redundancy = desk.receiver.redundancy.map_or(0, Bitrate::as_bps);
                let one = if desk.receiver.loss == Loss::None {
                    voice
                } else {
                    voice.saturating_add(redundancy)
                };
                one.saturating_mul(desk.voices_wanted.into())
                    .saturating_add(pictures)
            })
            .collect();
        for (desk, &full) in self.hall.desks.iter().zip(&full) {
            for line in desk.receiver.lines.iter().filter(|_| full > desk.purse.used) {
                if let Some(count) = short.get_mut(usize::from(line.0)) {
                    *count += 1;
                }
            }
        }
        for (at, (desk, &full)) in self.hall.desks.iter().zip(&full).enumerate() {
            let slots = (starts[at], starts[at] + desk.receiver.demands.len());
            let pictures: u64 = allocation.slots[slots.0..slots.1]
                .iter()
                .filter_map(|grant| grant.picture)
                .map(|picture| picture.rate.as_bps())
                .sum();
            let redundancy = desk
                .receiver
                .redundancy
                .filter(|_| desk.redundancy)
                .map_or(0, Bitrate::as_bps);
            let voice = desk.receiver.voice.as_bps().saturating_add(redundancy);
            let used = pictures.saturating_add(voice.saturating_mul(desk.voices.into()));
            let share = |line: &LineIndex| {
                let short = short.get(usize::from(line.0)).copied().unwrap_or(0);
                Some(self.hall.lines.left(*line)? / short.max(1))
            };
            let left = desk
                .receiver
                .lines
                .iter()
                .filter_map(share)
                .min()
                .unwrap_or(u64::MAX);
            let wanted = full.min(desk.purse.used.saturating_add(left)).max(used);
            let wanted = if wanted > used {
                with_margin(wanted)
            } else {
                wanted
            };
            let wanted = wanted.min(self.problem.policy.receiver_max.as_bps()).max(used);
            allocation.receivers.push(ReceiverGrant {
                endpoint: desk.receiver.endpoint,
                voices: desk.voices,
                redundancy: desk.redundancy,
                long_packets: self.is_thin(desk.receiver),
                shortfall: desk.shortfall,
                used: Bitrate::bps(used),
                wanted: Bitrate::bps(wanted),
                narrow: desk.narrow,
                voices_wanted: desk.voices_wanted,
                slots,
            });
        }
    }

    /// Its own way, or its share of a line, is below [`NARROW`].
    fn is_thin(&self, receiver: &Receiver<'_>) -> bool {
        let was = self
            .previous
            .receiver(receiver.endpoint)
            .is_some_and(|former| former.long_packets);
        let edge = if was {
            with_margin(NARROW.as_bps())
        } else {
            NARROW.as_bps()
        };
        let behind = |line: LineIndex| {
            let receivers = self.problem.receivers.iter();
            receivers
                .filter(|other| other.lines.contains(&line))
                .count()
                .max(1) as u64
        };
        let share = |line: &Line| line.down.as_bps() / behind(line.line);
        let on_way = |line: &&Line| receiver.lines.contains(&line.line);
        let shares = self.problem.lines.iter().filter(on_way).map(share);
        let own = receiver.estimate.map_or(u64::MAX, Bitrate::as_bps);
        shares.min().unwrap_or(u64::MAX).min(own) < edge
    }

    fn ask_for_long_packets(&self, allocation: &mut Allocation) {
        let hears = |receiver: &&ReceiverGrant| receiver.voices_wanted > 0;
        let listeners = allocation.receivers.iter().filter(hears);
        let wide: Vec<_> = listeners
            .clone()
            .filter(|r| !r.long_packets)
            .take(2)
            .map(|r| r.endpoint)
            .collect();
        let thin: Vec<_> = listeners
            .filter(|r| r.long_packets)
            .take(2)
            .map(|r| r.endpoint)
            .collect();
        for sender in &mut allocation.senders {
            let is_other = |endpoint: &super::id::EndpointId| *endpoint != sender.endpoint;
            sender.long_packets = thin.iter().any(is_other) && !wide.iter().any(is_other);
        }
    }

    fn write_lines(&self, allocation: &mut Allocation, orders: &Orders) {
        let claims = claims(self.problem);
        let mut down = vec![0_u64; claims.len()];
        for (desk, grant) in self.hall.desks.iter().zip(&allocation.receivers) {
            for line in desk.receiver.lines {
                if let Some(sum) = down.get_mut(usize::from(line.0)) {
                    *sum = sum.saturating_add(grant.used.as_bps());
                }
            }
        }
        let mut up = vec![0_u64; claims.len()];
        let senders = self.problem.senders.iter();
        for sender in senders {
            let at = orders
                .senders
                .binary_search_by_key(&sender.endpoint, |order| order.endpoint);
            let used = at
                .ok()
                .and_then(|at| orders.senders.get(at))
                .map_or(0, |order| order.used.as_bps());
            for line in sender.lines {
                if let Some(sum) = up.get_mut(usize::from(line.0)) {
                    *sum = sum.saturating_add(used);
                }
            }
        }
        allocation.lines = self
            .problem
            .lines
            .iter()
            .map(|line| LineUse {
                line: line.line,
                down: Bitrate::bps(down[usize::from(line.line.0)]),
                up: Bitrate::bps(up[usize::from(line.line.0)]),
                budget_down: line.down,
                claims: claims_on(&claims, line.line),
            })
            .collect();
        allocation.lines.sort_by_key(|line| line.line);
    }
}

fn picture(rung: &Rung) -> Picture {
    let temporal = rung.level.temporal();
    Picture {
        layer: rung.level.layer().unwrap_or(0),
        temporal,
        height: rung.height,
        rate_percent: [25, 50, 100][usize::from(temporal.min(2))],
        rate: Bitrate::bps(rung.rate),
    }
}
