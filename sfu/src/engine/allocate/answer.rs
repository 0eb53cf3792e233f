//! What was decided, written down: pictures, sums, and a reason for whatever is less than wanted.

use std::time::Instant;

use super::{
    super::{
        id::{EndpointId, LineIndex},
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    claims::{Claims, by_line},
    ladder::{Rung, height, live_step, range, shares},
    outcome::{Allocation, Level, LineUse, Picture, ReceiverGrant, SlotGrant},
    pictures::{Aim, Item, Ladders, Pictures},
    problem::{Beyond, Loss, Problem, Receiver, Source},
    up::Orders,
    voices::{Desk, Hall, NARROW},
    ways::with_margin,
};

/// All that is decided, on its way into an [`Allocation`].
pub(super) struct Answer<'a> {
    pub(super) now: Instant,
    pub(super) problem: &'a Problem<'a>,
    pub(super) previous: &'a Allocation,
    pub(super) hall: &'a Hall<'a>,
    pub(super) pictures: &'a Pictures<'a>,
    pub(super) ladders: &'a Ladders,
    pub(super) sources: &'a [(usize, &'a Source)],
    pub(super) claims: &'a Claims,
}

/// What a receiver's pictures take.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    used: u64,
    /// As wanted.
    full: u64,
}

impl Answer<'_> {
    /// `aims` are in the order of the pictures.
    pub(super) fn write(&self, aims: &[Aim], orders: Orders) -> Allocation {
        let mut ends = Vec::with_capacity(self.hall.desks.len());
        let mut end = 0;
        for desk in &self.hall.desks {
            end += desk.receiver.demands.len();
            ends.push(end);
        }
        let starts = |desk: usize| desk.checked_sub(1).map_or(0, |before| ends[before]);
        let mut sees = vec![false; self.hall.desks.len()];
        for item in self.pictures.items.iter().filter(|item| item.climbed > 0) {
            sees[item.desk] = true;
        }
        let mut sums = vec![Sums::default(); self.hall.desks.len()];
        // Pictures are in the order in which they were served, slots in that of their receivers.
        let mut order = vec![0; end];
        for (at, item) in self.pictures.items.iter().enumerate() {
            order[starts(item.desk) + item.place] = at;
        }
        let grant = |at: usize| {
            let item = &self.pictures.items[at];
            let (given, aim) = (item.given(self.ladders), aims[at]);
            let sum = &mut sums[item.desk];
            sum.used = sum.used.saturating_add(given.map_or(0, |rung| rung.rate));
            sum.full = sum.full.saturating_add(self.full_rate(item, given));
            let reached = item.reached(self.ladders);
            SlotGrant {
                slot: item.demand.slot,
                source: item.demand.source,
                picture: given.map(picture),
                shortfall: self.shortfall(item, given, aim, &orders, sees[item.desk]),
                memory: item.memory(
                    self.now,
                    reached,
                    given.map_or(Level::NOTHING, |rung| rung.level),
                    aim.level,
                ),
            }
        };
        let mut allocation = Allocation {
            slots: order.into_iter().map(grant).collect(),
            at: Some(self.now),
            ..Allocation::default()
        };
        allocation.receivers = self.receivers(&sums, &ends);
        allocation.lines = self.lines(&allocation.receivers, &orders);
        allocation.senders = orders.senders;
        ask_for_long_packets(&mut allocation, &self.problem.beyond);
        allocation.sources = orders.sources;
        allocation
    }

    /// What a picture would take as wanted: what is measured of it, or usual if that is more, since a sender is asked for more
    /// when there is room.
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
        let first = if source.nested { 0 } else { layer };
        let usual_of = |layer: usize| range(height(layer, &source.layers[layer])).usual;
        let usual = shares((first..=layer).map(usual_of).sum())[temporal];
        let measured = if offer.live {
            live_step(layer, offer, 0).rates[temporal]
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
        aim: Aim,
        orders: &Orders,
        sees: bool,
    ) -> Option<Shortfall> {
        let level = given.map_or(Level::NOTHING, |rung| rung.level);
        if item.is_met_by(level) {
            return None;
        }
        if level < item.reached(self.ladders) {
            return Some(Cause::NotSent.into());
        }
        if let Some(refusal) = item.refusal {
            let is_blind = refusal.cause == Cause::Path && !sees;
            return Some(if is_blind {
                Cause::VoicesOnly.into()
            } else {
                refusal
            });
        }
        let is_at_cap = level.layer().is_some_and(|layer| layer >= item.cap);
        if let Some(capped) = item.capped.filter(|_| is_at_cap) {
            return Some(capped.into());
        }
        let next = level.layer().map_or(0, |layer| usize::from(layer) + 1);
        let order = item.source.and_then(|at| orders.sources.get(at));
        let denied = order.and_then(|order| order.denied.iter().skip(next).copied().flatten().next());
        // A layer that is not asked for, because this receiver too would find no room for it.
        let unwanted = aim.refusal.filter(|_| aim.level.layer() <= level.layer());
        Some(denied.or(unwanted).unwrap_or(Cause::NotSent.into()))
    }

    fn receivers(&self, sums: &[Sums], ends: &[usize]) -> Vec<ReceiverGrant> {
        let desks = || self.hall.desks.iter().zip(sums);
        let mut short: Vec<u64> = by_line(self.problem.lines);
        for (desk, sums) in desks() {
            let is_short = full(desk, sums) > desk.purse.used;
            for line in desk.receiver.lines.iter().filter(|_| is_short) {
                if let Some(count) = short.get_mut(usize::from(line.0)) {
                    *count += 1;
                }
            }
        }
        let grant = |((desk, sums), &end): ((&Desk<'_>, &Sums), &usize)| {
            let used = sums.used.saturating_add(desk.sound()).saturating_add(desk.ahead);
            ReceiverGrant {
                endpoint: desk.receiver.endpoint,
                voices: desk.voices,
                redundancy: desk.redundancy,
                third: desk.third,
                ahead: Bitrate::bps(desk.ahead),
                long_packets: self.is_thin(desk.receiver),
                shortfall: desk.shortfall,
                used: Bitrate::bps(used),
                wanted: Bitrate::bps(self.wanted(desk, full(desk, sums), used, &short)),
                narrow: desk.narrow,
                voices_wanted: desk.voices_wanted,
                slots: (end - desk.receiver.demands.len(), end),
            }
        };
        desks().zip(ends).map(grant).collect()
    }

    /// All that it wants, if its lines leave it that much, and the margin that a raise needs. Who is short shares what is
    /// left of a line, so that not everybody probes for all of it.
    fn wanted(&self, desk: &Desk<'_>, full: u64, used: u64, short: &[u64]) -> u64 {
        let share = |line: &LineIndex| {
            let short = short.get(usize::from(line.0)).copied().unwrap_or(0);
            Some(self.hall.lines.left(*line)? / short.max(1))
        };
        let shares = desk.receiver.lines.iter().filter_map(share);
        let most = desk.purse.used.saturating_add(shares.min().unwrap_or(u64::MAX));
        let wanted = full.min(most);
        let wanted = if wanted > used { with_margin(wanted) } else { used };
        wanted.min(self.problem.policy.most().as_bps()).max(used)
    }

    /// Its own way, or its share of a line, is below [`NARROW`].
    fn is_thin(&self, receiver: &Receiver<'_>) -> bool {
        let former = self.previous.receiver(receiver.endpoint);
        let edge = if former.is_some_and(|former| former.long_packets) {
            with_margin(NARROW.as_bps())
        } else {
            NARROW.as_bps()
        };
        let share =
            |line: &LineIndex| Some(self.hall.lines.budget(*line)? / self.claims.on(*line).receivers.max(1));
        let own = receiver.estimate.map_or(u64::MAX, Bitrate::as_bps);
        let shares = receiver.lines.iter().filter_map(share);
        shares.fold(own, u64::min) < edge
    }

    fn lines(&self, receivers: &[ReceiverGrant], orders: &Orders) -> Vec<LineUse> {
        let mut used: Vec<(u64, u64)> = by_line(self.problem.lines);
        for (desk, grant) in self.hall.desks.iter().zip(receivers) {
            for line in desk.receiver.lines {
                if let Some((down, _)) = used.get_mut(usize::from(line.0)) {
                    *down = down.saturating_add(grant.used.as_bps());
                }
            }
        }
        for sender in self.problem.senders {
            let by_endpoint = |order: &super::SenderOrder| order.endpoint;
            let at = orders.senders.binary_search_by_key(&sender.endpoint, by_endpoint);
            let order = at.ok().and_then(|at| orders.senders.get(at));
            for line in sender.lines {
                if let (Some((_, up)), Some(order)) = (used.get_mut(usize::from(line.0)), order) {
                    *up = up.saturating_add(order.used.as_bps());
                }
            }
        }
        let mut lines: Vec<LineUse> = Vec::with_capacity(self.problem.lines.len());
        for line in self.problem.lines {
            let (down, up) = used[usize::from(line.line.0)];
            lines.push(LineUse {
                line: line.line,
                down: Bitrate::bps(down),
                up: Bitrate::bps(up),
                budget_down: line.down,
                claims: self.claims.on(line.line).wants,
            });
        }
        lines.sort_by_key(|line| line.line);
        lines
    }
}

