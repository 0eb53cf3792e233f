//! What receivers want of one source, put together.

use super::problem::{Kind, LAYERS_MAX, Wanted};

/// What receivers want of one source.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wish {
    pub(super) kind: Option<Kind>,
    /// More than thumbnails want it.
    pub(super) is_brisk: bool,
    /// The bitrate that the best way of those who stop at that layer takes.
    pub(super) layers: [Option<u64>; LAYERS_MAX],
}

impl Wish {
    /// Something wants it for that.
    pub(super) fn count(&mut self, kind: Kind, is_brisk: bool) {
        self.kind = Some(self.kind.map_or(kind, |other| other.min(kind)));
        self.is_brisk |= is_brisk;
    }

    /// What all of them can take: a bitrate that only the widest way carries throws the others down a layer.
    pub(super) fn add(&mut self, layer: usize, takes: u64) {
        let wanted = &mut self.layers[layer];
        *wanted = Some(wanted.unwrap_or(u64::MAX).min(takes));
    }

    /// With what another half wants.
    pub(super) fn join(&mut self, wanted: &Wanted) {
        self.count(wanted.kind, wanted.is_brisk);
        for (layer, takes) in wanted.layers.iter().enumerate() {
            if let Some(takes) = takes {
                self.add(layer, takes.as_bps());
            }
        }
    }
}
