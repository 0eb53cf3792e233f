//! Which layer each picture of an endpoint gets. A pure function.

use super::units::Bitrate;

/// A picture that a slot is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Height of the tile in pixels.
    pub height: u16,
    /// What the source has to offer, lowest layer first.
    pub layers: [Offer; LAYERS_MAX],
}

/// Most layers of one source.
pub const LAYERS_MAX: usize = 3;

/// A layer as a source offers it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offer {
    /// Packets of it arrive.
    pub live: bool,
    /// Height of its pictures, once a key frame told it.
    pub height: Option<u16>,
}

/// What the endpoint's path takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// From the estimator; none before it has one.
    pub estimate: Option<Bitrate>,
}

/// The layer for each demand, in their order: of the live ones the lowest that is at least as high as the tile, else the
/// highest. None where nothing is live.
///
/// The budget is not a limit yet: every demand gets what its height asks for.
pub fn allocate(demands: &[Demand], _budget: Budget) -> Vec<Option<u8>> {
    demands.iter().map(layer_for).collect()
}

fn layer_for(demand: &Demand) -> Option<u8> {
    let live = || (0u8..).zip(&demand.layers).filter(|(_, offer)| offer.live);
    let high_enough = |&(layer, offer): &(u8, &Offer)| height(layer, offer) >= demand.height;
    live()
        .find(high_enough)
        .or_else(|| live().last())
        .map(|(layer, _)| layer)
}

/// Before a key frame tells the height, that of the usual simulcast layers.
fn height(layer: u8, offer: &Offer) -> u16 {
    offer.height.unwrap_or(180 << layer.min(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(height: u16, layers: [(bool, Option<u16>); 3]) -> Demand {
        Demand {
            height,
            layers: layers.map(|(live, height)| Offer { live, height }),
        }
    }

    #[test]
    fn the_lowest_layer_that_fills_the_tile_else_the_highest_live_one() {
        let all = [(true, None), (true, None), (true, None)];
        let table = [
            (demand(90, all), Some(0)),
            (demand(180, all), Some(0)),
            (demand(181, all), Some(1)),
            (demand(720, all), Some(2)),
            (demand(2160, all), Some(2)),
            (demand(720, [(true, None), (true, None), (false, None)]), Some(1)),
            (demand(90, [(false, None), (false, None), (true, None)]), Some(2)),
            (
                demand(360, [(true, Some(360)), (true, Some(720)), (true, Some(1080))]),
                Some(0),
            ),
            (demand(360, [(false, None); 3]), None),
        ];
        for (demand, layer) in table {
            assert_eq!(allocate(&[demand], Budget::default()), [layer], "{demand:?}");
        }
    }
}
