//! Who gets which layer of what, and who sends which layers at what bitrate. A pure function.
//!
//! [`allocate`] is told a room at one moment and what it answered the last time. `docs/allocation.md` says in words what
//! the three phases do.
//!
//! # Guarantees
//! - What endpoints behind a line get, and what they send, is never more than the line's budget, whatever was before; only
//!   sound that is sent upward counts whatever there is, and what was given downward before may breathe by what the line allows.
//! - What a receiver gets is never more than its estimate and the policy allow, but the first voice; and what
//!   was given before may outgrow an estimate that nothing limited yet, by [`Receiver::breath`].
//! - Whatever is less than wanted has a [`Shortfall`](super::shortfall::Shortfall).
//! - The same problem and the same former allocation give the same answer; an answer handed back at the same time gives
//!   itself.

mod answer;
mod beyond;
mod claims;
mod due;
mod feed;
mod hold;
mod ladder;
mod outcome;
mod pictures;
mod problem;
mod up;
mod voices;
mod ways;
mod wish;

use std::time::{Duration, Instant};

pub use ladder::layer_for;
pub use outcome::{Allocation, LineUse, Picture, ReceiverGrant, SenderOrder, SlotGrant, SourceOrder};
pub use problem::{
    Beyond, Demand, Kind, LAYERS_MAX, Line, Loss, Offer, Policy, Problem, Receiver, Sender, Source,
    TEMPORAL_MAX, VOICES_MAX, Wanted,
};

use self::{
    answer::Answer,
    claims::Claims,
    ladder::{Ladder, Step, height, live_step, range, shares},
    pictures::{Ladders, Pictures, Rules},
    up::{ORDERED_PERCENT, Orders, Uplinks},
    voices::{Before, Hall},
};
use super::{id::SourceKind, quality::LayerOrder};

/// A layer that is asked for and does not arrive keeps its room for so long.
const ARRIVAL: Duration = Duration::from_secs(5);
/// A sender that was told to send less is given so long: what arrives of it is the peak of three seconds.
const OBEYING: Duration = Duration::from_secs(3);
/// A layer is taken for [`ORDERED_PERCENT`] of its order where that is no less than this share of what arrives, in percent.
const BREATH_PERCENT: u64 = 85;
/// The same while a smaller order is new. What is to shrink by more than that is too large at once.
const LOWERED_PERCENT: u64 = 70;

/// Decides for a whole room. `previous` delays raises and tells who was asked for less a moment ago; it may be empty, or of another room.
pub fn allocate(problem: &Problem<'_>, previous: &Allocation) -> Allocation {
    let now = previous.at.map_or(problem.now, |at| at.max(problem.now));
    let mut senders: Vec<&Sender<'_>> = problem.senders.iter().collect();
    senders.sort_by_key(|sender| sender.endpoint);
    let mut sources: Vec<(usize, &Source)> = Vec::new();
    for (at, sender) in senders.iter().enumerate() {
        sources.extend(sender.sources.iter().map(|source| (at, source)));
    }
    sources.sort_by_key(|(_, source)| source.number);

    let claims = Claims::new(problem);
    let voiced = Hall::with_voices(problem, previous);
    let mut pictures = Pictures::new(problem, previous, &voiced, &sources);

    let ladders = ideal_ladders(&sources);
    let mut hall = voiced.clone();
    pictures.give(now, &mut hall, &ladders, Rules::Aim);
    let aims = pictures.aims(&ladders);
    let mut uplinks = Uplinks::new(problem, previous, &senders, &sources);
    uplinks.give(now, &pictures, &hall, &ladders, &claims, problem.beyond.wanted);

    let ladders = real_ladders(now, &sources, &uplinks.orders(now));
    let mut hall = voiced;
    let freed = claims.freed(problem, previous);
    pictures.give(now, &mut hall, &ladders, Rules::Give { freed: &freed });
    uplinks.keep_given(&pictures, &ladders);
    for at in 0..hall.desks.len() {
        hall.give_redundancy(at, Loss::Queueing, previous);
        hall.give_third(at, Before::Nothing, previous);
    }
    Answer {
        now,
        problem,
        previous,
        hall: &hall,
        pictures: &pictures,
        ladders: &ladders,
        sources: &sources,
        claims: &claims,
    }
    .write(&aims, uplinks.orders(now))
}

