//! Upward: which layers each source sends, and at what bitrate.

use std::time::Instant;

use super::{
    super::{
        shortfall::{Cause, Shortfall},
        units::Bitrate,
    },
    claims::Claims,
    feed::Feed,
    outcome::{Allocation, SenderOrder, SourceOrder},
    pictures::{Ladders, Pictures},
    problem::{Kind, LAYERS_MAX, Problem, Sender, Source, Wanted},
    voices::{Desk, Hall},
    ways::{Lines, Room, line_shortfall},
};

/// The first step for the stage ends at this height.
const STAGE_HEIGHT: u16 = 720;
/// Bitrates are whole multiples of it, so that they do not change with every breath of an estimate.
const GRAIN: u64 = 10_000;
/// What a layer takes on the wire when it is sent as ordered: headers, and an encoder's breath, in percent of the order.
pub(super) const ORDERED_PERCENT: u64 = 108;
/// What is ordered takes so much on the wire, in percent of it.
const HEADERS_PERCENT: u64 = 106;

/// All sources and what their ways have left.
#[derive(Debug)]
pub(super) struct Uplinks<'a> {
    /// By endpoint.
    senders: Vec<(&'a Sender<'a>, u64)>,
    /// By number.
    feeds: Vec<Feed<'a>>,
    /// The feeds by importance.
    order: Vec<usize>,
    lines: Lines,
    used: Vec<u64>,
}

/// What is asked of all senders.
#[derive(Debug)]
pub(super) struct Orders {
    pub(super) senders: Vec<SenderOrder>,
    pub(super) sources: Vec<SourceOrder>,
}

