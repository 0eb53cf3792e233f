//! What a source has whose point is in another half of the room.

use std::time::Instant;

use super::super::allocate::{LAYERS_MAX, Offer};

/// What the other half says of its source, and what is asked of it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) offers: [Offer; LAYERS_MAX],
    /// Layers that are to cross, a bit for each.
    pub(super) pull: u8,
    /// The version of our wants since which each of them is: what crosses for an older one has a hole before it.
    pub(super) since: [u64; LAYERS_MAX],
    /// When sound of it came last.
    pub(super) heard: Option<Instant>,
}
