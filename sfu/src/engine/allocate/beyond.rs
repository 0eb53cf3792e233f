//! What receivers here want of sources in another half of the room, as that is told.

use super::{super::id::SourceNumber, outcome::Allocation, problem::Wanted};

impl Allocation {
    /// What receivers want of a source; none if nobody does.
    pub fn wanted(&self, source: SourceNumber) -> Option<Wanted> {
        let order = self.source(source)?;
        let layer = |layer: usize| {
            let ordered = order.layers[layer].filter(|ordered| ordered.active)?;
            (order.wanted_at[layer].is_some() && order.wanted_at[layer] == self.at)
                .then_some(ordered.bitrate_max)
        };
        Some(Wanted {
            source,
            kind: order.kind?,
            is_brisk: order.brisk_at.is_some() && order.brisk_at == self.at,
            layers: std::array::from_fn(layer),
        })
    }

    /// Whether anybody hears over a thin way, and whether anybody does over a wide one.
    pub fn thin_and_wide(&self) -> (bool, bool) {
        let any = |is_thin: bool| {
            let mut receivers = self.receivers.iter();
            receivers.any(|receiver| receiver.voices_wanted > 0 && receiver.long_packets == is_thin)
        };
        (any(true), any(false))
    }
}