impl<'a> Uplinks<'a> {
    /// `sources` by number, each with the place of its sender in `senders`, which is by endpoint. All sound is taken first.
    pub(super) fn new(
        problem: &Problem<'a>,
        previous: &'a Allocation,
        senders: &[&'a Sender<'a>],
        sources: &[(usize, &'a Source)],
    ) -> Self {
        let mut lines = Lines::new(problem.lines, |line| (line.up.as_bps(), 0));
        for sender in senders {
            lines.take(sender.lines, sender.sound.as_bps());
        }
        let feed = |&(sender, source): &(usize, &'a Source)| {
            Feed::new(sender, source, previous.source(source.number))
        };
        let left = |sender: &&'a Sender<'a>| {
            let estimate = sender.estimate.map_or(u64::MAX, Bitrate::as_bps);
            (*sender, estimate.saturating_sub(sender.sound.as_bps()))
        };
        Self {
            used: senders.iter().map(|sender| sender.sound.as_bps()).collect(),
            senders: senders.iter().map(left).collect(),
            feeds: sources.iter().map(feed).collect(),
            order: (0..sources.len()).collect(),
            lines,
        }
    }

    /// Phase three. The stage up to 720p, then everybody's lowest layer, then what else is wanted; bitrates grow from the least
    /// sensible one to what receivers can take; last, layers that nobody wants just now.
    pub(super) fn give(
        &mut self,
        now: Instant,
        pictures: &Pictures<'_>,
        hall: &Hall<'_>,
        ladders: &Ladders,
        claims: &Claims,
        beyond: &[Wanted],
    ) {
        self.wish(pictures, hall, ladders, claims, beyond);
        let is_stage = |feed: &Feed<'_>| feed.wish.kind == Some(Kind::Stage);
        for at in self.order.clone() {
            if is_stage(&self.feeds[at]) {
                self.give_lowest(at);
                self.give_wanted(at, STAGE_HEIGHT);
            }
        }
        for at in self.order.clone() {
            self.give_lowest(at);
        }
        for at in self.order.clone() {
            self.give_wanted(at, u16::MAX);
        }
        for at in self.order.clone() {
            self.give_net(at);
        }
        for at in self.order.clone() {
            self.raise(now, at);
        }
        for at in self.order.clone() {
            self.keep(now, at);
        }
    }

    /// What receivers want, from what they could be given.
    fn wish(
        &mut self,
        pictures: &Pictures<'_>,
        hall: &Hall<'_>,
        ladders: &Ladders,
        claims: &Claims,
        beyond: &[Wanted],
    ) {
        // What a receiver's own way has to spare, and its part of what its lines have.
        let spares = |desk: &Desk<'_>| {
            let of_lines = desk.receiver.lines.iter().filter_map(|&line| {
                let left = hall.lines.left(line)?;
                Some(left / claims.on(line).receivers.max(1))
            });
            let third = desk.third_wanted().unwrap_or(0);
            let own = desk.purse.spare().saturating_sub(third);
            (own, of_lines.min().unwrap_or(u64::MAX))
        };
        let spares: Vec<(u64, u64)> = hall.desks.iter().map(spares).collect();
        for item in &pictures.items {
            let (Some(source), Some(ladder)) = (item.source, ladders.of(item)) else {
                continue;
            };
            let Some(layer) = item.reached(ladders).layer() else {
                continue;
            };
            let (own, share) = spares[item.desk];
            // A line has nothing to spare: what is ordered for it must fit as what it is then taken for.
            let fits = |room: u64, percent: u64| item.rate(ladder).saturating_add(room) / percent * 100;
            let takes = fits(own, HEADERS_PERCENT).min(fits(share, ORDERED_PERCENT));
            let feed = &mut self.feeds[source];
            let usual = feed.together(layer.into(), |feed, layer| feed.range(layer).usual);
            let takes = if item.is_first { takes } else { takes.min(usual) };
            let kind = item.demand.kind;
            let is_brisk = kind != Kind::Thumbnail && !(1..=15).contains(&item.demand.fps);
            feed.wish.count(kind, is_brisk);
            feed.wish.add(layer.into(), takes);
        }
        for wanted in beyond {
            let number = |feed: &Feed<'_>| feed.source.number;
            if let Ok(at) = self.feeds.binary_search_by_key(&wanted.source, number) {
                self.feeds[at].wish.join(wanted);
            }
        }
        let feeds = &self.feeds;
        self.order
            .sort_by_key(|&at| (feeds[at].wish.kind.is_none(), feeds[at].wish.kind, at));
    }

    /// Takes so much for a layer, or says why not.
    fn spend(&mut self, at: usize, more: u64) -> Result<(), Shortfall> {
        let index = self.feeds[at].sender;
        let (sender, left) = &mut self.senders[index];
        if *left < more {
            return Err(Cause::SenderPath.into());
        }
        if let Some(line) = self.lines.refusing(sender.lines, more, Room::Just) {
            return Err(line_shortfall(Cause::SenderLine, line));
        }
        *left -= more;
        self.lines.take(sender.lines, more);
        self.used[index] = self.used[index].saturating_add(more);
        Ok(())
    }

    /// Switches a layer on at its least bitrate.
    fn switch_on(&mut self, at: usize, layer: usize) -> Result<(), Shortfall> {
        let feed = &self.feeds[at];
        if feed.bitrates[layer].is_some() {
            return Ok(());
        }
        if layer > feed.highest(self.senders[feed.sender].0) {
            return Err(Cause::SenderCpu.into());
        }
        let below = (0..layer).rev().find(|&below| feed.source.layers[below].can);
        if let Some(below) = below.filter(|_| feed.source.nested) {
            self.switch_on(at, below)?;
        }
        let feed = &self.feeds[at];
        let least = feed.range(layer).least;
        self.spend(at, least)?;
        self.feeds[at].bitrates[layer] = Some(least);
        Ok(())
    }

    fn give_lowest(&mut self, at: usize) {
        let Some(lowest) = self.feeds[at].lowest() else {
            return;
        };
        if let Err(shortfall) = self.switch_on(at, lowest) {
            self.feeds[at].denied[lowest] = Some(shortfall);
        }
    }

    /// The wanted layers up to that height, lowest first. In place of one that is refused, the next lower one that is not on yet.
    fn give_wanted(&mut self, at: usize, height_max: u16) {
        for layer in 0..LAYERS_MAX {
            let feed = &self.feeds[at];
            if feed.wish.layers[layer].is_none() || feed.height(layer) > height_max {
                continue;
            }
            let Err(shortfall) = self.switch_on(at, layer) else {
                continue;
            };
            self.feeds[at].denied[layer] = Some(shortfall);
            let inherited = self.feeds[at].wish.layers[layer];
            for lower in (0..layer).rev() {
                let feed = &mut self.feeds[at];
                if !feed.source.layers[lower].can {
                    continue;
                }
                // Whoever wants the lower one has less room: all get what that fits.
                let wanted = [feed.wish.layers[lower], inherited];
                feed.wish.layers[lower] = wanted.into_iter().flatten().min();
                match self.switch_on(at, lower) {
                    Ok(()) => break,
                    Err(shortfall) => self.feeds[at].denied[lower] = Some(shortfall),
                }
            }
        }
    }

    /// Lets the bitrates of wanted layers grow to what their receivers take.
    fn raise(&mut self, now: Instant, at: usize) {
        for layer in 0..LAYERS_MAX {
            let feed = &self.feeds[at];
            let (Some(bitrate), Some(takes)) = (feed.bitrates[layer], feed.wish.layers[layer]) else {
                continue;
            };
            // Of layers that go together each is wanted for what the highest leaves it.
            let below = if feed.source.nested {
                &feed.bitrates[..layer]
            } else {
                &[]
            };
            let below: u64 = below.iter().copied().flatten().sum();
            let target = feed.target(now, layer, takes.saturating_sub(below));
            let (sender, left) = &self.senders[feed.sender];
            let room = bitrate.saturating_add((*left).min(self.lines.least(sender.lines)));
            let next = feed.towards(now, layer, target).min(room);
            let next = (next / GRAIN * GRAIN).max(bitrate);
            if self.spend(at, next - bitrate).is_ok() {
                self.feeds[at].bitrates[layer] = Some(next);
            }
        }
    }

    /// For the stage and pinned pictures, the layers between the lowest and the highest: there a receiver lands whose way
    /// shrinks, which else would fall to the lowest.
    fn give_net(&mut self, at: usize) {
        let feed = &self.feeds[at];
        let Some(highest) = feed.bitrates.iter().rposition(Option::is_some) else {
            return;
        };
        if feed.wish.kind.is_some_and(|kind| kind <= Kind::Pinned) {
            (0..highest).for_each(|layer| self.try_unwanted(at, layer));
        }
    }

    /// Layers that were wanted a moment ago.
    fn keep(&mut self, now: Instant, at: usize) {
        for layer in 0..LAYERS_MAX {
            if self.feeds[at].recent(now, |former| former.wanted_at[layer]) {
                self.try_unwanted(at, layer);
            }
        }
    }

    fn try_unwanted(&mut self, at: usize, layer: usize) {
        let feed = &self.feeds[at];
        if feed.source.layers[layer].can && feed.denied[layer].is_none() {
            // A refusal takes nothing from anybody: nobody wants the layer now.
            let _refused = self.switch_on(at, layer);
        }
    }

    /// What is given to somebody is not switched off, also where nobody would have it if all were sent: that play and what
    /// comes of it can differ where many share a line.
    pub(super) fn keep_given(&mut self, pictures: &Pictures<'_>, ladders: &Ladders) {
        for item in &pictures.items {
            let given = item.given(ladders).and_then(|rung| rung.level.layer());
            let (Some(at), Some(layer)) = (item.source, given.map(usize::from)) else {
                continue;
            };
            if self.feeds[at].bitrates[layer].is_some() {
                continue;
            }
            self.try_unwanted(at, layer);
            let feed = &self.feeds[at];
            let (Some(bitrate), Some(former)) = (feed.bitrates[layer], feed.former_bitrate(layer)) else {
                continue;
            };
            if former > bitrate && self.spend(at, former - bitrate).is_ok() {
                self.feeds[at].bitrates[layer] = Some(former);
            }
        }
    }

    pub(super) fn orders(&self, now: Instant) -> Orders {
        let mut sources: Vec<SourceOrder> = Vec::with_capacity(self.feeds.len());
        for feed in &self.feeds {
            sources.push(feed.order(now, self.senders[feed.sender].0));
        }
        let senders = self
            .senders
            .iter()
            .zip(&self.used)
            .map(|((sender, _), &used)| SenderOrder {
                endpoint: sender.endpoint,
                long_packets: false,
                used: Bitrate::bps(used),
            });
        Orders {
            senders: senders.collect(),
            sources,
        }
    }
}