/// All layers that can be sent. For the most important picture of a receiver at the least rate that makes sense, since the
/// sender can be asked for that; for the others, of which there are many, at what they take.
fn ideal_ladders(sources: &[(usize, &Source)]) -> Ladders {
    let of = |&(_, source): &(usize, &Source), is_first: bool| {
        let lowest = source.layers.iter().position(|offer| offer.can);
        let step = |layer: usize, below: u64| {
            let offer = &source.layers[layer];
            if !offer.can && !offer.live {
                return None;
            }
            let rates = live_step(layer, offer, below).rates;
            let least = if lowest == Some(layer) {
                range(0).usual
            } else {
                range(height(layer, offer)).least
            };
            let least = least + below;
            let is_cheaper = !offer.can || !is_first || rates[TEMPORAL_MAX - 1] <= least;
            Some(Step {
                live: true,
                rates: if is_cheaper { rates } else { shares(least) },
            })
        };
        ladders_of(source, steps(source, step))
    };
    Ladders {
        first: sources.iter().map(|source| of(source, true)).collect(),
        rest: sources.iter().map(|source| of(source, false)).collect(),
    }
}

/// The layers that arrive, at what they take, and those that should arrive soon, at what they are ordered at.
fn real_ladders(now: Instant, sources: &[(usize, &Source)], orders: &Orders) -> Ladders {
    let of = |(&(_, source), order): (&(usize, &Source), &SourceOrder)| {
        let step = |layer: usize, below: u64| {
            let offer = &source.layers[layer];
            if offer.live {
                let step = live_step(layer, offer, below);
                let is_wanted = order.wanted_at[layer] == Some(now);
                let ordered = order.layers[layer].filter(|order| order.active && is_wanted && !source.nested);
                let is_young = |at: Instant| now.saturating_duration_since(at) < OBEYING;
                let is_lowered = order.lowered_at[layer].is_some_and(is_young);
                return Some(ordered.map_or(step, |ordered| as_ordered(step, ordered, is_lowered)));
            }
            let asked_at = order.asked_at[layer]?;
            let is_due = now.saturating_duration_since(asked_at) < ARRIVAL;
            let ordered = order.layers[layer].filter(|_| is_due)?;
            Some(Step {
                live: false,
                rates: shares(below + ordered.bitrate_max.as_bps()),
            })
        };
        ladders_of(source, steps(source, step))
    };
    Ladders {
        first: sources.iter().zip(&orders.sources).map(of).collect(),
        rest: Vec::new(),
    }
}

/// The layers from the lowest up, each told what those take that it needs.
fn steps(source: &Source, step: impl Fn(usize, u64) -> Option<Step>) -> [Option<Step>; LAYERS_MAX] {
    let mut below = 0;
    std::array::from_fn(|layer| {
        let step = step(layer, below);
        if let Some(step) = step.filter(|_| source.nested) {
            below = step.rates[TEMPORAL_MAX - 1];
        }
        step
    })
}

/// A layer that is wanted is taken for what it is ordered at, where what arrives is not far above that: an encoder's breath is no reason for a
/// step down, and one that was told to send less will in a moment.
fn as_ordered(step: Step, ordered: LayerOrder, is_lowered: bool) -> Step {
    let takes = ordered.bitrate_max.as_bps().saturating_mul(ORDERED_PERCENT) / 100;
    let top = step.rates[TEMPORAL_MAX - 1];
    let least = if is_lowered {
        LOWERED_PERCENT
    } else {
        BREATH_PERCENT
    };
    if takes >= top || takes.saturating_mul(100) < top.saturating_mul(least) {
        return step;
    }
    let scaled = |rate: u64| u128::from(rate) * u128::from(takes) / u128::from(top.max(1));
    Step {
        rates: step.rates.map(|rate| u64::try_from(scaled(rate)).unwrap_or(rate)),
        ..step
    }
}

fn ladders_of(source: &Source, steps: [Option<Step>; LAYERS_MAX]) -> [Ladder; TEMPORAL_MAX] {
    let is_screen = source.number.kind() == SourceKind::Screen;
    [0, 1, 2].map(|temporal| Ladder::new(&source.layers, steps, temporal, is_screen))
}

#[cfg(test)]
mod tests;