/// What a receiver would take if it got all as wanted.
fn full(desk: &Desk<'_>, sums: &Sums) -> u64 {
    let redundancy = desk
        .receiver
        .redundancy
        .filter(|_| desk.receiver.loss == Loss::Random);
    let voice = desk.receiver.voice.as_bps();
    let one = voice.saturating_add(redundancy.map_or(0, Bitrate::as_bps));
    one.saturating_mul(desk.voices_wanted.into())
        .saturating_add(desk.ahead)
        .saturating_add(sums.full)
}

/// Of each sender whose voice only thin ways hear. Whoever hears several gets them all at one length, so a single wide
/// way keeps the short ones: they are 40 ms sooner.
fn ask_for_long_packets(allocation: &mut Allocation, beyond: &Beyond<'_>) {
    let those = |is_thin: bool| -> Vec<EndpointId> {
        let receivers = allocation.receivers.iter();
        let those = receivers.filter(|r| r.voices_wanted > 0 && r.long_packets == is_thin);
        // Two are enough to tell that there is one besides the sender.
        those.map(|receiver| receiver.endpoint).take(2).collect()
    };
    let (thin, wide) = (those(true), those(false));
    for sender in &mut allocation.senders {
        let is_other = |endpoint: &EndpointId| *endpoint != sender.endpoint;
        let is_thin = beyond.thin || thin.iter().any(is_other);
        sender.long_packets = is_thin && !beyond.wide && !wide.iter().any(is_other);
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
