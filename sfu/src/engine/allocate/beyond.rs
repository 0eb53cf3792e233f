//! Receivers that another half of the room serves: what they want of sources here, as that half worked it out.

use super::{
    super::{id::SourceNumber, units::Bitrate},
    outcome::Allocation,
    problem::{Kind, LAYERS_MAX},
};

/// What all other halves of a room say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Beyond<'a> {
    /// What they want, several of them maybe of one source.
    pub wanted: &'a [Wanted],
    /// Somebody there hears over a way that is too thin for short voice packets.
    pub thin: bool,
    /// Somebody there hears over one that is not.
    pub wide: bool,
}

/// What receivers of another half want of a source: what [`Allocation::wanted`] gave there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub source: SourceNumber,
    /// The most important thing that it is for.
    pub kind: Kind,
    /// It is for more than thumbnails.
    pub is_brisk: bool,
    /// Of each layer that somebody stops at, what all of them can take.
    pub layers: [Option<Bitrate>; LAYERS_MAX],
}

impl Wanted {
    /// It asks the sender for the same but for bitrates.
    pub fn is_like(&self, other: &Self) -> bool {
        let kind = |wanted: &Self| (wanted.source, wanted.kind, wanted.is_brisk);
        let layers = |wanted: &Self| wanted.layers.map(|layer| layer.is_some());
        kind(self) == kind(other) && layers(self) == layers(other)
    }
}

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
