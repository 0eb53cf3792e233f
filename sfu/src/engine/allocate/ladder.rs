//! The rungs that a picture can climb: layers, with temporal layers as half steps.

use super::{
    super::units::Bitrate,
    outcome::Level,
    problem::{LAYERS_MAX, Offer, TEMPORAL_MAX},
};

/// The stage climbs to pictures of this height before any other picture begins: one picture of the stage that can be
/// looked at is worth more than twenty that cannot.
pub(super) const STAGE_EARLY_HEIGHT: u16 = 360;

/// Sensible bitrates of a picture of some height, in kb/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) least: u64,
    pub(super) usual: u64,
    pub(super) most: u64,
}

/// In bits a second. The edges lie between the usual heights, so that 270 and 540 find their neighbours.
pub(super) const fn range(height: u16) -> Range {
    let (least, usual, most) = match height {
        0..270 => (60, 150, 150),
        270..540 => (250, 500, 600),
        540..900 => (800, 1_500, 2_500),
        900.. => (1_500, 2_500, 4_000),
    };
    Range {
        least: least * 1_000,
        usual: usual * 1_000,
        most: most * 1_000,
    }
}

/// Before a key frame tells the height, that of the usual simulcast layers.
pub(super) fn height(layer: usize, offer: &Offer) -> u16 {
    offer.height.unwrap_or(180 << layer.min(2))
}

/// What is wanted for a tile of that height: of the layers that are or can be sent the lowest that is at least as high, else the
/// highest. None where there is none.
pub fn layer_for(tile: u16, layers: &[Offer; LAYERS_MAX]) -> Option<u8> {
    let there = || (0u8..).zip(layers).filter(|(_, offer)| offer.can || offer.live);
    there()
        .find(|&(layer, offer)| height(layer.into(), offer) >= tile)
        .or_else(|| there().last())
        .map(|(layer, _)| layer)
}

/// The highest temporal layer that so many pictures a second need, of three that give 7.5, 15 and 30.
pub(super) const fn temporal_for(fps: u8) -> u8 {
    match fps {
        1..=7 => 0,
        8..=15 => 1,
        _ => 2,
    }
}

/// What a layer without measured temporal layers is taken to need for a quarter, half and all of its pictures.
pub(super) fn shares(all: u64) -> [u64; TEMPORAL_MAX] {
    [all / 2, all / 10 * 7, all]
}

/// One rung.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) level: Level,
    pub(super) height: u16,
    pub(super) live: bool,
    /// In bits a second; no rung costs less than the one below.
    pub(super) rate: u64,
}

/// What is known of a layer when a ladder is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) live: bool,
    pub(super) rates: [u64; TEMPORAL_MAX],
}

/// A layer that arrives but was not measured yet is taken for a usual one, on top of those `below` that it needs.
pub(super) fn live_step(layer: usize, offer: &Offer, below: u64) -> Step {
    let mut rates = offer.rates.map(Bitrate::as_bps);
    let most = rates.iter().copied().max().unwrap_or(0);
    if most == 0 {
        rates = shares(below + range(height(layer, offer)).usual);
    } else {
        rates[TEMPORAL_MAX - 1] = most;
    }
    Step { live: true, rates }
}

/// Lowest first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Ladder {
    rungs: [Rung; LAYERS_MAX * TEMPORAL_MAX],
    length: u8,
}

impl Ladder {
    /// Of the layers that have a step, up to that temporal layer. Cameras reach a higher layer with half of its pictures:
    /// a quarter of a larger picture is worse than all of a smaller one. Screens (`sharp`) reach it with a quarter, for a page that
    /// can be read is worth more than one that moves.
    pub(super) fn new(
        offers: &[Offer; LAYERS_MAX],
        steps: [Option<Step>; LAYERS_MAX],
        temporal: u8,
        sharp: bool,
    ) -> Self {
        let mut ladder = Self::default();
        for (layer, (offer, step)) in offers.iter().zip(steps).enumerate() {
            let Some(step) = step else { continue };
            let height = height(layer, offer);
            let rates = step.rates;
            let is_one = rates[0] == 0 || rates[0] == rates[TEMPORAL_MAX - 1];
            let lowest = if is_one {
                TEMPORAL_MAX - 1
            } else if ladder.length == 0 || sharp {
                0
            } else {
                usize::from(temporal.min(1))
            };
            let highest = if is_one { lowest } else { usize::from(temporal) };
            for (at, &rate) in rates.iter().enumerate().take(highest + 1).skip(lowest) {
                ladder.push(Rung {
                    level: Level::new(layer as u8, at as u8),
                    height,
                    live: step.live,
                    rate,
                });
            }
        }
        ladder
    }

    fn push(&mut self, rung: Rung) {
        let below = self.rungs().last().map_or(0, |rung| rung.rate);
        if let Some(free) = self.rungs.get_mut(usize::from(self.length)) {
            *free = Rung {
                rate: rung.rate.max(below),
                ..rung
            };
            self.length += 1;
        }
    }

    /// What all of its lowest layer takes.
    pub(super) fn lowest_layer(&self) -> u64 {
        let lowest = self.rungs().first().and_then(|rung| rung.level.layer());
        let of = self.rungs().iter().filter(|rung| rung.level.layer() == lowest);
        of.map(|rung| rung.rate).max().unwrap_or(0)
    }

    pub(super) fn rungs(&self) -> &[Rung] {
        self.rungs.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// How many rungs there are up to that layer; where none is that low, those of the lowest layer there is.
    pub(super) fn up_to(&self, layer: u8) -> usize {
        let lowest = self.rungs().first().and_then(|rung| rung.level.layer());
        let highest = lowest.map_or(layer, |lowest| lowest.max(layer));
        self.rungs()
            .iter()
            .take_while(|rung| rung.level.layer().is_some_and(|layer| layer <= highest))
            .count()
    }
}
